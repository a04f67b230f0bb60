"""Tables of columns of any kind as numbers for a model, and numbers from a model as tables."""

import warnings
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from itertools import groupby, pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from cmvae.base.arrays import BEYOND_FLOAT32, restore
from cmvae.base.settings import Finite
from cmvae.base.words import SHOWN, listed
from cmvae.preprocessing.codec import Codec, Entry, Likelihood, Params
from cmvae.preprocessing.columns import COLUMNS, AnyColumn, Category, Column, Continuous
from cmvae.preprocessing.dates import DATES, STORED, Date, DateAndSeason
from cmvae.preprocessing.identifiers import identifying
from cmvae.preprocessing.kinds import KINDS, as_frame, column_kinds, without
from cmvae.preprocessing.matching import (
    check_names,
    number_block,
    observed_rows,
    own_columns,
    without_cells,
)
from cmvae.preprocessing.transforms import SAID, choose_transforms

IGNORE = "ignore"
LIKELIHOOD_KINDS = {
    "normal": "continuous",
    "laplace": "continuous",
    "bernoulli": "binary",
    "poisson": "count",
    "negative_binomial": "count",
    "categorical": "category",
}


class TableCodec(Codec):
    """A table, coded column by column; learned from one table and applied to others of its columns.

    Continuous columns are standardised, shares and heavy tails after a transform
    (:mod:`cmvae.preprocessing.transforms`); binary ones and counts are taken as they are,
    categories become one-hot vectors. The numbers are sorted by kind, in the order of
    :data:`cmvae.preprocessing.kinds.KINDS`. Missing cells are passed over where columns are
    measured, and are NaN in what is coded.

    Attributes:
        columns: The columns, in the order of the table.
        ignored: Columns that are left out where they occur.
        median_total: The median of the rows' sums, the library size of counts.

    Example:
        >>> import pandas as pd
        >>> from cmvae.preprocessing import encode_table
        >>> frame = pd.DataFrame({"colour": ["red", "blue", "red"], "height": [1.0, 3.0, 5.0]})
        >>> values, codec = encode_table(frame)
        >>> codec.names
        ['height', 'colour=blue', 'colour=red']
        >>> codec.likelihood(scale=0.5)
        ('mixed', {'columns': [['normal', 1, {'scale': 0.5}], ['categorical', [2]]]})
        >>> codec.decode(values)["colour"].tolist()
        ['red', 'blue', 'red']
    """

    content = "table"

    type: Literal["table"] = "table"
    columns: Annotated[tuple[AnyColumn | Date | DateAndSeason, ...], Field(min_length=1)]
    ignored: tuple[str, ...] = ()
    median_total: Finite = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = Counter(column.name for column in self.columns)
        if repeated := [name for name, count in names.items() if count > 1]:
            raise ValueError(f"columns {repeated[:SHOWN]} occur more than once")
        return self

    @classmethod
    def learn(
        cls,
        table: Any,
        kinds: Sequence[str],
        modality: str,
        ignored: Sequence[str] = (),
        plain: Collection[Any] = (),
    ) -> Self:
        """Learn from a table; missing cells are passed over, and rows that are missing altogether.

        Args:
            table: DataFrame, Series, or array (n, columns).
            kinds: The kind of each column.
            modality: Name for the errors.
            ignored: Names of columns that were left out of the table.
            plain: Continuous columns that are standardised and nothing else.

        Raises:
            ValueError: For other kinds or another number of them, no rows, a column without cells,
                values that a kind cannot have.
            TypeError: For names that are neither strings nor integers, or text in a column of
                numbers.
        """
        frame: Any = as_frame(table, modality)
        where = f"modality {modality!r}"
        if len(kinds) != frame.shape[1] or not set(kinds) <= set(KINDS):
            shown = list(kinds)[:SHOWN]
            raise ValueError(f"{where}: kinds must be {frame.shape[1]} of {KINDS}; got {shown}")
        names = check_names(frame, modality)
        seen = frame[observed_rows(frame)]
        if not len(seen):
            raise ValueError(f"{where}: the table has no rows")
        if hollow := without_cells(seen):
            raise ValueError(f"{where}: columns {hollow[:SHOWN]} have no cells; leave them out")
        measured = [n for n, kind in zip(frame, kinds, strict=True) if kind == "continuous"]
        learned: dict[Any, Column] = {}
        standardised = set(plain)
        if measured:
            numbers = np.ascontiguousarray(number_block(seen, measured, modality))
            found = choose_transforms(numbers, [name not in standardised for name in measured])
            learned = {own.name: own for own in Continuous.learn_all(measured, numbers, found)}
        for own, kind in zip(names, kinds, strict=True):
            if own not in learned:
                cells = seen[own].dropna()
                learned[own] = {**COLUMNS, **DATES}[kind].learn(own, cells, modality)
        columns: Any = tuple(learned[name] for name in names)
        codec = cls(columns=columns, ignored=tuple(ignored))
        values, observed = codec.encode(frame, modality)
        there = (~np.isnan(values[observed])).mean(1)
        totals = np.nansum(values[observed], 1) / there  # as if the missing ones were like the rest
        median = float(np.median(totals))
        if not np.isfinite(median):
            raise ValueError(f"{where}: its numbers are too large; give them in a larger unit")
        return codec.replace(median_total=median)

    @property
    def own(self) -> list[str | int]:
        """The names of its columns, in their order."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> dict[str, str]:
        """Column to kind, as text."""
        return {str(column.name): column.kind for column in self.columns}

    @property
    def input_shape(self) -> tuple[int, ...]:
        """How many numbers a row becomes, an axis."""
        return (len(self.names),)

    @property
    def names(self) -> list[str]:
        """What each number is: the column's name, and for a category ``column=value``."""
        return [name for column in self._sorted for name in column.names]

    @property
    def entries(self) -> list[Entry]:
        """What each number is, of categories for each of the values."""
        return [
            Entry(str(column.name), column.kind, level, getattr(column, "transform", "none"))
            for column in self._sorted
            for level in column.levels
        ]

    @property
    def texts(self) -> tuple[str, ...]:
        """Categories whose values are strings, and dates that are written."""
        return tuple(
            str(own.name)
            for own in self.columns
            if (isinstance(own, Category) and all(isinstance(value, str) for value in own.values))
            or (isinstance(own, Date) and own.form != STORED)
        )

    @BEYOND_FLOAT32
    def encode(self, rows: Any, modality: str = "table") -> tuple[np.ndarray, np.ndarray]:
        """Return numbers, (n, D) float32, missing cells and rows NaN; see :class:`Codec`.

        Columns of a DataFrame are found by their names, those of an array by their place.
        """
        if (block := self.plain_numbers(rows)) is not None:
            return self.encode_numbers(block)
        own = [column.name for column in self.columns]
        frame = own_columns(rows, own, self.ignored, modality)
        observed = observed_rows(frame)
        seen = frame[observed]
        parts = []
        for kind, group in groupby(self._sorted, key=lambda column: column.kind):
            columns = list(group)
            if kind == "continuous":
                block = number_block(seen, [column.name for column in columns], modality)
                parts.append(Continuous.encode_all(columns, block))
            else:
                parts += [column.encode_some(seen[column.name], modality) for column in columns]
        values = np.full((len(frame), *self.input_shape), np.nan, dtype=np.float32)
        values[observed] = np.concatenate(parts, 1)
        return values, observed

    def plain_numbers(self, rows: Any) -> np.ndarray | None:
        """Return rows as numbers, (n, columns) float64; None where they are to be looked at.

        That is: unless all columns are continuous ones, and the rows nothing but finite or missing
        numbers, in a DataFrame of just these columns in their order, or in an array. It is a short
        cut for the few rows that a service has at a time.
        """
        if self._index is None or not isinstance(rows, np.ndarray | pd.DataFrame):
            return None
        if isinstance(rows, pd.DataFrame):
            if not rows.columns.equals(self._index):
                return None
            rows = rows.to_numpy()
        elif self.ignored or rows.ndim != 2 or rows.shape[1] != len(self.columns):
            return None
        if rows.dtype.kind not in "fiu":
            return None
        block = rows.astype(np.float64, copy=False)
        return None if np.isinf(block).any() else block

    @BEYOND_FLOAT32
    def encode_numbers(self, block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what :meth:`encode` does of :meth:`plain_numbers`."""
        values = Continuous.encode_all(self.columns, block).astype(np.float32)
        return values, ~np.isnan(block).all(1)

    @cached_property
    def _index(self) -> pd.Index | None:
        """The names of the columns, where all are continuous."""
        if any(column.kind != "continuous" for column in self.columns):
            return None
        return pd.Index([column.name for column in self.columns])

    def decode(self, values: Any, sample: bool = False) -> pd.DataFrame:
        """Return numbers (n, D) as a table of the columns, in their units.

        Of means, counts are rates and binary columns probabilities; of draws, counts are integers
        and binary columns have the two values of the data. Of categories the most probable is
        taken.

        Raises:
            ValueError: For another shape.
        """
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[1:] != self.input_shape:
            shape = f"(n, {self.input_shape[0]})"
            raise ValueError(f"values must have the shape {shape}; got {values.shape}")
        bounds = np.cumsum([0, *(len(column.names) for column in self._sorted)])
        decoded = {
            column.name: column.decode(values[:, start:stop], sample)
            for column, (start, stop) in zip(self._sorted, pairwise(bounds), strict=True)
        }
        return pd.DataFrame({column.name: decoded[column.name] for column in self.columns})

    def readable(self, values: np.ndarray) -> np.ndarray:
        """Return numbers (n, D) in the units of the columns, float64; categories stay shares."""
        center, spread = np.array([scale for c in self._sorted for scale in c.scales]).T
        numbers = np.asarray(restore(values.astype(np.float64), center, spread))
        for j, column in enumerate(self._sorted):
            # Continuous columns come first, and each is one number.
            if isinstance(column, Continuous) and column.transform != "none":
                numbers[..., j] = column.undo(numbers[..., j])
        return numbers

    def describe(self) -> str:
        """Return the columns of each kind and those left out, by name where they are few."""
        by_kind: dict[str, list[Any]] = {
            kind: [c.name for c in self.columns if c.kind == kind] for kind in KINDS
        }
        parts = {**by_kind, **self._transformed(), "left out": list(self.ignored)}.items()
        return "; ".join(f"{len(names)} {kind}: {listed(names)}" for kind, names in parts if names)

    def _transformed(self) -> dict[str, list[Any]]:
        """Return what is said of the continuous columns that go through a transform: to those."""
        found: dict[str, list[Any]] = {}
        for column in self.columns:
            if isinstance(column, Continuous) and column.transform != "none":
                found.setdefault(f"of these {SAID[column.transform]}", []).append(column.name)
        return found

    def _likelihood(self, chosen: str | None, params: Params, scale: float | str) -> Likelihood:
        """Return the likelihood of the kinds, with what was chosen for the columns it fits.

        One kind of columns has its own likelihood, several have 'mixed'. Counts get no library size
        unless it is asked for: their columns may have different units.
        """
        blocks = self._blocks(chosen, scale)
        if chosen not in (None, "mixed", *(block[0] for block in blocks)):
            raise ValueError(
                f"likelihood {chosen!r} fits none of the kinds of its columns: {self.describe()}"
            )
        if len(blocks) > 1 or (blocks[0][0] == "categorical" and len(blocks[0][1]) > 1):
            if params:
                raise ValueError(
                    f"likelihood parameters {params} need columns of one kind: {self.describe()}"
                )
            return "mixed", {"columns": blocks}
        own = {**(blocks[0][2] if len(blocks[0]) > 2 else {}), **params}
        if own.get("library_size") is True:
            own = {name: value for name, value in own.items() if name != "means" or name in params}
            if self.median_total > 0:
                own.setdefault("size", self.median_total)
        return str(blocks[0][0]), own

    def _blocks(self, chosen: str | None, scale: float | str) -> list[list[Any]]:
        """Return neighbours of one likelihood: its name, width or widths, and parameters."""
        blocks: list[list[Any]] = []
        means = [column.mean for column in self.columns if column.kind == "count"]
        names: dict[str, tuple[str, dict[str, Any]]] = {
            "continuous": ("laplace" if chosen == "laplace" else "normal", {"scale": scale}),
            "binary": ("bernoulli", {}),
            "count": ("poisson" if chosen == "poisson" else "negative_binomial", {"means": means}),
        }
        for kind, (name, params) in names.items():
            alike = (kind, *DATES) if kind == "continuous" else (kind,)
            width = sum(len(column.names) for column in self.columns if column.kind in alike)
            blocks += [[name, width, params]] if width else []
        widths = [len(column.names) for column in self.columns if column.kind == "category"]
        return blocks + ([["categorical", widths]] if widths else [])

    @property
    def _sorted(self) -> list[AnyColumn | Date | DateAndSeason]:
        return sorted(self.columns, key=lambda column: KINDS.index(column.kind))


def encode_table(
    table: Any, kinds: Mapping[Any, str] | None = None, modality: str = "table"
) -> tuple[np.ndarray, TableCodec]:
    """Learn how a table is coded and apply it.

    Of a DataFrame, columns that are no measurements are left out, with a warning; constants stay.

    Args:
        table: DataFrame, Series, or array (n, columns).
        kinds: Column name to kind, where :func:`cmvae.preprocessing.column_kinds` shall not decide.
        modality: Name for the errors.

    Returns:
        Numbers (n, D) float32, and the :class:`TableCodec`; errors as there.
    """
    frame, given = as_frame(table, modality), list(kinds or {})
    gone: dict[Any, str] = {}
    if isinstance(table, pd.DataFrame):
        gone = identifying(frame, given)
        for name, reason in gone.items():
            what = f"modality {modality!r}: column {name!r} {reason}: left out"
            warnings.warn(what, stacklevel=2)
    kept = without(frame, gone, modality)
    found = column_kinds(kept, kinds, modality)
    ignored = list(map(str, gone))
    codec = TableCodec.learn(kept, found, modality, ignored, plain=given)
    return codec.encode(table, modality)[0], codec
