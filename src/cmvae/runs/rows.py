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
from cmvae.base.words import listed, quoted, raise_all
from cmvae.files.join import JoinedRows
from cmvae.files.source import checked_ids
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.differences import TABLES, Differences
from cmvae.runs.folder import load_model, read_record
from cmvae.runs.goodness import fit_percentiles


class RowPredictor:
    """Takes rows as a DataFrame, returns id, cluster, probability, modalities and fit of each.

    Ids stay as they are, under the name of their column.

    Columns of tables are found by name, or by ``MODALITY.COLUMN``, which all but one of several
    modalities need that have columns of one name. Another modality is one column of its name, of
    arrays. What a row lacks is a missing cell, and what no row has, a modality that is not
    observed. Covariates of the run are columns of their names, or ``covariate.NAME``; the fit is
    drawn over those that lack.

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
        """Return the results of n rows, in their order; of none a table without rows.

        Raises:
            ValueError, TypeError: For rows without an id, without any column that was learned or
                with nothing observed, for a column that several modalities may have or that occurs
                more than once, and for values unlike those learned from.
        """
        if self.id_column not in rows:
            got = list(map(str, rows.columns))
            raise ValueError(f"no id column {self.id_column!r}; the columns are {listed(got)}")
        self._check_columns(rows)
        if not len(rows):
            return self._nothing(rows)
        ids = checked_ids(rows[self.id_column].tolist(), "rows")
        joined = self._joined(ids, rows)
        data = self.run.preprocessing.dataset(joined)
        table = self.run.table(joined, data).rename(columns={"id": self.id_column})
        table[self.id_column] = rows[self.id_column].to_numpy()
        if self.with_fit:
            table["fit_percentile"] = fit_percentiles(self.run.model, self.run.reference, data)
        return table

    def _check_columns(self, rows: pd.DataFrame) -> None:
        """Refuse columns of which it is not known which modality has them."""
        known = {name: self._own(name) for name in self.run.preprocessing.codecs}
        owners: dict[str, list[str]] = {}
        for name, columns in known.items():
            for column in columns:
                if self._in(rows, name, column) == column:
                    owners.setdefault(column, []).append(name)
        for column, names in owners.items():
            if len(names) > 1:
                raise ValueError(
                    f"column {column!r} may be that of several modalities, {quoted(names)}: name "
                    f"it {names[0]}.{column}, or that of the others likewise"
                )
        repeated = rows.columns[rows.columns.duplicated()].intersection([self.id_column, *owners])
        if len(repeated):
            raise ValueError(f"columns {listed(map(repr, repeated))} occur more than once")

    def _nothing(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the results of no rows, whose columns have the types of others."""
        types = {"cluster": np.int64, **({"cluster_name": object} if self.run.names else {})}
        types |= {"probability": np.float64, "modalities": object}
        types |= {"fit_percentile": np.float64} if self.with_fit else {}
        found = {name: np.zeros(0, dtype=kind) for name, kind in types.items()}
        return pd.DataFrame({self.id_column: rows[self.id_column].to_numpy(), **found})

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
        (cells,) = (rows[column] for column in found.values())
        there = cells.notna().to_numpy(copy=True)
        kind: Any = np.uint8 if codec.content == "images" else np.float32
        values = np.zeros((len(rows), *codec.input_shape), kind)
        if there.any():
            arrays = [np.asarray(cell) for cell in cells[there]]
            if len(shapes := {own.shape for own in arrays}) > 1:
                shown = listed(sorted(shapes))
                raise ValueError(f"modality {modality!r}: its arrays differ in shape: {shown}")
            values[there], there[there] = codec.encode(np.stack(arrays), modality)
        return values, there

    def _own(self, modality: str) -> Sequence[str]:
        codec = self.run.preprocessing.codecs[modality]
        return list(map(str, codec.own)) if isinstance(codec, TABLES) else [modality]

    def _in(self, rows: pd.DataFrame, modality: str, column: str) -> str | None:
        return next((own for own in (f"{modality}.{column}", column) if own in rows), None)
