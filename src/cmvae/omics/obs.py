"""What ``.obs`` says of cells: their labels and covariates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import quoted, shown


def labels_of_cells(mdata: Any, column: str, kept: np.ndarray) -> Any:
    """Return a column of obs as labels of the cells that are kept."""
    if column not in mdata.obs:
        raise KeyError(
            f"labels: obs has no column {column!r}; it has {quoted(map(str, mdata.obs.columns))}"
        )
    labels = mdata.obs[column][kept]
    if labels.isna().any():
        lacking = labels.index[labels.isna()]
        raise ValueError(
            f"labels: {column!r} has no value for {len(lacking)} cells, such as {lacking[0]!r}"
        )
    if pd.api.types.is_numeric_dtype(labels.dtype):
        return np.asarray(labels.tolist())
    return [str(label) for label in labels]


def covariates_of_cells(
    mdata: Any, columns: Mapping[str, str] | Sequence[str] | None, places: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return columns of obs by the names of covariates, (n,) of all cells; None where missing.

    Args:
        mdata: What the cells are of.
        columns: Covariate to column, or columns; of a modality's own ``.obs`` MODALITY:COLUMN.
        places: Modality to the row that each cell has in it, (n,), −1 where it has none.

    Raises:
        TypeError: For what names no columns.
        KeyError: For a column that is not there.
    """
    columns = () if columns is None else columns
    if isinstance(columns, str) or hasattr(columns, "columns"):
        what = "a list of columns of obs, or a mapping of names to them"
        raise TypeError(f"covariates: expected {what}, got {shown(columns)}")
    named = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    return {name: _column(mdata, column, places) for name, column in named.items()}


def _column(mdata: Any, column: Any, places: Mapping[str, np.ndarray]) -> np.ndarray:
    if not isinstance(column, str):
        raise TypeError(f"covariates: expected names of columns of obs, got {shown(column)}")
    (modality, _, own), tables = column.partition(":"), dict(mdata.mod)
    in_modality = bool(own) and modality in tables and own in tables[modality].obs
    if column not in mdata.obs and not in_modality:
        table = tables[modality].obs if own and modality in tables else mdata.obs
        name, there = (own if modality in tables else column), quoted(map(str, table.columns))
        raise KeyError(f"covariates: obs has no column {name or column!r}; it has {there}")
    found: Any = np.full(len(mdata.obs_names), None, dtype=object)
    if in_modality and modality in places:
        # By their rows: modalities may spell the names of cells in different ways.
        found = np.array([*_objects(tables[modality].obs[own]), None])[places[modality]]
    elif in_modality:
        found = _objects(tables[modality].obs[own]).reindex(mdata.obs_names, fill_value=None)
    if column not in mdata.obs:
        return np.asarray(found)
    values = _objects(mdata.obs[column])
    return np.where(values.notna(), values, found)


def _objects(column: pd.Series) -> pd.Series:
    return column.astype(object).where(column.notna(), None)
