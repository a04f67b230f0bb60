"""How Lightning trains the diffusion decoders of a D-CMVAE."""

from typing import Any

from torch import Generator, nn
from torch.utils.data import IterableDataset

from cmvae.base.outputs import ModelOutput
from cmvae.diffusion.library import from_diffusers
from cmvae.training.module import ModelModule


class DCMVAEModule(ModelModule):
    """A D-CMVAE as Lightning trains it: its denoisers, and after each step their averages.

    Validation is that of the averaged weights, at the same random steps and noise in every epoch.
    """

    @property
    def looks_at_data(self) -> bool:
        """Whether a scale of the data is not known."""
        return not all(bool(decoder.scaling.known) for _, decoder in self.model.named_decoders())

    def prepare(self, data: Any) -> None:
        """Estimate the scale of the data, but read no stream where all scales are known."""
        if self.looks_at_data or not isinstance(data, IterableDataset):
            self.model.estimate_scaling(data)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the parameters of the denoisers."""
        return list(self.model.denoiser_parameters())

    def val_output(self, batch: Any, batch_index: int) -> ModelOutput:
        """Return loss and terms of a batch, on draws that depend on its place alone."""
        return self.model(batch, generator=Generator(self.device).manual_seed(batch_index))

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
        """Move the averages after a step of the optimiser, counted from the run's start."""
        step = self.trainer.global_step
        for ema, parameters in self._averages:
            if step > ema.optimization_step:
                ema.optimization_step = step - 1
                ema.step(parameters)

    def on_train_end(self) -> None:
        """Drop what is needed in training alone."""
        del self._averages
