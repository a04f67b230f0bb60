"""The priors of the private latents: p(w_m), fixed, and r_m(w_m), its stand-in in training."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import generator_keyword
from cmvae.models.families import Family, log_prob_each

VARIANCE_FLOOR = 1e-6  # of the aggregate posterior


def log_prior_each(family: Family, ws: Sequence[Tensor], scale: float) -> Tensor:
    """Return log p(w_m), (M, *), of private latents w_m (*, dim_m), p(w_m) of one scale for all."""
    if scale == 1:
        return log_prob_each(family, ws)
    sizes = ws[0].new_tensor([w.shape[-1] for w in ws]).reshape(-1, *[1] * (ws[0].ndim - 1))
    return log_prob_each(family, [w / scale for w in ws]) - sizes * math.log(scale)


class PrivatePrior(nn.Module):
    """p(w) and the auxiliary prior r(w) of one modality's private latent, of dimension ``dim``.

    p(w) has zero mean and a fixed ``scale``, 1 in the paper, r(w) zero mean and, if ``learned``, a
    learned scale, 1 at the start. In training other modalities are reconstructed from draws of r,
    so that nothing shared hides in w (Palumbo et al., 2024, section 3, after MMVAE+).

    With ``aggregate`` it also holds a Normal of the mean and the covariance of the aggregate
    posterior, q(w) = E q(w|x) over the data, once :func:`cmvae.models.aggregate.fit_private_priors`
    has set them; until then a standard Normal. What decoders make of its draws varies as the data
    do, where posteriors under β > 1 leave q(w) another than p(w).
    """

    raw_scale: Tensor
    location: Tensor
    factor: Tensor

    def __init__(
        self,
        dim: int,
        family: Family,
        learned: bool,
        aggregate: bool = False,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.family, self.scale = family, scale
        raw_scale = torch.full((dim,), family.unit_raw)
        if learned:
            self.raw_scale = nn.Parameter(raw_scale)
        else:
            self.register_buffer("raw_scale", raw_scale)
        if aggregate:
            self.register_buffer("location", torch.zeros(dim))
            self.register_buffer("factor", torch.eye(dim))

    def log_prob(self, w: Tensor) -> Tensor:
        """Return log p(w), (*), of w (*, dim)."""
        return log_prior_each(self.family, [w], self.scale)[0]

    def sample(
        self, shape: tuple[int, ...], *, auxiliary: bool = False, generator: Generator | None = None
    ) -> Tensor:
        """Draw (*shape, dim) from p(w), or from r(w) with gradients to its scale."""
        raw = self.raw_scale
        noise = self.family.noise((*shape, len(raw)), raw, generator)
        if auxiliary:
            return noise * self.family.scale(raw)
        return noise if self.scale == 1 else noise * self.scale

    @property
    def mean(self) -> Tensor:
        """The mean of what private latents are drawn from, (dim,): 0, or the aggregate's."""
        return getattr(self, "location", torch.zeros_like(self.raw_scale))

    def sample_aggregate(
        self, shape: tuple[int, ...], generator: Generator | None = None
    ) -> Tensor:
        """Draw (*shape, dim) from the Normal that stands for the aggregate posterior."""
        like = self.factor
        size = (*shape, len(like))
        keyword = generator_keyword(generator)
        noise = torch.randn(size, dtype=like.dtype, device=like.device, **keyword)
        return self.location + noise @ like.T

    def fit(self, w: Tensor) -> None:
        """Take the mean and the covariance of draws w (n, dim), n of 2 at least."""
        wide = w.double()
        floor = VARIANCE_FLOOR * torch.eye(wide.shape[1], dtype=wide.dtype, device=wide.device)
        self.location.copy_(wide.mean(0))
        self.factor.copy_(torch.linalg.cholesky(torch.cov(wide.T).reshape(floor.shape) + floor))
