"""Run folders: where the files of a training go, and the checkpoints to go on from."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

LAST_CHECKPOINT = "last.ckpt"
BEST_CHECKPOINT = "best.ckpt"


class EpochCheckpoints(ModelCheckpoint):
    """Checkpoints after every epoch, and one before the first: there is always one to return to."""

    CHECKPOINT_NAME_LAST = LAST_CHECKPOINT.removesuffix(".ckpt")

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            folder / "checkpoints",
            filename=BEST_CHECKPOINT.removesuffix(".ckpt"),
            monitor=monitor,
            save_last=True,
            save_on_train_epoch_end=monitor.startswith("train") or None,
            enable_version_counter=False,
        )

    def forget_best(self) -> None:
        """Let the next epoch be the best so far, because the loss changes its meaning."""
        self.best_k_models, self.best_model_score, self.best_model_path = {}, None, ""
        self.kth_best_model_path, self.kth_value, self.current_score = (
            "",
            torch.tensor(torch.inf),
            None,
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state that training starts from."""
        super().on_train_start(trainer, pl_module)
        self.last_model_path = str(Path(str(self.dirpath)) / LAST_CHECKPOINT)
        trainer.save_checkpoint(self.last_model_path)


def run_folder(run_dir: str | Path | None, overwrite: bool, resume_from: str | Path | None) -> Path:
    """Return the folder for a run's files: ``run_dir``, or the first free ``cmvae_runs/version_N``.

    Raises:
        ValueError: If it is a file, or holds checkpoints of a run other than the one that goes on.
    """
    if run_dir is None:
        root, number = Path("cmvae_runs"), 0
        while (root / f"version_{number}").exists():
            number += 1
        return root / f"version_{number}"
    folder = Path(run_dir)
    if not str(run_dir) or (folder.exists() and not folder.is_dir()):
        raise ValueError(f"run_dir must be a folder, got {str(run_dir)!r}")
    if any((folder / "checkpoints").glob("*.ckpt")) and not (
        overwrite or _goes_on(resume_from, folder)
    ):
        raise ValueError(
            f"run_dir {folder} holds the checkpoints of another run; pass overwrite=True to replace them"
        )
    return folder


def _goes_on(resume_from: str | Path | None, folder: Path) -> bool:
    return (
        resume_from is not None
        and Path(resume_from).resolve().parent == (folder / "checkpoints").resolve()
    )


def settings_json(model: Any) -> str:
    """Return the settings that a checkpoint and the model that goes on from it must share, as a JSON object."""
    settings = json.loads(model.model_config.to_json())
    for modality, config in getattr(model, "diffusion_configs", {}).items():
        settings[f"diffusion of {modality}"] = json.loads(config.to_json())
    return json.dumps(settings)


def check_checkpoint(path: Path, model: nn.Module) -> None:
    """Refuse a checkpoint that is missing, damaged, or of another model, before anything is changed.

    Raises:
        ValueError: Naming the file.
    """
    if not path.is_file():
        raise ValueError(f"resume_from: no such file: {path}")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        saved, settings = checkpoint["state_dict"], json.loads(checkpoint["cmvae_config"])
    except Exception as error:
        raise ValueError(
            f"resume_from: {path} is no checkpoint, or damaged: {type(error).__name__}"
        ) from error
    own = {f"model.{name}": value for name, value in model.state_dict().items()}
    differing = [name for name in {*own, *saved} if name not in own or name not in saved]
    differing += [name for name in own if name in saved and own[name].shape != saved[name].shape]
    present = json.loads(settings_json(model))
    differing += [name for name in present if settings.get(name) != present[name]]
    if differing:
        raise ValueError(f"resume_from: {path} is of another model: {sorted(differing)[:5]} differ")


def last_checkpoint(trainer: Trainer) -> str:
    """Return the path of the last checkpoint, or ``'none'``."""
    return getattr(trainer.checkpoint_callback, "last_model_path", "") or "none"
