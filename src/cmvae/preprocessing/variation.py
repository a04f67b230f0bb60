"""What varies from row to row: columns that hold one value alone tell no samples apart."""

import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import counted, listed, quoted
from cmvae.preprocessing.kinds import as_frame, constants


def check_variation(rows: Mapping[str, Any], named: Mapping[str, Collection[Any]]) -> None:
    """Warn of columns of arrays that hold one value alone, and where nothing varies at all.

    Those of DataFrames are left out, with a word, when their kinds are learned.

    Args:
        rows: Modality to its rows.
        named: Modality to columns whose kinds are named, of which nothing is said.
    """
    if not any(vary(own) for own in rows.values()):
        warnings.warn(
            f"nothing varies in modalities {quoted(rows)}: every number is the same in all "
            "samples, so that there is nothing to find clusters by",
            stacklevel=3,
        )
        return
    for modality, own in rows.items():
        if not (isinstance(own, np.ndarray) and own.ndim <= 2):
            continue
        frame = as_frame(own, modality)
        kept = [name for name in frame if str(name) in named.get(modality, ())]
        if same := constants(frame, kept):
            columns = counted(len(same), "column")
            which = listed(f"{name} {what}" for name, what in same.items())
            warnings.warn(
                f"modality {modality!r}: {columns} of {frame.shape[1]} tell no samples apart: "
                f"{which}",
                stacklevel=3,
            )


def vary(rows: Any) -> bool:
    """Tell whether two rows of an array differ in a number; of what is no array it is assumed."""
    if not isinstance(rows, np.ndarray) or len(rows) < 2:
        return True
    rows = rows.reshape(len(rows), -1)
    if rows.dtype.kind in "biu":
        return bool((rows != rows[:1]).any())
    if rows.dtype.kind == "f":
        gone = np.isnan(rows)
        low, high = (np.where(gone, end, rows) for end in (np.inf, -np.inf))
        return bool((low.min(0) < high.max(0)).any())
    return any(column.nunique() > 1 for _, column in pd.DataFrame(rows).items())
