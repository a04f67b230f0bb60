"""How training begins: before the clusters start, and before the objective stands alone."""

import logging
from typing import Any, Literal, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from cmvae.models.cmvae import CMVAE
from cmvae.training.checkpoints import EpochCheckpoints
from cmvae.training.initialization import collapse_clusters, initialize_clusters

logger = logging.getLogger(__name__)

ALIGNMENT_WEIGHT = 100.0
ALIGNMENT_BETA = 1.0


class WarmUp(Callback):
    """Train with a single cluster first, fixed at zero with scale 1; then start the clusters where the latents lie.

    A mixture with random centres, trained from the start, settles in poor clusters; VaDE (Jiang et
    al., 2017) starts it from a mixture fitted to the latents of a model trained without one.

    Args:
        epochs: So many epochs.
        data: The samples the clusters are fitted to, anything that ``CMVAE.encode`` accepts.
        n_clusters: How many start, as in :func:`cmvae.initialize_clusters`.
        seed: Seed of the fit.
    """

    method: Literal["spectral", "shared"] = "spectral"

    def __init__(
        self,
        epochs: int,
        data: Any,
        n_clusters: int | Literal["auto"] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.data = data
        self.n_clusters = n_clusters
        self.seed = seed
        self._trained: list[nn.Parameter] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make one cluster of all, unless training is resumed."""
        model = _model(pl_module)
        if trainer.current_epoch == 0:
            collapse_clusters(model)
        if trainer.current_epoch < self.epochs:
            self._trained = [
                parameter for parameter in model.mixture.parameters() if parameter.requires_grad
            ]
            self._train_mixture(False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clusters when their time has come."""
        if trainer.current_epoch == self.epochs:
            model = _model(pl_module)
            self._train_mixture(True)
            initialize_clusters(
                model, self.data, self.n_clusters, method=self.method, seed=self.seed
            )
            # On several devices each has fitted clusters of its own: those of the first count.
            started = {name: value.cpu() for name, value in model.mixture.state_dict().items()}
            model.mixture.load_state_dict(trainer.strategy.broadcast(started))
            logger.info("clusters started after %d epochs of warm-up", self.epochs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave nothing frozen that was not, and say so where training ended within the warm-up."""
        self._train_mixture(True)
        # The clusters start with the epoch after the warm-up: until then as many epochs are over,
        # or fewer.
        if trainer.current_epoch <= self.epochs:
            logger.warning("training ended within the warm-up: the model has a single cluster")

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave nothing frozen that was not."""
        self._train_mixture(True)

    def _train_mixture(self, trained: bool) -> None:
        for parameter in self._trained:
            parameter.requires_grad_(trained)


class Alignment(WarmUp):
    """Let the shared latent learn what modalities share before decoders can use it; then the objective alone.

    Where modalities share little but the cluster, as images of the same class do, the objective
    leaves z unused for thousands of steps: no decoder can read it, so no encoder learns to write
    it. Here

    1. for some epochs the encoders learn by :func:`cmvae.models.alignment.alignment_loss` alone,
       and the clusters start, ``'auto'`` of them being as many as modalities agree on;
    2. for some more, decoders, private latents and clusters learn by the objective with β at most
       1, the shared latent by the alignment alone;
    3. for as many again β rises to its value; from there on the objective is the model's own.

    Args:
        epochs: Epochs of 1 and of 2.
        data: The samples the clusters are fitted to.
        n_clusters: How many start.
        seed: Seed of that fit.
    """

    method = "shared"

    def __init__(
        self,
        epochs: tuple[int, int],
        data: Any,
        n_clusters: int | Literal["auto"] | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(epochs[0], data, n_clusters, seed)
        self.reading = epochs[1]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Tell the module which of the steps this is."""
        module = cast(Any, pl_module)
        after = trainer.current_epoch - self.epochs
        module.encoders_alone = after < 0
        module.options = {}
        if 0 <= after < 2 * self.reading:
            beta = _model(pl_module).model_config.beta
            start = min(ALIGNMENT_BETA, beta)
            risen = max(0.0, (after + batch_idx / trainer.num_training_batches) / self.reading - 1)
            module.options["beta"] = start + risen * (beta - start)
        if 0 <= after < self.reading:
            module.options["alignment"] = ALIGNMENT_WEIGHT

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clusters; forget the losses of other objectives."""
        super().on_train_epoch_start(trainer, pl_module)
        checkpoints = trainer.checkpoint_callback
        if trainer.current_epoch <= self.epochs + 2 * self.reading and isinstance(
            checkpoints, EpochCheckpoints
        ):
            checkpoints.forget_best()


def _model(module: LightningModule) -> CMVAE:
    return cast(CMVAE, module.model)
