"""Values of a modality that are kept compact and become floats a batch at a time."""

import math
from abc import ABC, abstractmethod
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from cmvae.base.arrays import is_sparse, standardise
from cmvae.data.checks import CHUNK_ENTRIES, as_tensor, nonfinite_samples


class Stored(ABC):
    """Values of n samples in a compact form.

    ``stored[rows]`` gives floats, ``stored.cut(rows)`` keeps the compact form. Datasets take one in
    place of a tensor; nothing but the rows of a batch is ever made float.

    Attributes:
        shape: (n, *), the shape of all samples as floats.
    """

    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self.shape}"

    @abstractmethod
    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        """Return float32: (*) for an integer, (B, *) for a slice or (B,) int64 indices."""

    @abstractmethod
    def cut(self, rows: slice | Tensor) -> Self:
        """Return some samples in the same compact form."""

    @abstractmethod
    def nonfinite(self) -> Tensor:
        """Return which samples hold NaN or infinity as float32, (n,) bool."""


class ByteImages(Stored):
    """Images of bytes, 0 to 255, that become floats in [0, 1]: x / 255.

    Args:
        images: (n, C, H, W) uint8 tensor or array, kept as it is; it may be memory-mapped.

    Raises:
        TypeError: For another dtype.
        ValueError: For another number of axes.

    Example:
        >>> import torch
        >>> from cmvae.data import ByteImages
        >>> images = ByteImages(torch.full((2, 3, 4, 4), 255, dtype=torch.uint8))
        >>> images[0].max(), images.cut(slice(1, 2)).shape
        (tensor(1.), (1, 3, 4, 4))
    """

    def __init__(self, images: Any) -> None:
        self.images = as_tensor(images, "images")
        if self.images.dtype != torch.uint8:
            raise TypeError(f"images: expected dtype uint8, got {self.images.dtype}")
        if self.images.ndim != 4:
            raise ValueError(f"images: expected shape (n, C, H, W), got {tuple(self.images.shape)}")
        self.shape = tuple(self.images.shape)

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        return self.images[rows].to(torch.float32).div_(255)

    def cut(self, rows: slice | Tensor) -> Self:
        """Return some images as bytes; slices share memory."""
        return type(self)(self.images[rows])

    def nonfinite(self) -> Tensor:
        """Return no sample: bytes are finite."""
        return torch.zeros(len(self), dtype=torch.bool)


class SparseRows(Stored):
    """A sparse matrix whose rows become dense float32.

    Args:
        matrix: (n, features) SciPy sparse matrix or array of real numbers; CSR is not copied. What
            is stored twice at a place counts as its sum.

    Raises:
        TypeError: For what is not a SciPy sparse matrix of real numbers.
        ValueError: For an array with other than two axes, and for places outside of it.
    """

    def __init__(self, matrix: Any) -> None:
        if not is_sparse(matrix):
            raise TypeError(f"matrix: expected a SciPy sparse matrix, got {type(matrix).__name__}")
        if matrix.ndim != 2:
            raise ValueError(f"matrix: expected shape (n, features), got {matrix.shape}")
        if matrix.dtype.kind not in "biuf":
            raise TypeError(f"matrix: expected real numbers, got dtype {matrix.dtype}")
        self.matrix = matrix.tocsr()
        try:
            self.matrix.check_format(full_check=True)  # else memory beyond the rows is written to
        except ValueError as error:
            raise ValueError(f"matrix: the sparse matrix is damaged: {error}") from None
        self.shape = (int(matrix.shape[0]), int(matrix.shape[1]))

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        is_one = isinstance(rows, int | np.integer)
        chosen = self.matrix[[rows] if is_one else _plain(rows)]
        dense = torch.from_numpy(_float32(chosen.toarray()))
        return dense[0] if is_one else dense

    def cut(self, rows: slice | Tensor) -> Self:
        """Return some rows as a sparse matrix, copied."""
        return type(self)(self.matrix[_plain(rows)])

    def nonfinite(self) -> Tensor:
        """Return which rows hold NaN or infinity as float32, a few million entries at a time."""
        bounds = self.matrix.indptr
        entries = self.matrix.data[: bounds[-1]]
        bad = np.zeros(len(self), dtype=bool)
        for start in range(0, len(entries), CHUNK_ENTRIES):
            part = _float32(entries[start : start + CHUNK_ENTRIES])
            at = start + np.flatnonzero(~np.isfinite(part))
            bad[np.searchsorted(bounds, at, side="right") - 1] = True
        return torch.from_numpy(bad)


class StandardisedRows(Stored):
    """Rows that become (x − center) / spread, which are dense whatever the rows are.

    Args:
        rows: The values as they are, (n, features).
        center: What is subtracted from each feature, (features,).
        spread: What it is then divided by, (features,), not zero.

    Raises:
        ValueError: If the shapes do not fit.
    """

    def __init__(self, rows: Stored, center: Any, spread: Any) -> None:
        self.rows = rows
        self.center = torch.as_tensor(center, dtype=torch.float64)
        self.spread = torch.as_tensor(spread, dtype=torch.float64)
        self.shape = rows.shape
        for name, values in (("center", self.center), ("spread", self.spread)):
            got, wanted = tuple(values.shape), self.shape[1:]
            if got != wanted:
                raise ValueError(f"{name}: expected shape {wanted}, got {got}")

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        return standardise(self.rows[rows], self.center, self.spread).to(torch.float32)

    def cut(self, rows: slice | Tensor) -> Self:
        """Return some rows in the same compact form."""
        return type(self)(self.rows.cut(rows), self.center, self.spread)

    def nonfinite(self) -> Tensor:
        """Return which rows hold NaN or infinity as float32, before they are standardised."""
        return self.rows.nonfinite()


class Rows(Protocol):
    """Rows that are not held: how many there are, their shape and dtype, and what some hold."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their numbers, (B,) int64, as (B, *shape)."""


class RowsReadLater(Stored):
    """Rows that are read when they are asked for, from a file say; bytes become x / 255.

    What is cut out of them is not read either.

    Args:
        rows: What reads them.
        places: Which of its rows these are, in order; None: all.
    """

    def __init__(self, rows: Rows, places: range | np.ndarray | None = None) -> None:
        self.rows = rows
        self.places = range(len(rows)) if places is None else places
        self.shape = (len(self.places), *rows.shape)

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        is_one = isinstance(rows, int)
        some = self.places_of(torch.tensor([rows]) if isinstance(rows, int) else rows)
        if isinstance(some, range):
            some = np.arange(some.start, some.stop, some.step)
        read = torch.from_numpy(self.rows.take(some))
        values = read.to(torch.float32)
        values = values.div_(255) if read.dtype == torch.uint8 else values
        return values[0] if is_one else values

    def places_of(self, rows: slice | Tensor) -> range | np.ndarray:
        """Return the numbers of some of the rows."""
        if isinstance(rows, slice):
            return self.places[rows]
        wanted = (rows.nonzero().flatten() if rows.dtype == torch.bool else rows).cpu().numpy()
        wanted = np.where(wanted < 0, wanted + len(self), wanted)
        if isinstance(self.places, range):
            return self.places.start + self.places.step * wanted
        return self.places[wanted]

    def cut(self, rows: slice | Tensor) -> Self:
        """Return some rows, which are not read yet."""
        return type(self)(self.rows, self.places_of(rows))

    def nonfinite(self) -> Tensor:
        """Return which rows hold NaN or infinity, read so many entries at a time."""
        return nonfinite_samples(self)


class CellsReadLater(RowsReadLater):
    """Which cells of rows that are read later are there: those that are not NaN."""

    def __getitem__(self, rows: int | slice | Tensor) -> Tensor:
        """Return booleans of the shape that the values have."""
        return ~super().__getitem__(rows).isnan()

    def any_cell(self) -> Tensor:
        """Return which rows have any cell, (n,) bool, read so many entries at a time."""
        return self.counts() > 0

    def counts(self) -> Tensor:
        """Return how many cells rows have, (n,) int64, read so many entries at a time."""
        step = max(1, CHUNK_ENTRIES // max(1, math.prod(self.shape[1:])))
        parts = (self[i : i + step] for i in range(0, len(self), step))
        return torch.cat([own.flatten(1).sum(1) for own in parts])


def as_values(value: Any, what: str) -> Tensor | Stored:
    """Return an array (n, *) as a tensor, a SciPy matrix as ``SparseRows``, ``Stored`` as it is.

    In messages it is called ``what``, for instance ``modality 'image'``.

    Raises:
        TypeError: For anything else.
        ValueError: For a scalar.
    """
    if isinstance(value, Stored):
        return value
    if is_sparse(value):
        try:
            return SparseRows(value)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{what}: {error}") from None
    return as_tensor(value, what)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32, copy=False)


def _plain(rows: Any) -> Any:
    return rows if isinstance(rows, slice) else torch.as_tensor(rows).cpu().numpy()
