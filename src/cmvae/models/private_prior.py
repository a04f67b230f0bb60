"""The priors of the private latents: p(w_m), fixed, and r_m(w_m), its stand-in in training."""

import torch
from torch import Generator, Tensor, nn

from cmvae.models.families import Family, log_prob_each


class PrivatePrior(nn.Module):
    """p(w) and the auxiliary prior r(w) of one modality's private latent, of dimension ``dim``.

    p(w) has zero mean and unit scale, r(w) zero mean and, if ``learned``, a learned scale, 1 at the
    start. In training other modalities are reconstructed from draws of r, so that nothing shared
    hides in w (Palumbo et al., 2024, section 3, after MMVAE+).
    """

    raw_scale: Tensor

    def __init__(self, dim: int, family: Family, learned: bool) -> None:
        super().__init__()
        self.family = family
        raw_scale = torch.full((dim,), family.unit_raw)
        if learned:
            self.raw_scale = nn.Parameter(raw_scale)
        else:
            self.register_buffer("raw_scale", raw_scale)

    def log_prob(self, w: Tensor) -> Tensor:
        """Return log p(w), (*), of w (*, dim)."""
        return log_prob_each(self.family, [w])[0]

    def sample(
        self, shape: tuple[int, ...], *, auxiliary: bool = False, generator: Generator | None = None
    ) -> Tensor:
        """Draw (*shape, dim) from p(w), or from r(w) with gradients to its scale."""
        raw = self.raw_scale
        noise = self.family.noise((*shape, len(raw)), raw, generator)
        return noise * self.family.scale(raw) if auxiliary else noise
