"""Labels of samples, in a table or in an .h5mu or .h5ad file."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cmvae.files.ids import match_ids
from cmvae.files.mudata import read_obs_column
from cmvae.files.overlap import Join
from cmvae.files.suffixes import ANNDATA_SUFFIX, MUDATA_SUFFIX, suffix_of
from cmvae.files.tables import read_column


def labels_of(labels: "pd.Series[str]", ids: Sequence[str]) -> tuple["pd.Series[str]", Join]:
    """Return labels by the ids of a run's samples, spelled as there, and how these were joined.

    Raises:
        ValueError: For ids that match others only in another spelling, and not one to one.
    """
    names = {"run": list(ids), "labels": labels.index.tolist()}
    matching = match_ids(names, where=str)
    found = labels.set_axis(matching.names("labels", labels.index))
    index = pd.Index(ids).union(found.index, sort=False)
    masks = {"run": index.isin(ids), "labels": index.isin(found.index)}
    return found, Join.of_masks(masks, matching)


def read_labels(
    path: Path,
    id_column: str | None = None,
    column: str | None = None,
    what: str = "labels",
) -> "pd.Series[str]":
    """Return labels as strings, their index the ids; samples without a label are left out.

    Args:
        path: A table, or an .h5mu or .h5ad file.
        id_column: The column of ids of a table.
        column: The column of labels, of the others one of ``.obs``; None: the only one.
        what: What they are, for the errors.

    Raises:
        ValueError: If the file is none, the column is not there, or ids repeat.
        ImportError: If the extra is not installed that reads such a file.
    """
    if suffix_of(path) in (MUDATA_SUFFIX, ANNDATA_SUFFIX):
        return read_obs_column(path, column, what)
    return read_column(path, what, id_column, column)
