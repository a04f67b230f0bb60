"""Rows to learn a table from that is too large to be held: a random sample, and what is rare.

What a column is follows from what it holds: one text among numbers, one value beside 0 and 1, or
one number that is not whole makes it another kind. A random sample would miss these, so that the
first row of everything that is new in a column is kept beside it.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.arrays import CONSTANT
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.columns import Continuous, Count
from cmvae.preprocessing.tables import TableCodec
from cmvae.preprocessing.understanding import ModalitySummary

MOST_NUMBERS = 1 << 24  # of all tables together: more are learned from samples
SAMPLED_ROWS = 1 << 17  # at random
SAMPLED_CELLS = 1 << 22  # of wide tables fewer rows, so that they have no more cells
FEWEST_ROWS = 1 << 12
DISTINCT, DISTINCT_NUMBERS = 1024, 64  # values of a column of which the first row is kept
_SEED = 0


class TableSample:
    """Rows of a table that is read a part at a time, and exact figures of its columns.

    Args:
        rows: How many are kept at random; None: 131,072, of wide tables fewer.

    Attributes:
        rows_seen: How many rows there were that are not missing altogether.

    Example:
        >>> sample = TableSample(rows=3)
        >>> for start in range(0, 10, 5):
        ...     sample.add(pd.DataFrame({"a": np.arange(start, start + 5.0)}))
        >>> sample.rows_seen, sample.table()["a"].agg(["min", "max"]).tolist()
        (10, [0.0, 9.0])
    """

    def __init__(self, rows: int | None = None) -> None:
        self._wanted = rows
        self._draws = np.random.default_rng(_SEED)
        self._held: list[tuple[np.ndarray, np.ndarray, pd.DataFrame]] = []  # keys, places, rows
        self._rare: list[tuple[np.ndarray, pd.DataFrame]] = []
        self._bound = np.inf  # of the keys of rows that may be kept
        self._columns: dict[Any, _Column] = {}
        self._length = 0
        self.rows_seen = 0
        self._is_array = False

    def add(self, rows: Any) -> None:
        """Add the next rows, a DataFrame or an array of at most two axes."""
        self._is_array = isinstance(rows, np.ndarray)
        frame = pd.DataFrame(rows)
        places = np.arange(self._length, self._length + len(frame))
        self._length += len(frame)
        gone = frame.isna().to_numpy()
        empty = np.asarray(gone.all(1))
        self.rows_seen += int((~empty).sum())
        rare = sorted({0, *self._new_in(frame, gone, empty)}) if len(frame) else []
        self._rare.append((places[rare], frame.iloc[rare]))
        keys = self._draws.random(len(frame))
        kept = keys < self._bound
        self._held.append((keys[kept], places[kept], frame[kept]))
        if sum(len(own[0]) for own in self._held) > 2 * self._most(frame.shape[1]):
            self._thin()

    def table(self) -> Any:
        """Give up the rows that are kept, in their order, in the form that they came in."""
        self._thin()
        parts = [own[1:] for own in self._held] + self._rare
        self._held, self._rare = [], []
        places = np.concatenate([own for own, _ in parts])
        places, first = np.unique(places, return_index=True)
        frame = pd.concat([own for _, own in parts]).iloc[first]
        return frame.to_numpy() if self._is_array else frame

    @property
    def mixed(self) -> set[str]:
        """Columns that were numbers in some parts and texts in others: all of them are texts."""
        both = [name for name, own in self._columns.items() if own.has_numbers and own.has_texts]
        return set(map(str, both))

    def corrected(self, codec: Codec, summary: ModalitySummary) -> tuple[Codec, ModalitySummary]:
        """Return what was learned of the rows that are kept, with the figures of all rows.

        These are numbers of samples and of missing cells, means, and the deviations of columns that
        go through no transform.
        """
        known = {str(name): own for name, own in self._columns.items()}
        columns = [
            own.replace(missing=round(known[own.name].missing / self.rows_seen, 6))
            for own in summary.columns
        ]
        summary = summary.replace(samples=self.rows_seen, columns=tuple(columns))
        if not isinstance(codec, TableCodec):
            return codec, summary
        learned = [_measured(own, known[str(own.name)]) for own in codec.columns]
        return codec.replace(columns=tuple(learned)), summary

    def _most(self, width: int) -> int:
        if self._wanted is not None:
            return self._wanted
        return max(FEWEST_ROWS, min(SAMPLED_ROWS, SAMPLED_CELLS // max(1, width)))

    def _thin(self) -> None:
        """Keep the rows with the least keys alone, as many as are wanted."""
        keys, places = (np.concatenate([own[i] for own in self._held]) for i in range(2))
        frame = pd.concat([own[2] for own in self._held])
        most = self._most(frame.shape[1])
        if len(keys) > most:
            order = np.sort(np.argpartition(keys, most)[:most])
            keys, places, frame = keys[order], places[order], frame.iloc[order]
            self._bound = keys.max()
        self._held = [(keys, places, frame)]

    def _new_in(self, frame: pd.DataFrame, gone: np.ndarray, empty: np.ndarray) -> Iterable[int]:
        """Yield the rows that show something new, and count what is in them all."""
        plain = [isinstance(own, np.dtype) and own.kind in "iuf" for own in frame.dtypes]
        block = frame.loc[:, plain].to_numpy(dtype=np.float64)
        at = iter(range(block.shape[1]))
        for place, name in enumerate(frame):
            column = self._columns.setdefault(name, _Column())
            missing, first = gone[:, place], not column.is_started
            column.missing += int((missing & ~empty).sum())
            if first and not missing.all():
                column.is_started = True
                yield int((~missing).argmax())
            if not column.has_gaps and (missing & ~empty).any():
                column.has_gaps = True
                yield int((missing & ~empty).argmax())
            if plain[place]:
                yield from column.new_numbers(block[:, next(at)], missing)
            else:
                column.is_measured = False
                yield from column.new_values(
                    frame.iloc[:, place][~missing], np.flatnonzero(~missing)
                )


class _Column:
    """What is known of a column so far."""

    def __init__(self) -> None:
        self.is_started = self.has_gaps = self.has_fractions = False
        self.has_numbers = self.has_texts = False
        self.is_measured = True
        self.missing = self.number = 0
        self.low, self.high = np.inf, -np.inf
        self.mean = self.squares = np.float64(0)
        self.values: set[Any] = set()

    def moments(self) -> tuple[float, float]:
        """Return mean and standard deviation, 1 of what is constant."""
        spread = float(np.sqrt(self.squares / self.number))
        largest = max(abs(self.low), abs(self.high))
        return float(self.mean), 1.0 if spread <= CONSTANT * largest else spread

    def new_numbers(self, numbers: np.ndarray, missing: np.ndarray) -> Iterable[int]:
        """Count numbers, NaN where ``missing``; yield places of extremes, fractions, new values."""
        own = numbers[~missing]
        if not len(own):
            return
        self.has_numbers = True
        places = np.flatnonzero(~missing)
        low, high = int(own.argmin()), int(own.argmax())
        if own[low] < self.low:
            self.low = float(own[low])
            yield int(places[low])
        if own[high] > self.high:
            self.high = float(own[high])
            yield int(places[high])
        self._measure(own)
        if self.has_fractions:
            return
        whole = own == np.rint(own)
        if not whole.all():
            self.has_fractions = True
            yield int(places[whole.argmin()])
        elif len(self.values) < DISTINCT_NUMBERS:
            found, first = np.unique(own, return_index=True)
            yield from self._new(found.tolist(), places[first], DISTINCT_NUMBERS)

    def new_values(self, cells: "pd.Series[Any]", places: np.ndarray) -> Iterable[int]:
        """Yield the places of values that were not there before, as long as they are few.

        And of the first cell of each type, whatever it holds.
        """
        if cells.dtype == object:
            types = cells.map(type)
            first = np.flatnonzero(~types.duplicated().to_numpy())
            self.has_texts |= str in types.iloc[first].tolist()
            yield from self._new(types.iloc[first].tolist(), places[first], np.inf)
            hashable = types.map(lambda own: own.__hash__ is not None).to_numpy(dtype=bool)
            cells, places = cells[hashable], places[hashable]
        self.has_texts |= isinstance(cells.dtype, pd.StringDtype) and len(cells) > 0
        if len(self.values) < DISTINCT and len(cells):
            first = np.flatnonzero(~cells.duplicated().to_numpy())
            yield from self._new(cells.iloc[first].tolist(), places[first], DISTINCT)

    def _new(self, values: list[Any], places: np.ndarray, most: float) -> Iterable[int]:
        for value, place in zip(values, places.tolist(), strict=True):
            if value not in self.values and len(self.values) < most:
                self.values.add(value)
                yield place

    def _measure(self, numbers: np.ndarray) -> None:
        """Add numbers to mean and squares (Chan, Golub and LeVeque, "Updating formulae", 1979)."""
        with np.errstate(over="ignore", invalid="ignore"):
            mean = numbers.mean()
            squares = ((numbers - mean) ** 2).sum()
            before, n = self.number, len(numbers)
            self.number += n
            step = mean - self.mean
            self.mean += step * (n / self.number)
            self.squares += squares + step**2 * (before * n / self.number)
        self.is_measured &= bool(np.isfinite(self.squares))


def _measured(column: Any, own: _Column) -> Any:
    """Return a column with the mean and the deviation of all its cells, where it has such."""
    if not own.is_measured:
        return column
    if isinstance(column, Continuous) and column.transform == "none":
        center, spread = own.moments()
        return column.replace(center=center, spread=spread)
    if isinstance(column, Count):
        mean = max(float(own.mean), 0.5 / own.number)
        return column.replace(mean=float(f"{mean:.6g}"))
    return column
