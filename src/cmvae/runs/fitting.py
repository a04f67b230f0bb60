"""Runs trained from files, and trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import pandas as pd

from cmvae.files.join import JoinedRows
from cmvae.runs.folder import (
    TRAINING,
    check_place,
    install,
    partial_folder,
    read_record,
    read_run,
    start_again,
    write_run,
    writing_run,
)
from cmvae.runs.run import Prepared, Run, prepare, train_run
from cmvae.training.checkpoints import can_resume

EARLIER_LOG = "earlier.csv"  # beside the checkpoints: of the trainings that a run has behind it


def fit_run(
    folder: Path,
    prepared: Prepared,
    *,
    resume: bool = False,
    overwrite: bool = False,
    **trainer_arguments: Any,
) -> Run:
    """Train, and put the run in its folder.

    A failure leaves a partial folder where there is a checkpoint to go on from, else nothing.

    Args:
        folder: The run folder; :func:`cmvae.runs.folder.may_write_run` has allowed it.
        prepared: What to train on.
        resume: Go on from the last checkpoint of an interrupted run, or of an interrupted
            :func:`change_clusters` of the run that is in the folder.
        overwrite: Replace the run that is in the folder.
        **trainer_arguments: For :func:`cmvae.fit`.

    Raises:
        ValueError: If another process has put a run there since that was asked.
    """
    partial, before = partial_folder(folder), dict[str, Any]()
    with writing_run(folder):
        check_place(folder, overwrite=overwrite, resume=resume)
        if not resume:
            start_again(partial, prepared.config)
        elif (partial / TRAINING / EARLIER_LOG).is_file():
            before = _what_it_has(read_run(folder))
        return _trained(
            folder,
            lambda run_dir: train_run(
                prepared, run_dir=run_dir, resume=resume, **before, **trainer_arguments
            ),
        )


def change_clusters(
    folder: Path, run: Run, rows: JoinedRows, n_clusters: int, **trainer_arguments: Any
) -> Run:
    """Start another number of clusters where a run's latents lie, train on, and replace the run.

    Networks and likelihoods keep what they have learned.

    Args:
        folder: The run folder, of which :func:`cmvae.runs.folder.may_write_run` was asked.
        run: The run.
        rows: Its samples.
        n_clusters: How many.
        **trainer_arguments: For :func:`cmvae.fit`.

    Raises:
        ValueError: For more clusters than samples, a run that another process has replaced since it
            was read, or an interrupted training of another that would be lost.
    """
    config = run.config.replace(recipe=run.config.recipe.replace(n_clusters=n_clusters))
    prepared = prepare(config, run.preprocessing, rows)
    partial = partial_folder(folder)
    with writing_run(folder):
        _check_still_there(folder, run)
        start_again(partial, config, {f"{TRAINING}/{EARLIER_LOG}": run.log})
        return _trained(
            folder,
            lambda run_dir: train_run(
                prepared, run_dir=run_dir, **_what_it_has(run), **trainer_arguments
            ),
        )


def _check_still_there(folder: Path, run: Run) -> None:
    """Refuse to replace a run by what was made of another, or a training that was interrupted."""
    now, training = read_record(folder), partial_folder(folder) / TRAINING
    if not (now.samples.equals(run.samples) and now.log.equals(run.log)):
        raise ValueError(f"{folder}: another process has replaced the run; begin again")
    if can_resume(training) and not (training / EARLIER_LOG).is_file():
        raise ValueError(
            f"{training.parent} holds an interrupted run: go on with it, or remove it, before the "
            f"clusters of {folder} are changed"
        )


def _what_it_has(run: Run) -> dict[str, Any]:
    """Return what new clusters of a run start from, for :func:`cmvae.runs.run.train_run`."""
    return {"warm": run.model, "latents": run.latents}


def _trained(folder: Path, train: Callable[[Path], Run]) -> Run:
    partial = partial_folder(folder)
    earlier = partial / TRAINING / EARLIER_LOG
    try:
        run = train(partial / TRAINING)
        if earlier.is_file():
            logs = [pd.read_csv(earlier), run.log]
            run = replace(run, log=pd.concat(logs, ignore_index=True))
        write_run(partial, run)
        install(partial, folder)
    except BaseException:
        if not can_resume(partial / TRAINING):
            rmtree(partial, ignore_errors=True)
        raise
    return run
