"""Labels of samples, in a table or in an .h5mu file."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cmvae.files.ids import match_ids
from cmvae.files.mudata import read_obs_column
from cmvae.files.overlap import Join
from cmvae.files.suffixes import MUDATA_SUFFIX
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
