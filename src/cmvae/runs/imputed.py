"""The samples of a run, or of other files, with all that they lack filled in, as files."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmvae.base.arrays import is_sparse
from cmvae.files.cell_places import CellRows
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.completing import complete_table
from cmvae.runs.generated import open_writers, record_generated
from cmvae.runs.reading import join_files, open_known

if TYPE_CHECKING:
    from cmvae.runs.run import Run


def impute_files(
    run: "Run",
    folder: Path,
    files: Mapping[str, ModalityFile],
    modalities: Sequence[str],
    *,
    suffix: str = ".csv",
    covariates: Mapping[str, CovariateFile] | None = None,
    **options: Any,
) -> None:
    """Write modalities of all samples in files, complete, as ``CMVAE.impute`` completes them.

    Cells that are there are written as they are in the file.

    Args:
        run: The run.
        folder: An empty folder.
        files: Modality to file of the samples.
        modalities: Which to write.
        suffix: Of tables.
        covariates: Name to file of covariates of the samples.
        **options: For :func:`cmvae.runs.generated.open_writers`.
    """
    preprocessing, ids = run.preprocessing, list[str]()
    made: dict[str, list[np.ndarray]] = {name: [] for name in modalities}
    with join_files(files, preprocessing, covariates=covariates) as store:
        matching = store.matching
        for rows in store.batches(preprocessing.chunk_rows):
            completed = run.model.impute(preprocessing.dataset(rows))
            ids += rows.ids
            for name, parts in made.items():
                parts.append(completed[name].cpu().numpy())
    with ExitStack() as stack:
        writers = open_writers(stack, run, folder, modalities, suffix, digits=None, **options)
        for name, write in writers.items():
            codec, values = preprocessing.codecs[name], np.concatenate(made.pop(name))
            if codec.content in ("table", "text"):
                given = _read_cells(name, files[name], preprocessing) if name in files else None
                if given is not None:
                    own = given.set_axis(matching.names(name, given.index), axis=0)
                    given = own.reindex(ids).reset_index(drop=True)
                write(ids, complete_table(codec, values, given), None)
            else:
                write(ids, codec.decode(values, False), None)
    sources = {name: str(file.path) for name, file in files.items()}
    record_generated(folder, imputed=True, sources=sources)


def _read_cells(name: str, file: ModalityFile, preprocessing: Preprocessing) -> pd.DataFrame | None:
    """Return the rows of a file as a table, its index their ids; None of sparse ones.

    These lack no single cells, and would take too much memory. Columns that were left out of the
    model are texts.
    """
    parts, (source, _) = [], open_known(name, file, preprocessing)
    codec = preprocessing.codecs[name]
    texts = {*codec.texts, *getattr(codec, "ignored", ())} & {*getattr(source, "columns", ())}
    for ids, rows in source.chunks(1 << 30, sorted(texts)):
        if isinstance(rows, CellRows) and is_sparse(rows.values):
            return None
        parts.append(_as_table(rows).set_axis(ids, axis=0))
    return pd.concat(parts)


def _as_table(rows: Any) -> pd.DataFrame:
    if isinstance(rows, CellRows):
        return pd.DataFrame(rows.values, columns=list(rows.var_names))
    return pd.DataFrame(rows)
