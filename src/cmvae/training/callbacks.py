"""How a training starts, and what its phases are."""

import copy
import logging
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch import nn

from cmvae.base.processes import by_first
from cmvae.base.words import counted
from cmvae.clusters.consensus import Consensus
from cmvae.clusters.evidence import NumberEvidence
from cmvae.clusters.groups import Groups, Known
from cmvae.data.loading import as_dataset
from cmvae.models.cmvae import CMVAE
from cmvae.training.initialization import collapse_clusters, initialize_clusters
from cmvae.training.memberships import FewRows
from cmvae.training.saving import EpochCheckpoints
from cmvae.training.start import LEAST_GAIN, PHASES, Start, still_falling
from cmvae.training.stopping import Patience

logger = logging.getLogger(__name__)

LEAST_RATE = 0.05  # of the learning rate that training begins with
STATE = ("ended", "started", "least", "waited", "losses", "found")


class CosineDecay(Callback):
    """Lets the learning rate of every parameter fall along half a cosine, to a twentieth.

    It stands still while an alignment goes on for longer than planned, so that decoders and
    clusters learn at the rates that they would have had.

    Args:
        share: The fraction of the steps, above 0 and at most 1, along which it falls at last; up to
            there it keeps its value. Steps of an alignment beyond those planned do not count.

    Raises:
        ValueError: If ``share`` is another number.
    """

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"share must be above 0, and at most 1, got {share}")
        self.share = share

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Set it for the next step."""
        done = trainer.global_step / trainer.estimated_stepping_batches
        for callback in vars(trainer)["callbacks"]:
            if isinstance(callback, StartCallback) and callback.late > 0:
                epoch = trainer.current_epoch + batch_idx / trainer.num_training_batches
                late, planned = callback.late, callback.start.before_clusters
                epoch -= min(max(0.0, epoch - planned), late)
                done = epoch / ((trainer.max_epochs or 1) - late)
        falling = max(0.0, 1 - (1 - min(1.0, done)) / self.share)
        for group in trainer.optimizers[0].param_groups:
            # An optimiser that is resumed brings the rate that it had last.
            group.setdefault("initial_lr", group["lr"])
            fallen = 0.5 * (1 + math.cos(math.pi * falling))
            group["lr"] = group["initial_lr"] * (LEAST_RATE + (1 - LEAST_RATE) * fallen)


class StartCallback(Callback):
    """Carries out how training starts; a resumed training goes on in the phase that it was in.

    The clusters are fitted to ``data``, anything that ``CMVAE.encode`` accepts; further
    options are those of :func:`cmvae.initialize_clusters`. Logs ``phase``, an index into
    :data:`cmvae.training.start.PHASES`.

    Attributes:
        groups: What the clusters started from, once they have.
    """

    def __init__(self, start: Start, data: Any, **options: Any) -> None:
        super().__init__()
        self.start, self.data, self.options = start, data, options
        self.groups: Groups | None = None
        self.ended: int | None = None  # epochs before the clusters, where they are not as planned
        self.found: dict[int, int] = {}  # groups after so many epochs of the alignment
        self.started = False
        self.least, self.waited = math.inf, 0
        self.losses: list[float] = []  # of the epochs before the clusters start
        self._frozen: list[nn.Parameter] = []

    @property
    def before(self) -> int:
        """Epochs before the clusters start, as far as is known."""
        return self.start.before_clusters if self.ended is None else self.ended

    @property
    def late(self) -> int:
        """Epochs that an alignment takes beyond those planned; below 0 if a warm-up ended early."""
        return self.before - self.start.before_clusters

    @property
    def still_falling(self) -> bool:
        """Whether the clusters started by the number of epochs while the loss still fell."""
        planned = self.before if self.start.alignment_epochs else self.start.before_clusters
        return 0 < planned == len(self.losses) and still_falling(self.losses)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training goes on from."""
        own: dict[str, Any] = {name: getattr(self, name) for name in STATE}
        groups = self.groups
        if groups is not None:
            known, consensus = groups.known, groups.consensus
            own["evidence"] = groups.evidence and asdict(groups.evidence)
            own["rows"], own["labels"] = map(torch.from_numpy, (known.rows, groups.labels))
            own["latents"] = [torch.from_numpy(means) for means in known.latents]
            own["consensus"] = consensus and {
                name: torch.from_numpy(value) for name, value in vars(consensus).items()
            }
        return own

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up."""
        for name in set(STATE) & set(state_dict):
            setattr(self, name, state_dict[name])
        if "labels" in state_dict:
            latents = tuple(means.numpy() for means in state_dict["latents"])
            none = np.zeros((0, 0))
            known = Known(state_dict["rows"].numpy(), latents, none, none)
            consensus, evidence = state_dict["consensus"], state_dict["evidence"]
            self.groups = Groups(
                known,
                state_dict["labels"].numpy(),
                consensus and Consensus(**{n: value.numpy() for n, value in consensus.items()}),
                evidence and NumberEvidence(**evidence),
            )

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Make one cluster of all and hold it, unless the clusters have started, or start now."""
        spare = 0 if trainer.max_epochs == 1 else self.start.spare  # of a trial
        self._after = (trainer.max_epochs or 0) - self.start.before_clusters - spare
        # Checkpoints of cmvae 0.1.0 know of no plan.
        self.started = self.started or trainer.current_epoch > self.before
        if spare:
            self._end_later(trainer)
        pl_module.held_out = None
        if self.start.alignment_epochs and self.start.held_out:
            self.options["counted"] = rows = self._held_out()
            pl_module.held_out = torch.from_numpy(rows).to(pl_module.device)
        if self.started or not self.before:
            self._start_clusters(trainer, pl_module)
            return
        pl_module.warming = True
        if trainer.current_epoch == 0:
            collapse_clusters(pl_module.model)
        mixture = pl_module.model.mixture
        self._frozen = [value for value in mixture.parameters() if value.requires_grad]
        mixture.requires_grad_(False)

    def _held_out(self) -> np.ndarray:
        """Return the samples that the alignment does not see, the same ones after a resumption."""
        size = len(as_dataset(self.data))
        drawn = np.random.default_rng(self.start.seed or 0).permutation(size)
        return np.sort(drawn[: int(self.start.held_out * size)])

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start the clusters when their time has come; forget the losses of other objectives."""
        epoch, callbacks = trainer.current_epoch, vars(trainer)["callbacks"]
        if self.start.spare and not self.started:
            self._look(trainer, pl_module)
        if epoch >= self.before and not self.started and self.still_falling:
            logger.info("the loss was still falling when clusters were to start: try more epochs")
        if epoch >= self.before:
            self._start_clusters(trainer, pl_module)
            if self.start.restarts and epoch == self.before + 2 * self.start.reading:
                self._start_clusters(trainer, pl_module, again=True)
        if epoch <= self.before + 2 * self.start.reading:
            kinds = (Patience, EpochCheckpoints) if epoch >= self.before else (Patience,)
            for callback in callbacks:
                if isinstance(callback, kinds):
                    callback.forget_best()
        pl_module.phase = self.start.phase(epoch - self.late, self.started)
        phase = float(PHASES.index(pl_module.phase))
        pl_module.log("phase", phase, on_epoch=True, batch_size=1, sync_dist=True)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Tell the module which of the losses of an alignment this step has."""
        if self.start.alignment_epochs:
            pl_module.encoders_alone, pl_module.views = not self.started, self.start.views
            beta = pl_module.model.model_config.beta
            share = batch_idx / trainer.num_training_batches
            progress = trainer.current_epoch - self.before + share
            pl_module.options = self.start.options(progress, beta) if self.started else {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """End the warm-up where it has not improved for long."""
        if self.started or not self.before:
            return
        loss = float(trainer.callback_metrics["train/loss"])
        self.losses.append(loss)
        if self.start.patience is None:
            return
        if loss + LEAST_GAIN < self.least:
            self.least, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited >= self.start.patience:
            self.ended = trainer.current_epoch + 1

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Say so where training ended within the warm-up."""
        self.thaw()
        if not self.started:
            logger.warning("training ended within the warm-up: the model has a single cluster")

    def _end_later(self, trainer: Trainer) -> None:
        """Let as many epochs as were planned follow those before the clusters."""
        trainer.fit_loop.max_epochs = self.before + self._after

    def _look(self, trainer: Trainer, pl_module: Any) -> None:
        """Let an alignment go on where it finds more groups than two looks before."""
        done, part = trainer.current_epoch, max(1, self.start.before_clusters // 4)
        longest = self.start.before_clusters + self.start.spare
        looks = range(self.before - 2 * part, self.before + 1, part)
        if not done or done not in looks or self.before == longest:
            return
        number = by_first(trainer.world_size, lambda: self._number(pl_module))
        earlier = self.found.get(done - 2 * part, self.found.get(done - part))
        self.found[done] = number
        if done == self.before and (number == 1 or (earlier is not None and number > earlier)):
            self.ended = min(self.before + part, longest)
            self._end_later(trainer)
            logger.info("the alignment goes on: %s", counted(number, "group"))

    def _number(self, pl_module: Any) -> int:
        """Return how many groups there are; the mixture stays as it is."""
        state = copy.deepcopy(pl_module.model.mixture.state_dict())
        options = {**self.start.initialization, "n_clusters": "auto", **self.options}
        try:
            groups = initialize_clusters(pl_module.model, self.data, **options)
        finally:
            pl_module.model.mixture.load_state_dict(state)
        return len(np.unique(groups.labels))

    def thaw(self) -> None:
        """Freeze nothing any longer that was not frozen before training."""
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        self._frozen = []

    def _start_clusters(self, trainer: Trainer, pl_module: Any, again: bool = False) -> None:
        """Start the clusters unless they have, and let as many epochs follow as were planned."""
        pl_module.warming = False
        if again or not self.started:
            self._fit_clusters(trainer, pl_module)
        self.started, self.ended = True, self.before
        self._end_later(trainer)
        if self.groups is not None and self.start.keep:
            wanted = self.groups.memberships_of(len(pl_module.model.mixture.logits))
            places, device = self.groups.known.rows, pl_module.device
            pl_module.memberships = None if wanted is None else FewRows(places, wanted, device)

    def _fit_clusters(self, trainer: Trainer, pl_module: Any) -> None:
        self.thaw()
        state, self.groups = by_first(trainer.world_size, lambda: self._fitted(pl_module))
        pl_module.model.mixture.load_state_dict(state)
        if self.start.fresh_optimizer:
            trainer.strategy.setup_optimizers(trainer)
        logger.info("clusters started after %s", counted(self.before, "epoch"))

    def _fitted(self, pl_module: Any) -> tuple[dict[str, torch.Tensor], Groups]:
        """Return the state of a mixture fitted to the latents, and the groups it started from."""
        model: CMVAE = pl_module.model
        companions = [companion.model for companion in pl_module.companions]
        options: dict[str, Any] = {**self.start.initialization, **self.options}
        groups = initialize_clusters(model, self.data, companions=companions, **options)
        first = self.groups if self.start.initial_clusters == "auto" else None
        before = 0 if first is None else len(np.unique(first.labels))
        if first is not None and len(np.unique(groups.labels)) < before:
            # Groups that modalities agreed on once are there, also where encoders that change, or
            # have learned others by heart since, show fewer.
            options["n_clusters"] = min(before, groups.known.n_different)
            groups = initialize_clusters(model, self.data, companions=companions, **options)
            groups = replace(groups, evidence=first.evidence)
        return {name: value.cpu() for name, value in model.mixture.state_dict().items()}, groups
