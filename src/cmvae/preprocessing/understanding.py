"""What was understood of rows: each column's kind, what is missing of it, its range, an example."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.settings import Natural, Settings
from cmvae.base.words import counted, listed, texts_of

LEFT_OUT = "left out"
LONGEST = 32  # characters of an example or a value
_EXACT = 2.0**53  # below it, float64 holds every whole number
_VALUES, _COLUMNS = 4, 20  # that are shown


class ColumnSummary(Settings):
    """What was understood of one column of a table.

    Attributes:
        name: Its name.
        kind: One of :data:`cmvae.preprocessing.KINDS`, 'text', 'word', or 'left out'.
        note: What was done, and why, where that is not plain: 'the same in all rows'.
        missing: The share of cells that hold nothing, of the rows that have the modality at all.
        range: From the least to the largest number, or the values.
        example: The first cell that holds something.
    """

    name: str
    kind: str
    note: str = ""
    missing: float = 0.0
    range: str = ""
    example: str = ""


class ModalitySummary(Settings):
    """What was understood of the rows of one modality.

    Attributes:
        what: What they are, in a few words.
        samples: How many samples have it.
        columns: Its columns, in the order of the table; none of what is no table.
        path: Its file, where the rows come from one.
        id: The name of the file's column of ids, where it has one.
        reading: How the file was read: delimiter, encoding, and what is not plain or was passed
            over.
        sha256: The hash of the file, or of all files in a folder, when the samples were read.
    """

    what: str
    samples: Natural
    columns: tuple[ColumnSummary, ...] = ()
    path: str | None = None
    id: str | None = None
    reading: str = ""
    sha256: str | None = None

    @property
    def left_out(self) -> tuple[ColumnSummary, ...]:
        """The columns that are left out for what they hold, not on request."""
        return tuple(column for column in self.columns if column.kind == LEFT_OUT and column.note)

    @property
    def noted(self) -> tuple[ColumnSummary, ...]:
        """The columns that are kept, with something to say of them."""
        return tuple(column for column in self.columns if column.kind != LEFT_OUT and column.note)

    def say_left_out(self, modality: str) -> list[str]:
        """Say in a line which columns are left out for what they hold, and why; none: no line."""
        return _said(modality, "left out", self.left_out)

    def say_noted(self, modality: str) -> list[str]:
        """Say in a line which columns are kept that look like something else; none: no line."""
        return _said(modality, "noted", self.noted)


def _said(modality: str, what: str, columns: Sequence[ColumnSummary]) -> list[str]:
    number = counted(len(columns), "column")
    reasons = listed((f"{own.name!r} {own.note}" for own in columns), _COLUMNS)
    return [f"modality {modality!r}: {number} {what}: {reasons}"] if columns else []


def summarise(
    rows: Any, what: str, kinds: Mapping[str, str], notes: Mapping[str, str]
) -> ModalitySummary:
    """Say what was understood of the rows of a modality.

    Args:
        rows: A table, whose columns are summarised, or anything else that has a length.
        what: What they are, in a few words.
        kinds: Column to kind; the others are left out.
        notes: Column to what is to be said of it.
    """
    if not isinstance(rows, pd.DataFrame):
        return ModalitySummary(what=what, samples=_present(rows))
    gone = np.asarray(rows.isna())
    seen = ~gone.all(1)
    frame: Any = rows[seen]
    gone = gone[seen]
    if not len(frame):
        return ModalitySummary(what=what, samples=0)
    missing, first, ranges = gone.mean(0), (~gone).argmax(0), _ranges(frame)
    columns = [
        ColumnSummary(
            name=str(name),
            kind=kinds.get(str(name), LEFT_OUT),
            note=notes.get(str(name), ""),
            missing=round(float(missing[place]), 6),
            range=_values(frame.iloc[:, place].dropna()) if known is None else known,
            example=_shown(frame.iat[first[place], place]) if missing[place] < 1 else "",
        )
        for place, (name, known) in enumerate(zip(frame, ranges, strict=True))
    ]
    return ModalitySummary(what=what, samples=len(frame), columns=tuple(columns))


def _present(rows: Any) -> int:
    """Return how many samples rows that are no table hold."""
    if isinstance(rows, np.ndarray) and rows.dtype.kind == "f":
        return int((~np.isnan(rows.reshape(len(rows), -1)).all(1)).sum())
    return int(getattr(rows, "values", rows).shape[0]) if not isinstance(rows, list) else len(rows)


def _ranges(frame: pd.DataFrame) -> list[str | None]:
    """Return the ranges of columns of plain numbers, read all at once; None for the others."""
    plain = [isinstance(own, np.dtype) and own.kind in "iuf" for own in frame.dtypes]
    places = np.flatnonzero(plain)
    ranges: list[str | None] = [None] * frame.shape[1]
    numbers = frame.iloc[:, places].to_numpy(dtype=np.float64)
    some = ~np.isnan(numbers)
    least = np.where(some, numbers, np.inf).min(0)
    most = np.where(some, numbers, -np.inf).max(0)
    for place, low, high in zip(places, least, most, strict=True):
        ranges[place] = f"{_shown(low)} to {_shown(high)}" if low <= high else ""
    return ranges


def _values(cells: Any) -> str:
    """Say which values there are: of dates the first and the last, of others all or some."""
    if not len(cells):
        return ""
    if pd.api.types.is_datetime64_any_dtype(cells):
        return f"{cells.min()} to {cells.max()}"
    if isinstance(cells.dtype, pd.CategoricalDtype):
        values: Sequence[Any] = list(cells.cat.categories)
    else:
        values = sorted(texts_of(cells).unique())
    return f"{counted(len(values), 'value')}: {listed(map(_shown, values), _VALUES)}"


def _shown(value: Any) -> str:
    text = str(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        is_whole = abs(number) < _EXACT and number.is_integer()
        text = f"{number:.0f}" if is_whole else f"{number:.6g}"
    text = " ".join(text.split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
