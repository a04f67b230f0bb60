"""A model as Lightning trains it: steps, logging, checkpoints, and stopping at a bad loss."""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset, Subset

from cmvae.base.arguments import positive_float
from cmvae.base.outputs import ModelOutput
from cmvae.base.processes import FAULTS, together
from cmvae.likelihoods import learned_scales
from cmvae.models.cmvae import CMVAE
from cmvae.models.inference import nonfinite_experts, read_batch
from cmvae.models.views import other_views, without_rows
from cmvae.networks.shifted import shifts_of
from cmvae.training.checkpoints import settings_of
from cmvae.training.memberships import FewRows
from cmvae.training.processes import end_together
from cmvae.training.progress import TrainingProgress
from cmvae.training.random_states import put_back, states_of_all

KEEPING_WEIGHT = 10.0  # of the cross entropy with memberships, beside the objective
FLOOR = -1e4  # of log p(c|z), −∞ for clusters that are pruned
NO_ROWS = (
    "the batches of train_data do not say which samples they hold, so that clusters are not kept "
    "near to the groups that they started from: pass the dataset itself and batch_size, let "
    "batches hold the places of their samples in the dataset as 'rows' beside 'data', or choose "
    "Start(keep=False)"
)
SCALE_RATE = 10.0  # learning rates that the logarithm of a scale moves by in a step


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite; the message names the terms and the last good checkpoint."""


class ModelModule(LightningModule):
    """Logs the loss and its terms, averaged over the epoch, as ``train/NAME`` and ``val/NAME``.

    The model, called with a batch, returns a scalar ``loss`` and ``metrics``; the default optimiser
    is Adam.

    Attributes:
        means: The terms of the last epoch of training, as they are logged.
        last_loss: The loss of the last step, (), as a progress bar shows it.
        phase: What the training is at, in a word, where it has phases.
        schedule: Optimiser → scheduler of its learning rate, stepped after every epoch.
        logs_rate: Whether the learning rate is logged, as ``learning_rate``.
        judged_by: The loss that a schedule may look at.
    """

    amsgrad = False
    phase = ""
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    logs_rate = False
    judged_by = "train/loss"

    @property
    def looks_at_data(self) -> bool:
        """Whether :meth:`prepare` has to look at samples."""
        return False

    def __init__(
        self,
        model: Any,
        learning_rate: float = 1e-3,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.learning_rate = positive_float("learning_rate", learning_rate)
        self._optimizer = optimizer
        self._sums: dict[str, dict[str, tuple[Any, int]]] = {"train": {}, "val": {}}
        self.means: dict[str, Any] = {}
        self.last_loss: Tensor | None = None
        self._fault: Exception | None = None  # of validation
        self.seed_of_draws: int | None = None

    def setup(self, stage: str) -> None:
        """Let each of several processes draw by itself; weights and order of samples are alike."""
        if self.seed_of_draws is not None:
            torch.manual_seed(self.seed_of_draws + self.trainer.global_rank)

    def on_fit_start(self) -> None:
        """Tell loggers the settings of the model; beside the CSV file they are in checkpoints."""
        for logger in self.trainer.loggers:
            if not isinstance(logger, CSVLogger):
                known = {**settings_of(self.model), "learning_rate": self.learning_rate}
                logger.log_hyperparams(known)

    def prepare(self, data: Any) -> None:
        """Learn from the training data what has to be known before the first step."""

    def trained_parameters(self) -> Iterable[nn.Parameter]:
        """Return what the optimiser moves."""
        return self.parameters()

    def train_output(self, batch: Any) -> ModelOutput:
        """Return loss and terms of a batch to learn from."""
        return self.model(batch)

    def val_output(self, batch: Any, batch_index: int) -> ModelOutput:
        """Return loss and terms of a batch of validation."""
        return self.model(batch)

    def configure_optimizers(self) -> Any:
        """Return the optimiser, with the schedule of its learning rate where there is one."""
        optimizer = self.make_optimizer()
        if self.schedule is None:
            return optimizer
        how = {"scheduler": self.schedule(optimizer), "monitor": self.judged_by}
        return {"optimizer": optimizer, "lr_scheduler": how}

    def make_optimizer(self) -> Optimizer:
        """Return the optimiser."""
        own = partial(Adam, lr=self.learning_rate, amsgrad=self.amsgrad)
        return (self._optimizer or own)(self.trained_parameters())

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss of a batch; :class:`NonFiniteLossError` where it is not finite."""
        with together(self.trainer.world_size):
            output, fault = self._output(batch, lambda: self.train_output(batch))
        end_together(self.trainer, fault)
        assert output is not None
        self._add("train", batch, output)
        self.last_loss = output.loss.detach()
        if not isinstance(self.trainer.progress_bar_callback, TrainingProgress | None):
            self.log("loss", self.last_loss, prog_bar=True, logger=False, batch_size=1)
        last = self.trainer.global_step + 1 == self.trainer.max_steps
        if self.trainer.is_last_batch or last:
            self.means = self._log_means("train")
        return self.total_loss(batch, output)

    def total_loss(self, batch: Any, output: ModelOutput) -> Tensor:
        """Return what a step goes down by, given the loss and terms that are logged."""
        loss: Tensor = output.loss
        return loss

    def validation_step(self, batch: Any, batch_index: int) -> None:
        """Keep the loss of a batch; processes may have different numbers of these batches."""
        output, fault = self._output(batch, lambda: self.val_output(batch, batch_index))
        if self.trainer.world_size == 1:
            end_together(self.trainer, fault)
        self._fault = self._fault or fault
        if output is not None:
            self._add("val", batch, output)

    def on_validation_epoch_end(self) -> None:
        """Log the loss; or raise in all processes what one of them has found."""
        fault, self._fault = self._fault, None
        end_together(self.trainer, fault)
        self._log_means("val")

    def _output(
        self, batch: Any, make: Callable[[], ModelOutput]
    ) -> tuple[ModelOutput | None, Exception | None]:
        """Return loss and terms of a batch, or what is wrong with them."""
        try:
            output = make()
            if bool(torch.isfinite(output.loss)):
                return output, None
            bad = ", ".join(self._nonfinite_terms(batch, output)) or "none but their sum"
        except FAULTS as error:
            return None, error
        what = f"the loss is {float(output.loss.detach())} in epoch {self.current_epoch}"
        return None, self._nonfinite(f"{what}; terms that are not finite: {bad}")

    def _add(self, stage: str, batch: Any, output: ModelOutput) -> None:
        """Add the terms of a batch to the sums of an epoch.

        Lightning's own means cost as much as the step of a small model.
        """
        metrics = {name: value.detach().float() for name, value in output.metrics.items()}
        terms = {"loss": output.loss.detach(), **metrics}
        size = len(next(iter(batch.get("data", batch).values())))
        for name, value in terms.items():
            total, weight = self._sums[stage].get(name, (0.0, 0))
            self._sums[stage][name] = total + value * size, weight + size

    def _log_means(self, stage: str) -> dict[str, Any]:
        """Log the means of an epoch's terms over the samples of all processes; return them."""
        sums, self._sums[stage] = self._sums[stage], {}
        if self.trainer.world_size > 1:
            sums = _added(sums, self.trainer.world_size)
        means = {f"{stage}/{name}": total / weight for name, (total, weight) in sums.items()}
        if self.logs_rate and stage == "train":
            means["learning_rate"] = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict(means, on_step=False, on_epoch=True, batch_size=1, sync_dist=True)
        return means

    @torch.no_grad()
    def _nonfinite_terms(self, batch: Any, output: ModelOutput) -> list[str]:
        return [name for name, value in output.metrics.items() if not bool(torch.isfinite(value))]

    def _nonfinite(self, what: str) -> NonFiniteLossError:
        """Return the error, which names the checkpoint to return to."""
        return NonFiniteLossError(f"{what}; last good checkpoint: {checkpoint_of(self.trainer)}")

    def on_train_epoch_end(self) -> None:
        """Refuse to go on, and to overwrite a good checkpoint, once a parameter is not finite."""
        named = self.model.named_parameters()
        bad = [name for name, value in named if not bool(torch.isfinite(value).all())]
        if bad:
            what = f"parameters became NaN or infinite in epoch {self.current_epoch}"
            raise self._nonfinite(f"{what}: {bad[:5]}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the random generator's state: a resumed run draws what the whole one would have."""
        checkpoint["cmvae_config"] = json.dumps(settings_of(self.model))
        if self.trainer.world_size > 1:
            checkpoint["rng_states"] = states_of_all(self.trainer.world_size)
        checkpoint["rng_state"] = torch.get_rng_state()
        if torch.cuda.is_available():
            checkpoint["cuda_rng_state"] = torch.cuda.get_rng_state_all()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the random generator back; of another number of processes, draw anew in each."""
        if self.trainer.world_size > 1:
            states = checkpoint.get("rng_states", ())
            if len(states) == self.trainer.world_size:
                put_back(states[self.trainer.global_rank])
            return
        if "rng_state" in checkpoint:
            torch.set_rng_state(checkpoint["rng_state"].cpu())
        if "cuda_rng_state" in checkpoint and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([state.cpu() for state in checkpoint["cuda_rng_state"]])


class CMVAEModule(ModelModule):
    """A CMVAE as Lightning trains it; terms as :meth:`cmvae.CMVAE.forward` names them.

    Args:
        model: The model.
        learning_rate: Step size of the default optimiser, Adam with amsgrad, as in the paper.
        optimizer: Parameters → optimiser, instead of the default.

    Attributes:
        options: Arguments of ``CMVAE.forward`` in training, which a callback may set:
            ``{"beta": 0.5}``.
        encoders_alone: Train by ``CMVAE.align`` instead.
        views: Whether alignment sees images moved and noisy (:mod:`cmvae.models.views`).
        held_out: Places in the dataset, (r,), of samples that it does not see; None: it sees all.
        companions: Models that warm up beside it (:mod:`cmvae.training.companions`).
        warming: Whether they do now.
        memberships: What a callback wants p(c|z) to keep to of samples, looked up by their places
            in the dataset: (B, C), rows that sum to 1 or are all 0 where it wants nothing; None:
            nothing at all.
    """

    model: CMVAE
    amsgrad = True

    @property
    def looks_at_data(self) -> bool:
        """Whether it is to be learned how covariates occur."""
        return self.model.covariates is not None

    def make_optimizer(self) -> Optimizer:
        """Return the optimiser; the default one lets learned scales follow their residuals.

        What covariates add to columns has likewise far to go before anything else is learned.
        A scale is one number whose best value changes by orders of magnitude while decoders learn;
        Adam moves its logarithm by at most one learning rate a step. It takes ``SCALE_RATE`` of
        them here, and without amsgrad, which would remember the steepest step for ever. On a
        CPU one fused kernel takes the place of a dozen for each parameter.
        """
        if self._optimizer is not None:
            return super().make_optimizer()
        scales = [*learned_scales(self), *shifts_of(self)]
        own = {id(scale) for scale in scales}
        others = [value for value in self.trained_parameters() if id(value) not in own]
        groups: list[dict[str, Any]] = [{"params": others}]
        if scales:
            rate = SCALE_RATE * self.learning_rate
            groups.append({"params": scales, "lr": rate, "amsgrad": False})
        return Adam(groups, lr=self.learning_rate, amsgrad=self.amsgrad, fused=self._fuses)

    @property
    def _fuses(self) -> bool | None:
        """True where Adam takes one fused kernel; it needs dense weights, and no mixed precision.

        With that Lightning does not clip gradients of a fused optimiser.
        """
        mixed = self._trainer is not None and "mixed" in str(self.trainer.precision)
        layouts = (torch.contiguous_format, torch.channels_last)
        dense = all(
            any(value.is_contiguous(memory_format=layout) for layout in layouts)
            for value in self.trained_parameters()
        )
        return True if self.device.type == "cpu" and dense and not mixed else None

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.options: dict[str, float] = {}
        self.encoders_alone = self.views = False
        self.held_out: Tensor | None = None
        self.companions: nn.ModuleList = nn.ModuleList()
        self.warming = False
        self.memberships: Tensor | FewRows | None = None
        self._told = False

    def prepare(self, data: Any) -> None:
        """Learn how covariates occur; warn of encoders that do not see which cells are missing."""
        if self.model.covariates is not None and isinstance(data, Dataset | Mapping):
            self.model.fit_covariates(data)
        while isinstance(data, Subset):
            data = data.dataset
        cells = data.get("cells") if isinstance(data, Mapping) else getattr(data, "cells", None)
        held = [m for m in cells or {} if m in self.model.encoders]
        blind = [m for m in held if not getattr(self.model.encoders[m], "sees_cells", False)]
        if blind:
            way = f"CMVAEConfig(missing_cells={blind}) builds such; of your own set sees_cells"
            what = f"modalities {blind} have missing cells, their encoders do not see which"
            warnings.warn(f"{what}: {way}", stacklevel=3)

    def train_output(self, batch: Any) -> ModelOutput:
        """Return loss and terms of a batch to learn from, by the objective or the alignment."""
        if self.encoders_alone:
            return self.model.align(self._views(batch))
        others = "alignment" in self.options and (self.views or self.held_out is not None)
        more: dict[str, Any] = {"views": self._views(batch)} if others else {}
        if self.memberships is not None:
            more["return_experts"] = True
        return self.model(batch, **self.options, **more)

    def _views(self, batch: Any) -> Any:
        shapes = self.model.model_config.input_dims or {}
        if self.held_out is not None:
            batch = without_rows(batch, self.held_out)
        return other_views(batch, shapes) if self.views else batch

    def total_loss(self, batch: Any, output: ModelOutput) -> Tensor:
        """Return the loss of a batch, with those of companions and of memberships to keep."""
        loss = super().total_loss(batch, output)
        if self.warming:
            with together(self.trainer.world_size):
                read = read_batch(self.model, batch)
                for companion in self.companions:
                    loss = loss + companion(read)
        if self.memberships is not None:
            loss = loss + KEEPING_WEIGHT * self._parting(batch, output, self.memberships)
        return loss

    def _parting(
        self, batch: Any, output: ModelOutput, memberships: Tensor | FewRows
    ) -> Tensor | float:
        """Return the mean cross entropy of p(c|z) with the memberships of a batch's rows."""
        # Of a plain mapping, 'rows' is a modality.
        rows = batch.get("rows") if isinstance(batch.get("data"), Mapping) else None
        if rows is None:
            if not self._told:
                warnings.warn(NO_ROWS, stacklevel=2)
            self._told = True
            return 0.0
        means = output.experts.mean
        log_p = self.model.mixture.log_joint(means).log_softmax(-1).clamp_min(FLOOR)
        return -(memberships[rows].to(log_p) * log_p).sum() / len(log_p)

    def predict_step(self, batch: Any, batch_index: int) -> dict[str, Tensor]:
        """Return clusters and probabilities of a batch, and which samples they are of, ``rows``.

        Of several processes each has others of the samples (``Trainer.predict``).
        """
        found = self.model.predict_clusters(batch)
        places = {"rows": batch["rows"]} if "rows" in batch else {}
        return {**places, "clusters": found.clusters, "probabilities": found.probabilities}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on without companions where a training had none, as those of cmvae 0.1.0."""
        super().on_load_checkpoint(checkpoint)
        if self._optimizer is None:  # it may have been another device
            states = checkpoint.get("optimizer_states", ())
            for group in [group for state in states for group in state["param_groups"]]:
                group["fused"] = self._fuses
        if not any(name.startswith("companions.") for name in checkpoint["state_dict"]):
            self.companions = nn.ModuleList()

    @torch.no_grad()
    def _nonfinite_terms(self, batch: Any, output: ModelOutput) -> list[str]:
        """Name what is not finite; encoders come first, from which it spreads to every term."""
        return nonfinite_experts(self.model, batch) or super()._nonfinite_terms(batch, output)


def _added(sums: dict[str, tuple[Any, int]], number: int) -> dict[str, tuple[Any, int]]:
    """Return sums of terms, and of their weights, over all processes."""
    own = {name: (float(total), weight) for name, (total, weight) in sums.items()}
    found: list[dict[str, tuple[float, int]]] = [{} for _ in range(number)]
    torch.distributed.all_gather_object(found, own)
    names = dict.fromkeys(name for part in found for name in part)
    parts = {name: [part[name] for part in found if name in part] for name in names}
    return {n: (sum(t for t, _ in own), sum(w for _, w in own)) for n, own in parts.items()}


def checkpoint_of(trainer: Any) -> str:
    """Return the path of a Lightning trainer's last checkpoint, or ``'none'``."""
    return getattr(trainer.checkpoint_callback, "last_model_path", "") or "none"
