"""What every model shares as Lightning trains it: steps, logging, checkpoints, and stopping at a bad loss."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from cmvae.base.arguments import positive_float
from cmvae.base.outputs import ModelOutput
from cmvae.training.checkpoints import last_checkpoint, settings_json


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite; the message names the terms, and the last good checkpoint."""


class ModelModule(LightningModule):
    """A model as Lightning trains it.

    Logs the loss and every term of it, averaged over the epoch, as ``train/NAME`` and ``val/NAME``.

    Args:
        model: The model; called with a batch, it returns a scalar ``loss`` and ``metrics``.
        learning_rate: Step size of the default optimiser.
        optimizer: Parameters → optimiser, instead of the default.
    """

    def __init__(
        self,
        model: Any,
        learning_rate: float = 1e-3,
        optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate = positive_float("learning_rate", learning_rate)
        self._optimizer = optimizer

    def prepare(self, data: Any) -> None:
        """Learn from the training data what has to be known before the first step."""

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            NonFiniteLossError: If it is not finite.
        """
        return self._step(batch, "train", self.model(batch))

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Log the loss of a batch."""
        self._step(batch, "val", self.model(batch))

    def _step(self, batch: Any, stage: str, output: ModelOutput) -> Tensor:
        if not bool(torch.isfinite(output.loss)):
            raise NonFiniteLossError(self._blame(batch, output))
        size = _batch_size(batch)
        terms = {
            "loss": output.loss.detach(),
            **{name: value.float() for name, value in output.metrics.items()},
        }
        logged = {f"{stage}/{k}": v for k, v in terms.items()}
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=size, sync_dist=True)
        if stage == "train":
            self.log_dict(self._summary(terms), prog_bar=True, logger=False, batch_size=size)
        return output.loss

    def _summary(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return what the progress bar shows."""
        return dict(terms)

    @torch.no_grad()
    def _blame(self, batch: Any, output: ModelOutput) -> str:
        """Name the terms that are not finite, and the checkpoint to return to."""
        terms = self._nonfinite_terms(batch, output)
        return (
            f"the loss is {float(output.loss.detach())} in epoch {self.current_epoch}; terms that are not finite: "
            f"{', '.join(terms) or 'none but their sum'}; last good checkpoint: {last_checkpoint(self.trainer)}"
        )

    def _nonfinite_terms(self, batch: Any, output: ModelOutput) -> list[str]:
        return [name for name, value in output.metrics.items() if not bool(torch.isfinite(value))]

    def on_train_epoch_end(self) -> None:
        """Refuse to go on, and to overwrite a good checkpoint, once a parameter is not finite."""
        bad = [
            name
            for name, value in self.model.named_parameters()
            if not bool(torch.isfinite(value).all())
        ]
        if bad:
            raise NonFiniteLossError(
                f"parameters became NaN or infinite in epoch {self.current_epoch}: {bad[:5]}; "
                f"last good checkpoint: {last_checkpoint(self.trainer)}"
            )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the random generator, so that a resumed run draws what the whole one would have."""
        checkpoint["cmvae_config"] = settings_json(self.model)
        checkpoint["rng_state"] = torch.get_rng_state()
        if torch.cuda.is_available():
            checkpoint["cuda_rng_state"] = torch.cuda.get_rng_state_all()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the random generator back."""
        if "rng_state" in checkpoint:
            torch.set_rng_state(checkpoint["rng_state"].cpu())
        if "cuda_rng_state" in checkpoint and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in checkpoint["cuda_rng_state"]])


def _batch_size(batch: Any) -> int:
    data = batch.get("data", batch)
    return len(next(iter(data.values())))
