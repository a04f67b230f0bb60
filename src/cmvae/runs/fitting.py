"""Runs trained from files, and trained on."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from shutil import rmtree
from typing import Any

import pandas as pd

from cmvae.base.processes import agreed, by_first, is_first, raise_together
from cmvae.files.join import JoinedRows
from cmvae.runs.folder import (
    REPLACED,
    SAMPLES,
    TRAINING,
    check_target,
    install,
    may_write_run,
    partial_folder,
    read_record,
    read_run,
    start_again,
    write_run,
    writing_run,
)
from cmvae.runs.refining import with_decoders
from cmvae.runs.run import Prepared, Run, prepare, train_run
from cmvae.training.checkpoints import can_resume
from cmvae.training.processes import meet

EARLIER_LOG = "earlier.csv"  # beside the checkpoints: of the trainings that a run has behind it


def fit_run(
    folder: Path,
    prepared: Prepared,
    *,
    overwrite: bool = False,
    resume: bool = False,
    tell: Callable[[str], None] | None = None,
    **trainer_arguments: Any,
) -> Run:
    """Train, its diffusion decoders too, and put the run in its folder.

    A failure leaves a partial folder where there is a checkpoint to go on from, else nothing.

    Of several processes each trains, on samples that all have read alike, and the first one writes.

    Args:
        folder: The run folder; :func:`cmvae.runs.folder.may_write_run` has allowed it.
        prepared: What to train on.
        overwrite: Replace the run in the folder, or drop one that was interrupted.
        resume: Go on from the last checkpoint of an interrupted run, or of an interrupted
            :func:`change_clusters` of the run that is in the folder.
        tell: Is told, in a line, which diffusion decoder is trained.
        **trainer_arguments: For :func:`cmvae.fit`.

    Raises:
        ValueError: If another process writes the run, or has done so.
    """
    partial, where = partial_folder(folder), prepared.config.where.resolve()
    meet(where)

    def begin() -> dict[str, Any]:
        if is_first(where.processes):
            held.enter_context(writing_run(folder))
            check_target(folder, overwrite=overwrite, resume=resume)
            if not resume:
                start_again(partial, prepared.config)
        if resume and (partial / TRAINING / EARLIER_LOG).is_file():
            return _what_it_has(read_run(folder))
        return {}

    with ExitStack() as held:
        before = agreed(where.processes, begin) | {"resume": resume, **trainer_arguments}
        return _trained(folder, prepared, before, tell, **trainer_arguments)


def check_alike(number: int, prepared: Prepared) -> None:
    """Refuse samples that several processes have not read alike, as from another copy of a file.

    Raises:
        ValueError: In all of them.
    """
    if number == 1:
        return
    read = sha256()
    told = (prepared.config.to_yaml(), prepared.preprocessing.to_json())
    known = prepared.rows.covariates.values()
    for text in chain(told, prepared.rows.ids, *known):
        read.update(f"{text}\n".encode("utf-8", "surrogatepass"))
    own, fault = read.hexdigest(), None
    if own != by_first(number, lambda: own):
        fault = ValueError("it has read other samples than process 0: all need the same files")
    raise_together(number, fault)


def may_change_clusters(folder: Path) -> None:
    """Refuse to change a run beside which another training was interrupted, which would be lost.

    Raises:
        ValueError: Naming where it is; or as :func:`cmvae.runs.folder.may_write_run`.
    """
    may_write_run(folder, overwrite=True, resume=False)
    _check_no_other(folder)


def _check_no_other(folder: Path) -> None:
    from cmvae.training.checkpoints import can_resume

    training = partial_folder(folder) / TRAINING
    if can_resume(training) and not (training / EARLIER_LOG).is_file():
        raise ValueError(
            f"{training.parent} holds an interrupted run, which is to replace this one; fit it "
            "with resume=True, or remove it"
        )


def _check_unchanged(folder: Path, run: Run) -> None:
    """Refuse a folder where others have put another run since one was read."""
    now = read_record(folder)
    same = (now.metrics == run.metrics, now.samples.equals(run.samples), now.log.equals(run.log))
    if not all(same):
        raise ValueError(f"{folder} {REPLACED}")


def change_clusters(
    folder: Path, run: Run, rows: JoinedRows, n_clusters: int, **trainer_arguments: Any
) -> Run:
    """Start another number of clusters where a run's latents lie, train on, and replace the run.

    Networks and likelihoods keep what they have learned.

    Args:
        folder: The run folder; :func:`may_change_clusters` has allowed it.
        run: The run.
        rows: Its samples.
        n_clusters: How many.
        **trainer_arguments: For :func:`cmvae.fit`.

    Raises:
        ValueError: For more clusters than samples, and where the run is no longer in the folder.
    """
    config = run.config.replace(recipe=run.config.recipe.replace(n_clusters=n_clusters))
    prepared = prepare(config, run.preprocessing, rows)
    partial = partial_folder(folder)
    with writing_run(folder):
        _check_unchanged(folder, run)
        _check_no_other(folder)
        start_again(partial, config, {f"{TRAINING}/{EARLIER_LOG}": run.log})
        return _trained(
            folder, prepared, {**_what_it_has(run), **trainer_arguments}, **trainer_arguments
        )


def _what_it_has(run: Run) -> dict[str, Any]:
    """Return what new clusters of a run start from, for :func:`cmvae.runs.run.train_run`."""
    return {"warm": run.model, "latents": run.latents}


def _trained(
    folder: Path,
    prepared: Prepared,
    options: dict[str, Any],
    tell: Callable[[str], None] | None = None,
    **trainer_arguments: Any,
) -> Run:
    """Train a run with options of :func:`train_run`, then its decoders; put it in its folder."""
    partial, is_writer = partial_folder(folder), is_first(prepared.config.where.processes)
    earlier = partial / TRAINING / EARLIER_LOG
    try:
        listing = partial / SAMPLES if prepared.rows.are_read_later else None
        run = train_run(prepared, run_dir=partial / TRAINING, listing=listing, **options)
        run = with_decoders(run, prepared, partial / TRAINING, tell, **trainer_arguments)
        if not is_writer:
            return run
        if earlier.is_file():
            logs = [pd.read_csv(earlier), run.log]
            run = replace(run, log=pd.concat(logs, ignore_index=True))
        write_run(partial, run)
        install(partial, folder)
    except BaseException:
        if is_writer and not can_resume(partial / TRAINING):
            rmtree(partial, ignore_errors=True)
        raise
    return run
