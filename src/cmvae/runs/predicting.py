"""What a run says of samples in other files, a part at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmvae.files.join import JoinedRows
from cmvae.files.modality import ModalityFile
from cmvae.files.overlap import Join
from cmvae.files.writing import open_rows
from cmvae.runs.folder import load_model
from cmvae.runs.reading import join_files
from cmvae.runs.record import RunRecord

if TYPE_CHECKING:
    from cmvae.runs.run import Run

Told = Callable[[Join], object] | None


def predict_files(
    folder: Path,
    record: RunRecord,
    files: Mapping[str, ModalityFile],
    out: Path,
    told: Told = None,
    strict: bool | None = None,
    tell: Callable[[str], None] | None = None,
    spreadsheet: bool = False,
) -> np.ndarray:
    """Write id, cluster, probability, modalities and fit of samples in files, in bounded memory.

    The fit is the percentile of the sample's log-likelihood among those of training; a
    warning says where the samples as a whole lie elsewhere than these.

    Where clusters have names, these too.

    Args:
        folder: The run folder.
        record: What was read of it.
        files: Modality to file, of any of the run's modalities.
        out: A .csv, .tsv or .parquet file.
        strict: What is refused, see :func:`cmvae.runs.reading.join_files`.
        told: Takes how the samples were joined.
        tell: Is told of each file, in a line, what is unusual about it.
        spreadsheet: Guard texts that a spreadsheet would compute.

    Returns:
        How many samples there are in each cluster.
    """
    counts, drift = np.zeros(record.n_clusters, dtype=np.int64), record.drift()
    with (
        _joined(folder, record, files, told, strict, tell) as (run, parts),
        open_rows(out, spreadsheet=spreadsheet) as append,
    ):
        from cmvae.runs.goodness import fit_percentiles  # a model is needed now

        for rows in parts:
            data = run.preprocessing.dataset(rows)
            fits = fit_percentiles(run.model, run.reference, data)
            drift.add(data)
            table = run.table(rows, data).assign(fit_percentile=fits)
            counts += np.bincount(table["cluster"], minlength=run.n_clusters)
            append(table)
    drift.warn()
    return counts


def predict_h5mu(
    folder: Path,
    record: RunRecord,
    files: Mapping[str, ModalityFile],
    source: Path,
    out: Path,
    told: Told = None,
    strict: bool | None = None,
    tell: Callable[[str], None] | None = None,
) -> np.ndarray:
    """Write a copy of an .h5mu file with embedding, clusters and their probabilities of its cells.

    Args:
        folder: The run folder.
        record: What was read of it.
        files: Modality to file, of any of the run's modalities.
        source: The .h5mu file.
        out: The copy.
        strict: What is refused, see :func:`cmvae.runs.reading.join_files`.
        told: Takes how the cells were joined.
        tell: Is told of each file, in a line, what is unusual about it.

    Returns:
        How many cells there are in each cluster.
    """
    from cmvae.files.mudata_results import write_results
    from cmvae.omics import account_of
    from cmvae.runs.goodness import fit_percentiles

    ids, found, drift = [], [], record.drift()
    with _joined(folder, record, files, told, strict, tell) as (run, parts):
        for rows in parts:
            data = run.preprocessing.dataset(rows)
            clusters, probabilities = run.assign(data)
            chosen = probabilities[np.arange(len(clusters)), clusters]
            ids += rows.ids
            fits = fit_percentiles(run.model, run.reference, data)
            drift.add(data)
            found.append((clusters, chosen, run.embed(data), fits))
    clusters, chosen, embedding, fits = map(np.concatenate, zip(*found, strict=True))
    account = account_of(run.model, run.preprocessing, run.config.recipe.rule, run.evidence)
    write_results(source, out, ids, clusters, chosen, embedding, account, fits, record.names)
    drift.warn()
    return np.bincount(clusters, minlength=run.n_clusters)


@contextmanager
def _joined(
    folder: Path,
    record: RunRecord,
    files: Mapping[str, ModalityFile],
    told: Told,
    strict: bool | None,
    tell: Callable[[str], None] | None,
) -> Iterator[tuple["Run", Iterator[JoinedRows]]]:
    """Give a run and the samples in files, a part at a time; the model is read when these are."""
    with join_files(files, record.preprocessing, strict, tell) as store:
        if told is not None:
            told(store.join())
        yield load_model(folder, record), store.batches(record.preprocessing.chunk_rows)
