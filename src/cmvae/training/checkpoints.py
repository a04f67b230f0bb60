"""The folder of a training: checkpoints to go on from, and the log; read without Lightning."""

import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile, ZipFile

from cmvae.base.arguments import as_path
from cmvae.training.start import PHASES

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

CHECKPOINTS, LOGS = "checkpoints", "logs"
LAST_CHECKPOINT = "last.ckpt"
BEFORE_LAST_CHECKPOINT = "before-last.ckpt"
BEST_CHECKPOINT = "best.ckpt"


def training_folder(
    run_dir: str | Path | None, overwrite: bool, resume_from: str | Path | None
) -> Path:
    """Return ``run_dir``, or the first free ``cmvae_runs/version_N``.

    A file is refused, and a folder with checkpoints of a run other than the one that goes on.
    """
    if run_dir is None:
        root, number = Path("cmvae_runs"), 0
        while (root / f"version_{number}").exists():
            number += 1
        return root / f"version_{number}"
    folder = as_path("run_dir", run_dir)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"run_dir must be a folder, got {str(run_dir)!r}")
    own = (folder / CHECKPOINTS).resolve()
    goes_on = resume_from is not None and Path(resume_from).resolve().parent == own
    if any(own.glob("*.ckpt")) and not (overwrite or goes_on):
        holds = f"run_dir {folder} holds the checkpoints of another run"
        raise ValueError(f"{holds}; pass overwrite=True to replace them")
    return folder


def drop_training(folder: Path) -> None:
    """Remove the checkpoints and the log of a training that another one replaces.

    Or the new one might fall back to the other's checkpoint, or show its epochs.
    """
    names = (LAST_CHECKPOINT, BEFORE_LAST_CHECKPOINT, BEST_CHECKPOINT)
    for path in (*(folder / CHECKPOINTS / name for name in names), *_logs(folder)):
        path.unlink(missing_ok=True)


def _logs(folder: Path) -> list[Path]:
    return list((folder / LOGS).glob("version_*/metrics.csv"))


def can_resume(run_dir: str | Path) -> bool:
    """Tell whether a training's folder has a checkpoint to go on from."""
    folder = Path(run_dir) / CHECKPOINTS
    return any((folder / name).is_file() for name in (LAST_CHECKPOINT, BEFORE_LAST_CHECKPOINT))


def to_resume(run_dir: str | Path) -> Path | None:
    """Return the checkpoint that a training goes on from, None where there is none."""
    return last_checkpoint(run_dir) if can_resume(run_dir) else None


def last_checkpoint(run_dir: str | Path) -> Path:
    """Return where a training's last whole checkpoint is; of the one before the last, warn."""
    last = Path(run_dir) / CHECKPOINTS / LAST_CHECKPOINT
    before = last.with_name(BEFORE_LAST_CHECKPOINT)
    if _is_whole(last) or not _is_whole(before):
        return last
    what = f"{last} is missing or damaged: going on from the checkpoint before, {before.name}"
    warnings.warn(what, stacklevel=2)
    return before


def _is_whole(path: Path) -> bool:
    """Tell whether a checkpoint, which is a zip file, can be read to its end."""
    try:
        with ZipFile(path) as file:
            return file.testzip() is None
    except (OSError, BadZipFile):
        return False


def read_log(run_dir: str | Path) -> "pd.DataFrame":
    """Return what a training logged, a row for each epoch, those of resumed trainings included.

    Columns: ``phase`` (of :data:`cmvae.training.start.PHASES`), ``epoch`` (from 0 in each phase),
    and the terms of the loss. ``ValueError`` where there is no log.
    """
    import pandas as pd

    files = sorted(_logs(Path(run_dir)), key=lambda path: int(path.parent.name[8:]))
    parts = [pd.read_csv(file) for file in files]
    if not parts:
        raise ValueError(f"{run_dir} holds no log of a training")
    # A resumed training logs its first epoch anew; validation has rows of its own.
    log = pd.concat(parts).drop(columns="step").groupby("epoch").last().sort_index(axis=1)
    log = log.reset_index()
    phases = log.pop("phase") if "phase" in log else pd.Series(PHASES.index("clusters"), log.index)
    log["epoch"] = log.groupby(phases).cumcount()
    log.insert(0, "phase", [PHASES[int(number)] for number in phases])
    return log


def settings_of(model: Any) -> dict[str, Any]:
    """Return the settings that a checkpoint and a model that goes on from it share."""
    diffusion = getattr(model, "diffusion_configs", {})
    own = {f"diffusion of {name}": config.to_plain() for name, config in diffusion.items()}
    return model.model_config.to_plain() | own


def check_checkpoint(path: Path, model: "nn.Module") -> None:
    """Refuse a checkpoint that is missing, damaged, or of another model."""
    import torch

    if not path.is_file():
        raise ValueError(f"resume_from: no such file: {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        saved = {name: value.shape for name, value in checkpoint["state_dict"].items()}
        saved = {name: shape for name, shape in saved.items() if name.startswith("model.")}
        settings = json.loads(checkpoint["cmvae_config"])
    except Exception as error:
        what = f"is no checkpoint, or damaged: {type(error).__name__}"
        raise ValueError(f"resume_from: {path} {what}") from error
    own = {f"model.{name}": value.shape for name, value in model.state_dict().items()}
    differing = [name for name in {*own, *saved} if own.get(name) != saved.get(name)]
    present = settings_of(model)
    differing += [name for name in present if settings.get(name) != present[name]]
    if differing:
        raise ValueError(f"resume_from: {path} is of another model: {sorted(differing)[:5]} differ")
