"""Arrays of numbers: standardised, sparse or not, a block at a time."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

CONSTANT = 1e-12  # relative to the largest value
BLOCK_ENTRIES = 1 << 22
# As a decorator: what is beyond float32 is refused, by its name, where datasets are made.
BEYOND_FLOAT32 = np.errstate(over="ignore", invalid="ignore")


def standardise(values: Any, center: Any, spread: Any) -> Any:
    """Return (x − center) / spread, of arrays or tensors."""
    return (values - center) / spread


def restore(values: Any, center: Any, spread: Any) -> Any:
    """Return what was standardised in the units of the data."""
    return values * spread + center


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations over n samples (n, ...); 1 for what is constant.

    What is NaN is passed over.
    """
    if np.isnan(values).any():
        return _moments_of_some(values)
    unit = unit_of(np.abs(values).max(0))
    center, spread = (values / unit).mean(0) * unit, (values / unit).std(0) * unit
    # Rounding makes the deviation of a constant column tiny rather than zero.
    constant = spread <= CONSTANT * np.abs(values).max(0)
    return center, np.where(constant, 1.0, spread)


def unit_of(largest: Any) -> Any:
    """Return the power of two of the largest sizes, (*).

    Numbers that are divided by it are rounded in nothing, and their squares do not overflow.
    """
    return np.ldexp(1.0, np.frexp(largest)[1] - 1)


def _moments_of_some(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the moments of what is not NaN; 0 and 1 where that is nothing."""
    there = ~np.isnan(values)
    number, largest = np.maximum(there.sum(0), 1), np.where(there, np.abs(values), 0).max(0)
    unit = unit_of(largest)
    scaled = np.where(there, values / unit, 0)
    mean = scaled.sum(0) / number
    offsets = np.where(there, scaled - mean, 0)
    spread = np.sqrt((offsets**2).sum(0) / number) * unit
    return mean * unit, np.where(spread <= CONSTANT * largest, 1.0, spread)


def is_sparse(values: Any) -> bool:
    """Tell whether values are SciPy's; SciPy, slow to import, is loaded already where they are."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(values))


def blocks(values: Any) -> Iterator[tuple[int, Any]]:
    """Yield the first row and the rows of blocks of an array or CSR matrix (n, D).

    Each has a few million entries, as dense.
    """
    step = max(1, BLOCK_ENTRIES // values.shape[1])
    for start in range(0, values.shape[0], step):
        yield start, values[start : start + step]


def joined_names(names: Sequence[str], seen: np.ndarray) -> list[str]:
    """Return of each row the names of its columns that hold True, joined by +.

    Args:
        names: Of the columns.
        seen: (n, names) boolean.

    Example:
        >>> joined_names(["a", "b"], np.array([[True, False], [True, True]]))
        ['a', 'a+b']
    """
    if not len(seen):
        return []
    # Few sets differ, and the bits of one are compared at once.
    bits = np.ascontiguousarray(np.packbits(seen, axis=1))
    whole = bits.view(f"V{bits.shape[1]}")[:, 0]
    _, first, places = np.unique(whole, return_index=True, return_inverse=True)
    texts = np.array(["+".join(np.array(names)[row]) for row in seen[first]], dtype=object)
    return list(texts[places])
