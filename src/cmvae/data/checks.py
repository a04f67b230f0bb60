"""What is refused in arrays, masks and their lengths, said the same way wherever data come in."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmvae.base.words import listed, quoted

CHUNK_ENTRIES = 1 << 22
MARK = "mark the modality as not observed there"


def sample_list(bad: Tensor, first: int = 0) -> str:
    """Return ``samples 3, 7 and 2 more`` for a message, of (n,) bool numbered from ``first``."""
    rows = (bad.nonzero().flatten() + first).tolist()
    return f"{'sample' if len(rows) == 1 else 'samples'} {listed(rows)}"


def as_tensor(value: Any, what: str) -> Tensor:
    """Return numbers (n, *) as a tensor of the same dtype that shares their memory.

    What PyTorch cannot share (negative strides, foreign byte order, nested lists) is copied. In
    messages it is called ``what``, for instance ``modality 'image'``.

    Raises:
        TypeError: for anything that is not a dense array of real numbers.
        ValueError: for a scalar.
    """
    tensor = value if isinstance(value, Tensor) else _from_array(value, what)
    if tensor.layout != torch.strided or tensor.is_complex():
        kind = "complex" if tensor.is_complex() else "sparse"
        raise TypeError(f"{what}: expected a dense tensor of real numbers, got a {kind} tensor")
    if tensor.ndim == 0:
        raise ValueError(f"{what}: expected an array with samples on its first axis, got a scalar")
    return tensor


def _from_array(value: Any, what: str) -> Tensor:
    """Return an array, or nested lists, of numbers as a tensor."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what}: masked arrays are not supported, their mask would be lost")
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"got {type(value).__name__} of dtype {array.dtype}")
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if any(stride < 0 for stride in array.strides):
            array = array.copy()
        with warnings.catch_warnings():
            # Memory-mapped arrays are read-only; nothing here writes to what it is given.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
            return torch.as_tensor(value if isinstance(value, list | tuple) else array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{what}: expected a numeric tensor or array; {error}") from error


def as_mask(value: Any, modality: str, n_samples: int, *, check_values: bool = True) -> Tensor:
    """Return which samples have observed a modality, (n_samples,) bool, True = observed.

    Numbers that are all 0 or 1 will do; without ``check_values`` others are not looked for.

    Raises:
        TypeError: for a mask that is not a numeric array.
        ValueError: for another shape or other numbers.
    """
    what = f"mask of modality {modality!r}"
    mask = as_tensor(value, what)
    if mask.shape != (n_samples,):
        raise ValueError(f"{what}: expected shape ({n_samples},), got {tuple(mask.shape)}")
    if mask.dtype == torch.bool:
        return mask
    other = (mask != 0) & (mask != 1)
    if check_values and other.any():
        got = f"{mask[other][0].item()} at {sample_list(other)}"
        raise ValueError(f"{what}: expected booleans or 0 and 1, got {got}")
    return mask != 0


def check_names(data: Any, what: str = "data") -> None:
    """Refuse what is not a non-empty mapping from modality names, by TypeError or ValueError."""
    _check_mapping(data, what, "array")
    if not data:
        raise ValueError(f"{what}: expected at least one modality, got an empty mapping")
    for name in data:
        if not isinstance(name, str):
            raise TypeError(f"{what}: modality names must be strings, got {name!r}")
        if not name:
            raise ValueError(f"{what}: modality names must not be empty")


def check_masks(masks: Any) -> None:
    """Raise ``TypeError`` for masks that are no mapping."""
    _check_mapping(masks, "masks", "(n,) bool")


def _check_mapping(value: Any, what: str, of: str) -> None:
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise TypeError(f"{what}: expected a mapping {{modality: {of}}}, got {kind}")


def check_known(names: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise ``KeyError`` unless all names, given as ``what``, for instance ``masks``, are known."""
    given = list(names)
    for name in given:
        if name not in known:
            both = f"got {quoted(given)}; known are {quoted(known)}"
            raise KeyError(f"unknown modality {name!r} in {what}: {both}")


def check_lengths(data: Mapping[str, Sized]) -> int:
    """Return the number of samples that all modalities share; ``ValueError`` where they differ."""
    lengths = {name: len(tensor) for name, tensor in data.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {length}" for name, length in lengths.items())
        raise ValueError(f"modalities differ in their number of samples: {listed}")
    return next(iter(lengths.values()))


def check_observed(observed: Tensor, modalities: Sequence[str], first: int = 0) -> None:
    """Raise ``ValueError`` where nothing of a sample, numbered from ``first``, is seen, (M, n)."""
    nothing = ~observed.any(0)
    if nothing.any():
        needed = f"each sample needs at least one of the modalities {quoted(modalities)}"
        raise ValueError(f"nothing is observed in {sample_list(nothing, first)}: {needed}")


def nonfinite_error(modality: str, samples: str, advice: str) -> ValueError:
    """Return the error for NaN or infinity in observed entries of samples."""
    what = f"modality {modality!r}: NaN or infinity in observed entries of {samples}"
    return ValueError(f"{what}; {advice}; single missing cells are not supported")


def nonfinite_samples(tensor: Tensor) -> Tensor:
    """Return which samples (n, *) hold NaN or infinity, (n,) bool, so many entries at a time."""
    n, size = len(tensor), math.prod(tensor.shape[1:])
    if not tensor.is_floating_point() or size == 0 or n == 0:
        return torch.zeros(n, dtype=torch.bool, device=tensor.device)
    chunks = tensor.split(max(1, CHUNK_ENTRIES // size))
    return torch.cat([~torch.isfinite(x).reshape(len(x), size).all(1) for x in chunks])
