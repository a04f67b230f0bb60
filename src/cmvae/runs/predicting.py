"""What a run says of samples in other files, a part at a time."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmvae._version import __version__
from cmvae.files.join import RowStore
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.files.overlap import Join
from cmvae.files.source import stamp
from cmvae.files.writing import open_rows
from cmvae.runs.covariates import check_named
from cmvae.runs.folder import load_model
from cmvae.runs.manifest import MANIFEST, digest
from cmvae.runs.parts import open_parts
from cmvae.runs.reading import join_files
from cmvae.runs.record import RunRecord

if TYPE_CHECKING:
    from cmvae.runs.run import Run

Told = Callable[[Join], object] | None
Covariates = Mapping[str, CovariateFile]


def predict_files(
    folder: Path,
    record: RunRecord,
    files: Mapping[str, ModalityFile],
    out: Path,
    told: Told = None,
    strict: bool | None = None,
    tell: Callable[[str], None] | None = None,
    covariates: Covariates | None = None,
    spreadsheet: bool = False,
    with_fit: bool = True,
) -> np.ndarray:
    """Write id, cluster, probability, modalities and fit of samples in files, in bounded memory.

    The fit is the percentile of the sample's log-likelihood among those of training; a
    warning says where the samples as a whole lie elsewhere than these.

    Where clusters have names, these too. Broken off after many samples, it goes on there when it is
    asked for the same again.

    Args:
        folder: The run folder.
        record: What was read of it.
        files: Modality to file, of any of the run's modalities.
        out: A .csv, .tsv or .parquet file.
        strict: What is refused, see :func:`cmvae.runs.reading.join_files`.
        told: Takes how the samples were joined.
        tell: Is told of each file, in a line, what is unusual about it.
        covariates: Name to file of covariates of the samples, under which they fit.
        spreadsheet: Guard texts that a spreadsheet would compute.
        with_fit: Whether to measure the fit, which takes most of the time.

    Returns:
        How many samples there are in each cluster.
    """
    counts, drift = np.zeros(record.n_clusters, dtype=np.int64), record.drift()
    given = {name: [own.to_plain(), _stamps(own)] for name, own in (covariates or {}).items()}
    key = _key(folder, files, [strict, with_fit, record.names, *([given] if given else [])])

    def state() -> dict[str, Any]:
        return {"counts": counts.tolist(), "drift": drift.to_plain()}

    with (
        _joined(folder, record, files, told, strict, tell, covariates) as (run, store),
        open_rows(out, spreadsheet=spreadsheet) as append,
        open_parts(out, key, append) as parts,
    ):
        from cmvae.runs.goodness import fit_percentiles  # a model is needed now

        if parts.samples:
            counts += parts.state["counts"]
            drift.take(parts.state["drift"])
            if tell is not None:
                tell(f"{out}: goes on after {parts.samples} samples of a try that was broken off")
        for rows in store.batches(run.preprocessing.chunk_rows, parts.samples):
            data = run.preprocessing.dataset(rows)
            drift.add(data)
            table = run.table(rows, data)
            if with_fit:
                table["fit_percentile"] = fit_percentiles(run.model, run.reference, data)
            counts += np.bincount(table["cluster"], minlength=run.n_clusters)
            parts.add(table, state)
    drift.warn()
    return counts


def _key(folder: Path, files: Mapping[str, ModalityFile], options: Any) -> str:
    """Return a text that is another one where a prediction may be another one."""
    run = digest(folder / MANIFEST)
    inputs = {name: [file.to_plain(), _stamps(file)] for name, file in files.items()}
    known = [run, inputs, options, __version__, version("torch")]
    return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _stamps(file: ModalityFile | CovariateFile) -> list[Any]:
    """Return names, sizes and times of the files of a modality or a covariate."""
    places = (file.path, getattr(file, "ids", None))
    return [stamp(Path(place).absolute()) for place in places if place is not None]


def predict_h5mu(
    folder: Path,
    record: RunRecord,
    files: Mapping[str, ModalityFile],
    source: Path,
    out: Path,
    told: Told = None,
    strict: bool | None = None,
    tell: Callable[[str], None] | None = None,
    covariates: Covariates | None = None,
) -> np.ndarray:
    """Write a copy of an .h5mu or .h5ad file with embedding and clusters of its cells.

    Args:
        folder: The run folder.
        record: What was read of it.
        files: Modality to file, of any of the run's modalities.
        source: The file.
        out: The copy.
        strict: What is refused, see :func:`cmvae.runs.reading.join_files`.
        told: Takes how the cells were joined.
        tell: Is told of each file, in a line, what is unusual about it.
        covariates: Name to file of covariates of the cells, under which they fit.

    Returns:
        How many cells there are in each cluster.
    """
    from cmvae.files.mudata_results import write_results
    from cmvae.omics import account_of
    from cmvae.runs.goodness import fit_percentiles

    ids, found, drift = list[str](), [], record.drift()
    with _joined(folder, record, files, told, strict, tell, covariates) as (run, store):
        for rows in store.batches(run.preprocessing.chunk_rows):
            data = run.preprocessing.dataset(rows)
            clusters, probabilities = run.assign(data)
            ids += rows.ids
            fits = fit_percentiles(run.model, run.reference, data)
            drift.add(data)
            found.append((clusters, probabilities, run.embed(data), fits))
    clusters, probabilities, embedding, fits = map(np.concatenate, zip(*found, strict=True))
    account = account_of(run.model, run.preprocessing, run.config.recipe.rule, run.evidence)
    results = clusters, probabilities, embedding
    write_results(source, out, ids, *results, account, fits, record.names)
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
    covariates: Covariates | None,
) -> Iterator[tuple["Run", RowStore]]:
    """Give a run and the samples in files; the model is read when these are."""
    check_named(covariates, record.preprocessing)
    with join_files(files, record.preprocessing, strict, tell, covariates) as store:
        if told is not None:
            told(store.join())
        yield load_model(folder, record), store
