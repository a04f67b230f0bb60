"""Tables of columns of any kind as numbers for a model, and numbers from a model as tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from cmvae.preprocessing.kinds import KINDS, as_frame, column_kinds
from cmvae.preprocessing.tables import moments

_SHOWN = 5


@dataclass(frozen=True)
class CodedColumn:
    """How one column becomes numbers.

    Attributes:
        name: Its name, a string or an integer.
        kind: One of ``KINDS``.
        center: What is subtracted: the mean of a continuous column, else 0.
        spread: What is divided by then: its standard deviation, 1 where it is constant, and for
            other kinds.
        values: Of a category its values, in the order of their numbers; of a binary column what 0
            and 1 stand for.
    """

    name: str | int
    kind: str
    center: float = 0.0
    spread: float = 1.0
    values: tuple[str | int | float | bool, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers it becomes: one, or one for each category."""
        return len(self.values) if self.kind == "category" else 1


@dataclass(frozen=True)
class TableCoding:
    """How a table becomes numbers, learned from one table and applicable to others of the same columns.

    Continuous columns are standardised, binary ones and counts are taken as they are, categories
    become one-hot vectors. The numbers are sorted by kind, in the order of ``KINDS``.

    Attributes:
        columns: The columns, in the order of the table.

    Example:
        >>> frame = pd.DataFrame({"colour": ["red", "blue", "red"], "height": [1.0, 3.0, 5.0]})
        >>> values, coding = encode_table(frame)
        >>> coding.names
        ['height', 'colour=blue', 'colour=red']
        >>> coding.likelihood()
        ('mixed', {'columns': [['normal', 1, {}], ['categorical', [2]]]})
        >>> coding.decode(values)["colour"].tolist()
        ['red', 'blue', 'red']
    """

    columns: tuple[CodedColumn, ...]

    @classmethod
    def of(
        cls, table: Any, kinds: Sequence[str] | None = None, modality: str = "table"
    ) -> "TableCoding":
        """Learn the coding from a table; rows that are missing altogether are passed over.

        Args:
            table: DataFrame, Series, or array (n, columns).
            kinds: The kind of each column; None: as :func:`column_kinds` tells.
            modality: Name for the errors.

        Raises:
            ValueError: For other kinds or another number of them, single missing cells, no rows,
                values that a kind cannot have.
            TypeError: For names that are neither strings nor integers, or text in a column of
                numbers.
        """
        frame = as_frame(table, modality)
        kinds = column_kinds(frame, modality=modality) if kinds is None else list(kinds)
        if len(kinds) != frame.shape[1] or not set(kinds) <= set(KINDS):
            raise ValueError(
                f"modality {modality!r}: kinds must be {frame.shape[1]} of {KINDS}; got {kinds[:_SHOWN]}"
            )
        odd = [
            name
            for name in frame
            if isinstance(name, bool) or not isinstance(name, str | int | np.integer)
        ]
        if odd:
            raise TypeError(
                f"modality {modality!r}: column names must be strings or integers; got {odd[:_SHOWN]}"
            )
        seen = frame[_observed(frame, modality)]
        if not len(seen):
            raise ValueError(f"modality {modality!r}: the table has no rows")
        return cls(
            tuple(
                _learned(name, kind, seen[name], modality)
                for name, kind in zip(frame, kinds, strict=True)
            )
        )

    @property
    def names(self) -> list[str]:
        """What each number is: the column's name, and for a category ``column=value``."""
        names: list[str] = []
        for column in self._sorted:
            one_hot = [f"{column.name}={value}" for value in column.values]
            names += one_hot if column.kind == "category" else [str(column.name)]
        return names

    def likelihood(
        self, scale: float | str | None = None, counts: str = "negative_binomial"
    ) -> tuple[str, dict[str, Any]]:
        """Return the likelihood of the numbers, for ``CMVAEConfig``: its name and its parameters.

        Args:
            scale: That of the continuous columns, a number or 'learned'; None for the default.
            counts: 'poisson' or 'negative_binomial', that of the counts.

        Returns:
            Name and parameters: plain ones where all columns are of one kind (and there is one
            category at most), else 'mixed' with its blocks. Counts get no library size: their
            columns may have different units.
        """
        blocks: list[list[Any]] = []
        scales = {} if scale is None else {"scale": scale}
        names: dict[str, tuple[str, dict[str, Any]]] = {
            "continuous": ("normal", scales),
            "binary": ("bernoulli", {}),
            "count": (counts, {}),
        }
        for kind, (name, params) in names.items():
            width = sum(column.kind == kind for column in self.columns)
            blocks += [[name, width, params]] if width else []
        widths = [column.width for column in self.columns if column.kind == "category"]
        blocks += [["categorical", widths]] if widths else []
        if len(blocks) == 1 and len(widths) < 2:
            return ("categorical", {}) if widths else (blocks[0][0], blocks[0][2])
        return "mixed", {"columns": blocks}

    def encode(self, table: Any, modality: str = "table") -> np.ndarray:
        """Return a table as numbers, (n, D) float32, rows that are missing altogether NaN.

        Columns of a DataFrame are found by their names. Categories that the table of :meth:`of` did
        not have are refused: a model has no output for them.

        Raises:
            ValueError: For other columns, single missing cells, infinities, or values that a kind
                cannot have, unknown categories among them.
            TypeError: For text in a column of numbers.
        """
        frame = as_frame(table, modality)
        own = [column.name for column in self.columns]
        if set(frame) != set(own):
            unknown, missing = (
                [c for c in frame if c not in own],
                [c for c in own if c not in set(frame)],
            )
            raise ValueError(
                f"modality {modality!r}: unknown columns {unknown[:_SHOWN]}, missing columns {missing[:_SHOWN]}"
            )
        observed = _observed(frame, modality)
        values = np.full(
            (len(frame), sum(column.width for column in self.columns)), np.nan, dtype=np.float32
        )
        seen = frame[observed]
        parts = [_encoded(column, seen[column.name], modality) for column in self._sorted]
        values[observed] = np.concatenate(parts, 1)
        return values

    def decode(self, values: Any, sample: bool = False, index: Any = None) -> pd.DataFrame:
        """Return numbers as a table of the columns of :meth:`of`, in their units.

        Args:
            values: Means or draws from the likelihood (not the decoder's output), (n, D).
            sample: False: means, where counts are rates and binary columns probabilities. True:
                draws, where counts are integers and binary columns have the two values of the data.
                Of categories the most probable is taken.
            index: Index of the table.

        Raises:
            ValueError: For another shape.
        """
        values = np.asarray(values)
        total = sum(column.width for column in self.columns)
        if values.ndim != 2 or values.shape[1] != total:
            raise ValueError(f"values must have the shape (n, {total}); got {values.shape}")
        bounds = np.cumsum([0, *(column.width for column in self._sorted)])
        decoded = {
            column.name: _decoded(column, values[:, start:stop], sample)
            for column, (start, stop) in zip(self._sorted, pairwise(bounds), strict=True)
        }
        return pd.DataFrame(
            {column.name: decoded[column.name] for column in self.columns}, index=index
        )

    def to_json(self) -> str:
        """Return the coding as JSON text."""
        return json.dumps(
            {"columns": [asdict(column) for column in self.columns]}, ensure_ascii=False, indent=1
        )

    @classmethod
    def from_json(cls, text: str) -> "TableCoding":
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            fields = json.loads(text)["columns"]
            columns = tuple(
                CodedColumn(**{**column, "values": tuple(column["values"])}) for column in fields
            )
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"not a stored coding of a table: {error}") from None
        bad = [column.name for column in columns if not _is_sound(column)]
        if bad or not columns:
            raise ValueError(
                f"not a stored coding of a table: columns {bad[:_SHOWN]} have no known kind, numbers or values"
            )
        return cls(columns)

    @property
    def _sorted(self) -> list[CodedColumn]:
        return sorted(self.columns, key=lambda column: KINDS.index(column.kind))


def encode_table(
    table: Any, kinds: Sequence[str] | None = None, modality: str = "table"
) -> tuple[np.ndarray, TableCoding]:
    """Learn a table's coding and apply it: numbers (n, D) float32, and the :class:`TableCoding`; errors as there."""
    coding = TableCoding.of(table, kinds, modality)
    return coding.encode(table, modality), coding


def _is_sound(column: CodedColumn) -> bool:
    """Tell whether the fields of a column that was read from a file are those of one that was learned."""
    numbers = [number for number in (column.center, column.spread) if type(number) in (int, float)]
    values_fit = (
        len(column.values) == 2
        if column.kind == "binary"
        else column.kind != "category" or column.values
    )
    return (
        column.kind in KINDS
        and type(column.name) in (str, int)
        and len(numbers) == 2
        and bool(np.isfinite(numbers).all())
        and column.spread > 0
        and bool(values_fit)
        and all(isinstance(value, str | int | float | bool) for value in column.values)
    )


def _observed(frame: pd.DataFrame, modality: str) -> np.ndarray:
    """Return which rows are there, (n,) bool; refuse those that are there in part."""
    missing = np.asarray(frame.isna())
    observed = ~np.all(missing, axis=1)
    partial = missing & observed[:, None]
    if partial.any():
        rows, columns = np.flatnonzero(partial.any(1)), frame.columns[partial.any(0)]
        raise ValueError(
            f"modality {modality!r}: single missing cells, which are not supported, in {len(rows)} rows, the first "
            f"{frame.index[rows[:_SHOWN]].tolist()}, of columns {columns[:_SHOWN].tolist()}; fill them in, or leave "
            "out these rows or these columns"
        )
    return observed


def _learned(name: Any, kind: str, column: "pd.Series[Any]", modality: str) -> CodedColumn:
    """Measure one column without missing cells."""
    name = name if isinstance(name, str) else int(name)
    if kind == "continuous":
        center, spread = moments(_numbers(name, column, modality))
        return CodedColumn(name, kind, float(center), float(spread))
    if kind == "category":
        if isinstance(column.dtype, pd.CategoricalDtype):
            values = list(map(_plain, column.cat.categories))
        else:
            distinct = dict.fromkeys(map(_plain, column.unique()))
            values = sorted(distinct, key=lambda value: (isinstance(value, str), value))
        return CodedColumn(name, kind, values=tuple(values))
    if kind == "binary":
        is_bool = pd.api.types.infer_dtype(column) == "boolean"
        return CodedColumn(name, kind, values=(False, True) if is_bool else (0, 1))
    return CodedColumn(name, kind)


def _plain(value: Any) -> Any:
    """Return a category as what JSON can hold."""
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool) else str(value)


def _encoded(column: CodedColumn, cells: "pd.Series[Any]", modality: str) -> np.ndarray:
    """Return one column's numbers, (n, width)."""
    if column.kind == "category":
        codes = pd.Index(column.values).get_indexer(
            pd.Index(cells.map(_plain).tolist(), dtype=object)
        )
        _refuse(
            column,
            cells,
            codes < 0,
            f"unknown categories; known are {list(column.values)[:_SHOWN]}",
            modality,
        )
        return np.eye(column.width)[codes]
    numbers = _numbers(column.name, cells, modality)
    if column.kind == "binary":
        _refuse(
            column, cells, (numbers != 0) & (numbers != 1), "values that are not binary", modality
        )
    if column.kind == "count":
        _refuse(
            column,
            cells,
            (numbers < 0) | (numbers != np.rint(numbers)),
            "values that are no counts",
            modality,
        )
    return ((numbers - column.center) / column.spread)[:, None]


def _numbers(name: Any, cells: "pd.Series[Any]", modality: str) -> np.ndarray:
    """Return cells as finite float64."""
    try:
        numbers = cells.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"modality {modality!r}: column {name!r} holds something that is no number: {error}"
        ) from None
    if not np.isfinite(numbers).all():
        bad = cells.index[~np.isfinite(numbers)][:_SHOWN].tolist()
        raise ValueError(
            f"modality {modality!r}: column {name!r} holds infinite values in rows {bad}"
        )
    return numbers


def _refuse(
    column: CodedColumn, cells: "pd.Series[Any]", bad: np.ndarray, what: str, modality: str
) -> None:
    if bad.any():
        shown = list(dict.fromkeys(cells[bad].tolist()))[:_SHOWN]
        raise ValueError(
            f"modality {modality!r}: column {column.name!r} ({column.kind}) holds {shown}: {what}"
        )


def _decoded(column: CodedColumn, values: np.ndarray, sample: bool) -> Any:
    """Return one column's cells from its numbers, (n, width)."""
    if column.kind == "category":
        return _picked(column, values.argmax(1))
    numbers = values[:, 0].astype(np.float64) * column.spread + column.center
    if not sample or column.kind == "continuous":
        return numbers
    whole = np.rint(numbers).astype(np.int64)
    return _picked(column, whole) if column.kind == "binary" else whole


def _picked(column: CodedColumn, places: np.ndarray) -> np.ndarray:
    return pd.Series(column.values).take(places).to_numpy()
