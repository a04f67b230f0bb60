"""Rows of several modalities, joined on their ids on disk: memory does not grow with them."""

import errno
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np

from cmvae.base.arrays import is_sparse
from cmvae.base.words import counted, listed, raise_all
from cmvae.files.overlap import AS_THEY_ARE, Join, Matching

COLUMN = np.dtype(np.int32)  # of sparse rows


@dataclass(frozen=True)
class JoinedRows:
    """Some samples.

    Attributes:
        ids: n ids.
        data: Modality to (n, *) values, CSR where sparse ones were added; zeros where a sample
            lacks it, NaN where a cell of it is missing.
        masks: Modality to (n,) boolean.
        join: How all samples, these among them, were joined; None: not at all.
    """

    ids: list[str]
    data: dict[str, Any]
    masks: dict[str, np.ndarray]
    join: Join | None = None

    def cells(self) -> dict[str, np.ndarray]:
        """Return modality to which cells are there, (n, D) boolean, where single ones are missing.

        Missing ones are NaN.
        """
        found = {}
        for name, values in self.data.items():
            if is_sparse(values) or values.dtype.kind != "f" or values.ndim != 2:
                continue
            there = ~np.isnan(values)
            if not there[self.masks[name]].all():
                found[name] = there
        return found

    def patterns(self) -> list[str]:
        """Return the modalities that each sample has, joined by +."""
        names = np.array(list(self.masks))
        return ["+".join(names[row]) for row in np.stack(list(self.masks.values()), 1)]


class RowStore:
    """An outer join on ids; samples are in the order in which their ids first came.

    Args:
        modalities: Their names, in order.
        matching: Ids that are others in another spelling.

    Example:
        >>> with RowStore(["a", "b"]) as store:
        ...     store.add("a", ["s1", "s2"], np.ones((2, 3)), np.array([True, True]))
        ...     store.add("b", ["s2"], np.ones((1, 2)), np.array([True]))
        ...     store.check()
        ...     [rows.patterns() for rows in store.batches(10)]
        [['a', 'a+b']]
    """

    def __init__(self, modalities: Sequence[str], matching: Matching = AS_THEY_ARE) -> None:
        self.modalities, self.matching = list(modalities), matching
        self._forms: dict[str, tuple[np.dtype[Any], tuple[int, ...], bool]] = {}
        self._repeated: dict[str, list[str]] = {name: [] for name in self.modalities}
        # A database without a name is a file that SQLite removes when it is closed.
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE ids (position INTEGER PRIMARY KEY, id TEXT UNIQUE)")
        for name in self.modalities:
            table = self._table(name)
            self._database.execute(
                f"CREATE TABLE {table} (position INTEGER PRIMARY KEY, value BLOB)"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the database."""
        self._database.close()

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self._database.execute("SELECT COUNT(*) FROM ids").fetchone()[0])

    def add(self, modality: str, ids: Sequence[str], values: Any, observed: np.ndarray) -> None:
        """Add rows of a modality.

        Args:
            modality: Its name.
            ids: n ids.
            values: (n, *) array, or CSR matrix, of the same form, shape and dtype in every call.
            observed: (n,) boolean; the samples of the others are known, but lack the modality.

        Raises:
            OSError: If the disk is full.
        """
        ids = self.matching.names(modality, ids)
        self._forms.setdefault(modality, (values.dtype, values.shape[1:], is_sparse(values)))
        table = self._table(modality)
        with _disk_errors():
            self._database.execute("BEGIN")
            self._database.executemany(
                "INSERT OR IGNORE INTO ids (id) VALUES (?)", ((name,) for name in ids)
            )
            for name, value, seen in zip(ids, _packed(values), observed, strict=True):
                insert = f"INSERT OR IGNORE INTO {table} SELECT position, ? FROM ids WHERE id = ?"
                done = self._database.execute(insert, (value if seen else None, name))
                if not done.rowcount:
                    self._repeated[modality].append(name)
            self._database.execute("COMMIT")

    def check(self) -> None:
        """Refuse what cannot be joined, once all rows are there.

        Raises:
            ValueError: For ids that repeat in a modality, a modality that shares no id with any
                other, samples with nothing observed, and no samples; the message lists the first.
        """
        if not len(self):
            raise ValueError(f"modalities {self.modalities}: there are no samples")
        errors: list[Exception] = []
        firsts = {name: self._first(name) for name in self.modalities}
        present = {name: ids for name, ids in firsts.items() if ids}
        for name in self.modalities:
            if repeated := sorted(set(self._repeated[name])):
                shown = listed(repeated)
                errors.append(ValueError(f"modality {name!r}: duplicate ids: {shown}"))
            elif name in present and len(present) > 1 and not self._shares(name):
                errors.append(
                    ValueError(
                        f"modality {name!r} shares no id with any other modality; "
                        f"the first ids of each are {present}"
                    )
                )
        raise_all(errors)
        absent = " AND ".join(
            f"NOT EXISTS ({self._match(name, 'ids')})" for name in self.modalities
        )
        nothing = self._database.execute(f"SELECT id FROM ids WHERE {absent}").fetchall()
        if nothing:
            shown = listed(repr(row[0]) for row in nothing)
            raise ValueError(
                f"{counted(len(nothing), 'sample')} with nothing observed in {self.modalities}, "
                f"{shown}: all of their cells are empty or unknown; leave them out of the files"
            )

    def join(self) -> Join:
        """Count the samples by the modalities that they have."""
        seen = ", ".join(f"EXISTS ({self._match(name, 'ids')})" for name in self.modalities)
        places = ", ".join(str(place + 1) for place in range(len(self.modalities)))
        query = f"SELECT {seen}, COUNT(*) FROM ids GROUP BY {places}"
        overlap = {}
        for *row, count in self._database.execute(query):
            own = tuple(name for name, has in zip(self.modalities, row, strict=True) if has)
            overlap[own] = count
        return Join(tuple(self.modalities), overlap, self.matching)

    def batches(self, rows: int) -> Iterator[JoinedRows]:
        """Yield the samples in order, at most ``rows`` at a time."""
        for start in range(1, len(self) + 1, rows):
            span = (start, start + rows - 1)
            found = self._database.execute(
                "SELECT id FROM ids WHERE position BETWEEN ? AND ?", span
            ).fetchall()
            parts = {name: self._values(name, span, len(found)) for name in self.modalities}
            data = {name: values for name, (values, _) in parts.items()}
            yield JoinedRows(
                [row[0] for row in found], data, {name: mask for name, (_, mask) in parts.items()}
            )

    def all_rows(self) -> JoinedRows:
        """Return all samples at once."""
        return replace(next(self.batches(max(1, len(self)))), join=self.join())

    def _values(self, modality: str, span: tuple[int, int], n: int) -> tuple[Any, np.ndarray]:
        dtype, shape, sparse = self._forms[modality]
        condition = "position BETWEEN ? AND ? AND value NOTNULL ORDER BY position"
        found = self._database.execute(
            f"SELECT position, value FROM {self._table(modality)} WHERE {condition}", span
        )
        rows = ((position - span[0], value) for position, value in found)
        if sparse:
            return _unpacked(rows, dtype, (n, shape[0]))
        values, mask = np.zeros((n, *shape), dtype), np.zeros(n, dtype=bool)
        for row, value in rows:
            values[row] = np.frombuffer(value, dtype).reshape(shape)
            mask[row] = True
        return values, mask

    def _first(self, modality: str) -> list[str]:
        query = f"SELECT id FROM ids WHERE EXISTS ({self._match(modality, 'ids')}) LIMIT 3"
        return [row[0] for row in self._database.execute(query)]

    def _shares(self, modality: str) -> bool:
        own = self._table(modality)
        others = " OR ".join(
            f"EXISTS ({self._match(name, own)})" for name in self.modalities if name != modality
        )
        query = f"SELECT 1 FROM {own} WHERE value NOTNULL AND ({others}) LIMIT 1"
        return self._database.execute(query).fetchone() is not None

    def _match(self, modality: str, other: str) -> str:
        """Return the query for a modality's row at the position of another table's."""
        table = self._table(modality)
        return f"SELECT 1 FROM {table} AS m WHERE m.position = {other}.position AND m.value NOTNULL"

    def _table(self, modality: str) -> str:
        return f"modality_{self.modalities.index(modality)}"


def _packed(values: Any) -> Iterator[bytes]:
    """Yield the bytes of each row; of a sparse one its columns, then its entries."""
    if not is_sparse(values):
        yield from (value.tobytes() for value in np.ascontiguousarray(values))
        return
    columns = values.indices.astype(COLUMN)
    for start, stop in pairwise(values.indptr):
        yield columns[start:stop].tobytes() + values.data[start:stop].tobytes()


def _unpacked(
    rows: Iterator[tuple[int, bytes]], dtype: np.dtype[Any], shape: tuple[int, int]
) -> tuple[Any, np.ndarray]:
    """Return numbered sparse rows as a CSR matrix of ``shape``, and which rows there are."""
    counts, mask = np.zeros(shape[0] + 1, dtype=np.int64), np.zeros(shape[0], dtype=bool)
    columns, entries = [np.zeros(0, COLUMN)], [np.zeros(0, dtype)]
    for row, value in rows:
        counts[row + 1] = n = len(value) // (COLUMN.itemsize + dtype.itemsize)
        mask[row] = True
        columns.append(np.frombuffer(value, COLUMN, n))
        entries.append(np.frombuffer(value, dtype, n, n * COLUMN.itemsize))
    from scipy.sparse import csr_array

    parts = (np.concatenate(entries), np.concatenate(columns), counts.cumsum())
    return csr_array(parts, shape=shape), mask


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OSError(errno.ENOSPC, f"joining the modalities on disk failed: {error}") from error
