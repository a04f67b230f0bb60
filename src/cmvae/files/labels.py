"""Labels of samples, in a table or in an .h5mu file."""

from pathlib import Path

import pandas as pd

from cmvae.files.mudata import read_obs_column
from cmvae.files.suffixes import MUDATA_SUFFIX
from cmvae.files.tables import read_column


def read_labels(
    path: Path, id_column: str | None = None, column: str | None = None
) -> "pd.Series[str]":
    """Return labels as strings, their index the ids; samples without a label are left out.

    Args:
        path: A table, or an .h5mu file.
        id_column: The column of ids of a table.
        column: The column of labels, of an .h5mu file one of ``.obs``; None: the only one.

    Raises:
        ValueError: If the file is none, the column is not there, or ids repeat.
        ImportError: For an .h5mu file, if the extra ``omics`` is not installed.
    """
    if path.suffix == MUDATA_SUFFIX:
        return read_obs_column(path, column, "labels")
    return read_column(path, "labels", id_column, column)
