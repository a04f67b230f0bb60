"""Rows of several modalities, joined on their ids on disk: memory does not grow with them.

The ids are joined by DuckDB, which moves to the disk what does not fit its share of memory; the
rows themselves wait in files, and are read by number.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from cmvae.base.arrays import blocks, is_sparse, joined_names
from cmvae.base.words import counted, listed, raise_all
from cmvae.files.id_tables import IdTables, disk_errors
from cmvae.files.ids import match_ids
from cmvae.files.overlap import AS_THEY_ARE, Join, Matching
from cmvae.files.spool import NumberedRows, SparseSpool, Spool, TextSpool

IDS_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class JoinedRows:
    """Some samples.

    Attributes:
        ids: n ids.
        data: Modality to (n, *) values, CSR where sparse ones were added, numbered rows where they
            wait in a file or are coded when they are read; zeros where a sample lacks it, NaN where
            a cell of it is missing.
        masks: Modality to (n,) boolean.
        join: How all samples, these among them, were joined; None: not at all.
        covariates: Name to n values as they are written, None or NaN where one is missing.
    """

    ids: Sequence[str]
    data: dict[str, Any]
    masks: dict[str, np.ndarray]
    join: Join | None = None
    covariates: Mapping[str, Any] = field(default_factory=dict)

    @property
    def are_read_later(self) -> bool:
        """Whether they wait in files, or are coded when they are read."""
        return any(isinstance(own, NumberedRows) for own in self.data.values())

    def cells(self) -> dict[str, Any]:
        """Return modality to which cells are there, (n, D) boolean, where single ones are missing.

        Missing ones are NaN. Of values that are read later these are returned.
        """
        found: dict[str, Any] = {}
        for name, values in self.data.items():
            if isinstance(values, NumberedRows):
                if values.has_gaps(self.masks[name]):
                    found[name] = values
                continue
            if is_sparse(values) or values.dtype.kind != "f" or values.ndim != 2:
                continue
            seen = self.masks[name]
            parts = ((np.isnan(own).any(1), start) for start, own in blocks(values))
            if any((bad & seen[start : start + len(bad)]).any() for bad, start in parts):
                found[name] = ~np.isnan(values)
        return found

    def patterns(self) -> list[str]:
        """Return the modalities that each sample has, joined by +."""
        return joined_names(list(self.masks), np.stack(list(self.masks.values()), 1))

    def part(self, start: int, stop: int) -> "JoinedRows":
        """Return the samples from start to stop, without their values."""
        masks = {name: own[start:stop] for name, own in self.masks.items()}
        known = {name: own[start:stop] for name, own in self.covariates.items()}
        return JoinedRows(self.ids[start:stop], {}, masks, covariates=known)

    def drawn(self, n: int, seed: int = 0) -> "JoinedRows":
        """Return so many samples drawn at random, in their order, with their values in memory."""
        if len(self.ids) <= n:
            rows = np.arange(len(self.ids))
        else:
            rows = np.sort(np.random.default_rng(seed).choice(len(self.ids), n, replace=False))
        data = {
            name: own.take(rows) if isinstance(own, NumberedRows) else own[rows]
            for name, own in self.data.items()
        }
        masks, known = (
            {name: own[rows] for name, own in each.items()}
            for each in (self.masks, self.covariates)
        )
        ids = [self.ids[row] for row in rows.tolist()]
        return JoinedRows(ids, data, masks, self.join, known)


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
        self._ids = IdTables(len(self.modalities))
        self._spools: dict[str, Spool | SparseSpool] = {}
        self.covariates: dict[str, pd.Series] = {}  # of samples, by id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove what is on the disk."""
        self._ids.close()
        for spool in self._spools.values():
            spool.close()

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self._ids)

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
        if modality not in self._spools:
            kind: Any = SparseSpool if is_sparse(values) else Spool
            shape = values.shape[1] if is_sparse(values) else values.shape[1:]
            self._spools[modality] = kind(values.dtype, shape)
        with disk_errors():
            self._spools[modality].append(values)
        self.add_ids(modality, ids, observed)

    def add_ids(self, modality: str, ids: Sequence[str], observed: np.ndarray) -> None:
        """Add the ids alone of rows that cannot be used: for :meth:`match`."""
        self._ids.add(self._place(modality), self.matching.names(modality, ids), observed)

    def match(self, numbered: Collection[str] = (), without: Collection[str] = ()) -> None:
        """Match ids that are spelled differently, once all are there; none was renamed before.

        Args:
            numbered: Modalities without ids of their own, whose rows are numbered from 0.
            without: Modalities that are left out.

        Raises:
            ValueError: As :func:`cmvae.files.ids.match_ids` does.
        """
        names = [name for name in self.modalities if name not in without]
        if not names or self._ids.are_plain(list(map(self._place, names))):
            return
        ids = {name: self._ids.of(self._place(name)) for name in names}
        self.matching = match_ids(ids, numbered)
        for name, renamed in self.matching.renamed.items():
            self._ids.rename(self._place(name), renamed)

    def check(self) -> None:
        """Refuse what cannot be joined, once all rows are there.

        Raises:
            ValueError: For ids that repeat in a modality, a modality that shares no id with any
                other, samples with nothing observed, and no samples; the message lists the first.
        """
        if not len(self):
            raise ValueError(f"modalities {self.modalities}: there are no samples")
        errors: list[Exception] = []
        firsts = {name: self._ids.first(place) for place, name in enumerate(self.modalities)}
        present = {name: ids for name, ids in firsts.items() if ids}
        for place, name in enumerate(self.modalities):
            if repeated := self._ids.repeated(place):
                shown = listed(repeated)
                errors.append(ValueError(f"modality {name!r}: duplicate ids: {shown}"))
            elif name in present and len(present) > 1 and not self._ids.shares(place):
                errors.append(
                    ValueError(
                        f"modality {name!r} shares no id with any other modality; "
                        f"the first ids of each are {present}"
                    )
                )
        raise_all(errors)
        if nothing := self._ids.without_rows():
            shown = listed(map(repr, nothing))
            raise ValueError(
                f"{counted(len(nothing), 'sample')} with nothing observed in {self.modalities}, "
                f"{shown}: all of their cells are empty or unknown; leave them out of the files"
            )

    def join(self) -> Join:
        """Count the samples by the modalities that they have."""
        overlap = {
            tuple(name for name, has in zip(self.modalities, seen, strict=True) if has): count
            for *seen, count in self._ids.overlap()
        }
        return Join(tuple(self.modalities), overlap, self.matching)

    def batches(self, rows: int, start: int = 0) -> Iterator[JoinedRows]:
        """Yield the samples in order from ``start`` on, at most ``rows`` at a time."""
        for ids, places in self._ids.batches(rows, start):
            data, masks = {}, {}
            for name, own in zip(self.modalities, places.T, strict=True):
                masks[name] = own >= 0
                data[name] = self._values(self._spools[name], own, masks[name])
            known = {name: own.reindex(ids).to_numpy() for name, own in self.covariates.items()}
            yield JoinedRows(ids, data, masks, covariates=known)

    def ids(self) -> list[str]:
        """Return the ids of all samples, in order."""
        return [own for ids, _ in self._ids.batches(IDS_AT_ONCE, 0) for own in ids]

    def all_rows(self) -> JoinedRows:
        """Return all samples at once."""
        return replace(next(self.batches(max(1, len(self)))), join=self.join())

    def rows_on_disk(self, rows: int) -> JoinedRows:
        """Return all samples, put in order in files ``rows`` at a time; the store gives its own up.

        These files, of ids and of values, are removed when nothing refers to them any longer.
        Covariates stay in memory.

        There must be no sparse values.
        """
        join, ids, masks = self.join(), TextSpool(), dict[str, list[np.ndarray]]()
        known: dict[str, list[np.ndarray]] = {name: [] for name in self.covariates}
        dense = {name: own for name, own in self._spools.items() if isinstance(own, Spool)}
        ordered = {name: Spool(own.dtype, own.shape) for name, own in dense.items()}
        for part in self.batches(rows):
            ids.append(part.ids)
            for name, values in part.data.items():
                ordered[name].append(values)
                masks.setdefault(name, []).append(part.masks[name])
            for name, own in part.covariates.items():
                known[name].append(own)
        self.close()
        seen, whole = (
            {name: np.concatenate(own) for name, own in each.items()} for each in (masks, known)
        )
        return JoinedRows(ids, dict(ordered), seen, join, whole)

    @property
    def numbers(self) -> int:
        """How many numbers all samples have in memory, four bytes each; 0 of sparse ones."""
        sizes = [
            own.dtype.itemsize * math.prod(own.shape)
            for own in self._spools.values()
            if isinstance(own, Spool)
        ]
        return len(self) * sum(sizes) // 4 if len(sizes) == len(self._spools) else 0

    def _values(self, spool: Spool | SparseSpool, rows: np.ndarray, mask: np.ndarray) -> Any:
        if isinstance(spool, SparseSpool):
            return spool.take(rows[mask], mask.nonzero()[0], len(rows))
        found = spool.take(rows[mask])
        if len(found) == len(rows):
            return found
        values = np.zeros((len(rows), *spool.shape), spool.dtype)
        values[mask] = found
        return values

    def _place(self, modality: str) -> int:
        return self.modalities.index(modality)
