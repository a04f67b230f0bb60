"""Rows of numbers in files without a name, which the system removes when they are closed."""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np

from cmvae.base.arrays import BLOCK_ENTRIES

_TEXTS = 8192  # read at a time
_COLUMN = np.dtype(np.int32)  # of sparse rows


class NumberedRows(ABC):
    """Rows of one dtype and shape that are not held: they are read by their numbers."""

    dtype: "np.dtype[Any]"
    shape: tuple[int, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their numbers, (n,) int64, as (n, *shape)."""

    def has_gaps(self, seen: np.ndarray) -> bool:
        """Tell whether one of the rows that are ``seen``, (n,) boolean, holds NaN."""
        if self.dtype.kind != "f" or len(self.shape) != 1:
            return False
        step = max(1, BLOCK_ENTRIES // max(1, self.shape[0]))
        spans = (np.flatnonzero(seen[i : i + step]) + i for i in range(0, len(seen), step))
        return any(bool(np.isnan(self.take(rows)).any()) for rows in spans)


class Spool(NumberedRows):
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
        self._file.write(np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data)
        self._file.flush()
        self.length += len(values)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.length

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their numbers, (n,) int64, as (n, *shape)."""
        found = np.empty((len(rows), *self.shape), self.dtype)
        if not found.size:
            return found
        bounds = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
        starts = (rows[bounds[:-1]].astype(np.int64) * self._size).tolist()
        flat, file = found.reshape(-1).view(np.uint8).data, self._file.fileno()
        for (first, stop), start in zip(pairwise(bounds), starts, strict=True):
            end = stop * self._size
            place = first * self._size
            while place < end:  # one call may read less than all
                got = os.preadv(file, [flat[place:end]], start)
                if not got:
                    raise OSError(f"rows that wait in a file are gone: {len(self)} were written")
                place, start = place + got, start + got
        return found

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


class TextSpool(Sequence[str]):
    """Texts, written one after the other and read in any order: a sequence that takes no memory.

    Example:
        >>> texts = TextSpool()
        >>> texts.append(["s1", "größer"])
        >>> texts[1], texts[0:2]
        ('größer', ['s1', 'größer'])
    """

    def __init__(self) -> None:
        self._bytes = Spool(np.dtype(np.uint8), ())
        self._ends = Spool(np.dtype(np.int64), ())
        self._ends.append(np.zeros(1, dtype=np.int64))

    def append(self, texts: Sequence[str]) -> None:
        """Add texts."""
        own = [text.encode() for text in texts]
        ends = np.cumsum(np.fromiter(map(len, own), dtype=np.int64, count=len(own)))
        self._ends.append(len(self._bytes) + ends)
        self._bytes.append(np.frombuffer(b"".join(own), dtype=np.uint8))

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return a text, or those of a slice without steps."""
        if isinstance(place, slice):
            start, stop, _ = place.indices(len(self))
            return self._some(start, max(start, stop))
        if not -len(self) <= place < len(self):
            raise IndexError(f"there are {len(self)} texts, got the place {place}")
        start = place % len(self)
        return self._some(start, start + 1)[0]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _TEXTS):
            yield from self._some(start, min(start + _TEXTS, len(self)))

    def _some(self, start: int, stop: int) -> list[str]:
        ends = self._ends.take(np.arange(start, stop + 1))
        whole = self._bytes.take(np.arange(ends[0], ends[-1])).tobytes()
        bounds = (ends - ends[0]).tolist()
        return [whole[first:last].decode() for first, last in pairwise(bounds)]


class NumberTexts(Sequence[str]):
    """The numbers from 0 as texts, none of which is held.

    Example:
        >>> list(NumberTexts(3)), NumberTexts(5)[3:]
        (['0', '1', '2'], ['3', '4'])
    """

    def __init__(self, length: int) -> None:
        self._numbers = range(length)

    def __len__(self) -> int:
        """Return the number of texts."""
        return len(self._numbers)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """Return a text, or those of a slice."""
        found = self._numbers[place]
        return str(found) if isinstance(found, int) else list(map(str, found))


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
