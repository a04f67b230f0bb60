"""Tables of several modalities: joined on their index, checked, standardised."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

SHOWN = 5
CONSTANT = 1e-12  # relative to the largest value


@dataclass(frozen=True)
class Tables:
    """Numbers of several modalities for the same n samples.

    Attributes:
        data: Modality to (n, ...) float64; rows of samples that lack it are NaN.
        observed: Modality to (n,) boolean.
        columns: Modality to column names, of those that were DataFrames.
        index: The samples' index where the tables were DataFrames.
    """

    data: dict[str, np.ndarray]
    observed: dict[str, np.ndarray]
    columns: dict[str, list[Any]]
    index: pd.Index | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(next(iter(self.data.values())))


@dataclass(frozen=True)
class Standardiser:
    """Means and standard deviations of columns over observed rows; a constant column keeps its unit.

    Attributes:
        center: Modality to means.
        spread: Modality to standard deviations, 1 where a column is constant.
        columns: Modality to column names, of those that were DataFrames.
    """

    center: dict[str, np.ndarray]
    spread: dict[str, np.ndarray]
    columns: dict[str, list[Any]]

    @classmethod
    def of(cls, tables: Tables) -> "Standardiser":
        """Measure tables; a modality that no sample has is left out, with a warning.

        Raises:
            ValueError: If no sample has any.
        """
        empty = [name for name, seen in tables.observed.items() if not seen.any()]
        if len(empty) == len(tables.data):
            raise ValueError(f"no sample has any of the modalities {empty}")
        if empty:
            warnings.warn(f"modalities {empty} are left out: no sample has them", stacklevel=4)
        kept = {
            name: values[tables.observed[name]]
            for name, values in tables.data.items()
            if name not in empty
        }
        measured = {name: moments(values) for name, values in kept.items()}
        center, spread = ({name: found[i] for name, found in measured.items()} for i in (0, 1))
        return cls(center, spread, tables.columns)

    def apply(self, tables: Tables) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return standardised data, float32, and masks, of the modalities measured that the tables hold.

        Raises:
            KeyError: For a modality that was not measured.
            ValueError: For other columns than those measured, or a sample with nothing observed.
        """
        data, masks = {}, {}
        for name, values in tables.data.items():
            if name not in self.center:
                if not tables.observed[name].any():
                    continue
                raise KeyError(f"unknown modality {name!r}; fitted were {list(self.center)}")
            values = self._in_order(name, values, tables.columns.get(name))
            if values.shape[1:] != self.center[name].shape:
                raise ValueError(
                    f"modality {name!r}: samples of shape {values.shape[1:]}, fitted were {self.center[name].shape}"
                )
            data[name] = ((values - self.center[name]) / self.spread[name]).astype(np.float32)
            masks[name] = tables.observed[name]
        return data, masks

    def _in_order(self, name: str, values: np.ndarray, columns: list[Any] | None) -> np.ndarray:
        """Return the columns in the order in which they were measured, by name where both have names."""
        measured = self.columns.get(name)
        if columns is None or measured is None or columns == measured:
            return values
        if set(columns) != set(measured) or len(columns) != len(measured):
            wrong = [column for column in columns if column not in measured]
            missing = [column for column in measured if column not in columns]
            raise ValueError(
                f"modality {name!r}: unknown columns {wrong[:SHOWN]}, missing columns {missing[:SHOWN]}"
            )
        return values[:, [columns.index(column) for column in measured]]

    def restore(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return standardised values in the units of the data, float64."""
        return values.astype(np.float64) * self.spread[name] + self.center[name]


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means and standard deviations over n samples, values (n, ...) float64; 1 for what is constant."""
    # In units of a power of two, which rounds nothing, so that squares of large numbers do not
    # overflow.
    unit = np.ldexp(1.0, np.frexp(np.abs(values).max(0))[1] - 1)
    center, spread = (values / unit).mean(0) * unit, (values / unit).std(0) * unit
    # Rounding makes the deviation of a constant column tiny rather than zero.
    constant = spread <= CONSTANT * np.abs(values).max(0)
    return center, np.where(constant, 1.0, spread)


def read_tables(tables: Mapping[str, Any]) -> Tables:
    """Read {modality: array, DataFrame or Series}; DataFrames and Series are joined on their index, outer.

    Raises:
        TypeError: For names that are no strings, or columns that are no numbers.
        ValueError: For no tables or samples, lengths that differ, arrays mixed with DataFrames that
            have an index of their own, repeated columns or index entries, infinities, or single
            missing cells; the message names the modality and the first samples.
    """
    if not isinstance(tables, Mapping) or not tables:
        raise ValueError(
            f"X must be an array, a DataFrame or a mapping of them, not empty; got {type(tables).__name__}"
        )
    if not all(isinstance(name, str) for name in tables):
        raise TypeError(f"modality names must be strings, got {list(tables)}")
    tables = {name: t.to_frame() if isinstance(t, pd.Series) else t for name, t in tables.items()}
    frames = {name: table for name, table in tables.items() if isinstance(table, pd.DataFrame)}
    index = None
    if len(frames) == len(tables):
        frames, index = _joined(frames)
        tables = frames
    else:
        _check_plain_index(frames)
    columns = {name: list(frame.columns) for name, frame in frames.items()}
    data = {name: _numbers(name, table) for name, table in tables.items()}
    lengths = {name: len(values) for name, values in data.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"modalities differ in their number of samples: {lengths}")
    if not next(iter(lengths.values())):
        raise ValueError(f"the tables hold no samples: {lengths}")
    observed = {name: _check_cells(name, values) for name, values in data.items()}
    return Tables(data, observed, columns, index)


def _check_plain_index(frames: Mapping[str, pd.DataFrame]) -> None:
    """Refuse DataFrames beside arrays, whose rows can only be matched by place, unless they are just numbered."""
    for name, frame in frames.items():
        if not frame.index.equals(pd.RangeIndex(len(frame))):
            raise ValueError(
                f"modality {name!r} is a DataFrame with an index of its own, but others are arrays without one: "
                "give all as DataFrames, to join them on it, or all as arrays"
            )


def _joined(tables: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], pd.Index]:
    index = None
    for name, table in tables.items():
        if not table.index.is_unique:
            repeated = table.index[table.index.duplicated()].unique()[:SHOWN].tolist()
            raise ValueError(
                f"modality {name!r}: its index repeats {repeated}; tables are joined on it"
            )
        index = (
            table.index
            if index is None
            else index.append(table.index.difference(index, sort=False))
        )
    assert index is not None
    return {name: table.reindex(index) for name, table in tables.items()}, index


def _numbers(name: str, table: Any) -> np.ndarray:
    """Return a table as float64 (n, ...)."""
    if isinstance(table, pd.DataFrame):
        if not table.columns.is_unique:
            repeated = table.columns[table.columns.duplicated()].unique()[:SHOWN].tolist()
            raise ValueError(f"modality {name!r}: columns {repeated} occur more than once")
        bad = [column for column in table if not _is_numeric(table[column])]
        if bad:
            raise TypeError(f"modality {name!r}: columns {bad[:SHOWN]} hold no numbers")
        values = table.astype(np.float64).to_numpy()
    else:
        try:
            values = _real(table).astype(np.float64)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"modality {name!r} holds something that is no number: {error}"
            ) from None
    if values.ndim == 0 or 0 in values.shape[1:]:
        raise ValueError(
            f"modality {name!r}: expected samples along the first axis, got shape {values.shape}"
        )
    return values[:, None] if values.ndim == 1 else values


def _real(table: Any) -> np.ndarray:
    """Return an array; refuse what would be made real numbers with a loss, or without a sense."""
    if isinstance(table, np.ma.MaskedArray):
        raise TypeError("masked arrays are not supported, their mask would be lost; put NaN there")
    values = np.asarray(table)
    if values.dtype.kind in "cmM":
        raise TypeError(f"got dtype {values.dtype}")
    return values


def _is_numeric(column: "pd.Series[Any]") -> bool:
    if column.dtype == object:
        return all(
            isinstance(value, int | float | np.number | np.bool_) or value is None
            for value in column
        )
    is_number = pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column)
    return is_number and not pd.api.types.is_complex_dtype(column)


def _check_cells(name: str, values: np.ndarray) -> np.ndarray:
    """Return which samples have the modality: those that are not NaN as a whole."""
    flat = values.reshape(len(values), -1)
    _refuse(name, np.isinf(flat).any(1), "infinite values")
    missing = np.isnan(flat)
    partial = missing.any(1) & ~missing.all(1)
    _refuse(
        name,
        partial,
        "single missing cells, which are not supported; fill them in or leave out the whole row:",
    )
    return ~missing.all(1)


def _refuse(name: str, bad: np.ndarray, what: str) -> None:
    if bad.any():
        raise ValueError(
            f"modality {name!r}: {what} in {bad.sum()} samples, the first {np.flatnonzero(bad)[:SHOWN]}"
        )


def split_columns(table: Any, modalities: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Cut one array or DataFrame (n, features) into modalities by column indices or names.

    Raises:
        ValueError: If the table is not two-dimensional.
        KeyError: For a column that is not there.
    """
    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(_two_axes(table))
    parts = {}
    for name, columns in modalities.items():
        try:
            by_name = all(column in frame.columns for column in columns)
            part = frame[list(columns)] if by_name else frame.iloc[:, list(columns)]
        except (IndexError, TypeError, ValueError) as error:
            raise KeyError(
                f"modalities[{name!r}] names columns that X does not have: {error}"
            ) from None
        parts[name] = part if frame is table else part.to_numpy()
    return parts


def _two_axes(table: Any) -> np.ndarray:
    values = np.asarray(table)
    if values.ndim != 2:
        raise ValueError(f"X with modalities= must have two axes, got shape {values.shape}")
    return values
