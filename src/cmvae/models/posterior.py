"""The experts q(z | x_m) and q(w_m | x_m), and the joint posterior: a mixture of those observed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import generator_keyword
from cmvae.models.families import Family, log_prob_each


@dataclass(frozen=True)
class Experts:
    r"""Parameters of the experts of a batch, and the mixture of experts they make.

    .. math:: q(z \mid X) = \frac{1}{|S|} \sum_{m \in S} q(z \mid x_m)

    with S the modalities that a sample has observed; what others hold is location 0 and scale 1.
    """

    family: Family
    loc: Tensor  # (M, B, d), of q(z | x_m)
    scale: Tensor
    private_loc: tuple[Tensor, ...]  # (B, dim_m) for each modality, of q(w_m | x_m)
    private_scale: tuple[Tensor, ...]
    observed: Tensor  # (M, B) boolean

    @staticmethod
    def join(parts: Sequence["Experts"]) -> "Experts":
        """Return the experts of consecutive batches as those of one."""
        if len(parts) == 1:
            return parts[0]
        return Experts(
            parts[0].family,
            torch.cat([part.loc for part in parts], 1),
            torch.cat([part.scale for part in parts], 1),
            tuple(map(torch.cat, zip(*(part.private_loc for part in parts), strict=True))),
            tuple(map(torch.cat, zip(*(part.private_scale for part in parts), strict=True))),
            torch.cat([part.observed for part in parts], 1),
        )

    def detach(self) -> "Experts":
        """Return the same experts with their parameters held constant."""
        return self._changed(Tensor.detach, self.observed)

    def with_constant_z(self, narrowed: float = 1.0) -> "Experts":
        """Return them with q(z | x_m) held constant, its scales times ``narrowed``."""
        return replace(self, loc=self.loc.detach(), scale=self.scale.detach() * narrowed)

    def with_constant_locations(self) -> "Experts":
        """Return them with the location of q(z | x_m) held constant."""
        return replace(self, loc=self.loc.detach())

    def select(self, rows: Tensor) -> "Experts":
        """Return the experts of the samples ``rows``, indices (R,)."""
        return self._changed(lambda part: part.index_select(-2, rows), self.observed[:, rows])

    def _changed(self, change: Callable[[Tensor], Tensor], observed: Tensor) -> "Experts":
        """Return them with every location and scale, (..., B, dim), changed."""
        loc, scale = tuple(map(change, self.private_loc)), tuple(map(change, self.private_scale))
        return Experts(self.family, change(self.loc), change(self.scale), loc, scale, observed)

    def restrict(self, conditioning: Tensor) -> "Experts":
        """Return them with only the modalities ``conditioning``, (M,) boolean, observed."""
        return replace(self, observed=self.observed & conditioning[:, None])

    @property
    def n_observed(self) -> Tensor:
        """|S| of each sample, (B,)."""
        return self.observed.sum(0)

    @property
    def mean(self) -> Tensor:
        """The mean of q(z | X), (B, d): the average of the observed experts' locations."""
        weights = self.observed.to(self.loc.dtype)
        return (self.loc * weights.unsqueeze(-1)).sum(0) / weights.sum(0).unsqueeze(-1)

    def log_prob_experts(self, z: Tensor) -> Tensor:
        """Return log q(z | x_n) of z (..., B, K, d) under every n, (M, ..., B, K).

        It is −∞ where n is unobserved.
        """
        between = (1,) * (z.ndim - 3)
        experts, batch, dim = self.loc.shape
        loc, scale = (t.reshape(experts, *between, batch, 1, dim) for t in (self.loc, self.scale))
        densities = self.family.log_prob(z, loc, scale)
        return densities.masked_fill(~self.observed.reshape(experts, *between, batch, 1), -math.inf)

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log q(z | X), (..., B, K), of z (..., B, K, d)."""
        log_count = self.n_observed.to(z.dtype).log().unsqueeze(-1)
        return self.log_prob_experts(z).logsumexp(0) - log_count

    def log_prob_private(self, modality: int, w: Tensor) -> Tensor:
        """Return log q(w_m | x_m), (B, K), of w (B, K, dim_m)."""
        loc, scale = self.private_loc[modality], self.private_scale[modality]
        return self.family.log_prob(w, loc.unsqueeze(1), scale.unsqueeze(1))

    def log_prob_all_private(self, ws: Sequence[Tensor]) -> Tensor:
        """Return log q(w_m | x_m) of every modality, (M, B, K), of w_m (B, K, dim_m)."""
        loc = [part.unsqueeze(1) for part in self.private_loc]
        scale = [part.unsqueeze(1) for part in self.private_scale]
        return log_prob_each(self.family, ws, loc, scale)

    def sample_each(self, draws: int, generator: Generator | None = None) -> Tensor:
        """Draw z from every expert, (M, B, draws, d), with gradients to its parameters."""
        modalities, batch, dim = self.loc.shape
        noise = self.family.noise((modalities, batch, draws, dim), self.loc, generator)
        return self.loc.unsqueeze(2) + self.scale.unsqueeze(2) * noise

    def noise(
        self, shapes: Sequence[tuple[int, ...]], generator: Generator | None = None
    ) -> list[Tensor]:
        """Draw noise of the family, location 0 and scale 1, of several shapes at once."""
        sizes = [math.prod(shape) for shape in shapes]
        parts = self.family.noise((sum(sizes),), self.loc, generator).split(sizes)
        return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

    def sample_private(
        self, modality: int, draws: int, generator: Generator | None = None, alike: bool = False
    ) -> Tensor:
        """Draw w_m from its expert, (B, draws, dim_m), with gradients to its parameters.

        Where they are to be ``alike``, the noise is that of one sample for all.
        """
        loc, scale = self.private_loc[modality], self.private_scale[modality]
        batch = 1 if alike else len(loc)
        noise = self.family.noise((batch, draws, loc.shape[-1]), self.loc, generator)
        return loc.unsqueeze(1) + scale.unsqueeze(1) * noise

    def choose(self, draws: int, generator: Generator | None = None) -> Tensor:
        """Draw for each sample and draw, independently, an observed expert: indices (B, draws)."""
        weights, source = self.observed.T.to(self.loc.dtype), generator_keyword(generator)
        return torch.multinomial(weights, draws, replacement=True, **source)

    def sample(
        self, choice: Tensor, generator: Generator | None = None, alike: bool = False
    ) -> Tensor:
        """Draw z from the chosen experts ``choice``, (B, draws): (B, draws, d); as w_m is drawn."""
        rows = torch.arange(choice.shape[0], device=choice.device).unsqueeze(-1)
        loc, scale = self.loc[choice, rows], self.scale[choice, rows]
        batch = 1 if alike else len(loc)
        return loc + scale * self.family.noise((batch, *loc.shape[1:]), self.loc, generator)
