"""Run folders: what a run leaves, written as a whole or not at all, and read only where it is unharmed."""

import hashlib
import json
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import sklearn
import torch

import cmvae
from cmvae.models.pretrained import CONFIG_NAME, WEIGHTS_NAME
from cmvae.base.files import atomic_write
from cmvae.preprocessing.preprocessing import Preprocessing
from cmvae.models.cmvae import CMVAE
from cmvae.training.recipe import CLUSTERS, WARMUP
from cmvae.runs.config import RunConfig
from cmvae.training.checkpoints import LAST_CHECKPOINT

VERSION = 1
MANIFEST = "manifest.json"
CONFIG, PREPROCESSING, METRICS, SAMPLES = "config.yaml", "preprocessing.json", "metrics.json", "clusters.csv"
LOG, VERSIONS, MODEL = "log.csv", "versions.json", "model"
PAGE = "report.html"  # made on request; of no other run than that in the folder
FILES = (CONFIG, PREPROCESSING, METRICS, SAMPLES, LOG, VERSIONS, f"{MODEL}/{CONFIG_NAME}", f"{MODEL}/{WEIGHTS_NAME}")
TRAINING = "training"  # checkpoints, until the run is complete


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        config: What it was made from.
        preprocessing: How files become the model's inputs.
        model: The model.
        order: The active clusters in the order of their numbers.
        samples: id, cluster, probability and modalities of the training samples.
        metrics: Figures of the run.
        log: The terms of the loss, a row for each epoch.
    """

    config: RunConfig
    preprocessing: Preprocessing
    model: CMVAE
    order: np.ndarray
    samples: pd.DataFrame
    metrics: dict[str, Any]
    log: pd.DataFrame


def partial_folder(folder: Path) -> Path:
    """Return where a run is until it is complete: beside its folder.

    Raises:
        ValueError: For a folder that is not given by a name.
    """
    if not folder.name:
        raise ValueError(f"a run folder must be given by its name, got {str(folder)!r}")
    target = link_target(folder)
    return target.with_name(target.name + ".partial")


def prepare(folder: Path, *, overwrite: bool, resume: bool) -> Path:
    """Check that a run may be written, and return its partial folder; nothing is made or changed.

    Raises:
        ValueError: If the folder is a file, holds results or something else that may not be
            replaced, or there is nothing to resume.
    """
    partial = partial_folder(folder)
    if overwrite and resume:
        raise ValueError("--overwrite and --resume exclude each other")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out must be a folder, got the file {folder}")
    if resume and not (partial / CONFIG).is_file():
        raise ValueError(f"--resume: no interrupted run to go on with: {partial / CONFIG} is missing")
    if resume:
        return partial
    has_results = folder.is_dir() and any(folder.iterdir())
    if has_results and not (folder / MANIFEST).is_file():
        raise ValueError(f"--out {folder} holds something else than a run; name another folder")
    if has_results and not overwrite:
        raise ValueError(f"--out {folder} holds the results of a run; pass --overwrite to replace them")
    if partial.exists() and not overwrite:
        raise ValueError(f"{partial} holds an interrupted run; pass --resume to go on with it, --overwrite to drop it")
    return partial


def start_again(partial: Path, config: RunConfig) -> None:
    """Make an empty partial folder that holds the run's config, so that it can be resumed."""
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _write_text(partial / CONFIG, config.to_yaml())


def write_run(partial: Path, run: Run) -> None:
    """Write the files of a run, the manifest last."""
    _write_text(partial / CONFIG, run.config.to_yaml())
    _write_text(partial / PREPROCESSING, run.preprocessing.to_json() + "\n")
    _write_text(partial / METRICS, json.dumps(run.metrics, indent=1) + "\n")
    _write_text(partial / VERSIONS, json.dumps(_versions(), indent=1) + "\n")
    for name, table in ((SAMPLES, run.samples), (LOG, run.log)):
        with atomic_write(partial / name) as temporary:
            table.to_csv(temporary, index=False)
    run.model.save_pretrained(partial / MODEL)
    content = {
        "version": VERSION,
        "order": run.order.tolist(),
        "files": {name: _digest(partial / name) for name in FILES},
    }
    _write_text(partial / MANIFEST, json.dumps(content, indent=1) + "\n")


def install(partial: Path, folder: Path) -> None:
    """Put a complete run in its place; a run that was there before is whole until then.

    Of the folder before, what is no part of the run stays, but its page. Checkpoints go last: where
    the run cannot be put there, it can be resumed.
    """
    folder = link_target(folder)
    old = folder.with_name(folder.name + ".old")
    replaces = folder.exists()
    if replaces:
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    try:
        partial.rename(folder)
    except OSError:
        if replaces:
            old.rename(folder)
        raise
    shutil.rmtree(folder / TRAINING, ignore_errors=True)
    if replaces:
        own = {MANIFEST, PAGE, MODEL, *FILES}
        for path in old.iterdir():
            if path.name not in own:
                path.rename(folder / path.name)
        shutil.rmtree(old, ignore_errors=True)


def read_run(folder: Path) -> Run:
    """Read a run.

    Raises:
        ValueError: If the folder holds none, one of another version, or files that are missing or
            altered.
    """
    if not folder.is_dir():
        raise ValueError(f"no such run folder: {folder}")
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{folder} is no run folder, or not complete: {MANIFEST} is missing")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        version, hashes, order = manifest["version"], dict(manifest["files"]), np.array(manifest["order"], dtype=int)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"{folder / MANIFEST} is damaged: {error}") from None
    if version != VERSION:
        raise ValueError(f"{folder} is a run folder of version {version!r}; this cmvae reads version {VERSION}")
    for name in FILES:
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: the file is missing from the run folder")
        if _digest(folder / name) != hashes.get(name):
            raise ValueError(f"{folder / name}: the file was altered since the run was written")
    model = CMVAE.from_pretrained(folder / MODEL)
    active = model.active_clusters.nonzero().flatten().tolist()
    if order.ndim != 1 or sorted(order.tolist()) != active:
        raise ValueError(f"{folder / MANIFEST} is damaged: order must hold the active clusters {active}")
    return Run(
        RunConfig.read(folder / CONFIG),
        Preprocessing.from_json((folder / PREPROCESSING).read_text(encoding="utf-8")),
        model,
        order,
        pd.read_csv(folder / SAMPLES, dtype={"id": str, "modalities": str}, keep_default_na=False),
        json.loads((folder / METRICS).read_text(encoding="utf-8")),
        pd.read_csv(folder / LOG),
    )


def read_log(training: Path) -> pd.DataFrame:
    """Return the logs of both trainings, a row for each epoch of each."""
    parts = []
    for phase, name in ((WARMUP, "warm-up"), (CLUSTERS, "clusters")):
        files = sorted((training / phase / "logs").glob("version_*/metrics.csv"), key=lambda p: int(p.parent.name[8:]))
        if files:
            # A resumed training logs its epochs anew.
            rows = pd.concat([pd.read_csv(file) for file in files]).drop_duplicates("epoch", keep="last")
            parts.append(rows.sort_values("epoch").assign(phase=name).drop(columns="step"))
    log = pd.concat(parts, ignore_index=True)
    return log[["phase", "epoch", *(name for name in log if name not in ("phase", "epoch"))]]


def can_resume(partial: Path) -> bool:
    """Tell whether a partial folder has a checkpoint to go on from."""
    return any((partial / TRAINING).glob(f"*/checkpoints/{LAST_CHECKPOINT}"))


def samples_table(
    ids: Sequence[str], numbers: np.ndarray, probabilities: np.ndarray, patterns: Sequence[str]
) -> pd.DataFrame:
    """Return id, cluster, its probability and the modalities seen of n samples.

    Args:
        ids: n ids.
        numbers: Clusters, (n,).
        probabilities: Those of all clusters, (n, C).
        patterns: n names of modalities joined by +.
    """
    chosen = probabilities[np.arange(len(numbers)), numbers].round(6)
    return pd.DataFrame({"id": ids, "cluster": numbers, "probability": chosen, "modalities": patterns})


def _versions() -> dict[str, str]:
    packages = (cmvae, torch, lightning, np, pd, sklearn)
    return {"python": platform.python_version(), **{package.__name__: package.__version__ for package in packages}}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_text(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
