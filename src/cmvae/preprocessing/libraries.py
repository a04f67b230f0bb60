"""Tables of other libraries than pandas, their columns by name."""

from typing import Any

import numpy as np
import pandas as pd


def as_pandas(table: Any) -> Any:
    """Return a frame or series of another library in pandas; whatever is none as it is.

    Columns keep their names, series too. What is computed late, such as frames of Dask and lazy
    ones of Polars, is computed now.

    Args:
        table: A frame or series of any library that narwhals knows, or with a ``to_pandas``.
    """
    if isinstance(table, pd.DataFrame | pd.Series | np.ndarray | dict):
        return table
    import narwhals as nw

    known = nw.from_native(table, pass_through=True, allow_series=True)
    if isinstance(known, nw.LazyFrame):
        known = known.collect()
    if isinstance(known, nw.DataFrame):
        return known.to_pandas()
    if isinstance(known, nw.Series):
        series: Any = known.to_pandas()
        return series.rename(series.name or None)
    named = hasattr(table, "columns") or hasattr(table, "column_names")
    return table.to_pandas() if named and hasattr(table, "to_pandas") else table
