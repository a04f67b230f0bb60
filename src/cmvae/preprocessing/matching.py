"""The rows and columns of a table, found as they were learned: by name, or by place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import SHOWN
from cmvae.preprocessing.columns import numbers_of
from cmvae.preprocessing.kinds import as_frame
from cmvae.preprocessing.libraries import as_pandas


def check_names(frame: pd.DataFrame, modality: str) -> list[str | int]:
    """Return the names of columns as JSON can hold them.

    Raises:
        TypeError: For names that are neither strings nor integers.
    """
    odd = [n for n in frame if isinstance(n, bool) or not isinstance(n, str | int | np.integer)]
    if odd:
        what = f"modality {modality!r}: column names must be strings or integers"
        raise TypeError(f"{what}; got {odd[:SHOWN]}")
    return [name if isinstance(name, str) else int(str(name)) for name in frame]


def own_columns(
    rows: Any, own: Sequence[str | int], ignored: Sequence[str], modality: str
) -> pd.DataFrame:
    """Return a table's columns under the names that were learned, in their order.

    Columns of a DataFrame are found by their names, those of an array by their place.

    Args:
        rows: DataFrame, Series, or array (n, columns).
        own: The names.
        ignored: Names of columns that are left out where they occur.
        modality: Name for the errors.

    Raises:
        ValueError: For columns that are unknown or missing.
    """
    rows = as_pandas(rows)
    frame, left_out = as_frame(rows, modality), set(ignored)
    if not isinstance(rows, pd.DataFrame | pd.Series):
        frame = frame[[place for place in frame if str(place) not in left_out]]
        if frame.shape[1] != len(own):
            shape = f"(n, {len(own)})"
            raise ValueError(
                f"modality {modality!r}: expected rows {shape}, got {frame.shape[1]} columns"
            )
        return frame.set_axis(list(own), axis=1)
    found = {str(name): name for name in frame if str(name) not in left_out}
    known = set(map(str, own))
    unknown = [name for name in found if name not in known]
    missing = [name for name in own if str(name) not in found]
    if unknown or missing:
        both: dict[str, list[Any]] = {"unknown": unknown, "missing": missing}
        said = [f"{what} columns {names[:SHOWN]}" for what, names in both.items() if names]
        raise ValueError(f"modality {modality!r}: {', '.join(said)}")
    return frame[[found[str(name)] for name in own]].set_axis(list(own), axis=1)


def number_block(frame: pd.DataFrame, names: Sequence[Any], modality: str) -> np.ndarray:
    """Return columns of numbers, (n, len(names)) float64, missing cells NaN.

    What is no number is told by column.
    """
    try:
        block = frame[list(names)].to_numpy(dtype=np.float64)
    except (TypeError, ValueError):
        block = None
    if block is None or np.isinf(block).any():
        block = np.stack([numbers_of(name, frame[name], modality) for name in names], 1)
    return block


def numbers_from_zero(frame: pd.DataFrame) -> np.ndarray | None:
    """Return the rows that are not missing altogether, (n, D) float64.

    Missing cells are NaN. None, unless all others are finite numbers of at least 0, no booleans.
    """
    is_number, is_bool = pd.api.types.is_numeric_dtype, pd.api.types.is_bool_dtype
    if not all(is_number(own) and not is_bool(own) for own in set(frame.dtypes)):
        return None
    values = frame.to_numpy(dtype=np.float64, na_value=np.nan)
    values = values[~np.isnan(values).all(1)]
    return values if (np.isnan(values) | (np.isfinite(values) & (values >= 0))).all() else None


def observed_rows(frame: pd.DataFrame) -> np.ndarray:
    """Return which rows are there, if only in part, (n,) boolean."""
    return ~np.all(np.asarray(frame.isna()), axis=1)


def without_cells(frame: pd.DataFrame) -> list[Any]:
    """Return the columns of a table of which no cell is there; none of a table without rows."""
    if not len(frame):
        return []
    hollow = frame.isna().all().tolist()
    return [name for name, none in zip(frame, hollow, strict=True) if none]
