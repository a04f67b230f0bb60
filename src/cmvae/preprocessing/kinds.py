"""What kind each column of a table is: continuous, binary, count or category."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import SHOWN, counted, listed
from cmvae.files.numerals import Form, Habit, find_form
from cmvae.preprocessing.answers import find_answers
from cmvae.preprocessing.identifiers import (
    constant,
    named_as_ids,
    named_as_years,
)
from cmvae.preprocessing.libraries import as_pandas

KINDS = ("continuous", "date", "date+season", "binary", "count", "category")

_FEW = 10  # an integer column with no more distinct values holds codes or grades, not counts
_SPAN = 10  # and one whose largest value is not this many times its smallest ages or years
_LARGE = 100  # the median from which whole numbers are amounts, not counts
_YEARS = (1800, 2100)

_NUMBERS = ("integer", "floating", "mixed-integer-float", "decimal")
_WHOLE = ("integer", "mixed-integer", "mixed-integer-float")  # of objects of Python
_LARGEST = int(np.finfo(np.float64).max)
_TEXTS = ("string", "mixed", "mixed-integer", "categorical", "empty")


class IdentifierError(ValueError):
    """A table in which every column is left out: identifiers, dates, constants.

    Args:
        modality: Name of the modality.
        reasons: Column to what it does that tells so.

    Attributes:
        modality: The modality.
        columns: The columns.
    """

    def __init__(self, modality: str, reasons: Mapping[Any, str]) -> None:
        self.modality, self.columns = modality, list(reasons)
        found = listed(f"{name!r} {reason}" for name, reason in reasons.items())
        super().__init__(
            f"modality {modality!r}: nothing to learn from in {counted(len(reasons), 'column')}: "
            f"{found}; name the kinds of those that are measurements"
        )


def column_kinds(
    table: Any, kinds: Mapping[Any, str] | None = None, modality: str = "table"
) -> list[str]:
    """Tell the kind of each column by its values; missing cells are passed over.

    The first rule that fits:

    1. booleans, numbers that are all 0 or 1, and texts that all say yes or no, of which both
       occur: 'binary';
    2. strings, pandas categoricals and objects: 'category';
    3. integers of at least 0, whatever their dtype, with more than 10 distinct values of which the
       largest is at least 10 times the smallest (or 10, where that is 0) and half are below 100:
       'count'; so grades from 1 to 5, ages of adults, years and incomes are continuous;
    4. all other numbers, constant columns among them: 'continuous'.

    Where every column of a table of two or more holds integers of at least 0, a 0 among them, and
    the table has more than 10 distinct values, all its columns are counts: in sequencing data rare
    genes look binary by themselves. This is not looked at where ``kinds`` names a column.

    Refused, unless ``kinds`` names the column, are text among numbers, and dates. Identifiers are
    told by :func:`cmvae.preprocessing.identifiers.identifying` before.

    Args:
        table: DataFrame, Series, or array (n, columns), whose columns are named 0, 1, ....
        kinds: Column name to kind, for columns where the rules shall not decide.
        modality: Name for the errors.

    Returns:
        One of ``KINDS`` for each column.

    Raises:
        KeyError: For a column in ``kinds`` that the table does not have.
        ValueError: For an unknown kind, or text among numbers.
        TypeError: For columns that hold something else, such as complex numbers.
    """
    frame = as_frame(table, modality)
    kinds = dict(kinds or {})
    unknown = [name for name in kinds if name not in frame.columns]
    if unknown:
        raise KeyError(
            f"modality {modality!r}: kinds names unknown columns {unknown}; "
            f"it has {list(frame)[:SHOWN]}"
        )
    wrong = [kind for kind in kinds.values() if kind not in KINDS]
    if wrong:
        raise ValueError(
            f"modality {modality!r}: unknown kinds {wrong}; allowed: {', '.join(map(repr, KINDS))}"
        )
    if not kinds and _holds_counts(frame):
        return ["count"] * frame.shape[1]
    missing = set(frame.columns[frame.isna().any().to_numpy()])
    others = {
        name: column.dropna() if name in missing else column
        for name, column in frame.items()
        if name not in kinds
    }
    return [kinds.get(name) or _kind_of(name, others[name], modality) for name in frame]


def constants(frame: pd.DataFrame, named: Collection[Any]) -> dict[Any, str]:
    """Tell which columns of a table hold one value alone; none where all columns are counts.

    Args:
        frame: A table.
        named: Columns whose kinds are named, which are passed over.

    Returns:
        Column to what is said of it.
    """
    is_rare = not named and _holds_counts(frame)  # what no row has is a rare thing to count
    return {} if is_rare else constant(frame, named)


def without(frame: pd.DataFrame, reasons: Mapping[Any, str], modality: str) -> pd.DataFrame:
    """Return a table without columns that are left out.

    Args:
        frame: The table.
        reasons: Column to why.
        modality: Name for the error.

    Raises:
        IdentifierError: A ValueError, where nothing is left.
    """
    kept = [name for name in frame if name not in reasons]
    if reasons and not kept:
        raise IdentifierError(modality, reasons)
    return frame[kept]


def kind_notes(frame: pd.DataFrame, kinds: Mapping[Any, str]) -> dict[str, str]:
    """Say of which continuous columns the kind may surprise: whole numbers that look like more.

    Args:
        frame: A table.
        kinds: Column to kind, of the columns that nobody has named the kind of.

    Returns:
        Column to what is said of it.
    """
    plain = [n for n in frame if kinds.get(n) == "continuous" and _inferred(frame[n]) == "floating"]
    numbers = frame[plain].to_numpy(dtype=np.float64)
    whole = (np.isnan(numbers) | (numbers == np.rint(numbers))).all(0)
    found = {}
    for place in np.flatnonzero(whole):
        name, values = plain[place], np.unique(numbers[:, place][~np.isnan(numbers[:, place])])
        if note := _note_of(name, values):
            found[str(name)] = note
    return found


def _note_of(name: Any, values: np.ndarray) -> str | None:
    """Say what sorted distinct whole numbers may be taken for, and are not."""
    if len(values) < 2 or not _are_counts(values):
        return None
    if named_as_ids(name):
        return f"is named as ids, but its {len(values)} numbers repeat: taken as continuous"
    if named_as_years(name) and _YEARS[0] <= values[0] and values[-1] <= _YEARS[1]:
        return "holds years: taken as continuous"
    if len(values) > _FEW and values[-1] >= _SPAN * max(values[0], 1):
        return f"holds {len(values)} different whole numbers, large ones: taken as continuous"
    return None


def as_frame(table: Any, modality: str) -> pd.DataFrame:
    """Return a table as a DataFrame, columns of objects as what they hold.

    Raises:
        ValueError: For an array of more than two axes, no columns, or columns that occur more than
            once.
        TypeError: For numbers that are complex, or beyond float64.
    """
    table = as_pandas(table)
    if isinstance(table, pd.Series):
        table = table.to_frame()
    if not isinstance(table, pd.DataFrame):
        values = np.asarray(table)
        if not values.ndim or (isinstance(table, list) and values.dtype == object):
            kind = type(table).__name__
            got = {"list": "files", "CellRows": "cells of an .h5mu file"}.get(kind, kind)
            raise ValueError(f"modality {modality!r}: expected a table, got {got}")
        if values.ndim not in (1, 2):
            raise ValueError(
                f"modality {modality!r}: a table has rows and columns; got the shape {values.shape}"
            )
        table = pd.DataFrame(values, dtype=values.dtype if values.dtype == object else None)
    if not table.shape[1]:
        raise ValueError(f"modality {modality!r}: the table has no columns")
    if not table.columns.is_unique:
        repeated = table.columns[table.columns.duplicated()].unique()[:SHOWN].tolist()
        raise ValueError(f"modality {modality!r}: columns {repeated} occur more than once")
    with suppress(OverflowError):  # pandas 2, of whole numbers that are refused below
        table = table.infer_objects()
    odd = {dtype for dtype in set(table.dtypes) if getattr(dtype, "kind", "") in ("c", "O")}
    for place in [p for p, dtype in enumerate(table.dtypes) if dtype in odd] if odd else ():
        if what := _odd_numbers(table.iloc[:, place]):
            column = f"column {table.columns[place]!r}"
            raise TypeError(
                f"modality {modality!r}: {column} holds {what}; convert it or leave it out"
            )
    return table


def _odd_numbers(column: "pd.Series[Any]") -> str:
    """Say which numbers a column holds that cannot be calculated with, or nothing."""
    if pd.api.types.is_complex_dtype(column.dtype):
        return "complex numbers"
    if pd.api.types.infer_dtype(column) not in _WHOLE:
        return ""
    whole = (value for value in column if isinstance(value, int))
    return "whole numbers beyond 1e308" if any(abs(value) > _LARGEST for value in whole) else ""


def _kind_of(name: Any, column: "pd.Series[Any]", modality: str) -> str:
    """Tell the kind of one column without missing cells."""
    inferred = _inferred(column)
    if inferred == "boolean":
        return "binary"
    if inferred in _NUMBERS:
        return _kind_of_numbers(column.to_numpy(dtype=np.float64))
    if inferred in ("datetime64", "datetime", "date"):
        inferred = "dates"
    if inferred == "mixed" and not column.map(pd.api.types.is_hashable).all():
        inferred = "lists or the like"
    if inferred == "string" and find_answers(column) is not None:
        return "binary"
    if inferred in _TEXTS:
        _check_text(name, column, modality)
        return "category"
    raise TypeError(
        f"modality {modality!r}: column {name!r} holds {inferred}, not numbers, booleans or "
        "categories; "
        "convert it or leave it out"
    )


def _inferred(column: "pd.Series[Any]") -> str:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "categorical"
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        return "floating"  # without looking at each cell: there may be many columns
    return pd.api.types.infer_dtype(column, skipna=True)


def _kind_of_numbers(values: np.ndarray) -> str:
    if not len(values):
        return "continuous"
    distinct = np.unique(values)
    if np.array_equal(distinct, [0, 1]):
        return "binary"
    is_count = (
        _are_counts(distinct)
        and len(distinct) > _FEW
        and distinct[-1] >= _SPAN * max(distinct[0], 1)
        and np.median(values) < _LARGE
    )
    return "count" if is_count else "continuous"


def _are_counts(values: np.ndarray) -> bool:
    return bool((np.isfinite(values) & (values >= 0) & (values == np.rint(values))).all())


def _holds_counts(frame: pd.DataFrame) -> bool:
    """Tell whether a table holds nothing but counts, a 0 in every column."""
    if frame.shape[1] < 2:
        return False
    is_number, is_bool = pd.api.types.is_numeric_dtype, pd.api.types.is_bool_dtype
    if not all(is_number(own) and not is_bool(own) for own in set(frame.dtypes)):
        return False
    # All at once: there may be many columns.
    values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    seen = values[~np.isnan(values)]
    zeros = (values == 0).any(0)
    return bool(zeros.all()) and _are_counts(seen) and len(np.unique(seen)) > _FEW


def _are_numbers(column: "pd.Series[Any]") -> "pd.Series[bool]":
    """Tell which texts are numbers, (n,)."""
    return pd.to_numeric(column, errors="coerce").notna()


def _check_text(name: Any, column: "pd.Series[Any]", modality: str) -> None:
    """Refuse text among numbers, and numbers that are written as texts, but in categoricals."""
    is_number = _are_numbers(column)
    if not isinstance(column.dtype, pd.CategoricalDtype) and 0.5 <= is_number.mean() < 1:
        odd = column[~is_number].unique()[:SHOWN].tolist()
        raise ValueError(
            f"modality {modality!r}: column {name!r} holds text among numbers: {odd}; correct "
            "these cells, leave them empty, or name its kind"
        )
    if _inferred(column) != "string":
        return
    texts = column.unique().tolist()
    form = find_form(texts, Habit())
    if form is not None and not (isinstance(form, Form) and form.is_plain):
        raise ValueError(
            f"modality {modality!r}: column {name!r} holds numbers as texts: {texts[:SHOWN]}; "
            "make them numbers, or name its kind"
        )
