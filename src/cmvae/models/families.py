"""The three families of latent distributions, factorised over the dimensions of a latent."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from cmvae.base.arguments import generator_keyword

SCALE_FLOOR = 1e-6
Size = tuple[int, ...]


class Family(ABC):
    """A location–scale family: how a network's raw output becomes a scale, density and sampling.

    Densities are sums over the last axis, of size d; shapes broadcast.
    """

    is_normal = True
    factor: float
    """What ``distance`` is multiplied by in −log p."""
    log_mass: float
    """The logarithm of the integral of exp(−factor · distance)."""

    @staticmethod
    @abstractmethod
    def scale(raw: Tensor) -> Tensor:
        """Return the scales (*, d) that raw outputs (*, d) stand for."""

    @staticmethod
    def unit_raw() -> float:
        """Return the raw value that, in every dimension, gives scale 1."""
        return 0.0

    @staticmethod
    @abstractmethod
    def distance(standardised: Tensor) -> Tensor:
        """Return −log p(x) of location 0 and scale 1, up to factor and constant, elementwise."""

    @classmethod
    def log_prob(cls, x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
        """Return log p(x) (*), summed over the last axis of x (*, d)."""
        volume = _log_volume(scale, x.shape[-1], cls.log_mass)
        return cls.distance(_standardise(x, loc, scale)).sum(-1) * -cls.factor - volume

    @staticmethod
    @abstractmethod
    def noise(shape: Size, like: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from the member of location 0 and scale 1, in the dtype of ``like``, beside it."""


class Normal(Family):
    """Normal with variance exp(s): scale = exp(s / 2)."""

    factor = 0.5
    log_mass = 0.5 * math.log(2 * math.pi)

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """Return exp(s / 2)."""
        return torch.exp(raw / 2)

    @staticmethod
    def distance(standardised: Tensor) -> Tensor:
        """Return the square."""
        return standardised.square()

    @staticmethod
    def noise(shape: Size, like: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw standard Normal noise."""
        return torch.randn(
            shape, dtype=like.dtype, device=like.device, **generator_keyword(generator)
        )


class NormalSoftplus(Normal):
    """Normal with scale = softplus(s) + 1e-6."""

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """Return softplus(s) + 1e-6."""
        return F.softplus(raw) + SCALE_FLOOR

    @staticmethod
    def unit_raw() -> float:
        """Return softplus⁻¹(1 − 1e-6)."""
        return math.log(math.expm1(1 - SCALE_FLOOR))


class Laplace(Family):
    """Laplace with scale = softmax(s) · d + 1e-6: the scales of a latent always sum to its size."""

    is_normal = False
    factor = 1.0
    log_mass = math.log(2)

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """Return softmax(s) · d + 1e-6; 1 + 1e-6 where all s are equal."""
        return raw.softmax(-1) * raw.shape[-1] + SCALE_FLOOR

    @staticmethod
    def distance(standardised: Tensor) -> Tensor:
        """Return the absolute value."""
        return standardised.abs()

    @staticmethod
    def noise(shape: Size, like: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw standard Laplace noise: the inverse distribution function at uniform draws."""
        fine = torch.promote_types(like.dtype, torch.float32)
        uniform = torch.empty(shape, dtype=fine, device=like.device)
        uniform = uniform.uniform_(-1, 1, **generator_keyword(generator))
        # It is −1 once in 2²⁴ draws of float32; the largest value below 1 keeps the logarithm
        # finite.
        size = uniform.abs().clamp_(max=1 - torch.finfo(fine).eps / 2).neg_().log1p_()
        return size.copysign_(uniform).to(like.dtype)


def log_prob_each(
    family: type[Family],
    xs: Sequence[Tensor],
    locs: Sequence[Tensor] | None = None,
    scales: Sequence[Tensor] | None = None,
) -> Tensor:
    """Return the log-densities of variables x_m (*, d_m), which differ in d_m alone: (M, *).

    Side by side they cost as few operations as one. Without locations and scales these are 0 and 1.
    """
    sizes = [x.shape[-1] for x in xs]
    x = torch.cat(list(xs), -1)
    masses = x.new_tensor([family.log_mass * size for size in sizes])
    constants = masses.reshape(-1, *[1] * (x.ndim - 1))
    if locs is not None and scales is not None:
        scale = torch.cat(list(scales), -1)
        x = _standardise(x, torch.cat(list(locs), -1), scale)
        constants = constants + _sums(scale.log(), sizes)
    return _sums(family.distance(x), sizes) * -family.factor - constants


def scale_each(family: type[Family], raws: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the scales of several variables' raw outputs, at once where their shapes agree."""
    if len({raw.shape for raw in raws}) == 1:
        return family.scale(torch.stack(list(raws))).unbind()
    return tuple(family.scale(raw) for raw in raws)


def _sums(x: Tensor, sizes: list[int]) -> Tensor:
    """Return the sums over parts of the last axis, stacked."""
    if len(set(sizes)) == 1:
        return x.unflatten(-1, (len(sizes), sizes[0])).sum(-1).movedim(-1, 0)
    return torch.stack([part.sum(-1) for part in x.split(sizes, -1)])


def _standardise(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    if not isinstance(loc, Tensor) and not isinstance(scale, Tensor) and (loc, scale) == (0.0, 1.0):
        return x
    # One division for each scale and a product for each x: scales are fewer where they are tensors.
    return (x - loc) * (1 / scale)


def _log_volume(scale: Tensor | float, dim: int, log_mass: float) -> Tensor | float:
    """Return Σ (log scale + log_mass) over ``dim`` dimensions; a scale of size 1 serves all."""
    if not isinstance(scale, Tensor):
        return (math.log(scale) + log_mass) * dim
    return scale.log().sum(-1) * (dim // scale.shape[-1]) + dim * log_mass


FAMILIES: dict[str, type[Family]] = {
    "laplace_with_softmax": Laplace,
    "normal_with_softplus": NormalSoftplus,
    "normal": Normal,
}
