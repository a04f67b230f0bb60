"""Tables with their missing cells filled in, in the units and columns of the data."""

from typing import Any

import numpy as np
import pandas as pd

from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.dates import Date
from cmvae.preprocessing.tables import TableCodec


def complete_table(codec: Codec, values: np.ndarray, original: pd.DataFrame | None) -> pd.DataFrame:
    """Return a table whose cells are the original ones where they are there.

    Others are decoded from a model's values: numbers in the units of their column, of counts whole
    ones, of categories and binary columns the more probable value. Columns that were left out of
    the model stay as they are.

    Args:
        codec: How the table became numbers.
        values: Means of all its cells, (n, *), as ``CMVAE.impute`` returns them.
        original: The same n samples, NaN or None in missing cells; None: nothing was given.
    """
    made = codec.decode(values, True)
    if original is None:
        return pd.DataFrame(made)
    completed, own = original.copy(), {str(name): name for name in made}
    columns = codec.columns if isinstance(codec, TableCodec) else ()
    dates = {column.name: column for column in columns if isinstance(column, Date)}
    for column in original:
        if str(column) in own:
            name = own.pop(str(column))
            filled = dates[name].written(made[name]) if name in dates else made[name]
            completed[column] = _filled(original[column], filled)
    for name in own.values():  # columns that the samples lack altogether
        completed[name] = made[name].to_numpy()
    return completed


def _filled(cells: "pd.Series[Any]", made: "pd.Series[Any]") -> Any:
    """Return cells with what was made in place of missing ones, of the type of either."""
    there = cells.notna().to_numpy()
    if there.all():
        return cells
    merged = pd.Series(made.to_numpy(dtype=object), index=cells.index, dtype=object)
    merged[there] = cells[there].astype(object)
    if isinstance(cells.dtype, pd.CategoricalDtype):
        return merged.astype(cells.dtype)
    return merged.astype(made.dtype) if made.dtype != object else merged.infer_objects()
