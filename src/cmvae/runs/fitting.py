"""Runs trained from files, and what they say of other files."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pandas as pd

from cmvae.files.modality import ModalityFile
from cmvae.files.mudata_results import write_results
from cmvae.files.writing import open_rows
from cmvae.omics import account_of
from cmvae.runs.folder import (
    TRAINING,
    install,
    may_write_run,
    partial_folder,
    start_again,
    write_run,
)
from cmvae.runs.reading import join_files, read_files
from cmvae.runs.run import Prepared, Run, prepare, samples_table, train_run


def fit_run(
    folder: Path, prepared: Prepared, *, resume: bool = False, **trainer_arguments: Any
) -> Run:
    """Train, and put the run in its folder.

    A failure leaves a partial folder where there is a checkpoint to go on from, else nothing.

    Args:
        folder: The run folder; :func:`cmvae.runs.folder.may_write_run` has allowed it.
        prepared: What to train on.
        resume: Go on from the last checkpoint of an interrupted run.
        **trainer_arguments: For :func:`cmvae.fit`.
    """
    if not resume:
        start_again(partial_folder(folder), prepared.config)
    return _trained(
        folder,
        lambda run_dir: train_run(prepared, run_dir=run_dir, resume=resume, **trainer_arguments),
    )


def change_clusters(folder: Path, run: Run, n_clusters: int, **trainer_arguments: Any) -> Run:
    """Start another number of clusters where a run's latents lie, train on with them, and replace the run.

    The run's files are read again. Networks and likelihoods keep what they have learned.

    Raises:
        ValueError: For more clusters than samples, or files that have changed.
    """
    may_write_run(folder, overwrite=True, resume=False)
    config = run.config.replace(recipe=run.config.recipe.replace(n_clusters=n_clusters))
    prepared = prepare(config, *read_files(config.modalities, run.preprocessing))
    start_again(partial_folder(folder), config)

    def train(run_dir: Path) -> Run:
        changed = train_run(prepared, run_dir=run_dir, warm=run.model, **trainer_arguments)
        return replace(changed, log=pd.concat([run.log, changed.log], ignore_index=True))

    return _trained(folder, train)


def _trained(folder: Path, train: Callable[[Path], Run]) -> Run:
    from cmvae.training.checkpoints import can_resume

    partial = partial_folder(folder)
    try:
        run = train(partial / TRAINING)
        write_run(partial, run)
        install(partial, folder)
    except BaseException:
        if not can_resume(partial / TRAINING):
            rmtree(partial, ignore_errors=True)
        raise
    return run


def predict_files(run: Run, files: Mapping[str, ModalityFile], out: Path) -> np.ndarray:
    """Write id, cluster, probability and the modalities seen of samples in files, in bounded memory.

    Args:
        run: The run.
        files: Modality to file, of any of the run's modalities.
        out: A .csv, .tsv or .parquet file.

    Returns:
        How many samples there are in each cluster.
    """
    counts = np.zeros(run.model.n_clusters, dtype=int)
    with join_files(files, run.preprocessing) as store, open_rows(out) as append:
        for rows in store.batches(run.preprocessing.chunk_rows):
            table = run.table(rows)
            counts += np.bincount(table["cluster"], minlength=len(counts))
            append(table)
    return counts


def predict_h5mu(
    run: Run, files: Mapping[str, ModalityFile], source: Path, out: Path
) -> np.ndarray:
    """Write a copy of an .h5mu file with embedding, clusters and their probabilities of its cells.

    Args:
        run: The run.
        files: Modality to file, of any of the run's modalities.
        source: The .h5mu file.
        out: The copy.

    Returns:
        How many cells there are in each cluster.
    """
    tables, means = [], []
    with join_files(files, run.preprocessing) as store:
        for rows in store.batches(run.preprocessing.chunk_rows):
            data = run.preprocessing.dataset(rows)
            tables.append(samples_table(rows, *run.assign(data)))
            means.append(run.embed(data))
    table, embedding = pd.concat(tables), np.concatenate(means)
    h_values = [np.inf if value is None else value for value in run.metrics["h_values"]]
    account = account_of(run.model, run.preprocessing, run.config.recipe.rule, h_values)
    clusters = table["cluster"].to_numpy()
    write_results(
        source,
        out,
        table["id"].tolist(),
        clusters,
        table["probability"].to_numpy(),
        embedding,
        account,
    )
    return np.bincount(clusters, minlength=run.model.n_clusters)
