"""Shapes and sizes of inputs: what is allowed, and what a network makes of them."""

from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from cmvae.base.words import shown
from cmvae.likelihoods.base import is_integer

SMALLEST = 8  # pixels or positions: below it a convolution has nothing to halve


def is_image(shape: Sequence[int]) -> bool:
    """Tell whether a shape is (channels, height, width), of at least 8 by 8 pixels."""
    return len(shape) == 3 and min(shape[1:]) >= SMALLEST


def image_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a shape (channels, height, width), or raise ``ValueError``."""
    if len(shape) != 3:
        raise ValueError(f"an image shape is (channels, height, width); got {tuple(shape)}")
    check_sizes(shape=shape)
    return int(shape[1]), int(shape[2])


def halved_sizes(shape: Sequence[int], round_up: bool = False) -> list[tuple[int, ...]]:
    """Return a shape, in pixels or positions, and its halves, until the smallest side is below 8.

    Strided convolutions round down, pooling as in the residual pair rounds up.
    """
    sizes = [tuple(shape)]
    while min(sizes[-1]) >= SMALLEST:
        sizes.append(tuple((side + round_up) // 2 for side in sizes[-1]))
    return sizes


def holds_indices(x: Tensor, shape: Sequence[int]) -> bool:
    """Tell whether ``x`` holds class indices (B, *shape[:-1]) rather than vectors (B, *shape)."""
    return is_integer(x) and tuple(x.shape[1:]) == tuple(shape[:-1])


def check_input(x: Tensor, shape: Sequence[int], or_indices: bool = False) -> None:
    """Raise ``ValueError`` if ``x`` is not (B, *shape); the message may name class indices too."""
    if tuple(x.shape[1:]) != tuple(shape):
        wanted = f"(B, {', '.join(map(str, shape))})"
        if or_indices:
            wanted += f", or integers (B, {', '.join(map(str, shape[:-1]))})"
        raise ValueError(f"input of shape {tuple(x.shape)} and {x.dtype}; allowed: {wanted}")


def check_sizes(**sizes: Sequence[int] | int) -> None:
    """Raise ``ValueError`` for the first of ``sizes`` that holds anything but positive integers."""
    for name, value in sizes.items():
        for entry in value if isinstance(value, Sequence) else [value]:
            if isinstance(entry, bool) or not isinstance(entry, Integral) or entry < 1:
                raise ValueError(f"{name} must hold positive integers; got {shown(value)}")


def one_hot(indices: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Encode class indices (...) from 0 as one-hot vectors (..., n_classes) of ``dtype``.

    Unlike PyTorch's it does not synchronise a GPU. An index outside is PyTorch's ``RuntimeError``.
    """
    encoded = torch.zeros(*indices.shape, n_classes, dtype=dtype, device=indices.device)
    return encoded.scatter_(-1, indices.long().unsqueeze(-1), 1.0)
