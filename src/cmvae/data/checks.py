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

    Args:
        value: (n_samples,) bool, or numbers that are all 0 or 1.
        modality: its name, for the message.
        n_samples: how many samples there must be.
        check_values: whether numbers other than 0 and 1 are looked for; it reads the values.

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
    if not isinstance(data, Mapping):
        kind = type(data).__name__
        raise TypeError(f"{what}: expected a mapping {{modality: array}}, got {kind}")
    if not data:
        raise ValueError(f"{what}: expected at least one modality, got an empty mapping")
    for name in data:
        if not isinstance(name, str):
            raise TypeError(f"{what}: modality names must be strings, got {name!r}")
        if not name:
            raise ValueError(f"{what}: modality names must not be empty")


def check_masks(masks: Any) -> None:
    """Raise ``TypeError`` for masks that are no mapping."""
    if not isinstance(masks, Mapping):
        kind = type(masks).__name__
        raise TypeError(f"masks: expected a mapping {{modality: (n,) bool}}, got {kind}")


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
    """Raise ``ValueError`` where nothing is observed of a sample.

    Args:
        observed: (M, n) bool.
        modalities: the M names.
        first: index of the first sample, for the message.
    """
    nothing = ~observed.any(0)
    if nothing.any():
        raise ValueError(
            f"nothing is observed in {sample_list(nothing, first)}: "
            f"each sample needs at least one of the modalities {quoted(modalities)}"
        )


def nonfinite_error(modality: str, samples: str, advice: str) -> ValueError:
    """Return the error for NaN or infinity in observed entries of samples."""
    what = f"modality {modality!r}: NaN or infinity in observed entries of {samples}"
    return ValueError(f"{what}; {advice}; single missing cells are not supported")


def nonfinite_samples(tensor: Tensor, observed: Tensor | None = None) -> Tensor:
    """Return which samples hold NaN or infinity, (n,) bool, a few million entries at a time.

    Args:
        tensor: (n, *) of any real dtype.
        observed: (n,) bool, where True counts; None = everywhere.
    """
    n, size = len(tensor), math.prod(tensor.shape[1:])
    if not tensor.is_floating_point() or size == 0 or n == 0:
        return torch.zeros(n, dtype=torch.bool, device=tensor.device)
    chunks = tensor.split(max(1, CHUNK_ENTRIES // size))
    bad = torch.cat([~torch.isfinite(chunk).reshape(len(chunk), size).all(1) for chunk in chunks])
    return bad if observed is None else bad & observed.to(bad.device)
