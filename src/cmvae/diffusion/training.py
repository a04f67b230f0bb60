"""How Lightning trains the diffusion decoders of a D-CMVAE."""

from typing import Any

import torch
from torch import Generator
from torch.utils.data import IterableDataset

from cmvae.diffusion.dcmvae import DCMVAE
from cmvae.diffusion.library import from_diffusers
from cmvae.training.module import ModelModule


class DCMVAEModule(ModelModule):
    """A D-CMVAE as Lightning trains it; only its denoisers are in the optimiser.

    After every step of the optimiser the averaged weights follow. Validation is that of the
    averaged weights, at the same random steps and noise in every epoch.

    Args:
        model: The model.
        learning_rate: Step size of the default optimiser, Adam.
        optimizer: Parameters → optimiser, instead of the default.
    """

    model: DCMVAE

    def prepare(self, data: Any) -> None:
        """Estimate the scale of the data; a stream is not read for it where all scales are known."""
        known = all(bool(decoder.scaling.known) for _, decoder in self.model.named_decoders())
        if not (known and isinstance(data, IterableDataset)):
            self.model.estimate_scaling(data)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        parameters = list(self.model.denoiser_parameters())
        if self._optimizer is not None:
            return self._optimizer(parameters)
        return torch.optim.Adam(parameters, lr=self.learning_rate)

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Log the loss of a batch, on draws that depend on its place alone."""
        generator = Generator(self.device).manual_seed(batch_index)
        self._step(batch, "val", self.model(batch, generator=generator))

    def on_train_start(self) -> None:
        """Let diffusers' moving average write into the averaged networks."""
        average = from_diffusers("EMAModel", "diffusers.training_utils")
        self._averages = []
        for _, decoder in self.model.named_decoders():
            parameters = list(decoder.denoiser.parameters())
            ema = average(parameters, decay=decoder.config.ema_decay, foreach=True)
            ema.shadow_params = list(decoder.averaged.parameters())
            self._averages.append((ema, parameters))

    def on_train_batch_end(self, *_: Any) -> None:
        """Move the averages after a step of the optimiser; it is counted from the run's start, resumed or not."""
        step = self.trainer.global_step
        for ema, parameters in self._averages:
            if step > ema.optimization_step:
                ema.optimization_step = step - 1
                ema.step(parameters)

    def on_train_end(self) -> None:
        """Drop what is needed in training alone."""
        del self._averages
