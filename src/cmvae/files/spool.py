"""Rows of numbers in files without a name, which the system removes when they are closed."""

import tempfile
from itertools import pairwise
from typing import Any

import numpy as np

_COLUMN = np.dtype(np.int32)  # of sparse rows


class Spool:
    """Rows of one dtype and shape, written one after the other and read in any order.

    Args:
        dtype: Of the numbers.
        shape: Of a row.

    Example:
        >>> spool = Spool(np.dtype(np.float32), (2,))
        >>> spool.append(np.arange(6, dtype=np.float32).reshape(3, 2))
        >>> spool.take(np.array([2, 0]))
        array([[4., 5.],
               [0., 1.]], dtype=float32)
        >>> spool.close()
    """

    def __init__(self, dtype: "np.dtype[Any]", shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self.length = dtype, shape, 0
        self._size = dtype.itemsize * int(np.prod(shape))
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the spool

    def append(self, values: np.ndarray) -> None:
        """Add rows, (n, *shape)."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data)
        self.length += len(values)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their numbers, (n,) int64, as (n, *shape)."""
        found = np.empty((len(rows), *self.shape), self.dtype)
        if not found.size:
            return found
        bounds = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        flat = found.reshape(len(rows), -1).view(np.uint8)
        for first, stop in pairwise(bounds):
            self._file.seek(int(rows[first]) * self._size)
            self._file.readinto(flat[first:stop].data)
        return found

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class SparseSpool:
    """Rows of CSR matrices of one width, written one after the other and read in any order.

    Args:
        dtype: Of the entries.
        width: The number of columns.
    """

    def __init__(self, dtype: "np.dtype[Any]", width: int) -> None:
        self.dtype, self.width = dtype, width
        self._spans = Spool(np.dtype(np.int64), (2,))  # of the entries of each row
        self._columns, self._entries = Spool(_COLUMN, ()), Spool(dtype, ())

    def append(self, values: Any) -> None:
        """Add the rows of a CSR matrix."""
        bounds = self._entries.length + np.asarray(values.indptr, dtype=np.int64)
        self._columns.append(values.indices)
        self._entries.append(values.data)
        self._spans.append(np.stack([bounds[:-1], bounds[1:]], 1))

    def take(self, rows: np.ndarray, places: np.ndarray, n: int) -> Any:
        """Return rows by their numbers at some places of a CSR matrix of n rows, else empty."""
        from scipy.sparse import csr_array

        starts, stops = self._spans.take(rows).T
        counts = np.zeros(n + 1, dtype=np.int64)
        counts[places + 1] = stops - starts
        bounds = counts.cumsum()
        # Entry by entry: how far it is from the first one of its row.
        steps = np.arange(bounds[-1]) - np.repeat(bounds[places], stops - starts)
        entries = np.repeat(starts, stops - starts) + steps
        parts = (self._entries.take(entries), self._columns.take(entries), bounds)
        return csr_array(parts, shape=(n, self.width))

    def close(self) -> None:
        """Remove the files."""
        for spool in (self._spans, self._columns, self._entries):
            spool.close()
