"""Real numbers: Normal and Laplace, with one scale for a modality."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from numbers import Real
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmvae.base.words import shown
from cmvae.likelihoods.base import LearnedScale, Likelihood, at_least_float32, paired

_SCALES = (1e-18, 1e18)  # float32 can hold their squares
_MIN_LOG_SCALE = math.log(1e-3)


class _LocationScale(Likelihood):
    """A likelihood whose location is the reconstruction, with one scale for the whole modality.

    Args:
        scale: A number from 1e-18 to 1e18, or 'learned': one parameter ``log_scale`` that starts at
            scale 1, as in σ-VAE (Rybkin, Daniilidis, Levine, "Simple and effective VAE training
            with calibrated decoders", ICML 2021). A learned scale is at least 1e-3, because the
            density of data that a decoder can repeat exactly has no bound; at this floor
            ``log_scale`` keeps its gradient, so that it can rise again. :func:`cmvae.fit` moves it
            faster than networks, so that it follows the residuals.

    """

    options = ("scale",)
    _power: ClassVar[int]

    def __init__(self, scale: float | Literal["learned"] = 1.0) -> None:
        super().__init__()
        self.log_scale: nn.Parameter | None = None
        self._log_scale = 0.0
        lowest, highest = _SCALES
        if isinstance(scale, str) and scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif isinstance(scale, Real) and not isinstance(scale, bool) and lowest <= scale <= highest:
            self._log_scale = math.log(float(scale))
        else:
            allowed = f"a number from {lowest:g} to {highest:g} or 'learned'"
            raise ValueError(f"scale must be {allowed}; got {shown(scale)}")

    @property
    def scale(self) -> float:
        """The present scale, in the unit of the data."""
        if self.log_scale is None:
            return math.exp(self._log_scale)
        return math.exp(max(float(self.log_scale.detach()), _MIN_LOG_SCALE))

    @property
    def real(self) -> Tensor | bool:
        """They are."""
        return True

    def extra_repr(self) -> str:
        """Show the scale when printed."""
        return f"scale={self.scale:.4g}" + (", learned" if self.log_scale is not None else "")

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw the location plus scaled noise; see ``Likelihood.sample``."""
        location = at_least_float32(reconstruction)
        noise = self._noise(torch.empty_like(location), generator)
        return location + self._log_scale_like(location).exp() * noise

    def learned_parts(
        self, reconstruction: Tensor, target: Tensor, cells: Tensor | None = None
    ) -> Iterator[tuple[LearnedScale, Tensor, Tensor, Tensor | None]]:
        """Yield itself, if its scale is learned."""
        if self.log_scale is not None:
            yield self, reconstruction, target, cells

    def deviations(
        self, location: Tensor, target: Tensor, cells: Tensor | None = None
    ) -> tuple[Tensor, Tensor | int]:
        """Return the sum of |x − μ|^p over what is there, p = 2 for a Normal, 1 for a Laplace."""
        total, number = _summed(self._distances(*paired(location, target)), 0, cells)
        return total, number

    @torch.no_grad()
    def set_scale(self, deviation: Tensor) -> None:
        """Set a learned scale to the most probable one, given the mean of |x − μ|^p."""
        assert self.log_scale is not None
        scale = deviation ** (1 / self._power)
        self.log_scale.copy_(scale.clamp_min(math.exp(_MIN_LOG_SCALE)).log())

    @abstractmethod
    def _distances(self, location: Tensor, target: Tensor) -> Tensor:
        """Return |x − μ|^p elementwise."""

    @abstractmethod
    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        """Return noise of location 0 and scale 1, drawn into ``like``."""

    def _scales(self, location: Tensor) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """Return the scale and its logarithm: numbers, or where it is learned scalar tensors."""
        if self.log_scale is None:
            return math.exp(self._log_scale), self._log_scale
        log_scale = self._log_scale_like(location)
        return log_scale.exp(), log_scale

    def _log_scale_like(self, location: Tensor) -> Tensor:
        """Return the logarithm of the scale, a scalar of the location's dtype and device."""
        if self.log_scale is None:
            return torch.full((), self._log_scale, dtype=location.dtype, device=location.device)
        raw = self.log_scale.to(location.dtype)
        # The value is clamped, the gradient is not: else the scale would stay there for ever.
        return raw.detach().clamp_min(_MIN_LOG_SCALE) + (raw - raw.detach())


class Normal(_LocationScale):
    """log p(x) = −½ ((x − μ) / σ)² − log σ − ½ log 2π, with the reconstruction as μ and one σ.

    Args:
        scale: σ, a positive number or 'learned' (with floor 1e-3; see Rybkin et al., 2021).

    Example:
        >>> import torch
        >>> from cmvae.likelihoods import Normal
        >>> Normal(scale=2.0).log_prob(torch.zeros(1, 3), torch.ones(1, 3)).shape
        torch.Size([1, 3])
    """

    _power = 2

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-density; see ``Likelihood.log_prob``."""
        location, target = paired(reconstruction, target)
        log_scale = self._log_scale_like(location)
        standardised = (target - location) * torch.exp(-log_scale)
        return -0.5 * standardised.square() - (log_scale + 0.5 * math.log(2 * math.pi))

    def log_prob_of_samples(
        self, reconstruction: Tensor, target: Tensor, axes: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return the summed log-density, in one pass over the entries."""
        location, target = paired(reconstruction, target)
        scale, log_scale = self._scales(location)
        total, number = _summed(self._distances(location, target), axes, cells)
        return total * (-0.5 / scale**2) - number * (log_scale + 0.5 * math.log(2 * math.pi))

    def _distances(self, location: Tensor, target: Tensor) -> Tensor:
        return functional.mse_loss(location, target, reduction="none")

    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        return like.normal_(generator=generator)


class Laplace(_LocationScale):
    """log p(x) = −|x − μ| / b − log 2b, with the reconstruction as μ and one b.

    Args:
        scale: b, a positive number or 'learned' (with floor 1e-3; see Rybkin et al., 2021).
    """

    _power = 1

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-density; see ``Likelihood.log_prob``."""
        location, target = paired(reconstruction, target)
        log_scale = self._log_scale_like(location)
        return -(target - location).abs() * torch.exp(-log_scale) - (log_scale + math.log(2))

    def log_prob_of_samples(
        self, reconstruction: Tensor, target: Tensor, axes: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return the summed log-density, in one pass over the entries."""
        location, target = paired(reconstruction, target)
        scale, log_scale = self._scales(location)
        total, number = _summed(self._distances(location, target), axes, cells)
        return total * (-1 / scale) - number * (log_scale + math.log(2))

    def _distances(self, location: Tensor, target: Tensor) -> Tensor:
        return functional.l1_loss(location, target, reduction="none")

    def _noise(self, like: Tensor, generator: torch.Generator | None) -> Tensor:
        first = like.exponential_(generator=generator)
        return first - torch.empty_like(like).exponential_(generator=generator)


def _summed(values: Tensor, axes: int, cells: Tensor | None) -> tuple[Tensor, Tensor | int]:
    """Return sums over all but the first ``axes`` axes of what is there, and how much that is."""
    if cells is None:
        values = values.flatten(axes)
        return values.sum(-1), values.shape[-1]
    own = torch.where(cells, values, 0).flatten(axes).sum(-1)
    return own, cells.flatten(axes).sum(-1)


def learned_scales(module: nn.Module) -> list[nn.Parameter]:
    """Return the logarithms of the learned scales of all likelihoods in a module, in its order."""
    own = (part.log_scale for part in module.modules() if isinstance(part, _LocationScale))
    return [scale for scale in own if scale is not None]
