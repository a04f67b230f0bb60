"""What is refused in arrays, masks and their lengths, said the same way wherever data come in."""

import math
from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmvae.base.words import listed, quoted, shown

CHUNK_ENTRIES = 1 << 22
LOOKED_THROUGH = 1 << 20  # entries of which PyTorch makes copies to tell whether they are finite
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
    if kind := _odd_kind(tensor):
        raise TypeError(f"{what}: expected a dense tensor of real numbers, got a {kind} tensor")
    if tensor.ndim == 0:
        raise ValueError(f"{what}: expected an array with samples on its first axis, got a scalar")
    return tensor


def _odd_kind(tensor: Tensor) -> str:
    """Return what a tensor is that cannot be calculated with, or nothing."""
    if tensor.is_complex():
        return "complex"
    if tensor.is_nested:
        return "nested"
    if tensor.layout != torch.strided:
        return "sparse"
    return "quantized" if tensor.is_quantized else "meta" if tensor.is_meta else ""


def _from_array(value: Any, what: str) -> Tensor:
    """Return an array, or nested lists, of numbers as a tensor."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{what}: masked arrays are not supported, their mask would be lost")
    refusal = f"{what}: expected a numeric tensor or array; got"
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        odd = "whose entries differ in length or are no numbers"
        raise TypeError(f"{refusal} {shown(value)}, {odd}") from None
    if array.dtype.kind not in "biuf" or array.dtype == np.longdouble:
        raise TypeError(f"{refusal} {type(value).__name__} of dtype {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    if array.dtype == np.uint64:
        array = array.view(np.uint64)  # which has two names in NumPy, one of them in PyTorch
    tensor = torch.from_numpy(_writable(array))
    is_list = isinstance(value, list | tuple) and tensor.is_floating_point()
    return tensor.to(torch.get_default_dtype()) if is_list else tensor


class _Shared:
    """The memory of an array, as if it could be written to."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        own = array.__array_interface__
        self.__array_interface__ = {**own, "data": (own["data"][0], False)}


def _writable(array: np.ndarray) -> np.ndarray:
    """Return an array that PyTorch shares without a warning, which would be of no use.

    Memory-mapped arrays are read-only; nothing here writes to what it is given. The warning cannot
    be turned off for a moment, as filters belong to all threads.
    """
    return array if array.flags.writeable else np.asarray(_Shared(array))


def as_mask(value: Any, modality: str, n_samples: int, *, check_values: bool = True) -> Tensor:
    """Return which samples have observed a modality, (n_samples,) bool, True = observed.

    A column, (n_samples, 1), and numbers that are all 0 or 1 will do; without ``check_values``
    others are not looked for.

    Raises:
        TypeError: for a mask that is not a numeric array.
        ValueError: for another shape or other numbers.
    """
    what = f"mask of modality {modality!r}"
    mask = as_tensor(value, what)
    mask = mask.squeeze(-1) if mask.shape == (n_samples, 1) else mask
    if mask.shape != (n_samples,):
        way = "; masks of single cells are given as cells" if mask.ndim > 1 else ""
        got = f"got {tuple(mask.shape)}{way}"
        raise ValueError(f"{what}: expected shape ({n_samples},), {got}")
    if mask.dtype == torch.bool:
        return mask
    other = (mask != 0) & (mask != 1)
    if check_values and other.any():
        got = f"{mask[other][0].item()} at {sample_list(other)}"
        raise ValueError(f"{what}: expected booleans or 0 and 1, got {got}")
    return mask != 0


def as_cells(
    value: Any,
    modality: str,
    shape: Sequence[int],
    n_axes: int | None = None,
    *,
    check_values: bool = True,
) -> Tensor:
    """Return which cells of a modality are there, boolean of its ``shape``, (n, D), True = there.

    Numbers that are all 0 or 1 will do; without ``check_values`` nothing is looked at. A sample has
    ``n_axes`` axes; None: as many as the shape says.

    Raises:
        TypeError: for a mask that is not a numeric array.
        ValueError: for another shape, other numbers, or single missing cells of what is no vector.
    """
    what = f"cells of modality {modality!r}"
    cells = as_tensor(value, what)
    if tuple(cells.shape) != tuple(shape):
        got = f"got {tuple(cells.shape)}"
        raise ValueError(f"{what}: expected the shape of its data, {tuple(shape)}, {got}")
    if check_values and cells.dtype != torch.bool and ((cells != 0) & (cells != 1)).any():
        raise ValueError(f"{what}: expected booleans or 0 and 1, got other numbers")
    cells = cells if cells.dtype == torch.bool else cells != 0
    if (len(shape) - 1 if n_axes is None else n_axes) > 1 and check_values:
        partly = any_cell(~cells) & any_cell(cells)
        if partly.any():
            only = "vectors may lack single cells, not images, sequences or other arrays"
            such = f"samples of shape {tuple(shape[1:])}, {sample_list(partly)}"
            raise ValueError(f"{what}: some are missing of {such}; {only}")
    return cells


def any_cell(cells: Tensor) -> Tensor:
    """Return which samples have any of the cells (n, *), (n,) bool."""
    return cells.reshape(len(cells), -1).any(1)


def check_names(data: Any, what: str = "data") -> None:
    """Refuse what is not a non-empty mapping from modality names, by TypeError or ValueError."""
    check_mapping(data, what, "array")
    if not data:
        raise ValueError(f"{what}: expected at least one modality, got an empty mapping")
    for name in data:
        if not isinstance(name, str):
            raise TypeError(f"{what}: modality names must be strings, got {shown(name)}")
        if not name:
            raise ValueError(f"{what}: modality names must not be empty")


def check_masks(masks: Any, what: str = "masks") -> None:
    """Raise ``TypeError`` for masks, of samples or of ``cells``, that are no mapping."""
    check_mapping(masks, what, "(n,) bool" if what == "masks" else "(n, D) bool")


def check_mapping(value: Any, what: str, of: str) -> None:
    """Raise ``TypeError`` for what is no mapping from modality names to ``of``."""
    if not isinstance(value, Mapping):
        kind = type(value).__name__
        raise TypeError(f"{what}: expected a mapping {{modality: {of}}}, got {kind}")


def check_known(names: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raise ``KeyError`` unless all names, given as ``what``, for instance ``masks``, are known."""
    given = list(names)
    for name in given:
        if name not in known:
            both = f"got {quoted(given)}; known are {quoted(known)}"
            raise KeyError(f"unknown modality {shown(name)} in {what}: {both}")


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
    return ValueError(f"{what}; {advice}; single missing cells of vectors are marked by cells=")


def nonfinite_samples(values: Any, cells: Tensor | None = None) -> Tensor:
    """Return which samples (n, *) hold NaN or infinity, (n,) bool, so many entries at a time.

    Missing ``cells``, (n, *) bool, do not count.
    """
    n, size = len(values), math.prod(values.shape[1:])
    if isinstance(values, Tensor) and not values.is_floating_point():
        return torch.zeros(n, dtype=torch.bool, device=values.device)
    whole = isinstance(values, Tensor) and cells is None and values.is_cpu
    if whole and values.sum().isfinite():
        return torch.zeros(n, dtype=torch.bool)  # in a fraction of the time
    rows = max(1, LOOKED_THROUGH // max(1, size))
    bad = [torch.zeros(0, dtype=torch.bool)]
    for start in range(0, n, rows):
        wrong = ~torch.isfinite(values[start : start + rows])
        if cells is not None:
            wrong &= cells[start : start + rows].to(wrong.device)
        bad.append(any_cell(wrong))
    return torch.cat([own.to(bad[-1].device) for own in bad])
