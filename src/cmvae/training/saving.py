"""Checkpoints as training writes them: whole or not at all, the last two kept."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from cmvae.base.files import atomic_write
from cmvae.training.checkpoints import (
    BEFORE_LAST_CHECKPOINT,
    BEST_CHECKPOINT,
    CHECKPOINTS,
    LAST_CHECKPOINT,
)


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints beside their place, on its filesystem, and keeps the one before the last.

    Lightning writes them through the system's temporary folder, which may be full or elsewhere.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        """Write a checkpoint; ``OSError`` where that fails, and the last ones are as they were."""
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as temporary:
            # Through Python's file, which tells why it cannot be written.
            with temporary.open("wb") as file:
                try:
                    torch.save(checkpoint, file)
                except RuntimeError as error:  # over what the file, or Ctrl-C, has raised
                    raise error.__context__ or error from None
            if place.name == LAST_CHECKPOINT and place.is_file():
                os.replace(place, place.with_name(BEFORE_LAST_CHECKPOINT))


class EpochCheckpoints(ModelCheckpoint):
    """Checkpoints after every epoch, and one before the first: there is always one to return to.

    Each knows the terms that were logged last: Lightning writes them after the checkpoint, so that
    the log of a run that was killed in between would lack them.
    """

    CHECKPOINT_NAME_LAST = LAST_CHECKPOINT.removesuffix(".ckpt")

    def __init__(self, folder: Path, monitor: str) -> None:
        super().__init__(
            folder / CHECKPOINTS,
            filename=BEST_CHECKPOINT.removesuffix(".ckpt"),
            monitor=monitor,
            save_last=True,
            save_on_train_epoch_end=monitor.startswith("train") or None,
            enable_version_counter=False,
        )
        self.logged: dict[str, float] = {}
        self._random_state: torch.Tensor | None = None

    def forget_best(self) -> None:
        """Let the next epoch be the best so far, because the loss changes its meaning."""
        self.best_k_models, self.best_model_score, self.best_model_path = {}, None, ""
        self.kth_best_model_path, self.current_score = "", None
        self.kth_value = torch.tensor(torch.inf)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training goes on from."""
        return {**super().state_dict(), "logged": self.logged}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        super().load_state_dict(state_dict)
        self.logged = state_dict.get("logged", {})

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remember the random state before the first batch is drawn; log what may not have been.

        Here, as a training that had come to its end does not start again.
        """
        self._random_state = torch.get_rng_state()
        for logger in trainer.loggers if self.logged else ():
            logger.log_metrics(self.logged, trainer.global_step)
            logger.save()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the state that training starts from."""
        super().on_train_start(trainer, pl_module)
        self.last_model_path = str(Path(str(self.dirpath)) / LAST_CHECKPOINT)
        with torch.random.fork_rng(devices=[]):
            if self._random_state is not None:
                torch.set_rng_state(self._random_state)
            trainer.save_checkpoint(self.last_model_path)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch's terms, and save its checkpoints."""
        every, own = trainer.callback_metrics, getattr(pl_module, "means", {})
        # Lightning's metrics are those of earlier epochs too.
        current = [name for name in every if name in own or name.startswith(("val/", "phase"))]
        found = {name: float(every[name]) for name in current}
        self.logged = {"epoch": trainer.current_epoch, **found}
        super().on_train_epoch_end(trainer, pl_module)

    def _save_topk_checkpoint(self, trainer: Trainer, monitor_candidates: dict[str, Any]) -> None:
        super()._save_topk_checkpoint(trainer, monitor_candidates)
        # Or Lightning would write the last checkpoint after the best epochs alone.
        self._last_global_step_saved = trainer.global_step
