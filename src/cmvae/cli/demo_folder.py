"""The folder of ``cmvae demo``: its settings, and whether it may be written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from cmvae.base.files import atomic_write, may_write_folder, sole_writer
from cmvae.base.reading import read_json
from cmvae.base.settings import Settings
from cmvae.base.words import listed
from cmvae.training.checkpoints import CHECKPOINTS, LAST_CHECKPOINT, can_resume, drop_training

SETTINGS, METRICS = "settings.json", "metrics.json"
WRITTEN = (
    *(SETTINGS, METRICS, "predictions.csv", "generated.npz"),
    *("model", "figures", "checkpoints", "logs"),
)


class DemoSettings(Settings):
    """What ``cmvae demo`` is run with; see its ``--help``."""

    seed: int = 0
    missing_rate: float = 0.3
    clusters: int = 20
    epochs: int = 35
    warmup_epochs: int = 30


@contextmanager
def writing_demo(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to the folder, where a lock can be beside it."""
    place = folder.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    with sole_writer(place) if os.access(place.parent, os.W_OK) else nullcontext():
        yield


def prepare_folder(
    folder: Path, settings: DemoSettings, *, overwrite: bool, resume: bool
) -> DemoSettings:
    """Make the folder and write the settings; return those to run with, when resumed the earlier.

    Raises:
        ValueError: If the folder holds results that may not be replaced, or no run to resume.
    """
    if overwrite and resume:
        raise ValueError("--overwrite and --resume exclude each other")
    if resume:
        last, missing = folder / CHECKPOINTS / LAST_CHECKPOINT, folder / SETTINGS
        if not missing.is_file() or not can_resume(folder):
            missing = last if missing.is_file() else missing
            raise ValueError(f"--resume: {folder} holds no run to go on with: {missing} is missing")
        try:
            return DemoSettings.from_plain(read_json(folder / SETTINGS))
        except ValueError as error:
            raise ValueError(f"{folder / SETTINGS}: not the settings of a demo: {error}") from None
    if not settings.warmup_epochs < settings.epochs:
        raise ValueError(
            f"--warmup-epochs must be less than --epochs, got {settings.warmup_epochs} and "
            f"{settings.epochs}"
        )
    may_write_folder(
        folder,
        overwrite,
        "the results of a run",
        lambda _: (folder / METRICS).exists() or can_resume(folder),
        beside_others=True,
    )
    _refuse_others(folder)
    (folder / METRICS).unlink(missing_ok=True)
    drop_training(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / SETTINGS) as temporary:
        temporary.write_text(settings.to_json() + "\n", encoding="utf-8")
    return settings


def _refuse_others(folder: Path) -> None:
    """Refuse a folder with files that a demo would replace and that none has written."""
    there = [name for name in WRITTEN if (folder / name).exists()]
    if not there:
        return
    try:
        DemoSettings.from_plain(read_json(folder / SETTINGS))
    except (OSError, ValueError):
        what = f"{folder} holds {listed(there)}, which are of no demo and would be replaced"
        raise ValueError(f"--out: {what}; name another folder") from None
