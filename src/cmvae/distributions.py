"""The three families of latent distributions, factorised over the dimensions of a latent."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

__all__ = ["FAMILIES", "Family", "Laplace", "Normal", "NormalSoftplus"]

SCALE_FLOOR = 1e-6


class Family(ABC):
    """A location–scale family: how a network's raw output becomes a scale, density and sampling.

    Densities are sums over the last axis, of size d; shapes broadcast.
    """

    is_normal = True

    @staticmethod
    @abstractmethod
    def scale(raw: Tensor) -> Tensor:
        """Return the scales (*, d) that raw outputs (*, d) stand for."""

    @staticmethod
    @abstractmethod
    def unit_raw() -> float:
        """Return the raw value that, in every dimension, gives scale 1."""

    @staticmethod
    @abstractmethod
    def log_prob(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
        """Return log p(x) (*), summed over the last axis of x (*, d)."""

    @staticmethod
    @abstractmethod
    def noise(
        shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device, generator: Generator | None
    ) -> Tensor:
        """Draw from the member with location 0 and scale 1."""


class Normal(Family):
    """Normal with variance exp(s): scale = exp(s / 2)."""

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """Return exp(s / 2)."""
        return torch.exp(raw / 2)

    @staticmethod
    def unit_raw() -> float:
        """Return 0."""
        return 0.0

    @staticmethod
    def log_prob(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
        """Return the Normal log-density."""
        scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
        squares = ((x - loc) / scale).square()
        return (-0.5 * squares - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    @staticmethod
    def noise(
        shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device, generator: Generator | None
    ) -> Tensor:
        """Draw standard Normal noise."""
        return torch.randn(shape, dtype=dtype, device=device, generator=generator)


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

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """Return softmax(s) · d + 1e-6."""
        return raw.softmax(-1) * raw.shape[-1] + SCALE_FLOOR

    @staticmethod
    def unit_raw() -> float:
        """Return 0, which gives 1 + 1e-6."""
        return 0.0

    @staticmethod
    def log_prob(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
        """Return the Laplace log-density."""
        scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
        return (-(x - loc).abs() / scale - scale.log() - math.log(2)).sum(-1)

    @staticmethod
    def noise(
        shape: tuple[int, ...], *, dtype: torch.dtype, device: torch.device, generator: Generator | None
    ) -> Tensor:
        """Draw standard Laplace noise: the difference of two standard exponential variables."""
        pair = torch.empty((2, *shape), dtype=dtype, device=device).exponential_(generator=generator)
        return pair[0] - pair[1]


FAMILIES: dict[str, type[Family]] = {
    "laplace_with_softmax": Laplace,
    "normal_with_softplus": NormalSoftplus,
    "normal": Normal,
}
