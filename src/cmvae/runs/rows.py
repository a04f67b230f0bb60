"""Clusters of rows that hold their modalities side by side, as engines of many machines give them.

One :class:`RowPredictor` for each worker reads the run once; ``cmvae.ray`` is made of it, and so is
the recipe for Spark in the documentation.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.arrays import is_sparse
from cmvae.base.words import listed, raise_all
from cmvae.files.join import JoinedRows
from cmvae.files.source import checked_ids
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.differences import TABLES, Differences
from cmvae.runs.folder import load_model, read_record
from cmvae.runs.goodness import fit_percentiles


class RowPredictor:
    """Takes rows as a DataFrame, returns id, cluster, probability, modalities and fit of each.

    Ids stay as they are, under the name of their column.

    Columns of tables are found by name, or by ``MODALITY.COLUMN``, which several modalities of one
    name for a column need. Another modality is one column of its name, of arrays. What a row lacks
    is a missing cell, and what no row has, a modality that is not observed. Covariates of the run
    are columns of their names, or ``covariate.NAME``; the fit is drawn over those that lack.

    Args:
        run: The run folder, which every worker must be able to read.
        id_column: The column of ids; whether they repeat in other rows cannot be seen here.
        with_fit: Whether to measure the fit, which takes most of the time.
        strict: What is refused of values that were not learned, see
            :class:`cmvae.preprocessing.differences.Differences`; of each part by itself.

    Raises:
        ValueError: For a folder that holds no run.
    """

    def __init__(
        self,
        run: str | Path,
        id_column: str = "id",
        with_fit: bool = True,
        strict: bool | None = None,
    ) -> None:
        self.run = load_model(Path(run), read_record(Path(run), with_samples=False))
        self.id_column, self.with_fit, self.strict = id_column, with_fit, strict

    @property
    def columns(self) -> list[str]:
        """Columns that it looks for, but that of the ids."""
        own = [name for modality in self.run.preprocessing.codecs for name in self._own(modality)]
        return [*own, *self.run.preprocessing.covariates]

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the results of n rows, in their order.

        Raises:
            ValueError, TypeError: For rows without an id, without any column that was learned or
                with nothing observed, and for values unlike those learned from.
        """
        if self.id_column not in rows:
            got = list(map(str, rows.columns))
            raise ValueError(f"no id column {self.id_column!r}; the columns are {listed(got)}")
        ids = checked_ids(rows[self.id_column].tolist(), "rows")
        joined = self._joined(ids, rows)
        data = self.run.preprocessing.dataset(joined)
        table = self.run.table(joined, data).rename(columns={"id": self.id_column})
        table[self.id_column] = rows[self.id_column].to_numpy()
        if self.with_fit:
            table["fit_percentile"] = fit_percentiles(self.run.model, self.run.reference, data)
        return table

    def _joined(self, ids: list[str], rows: pd.DataFrame) -> JoinedRows:
        data, masks, errors = {}, {}, list[Exception]()
        for name, codec in self.run.preprocessing.codecs.items():
            found = {
                own: column for own in self._own(name) if (column := self._in(rows, name, own))
            }
            if not found:
                continue
            try:
                values, seen = self._encoded(name, codec, rows, found)
            except (ValueError, TypeError) as error:
                errors.append(error)
                continue
            if not is_sparse(values):
                values[~seen] = 0
            data[name], masks[name] = values, seen
        raise_all(errors)
        if not data:
            raise ValueError(f"none of the columns that were learned is there: {self.columns[:10]}")
        empty = ~np.any(list(masks.values()), 0)
        if empty.any():
            shown = listed(repr(ids[place]) for place in empty.nonzero()[0])
            raise ValueError(f"rows with nothing observed: {shown}: leave them out")
        known = {
            name: rows[own].to_numpy()
            for name in self.run.preprocessing.covariates
            if (own := self._in(rows, "covariate", name))
        }
        return JoinedRows(ids, data, masks, covariates=known)

    def _encoded(
        self, modality: str, codec: Codec, rows: pd.DataFrame, found: dict[str, str]
    ) -> tuple[Any, np.ndarray]:
        """Return a modality's values of rows, and which rows have it, (n,) boolean."""
        if isinstance(codec, TABLES):
            frame = rows[list(found.values())].set_axis(list(found), axis=1).reset_index(drop=True)
            met = Differences(modality, self.strict)
            values, seen = codec.encode(met.matched(frame, codec), modality)
            for line in met.settle(codec):
                warnings.warn(line, stacklevel=4)
            return values, seen
        cells = rows[modality]
        there = cells.notna().to_numpy(copy=True)
        own, seen = codec.encode(np.stack([np.asarray(c) for c in cells[there]]), modality)
        values = np.zeros((len(rows), *own.shape[1:]), own.dtype)
        values[there] = own
        there[there] = seen
        return values, there

    def _own(self, modality: str) -> Sequence[str]:
        codec = self.run.preprocessing.codecs[modality]
        return list(map(str, codec.own)) if isinstance(codec, TABLES) else [modality]

    def _in(self, rows: pd.DataFrame, modality: str, column: str) -> str | None:
        return next((own for own in (f"{modality}.{column}", column) if own in rows), None)
