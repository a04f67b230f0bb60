"""The three families of latent distributions, factorised over the dimensions of a latent."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from cmvae.base.arguments import generator_keyword

SCALE_FLOOR = 1e-6
Size = tuple[int, ...]


@dataclass(frozen=True)
class Family:
    """A location–scale family: how a network's raw output becomes a scale, density and sampling.

    Of location 0 and scale 1, −log p(x) = factor · distance(x) + log_mass in each dimension.
    """

    scale: Callable[[Tensor], Tensor]  # raw outputs (*, d) → scales (*, d)
    unit_raw: float  # the raw value that, in every dimension, gives scale 1
    distance: Callable[[Tensor], Tensor]
    factor: float
    log_mass: float
    # (shape, like, source) → draws of location 0 and scale 1, of the dtype and device of like
    noise: Callable[[Size, Tensor, Generator | None], Tensor]
    is_normal: bool  # else Laplace

    def log_prob(self, x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
        """Return log p(x) (*), summed over the last axis of all, (*, d); shapes broadcast."""
        volume = scale.log().sum(-1) + x.shape[-1] * self.log_mass
        return self.distance(_standardise(x, loc, scale)).sum(-1) * -self.factor - volume


def _softmax_scale(raw: Tensor) -> Tensor:
    return raw.softmax(-1) * raw.shape[-1] + SCALE_FLOOR


def _softplus_scale(raw: Tensor) -> Tensor:
    return F.softplus(raw) + SCALE_FLOOR


def _exponential_scale(raw: Tensor) -> Tensor:
    return torch.exp(raw / 2)


def _normal_noise(shape: Size, like: Tensor, generator: Generator | None) -> Tensor:
    return torch.randn(shape, dtype=like.dtype, device=like.device, **generator_keyword(generator))


def _laplace_noise(shape: Size, like: Tensor, generator: Generator | None) -> Tensor:
    """Draw by the inverse distribution function at uniform draws."""
    fine = torch.promote_types(like.dtype, torch.float32)
    uniform = torch.empty(shape, dtype=fine, device=like.device)
    uniform = uniform.uniform_(-1, 1, **generator_keyword(generator))
    # It is −1 once in 2²⁴ draws of float32; the largest value below 1 keeps the logarithm finite.
    size = uniform.abs().clamp_(max=1 - torch.finfo(fine).eps / 2).neg_().log1p_()
    return size.copysign_(uniform).to(like.dtype)


_ROOT = 0.5 * math.log(2 * math.pi)
_LAPLACE = Family(_softmax_scale, 0.0, torch.abs, 1.0, math.log(2), _laplace_noise, False)
_NORMAL = Family(_exponential_scale, 0.0, torch.square, 0.5, _ROOT, _normal_noise, True)
_SOFTPLUS = replace(_NORMAL, scale=_softplus_scale, unit_raw=math.log(math.expm1(1 - SCALE_FLOOR)))
FAMILIES = {"laplace_with_softmax": _LAPLACE, "normal_with_softplus": _SOFTPLUS, "normal": _NORMAL}
"""Laplace, scale = softmax(s) · d + 1e-6: the scales of a latent always sum to its size, and equal
raw values give 1 + 1e-6. Normal, scale = softplus(s) + 1e-6. Normal, scale = exp(s / 2)."""


def log_prob_each(
    family: Family,
    xs: Sequence[Tensor],
    locs: Sequence[Tensor] | None = None,
    scales: Sequence[Tensor] | None = None,
) -> Tensor:
    """Return the log-densities, (M, *), of variables x_m (*, d_m), in as few operations as of one.

    Without locations and scales these are 0 and 1.
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


def scale_each(family: Family, raws: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the scales of several variables' raw outputs, at once where their shapes agree."""
    if len({raw.shape for raw in raws}) == 1:
        return family.scale(torch.stack(list(raws))).unbind()
    return tuple(family.scale(raw) for raw in raws)


def _sums(x: Tensor, sizes: list[int]) -> Tensor:
    """Return the sums over parts of the last axis, stacked."""
    if len(set(sizes)) == 1:
        return x.unflatten(-1, (len(sizes), sizes[0])).sum(-1).movedim(-1, 0)
    return torch.stack([part.sum(-1) for part in x.split(sizes, -1)])


def _standardise(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    # One division for each scale and a product for each x: scales are fewer.
    return (x - loc) * (1 / scale)
