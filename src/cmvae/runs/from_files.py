"""Runs from files: what the commands do, without printing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pandas as pd
import torch

from cmvae.models.config import CMVAEConfig
from cmvae.data.datasets import IncompleteDataset
from cmvae.omics import account_of
from cmvae.preprocessing.omics_coding import OmicsCoding
from cmvae.files.join import JoinedRows
from cmvae.files.mudata_results import write_results
from cmvae.preprocessing.omics_codec import OmicsCodec
from cmvae.preprocessing.preprocessing import Preprocessing
from cmvae.files.writing import open_rows
from cmvae.training.initialization import latent_means
from cmvae.models.cmvae import CMVAE
from cmvae.training.recipe import assign_numbers, number_clusters, quiet_training, rows_at_once
from cmvae.files.modality import ModalityFile
from cmvae.runs.config import RunConfig
from cmvae.runs.folder import TRAINING, Run, can_resume, install, partial_folder, prepare, read_log, samples_table, start_again, write_run


@dataclass(frozen=True)
class Prepared:
    """Files read and joined, and the settings of the model that suits them.

    Attributes:
        config: What they were read by.
        preprocessing: How rows become the model's inputs.
        rows: The samples.
        data: The same as a dataset.
        settings: Those of the model.
    """

    config: RunConfig
    preprocessing: Preprocessing
    rows: JoinedRows
    data: IncompleteDataset
    settings: CMVAEConfig


def prepare_data(config: RunConfig, preprocessing: Preprocessing | None = None) -> Prepared:
    """Read and join the files of a run; nothing is written.

    Args:
        config: The run's.
        preprocessing: What was learned already; None: it is learned from the files.

    Raises:
        ValueError, TypeError, KeyError: For files and settings that do not fit, in one line.
    """
    config.recipe.check()
    files = config.modalities
    preprocessing = preprocessing or Preprocessing.learn(files)
    likelihoods = preprocessing.likelihoods(files, config.recipe.scale)
    networks = {name: file.network for name, file in files.items() if file.network is not None}
    with preprocessing.join(files) as store:
        rows = store.all_rows()
    if len(rows.ids) < 2:
        raise ValueError(f"the files hold {len(rows.ids)} sample; at least 2 are needed to find clusters")
    largest = config.recipe.largest(len(rows.ids))
    settings = config.recipe.config(preprocessing.shapes(), largest, likelihoods, networks)
    with torch.random.fork_rng():
        CMVAE(settings)  # refuses networks that cannot take a shape
    return Prepared(config, preprocessing, rows, preprocessing.dataset(rows), settings)


def fit_run(folder: Path, prepared: Prepared, *, resume: bool = False, **trainer_arguments: Any) -> Run:
    """Train, number the clusters, and put the run in its folder.

    Args:
        folder: The run folder; :func:`cmvae.runs.folder.prepare` has allowed it.
        prepared: From :func:`prepare_data`.
        resume: Go on from the last checkpoint of an interrupted run.
        **trainer_arguments: For :func:`cmvae.fit`.
    """
    partial, config = partial_folder(folder), prepared.config
    if not resume:
        start_again(partial, config)

    def train() -> CMVAE:
        model = CMVAE(prepared.settings)
        arguments = {"run_dir": partial / TRAINING, "accelerator": config.device, **trainer_arguments}
        config.recipe.train(model, prepared.data, config.seed, resume=resume, **arguments)
        return model

    return _finish(folder, prepared, train, trainer_arguments)


def change_clusters(folder: Path, run: Run, n_clusters: int, **trainer_arguments: Any) -> Run:
    """Start another number of clusters where a run's latents lie, train on with them, and replace the run.

    The run's files are read again. Networks and likelihoods keep what they have learned.

    Raises:
        ValueError: For more clusters than samples, or files that have changed.
    """
    prepare(folder, overwrite=True, resume=False)
    config = run.config.model_copy(update={"recipe": replace(run.config.recipe, n_clusters=n_clusters)})
    prepared = prepare_data(config, run.preprocessing)
    partial = partial_folder(folder)
    start_again(partial, config)

    def train() -> CMVAE:
        model = CMVAE(prepared.settings)
        # Their number differs: the clusters are new.
        learned = {name: value for name, value in run.model.state_dict().items() if not name.startswith("mixture.")}
        model.load_state_dict({**model.state_dict(), **learned})
        arguments = {"run_dir": partial / TRAINING, "accelerator": config.device, **trainer_arguments}
        config.recipe.train_clusters(model, prepared.data, config.seed, **arguments)
        return model

    return _finish(folder, prepared, train, trainer_arguments, run.log)


def _finish(
    folder: Path,
    prepared: Prepared,
    train: Callable[[], CMVAE],
    trainer_arguments: Mapping[str, Any],
    before: pd.DataFrame | None = None,
) -> Run:
    """Train and write the run, its log after that of ``before``.

    A failure leaves a partial folder where there is a checkpoint to go on from, else nothing.
    """
    partial = partial_folder(folder)
    try:
        with quiet_training(bool(trainer_arguments.get("enable_progress_bar"))), torch.random.fork_rng():
            torch.manual_seed(prepared.config.seed)
            model = train()
        run = _completed(prepared, model, pd.concat([before, read_log(partial / TRAINING)], ignore_index=True))
        write_run(partial, run)
        install(partial, folder)
    except BaseException:
        if not can_resume(partial):
            rmtree(partial, ignore_errors=True)
        raise
    return run


def _completed(prepared: Prepared, model: CMVAE, log: pd.DataFrame) -> Run:
    recipe, data = prepared.config.recipe, prepared.data
    # The paper's criterion is only evaluated, on a copy: started from tight clusters it merges too
    # many.
    copied = CMVAE(model.model_config)
    copied.load_state_dict(model.state_dict())
    h_values = copied.prune_clusters(data, batch_size=min(1024, rows_at_once(model)), rule=recipe.rule)
    order = number_clusters(model, data, recipe.rule, drop_empty=recipe.n_clusters == "auto")
    numbers, probabilities = assign_numbers(model, data, recipe.rule, order)
    metrics = {
        "n_samples": len(data),
        "n_clusters": len(order),
        "sizes": np.bincount(numbers, minlength=len(order)).tolist(),
        "mean_probability": float(probabilities[np.arange(len(numbers)), numbers].mean()),
        "observed": {name: int(mask.sum()) for name, mask in prepared.rows.masks.items()},
        "h_values": [value if np.isfinite(value) else None for value in h_values],
        "epochs": {phase: int(count) for phase, count in log["phase"].value_counts(sort=False).items()},
        "loss": float(log["train/loss"].iloc[-1]),
    }
    samples = samples_table(prepared.rows.ids, numbers, probabilities, prepared.rows.patterns())
    return Run(prepared.config, prepared.preprocessing, model.eval(), order, samples, metrics, log)


def predict_files(run: Run, files: Mapping[str, ModalityFile], out: Path) -> tuple[int, np.ndarray]:
    """Write id, cluster, probability and the modalities seen of the samples in files, in bounded memory.

    Args:
        run: The run.
        files: Modality to file, of any of the run's modalities.
        out: A .csv, .tsv or .parquet file.

    Returns:
        How many samples there are, and how many in each cluster.
    """
    counts = np.zeros(len(run.order), dtype=int)
    with run.preprocessing.join(files) as store, open_rows(out) as append:
        for rows in store.batches(run.preprocessing.chunk_rows):
            data = run.preprocessing.dataset(rows)
            numbers, probabilities = assign_numbers(run.model, data, run.config.recipe.rule, run.order)
            counts += np.bincount(numbers, minlength=len(counts))
            append(samples_table(rows.ids, numbers, probabilities, rows.patterns()))
    return int(counts.sum()), counts


def predict_h5mu(run: Run, files: Mapping[str, ModalityFile], source: Path, out: Path) -> tuple[int, np.ndarray]:
    """Write a copy of an .h5mu file with embedding, clusters and their probabilities of its cells.

    Clusters have the numbers of the run; ``.uns["cmvae"]["active_clusters"]`` tells which of the
    model's each is.

    Args:
        run: The run.
        files: Modality to file, of any of the run's modalities.
        source: The .h5mu file.
        out: The copy.

    Returns:
        How many cells there are, and how many in each cluster.
    """
    rule, ids = run.config.recipe.rule, []
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    with run.preprocessing.join(files) as store:
        for rows in store.batches(run.preprocessing.chunk_rows):
            data = run.preprocessing.dataset(rows)
            numbers, probabilities = assign_numbers(run.model, data, rule, run.order)
            means = latent_means(run.model, data).cpu().numpy()
            parts.append((numbers, probabilities[np.arange(len(numbers)), numbers], means))
            ids += rows.ids
    numbers, probability, embedding = map(np.concatenate, zip(*parts, strict=True))
    codecs = run.preprocessing.codecs.values()
    coding = OmicsCoding(tuple(codec.coded for codec in codecs if isinstance(codec, OmicsCodec)))
    h_values = [np.inf if value is None else value for value in run.metrics["h_values"]]
    account = {**account_of(run.model, coding, rule, h_values), "active_clusters": run.order}
    write_results(source, out, ids, numbers, probability, embedding, account)
    return len(ids), np.bincount(numbers, minlength=len(run.order))
