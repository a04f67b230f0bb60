"""Training through Lightning: the module around a CMVAE, its warm-up, and :func:`fit`."""

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cmvae.arguments import positive_int
from cmvae.data.batches import collate
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.diffusion.dcmvae import DCMVAE
from cmvae.initialization import check_number, collapse_clusters, initialize_clusters
from cmvae.model import CMVAE
from cmvae.modules import ModelModule, NonFiniteLossError
from cmvae.outputs import ModelOutput
from cmvae.runs import EpochCheckpoints, check_checkpoint, last_checkpoint, run_folder

__all__ = ["CMVAEModule", "NonFiniteLossError", "WarmUp", "fit"]

logger = logging.getLogger(__name__)


class CMVAEModule(ModelModule):
    """A CMVAE as Lightning trains it; terms as :meth:`cmvae.CMVAE.forward` names them.

    Args:
        model: The model.
        learning_rate: Step size of the default optimiser, Adam with amsgrad, as in the paper.
        optimizer: Parameters → optimiser, instead of the default.
    """

    model: CMVAE

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        if self._optimizer is not None:
            return self._optimizer(self.model.parameters())
        return torch.optim.Adam(self.model.parameters(), lr=self.learning_rate, amsgrad=True)

    def _nonfinite_terms(self, batch: Any, output: ModelOutput) -> list[str]:
        """Name the terms that are not finite; encoders come first: what is wrong there spreads to every term."""
        experts = self.model._experts(self.model._read(batch))
        terms = []
        for i, name in enumerate(self.model.modalities):
            for term, scale, loc in (
                (f"q(z|x_{name})", experts.scale[i], experts.loc[i]),
                (f"q(w|x_{name})", experts.style_scale[i], experts.style_loc[i]),
            ):
                if not bool((scale.log().isfinite() & loc.isfinite()).all()):
                    terms.append(term)
        return terms or super()._nonfinite_terms(batch, output)

    def _summary(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the terms of the loss summed over modalities."""
        shown = {name: terms[name] for name in ("loss", "log_p_z", "log_q_z", "log_p_w", "log_q_w")}
        for kind in ("self", "cross"):
            shown[kind] = torch.stack([v for name, v in terms.items() if name.startswith(f"{kind}_log_")]).sum()
        return shown


class WarmUp(Callback):
    """Train with a single cluster first, then start the clusters where the latent means lie.

    A mixture with random centres, trained from the start, settles in poor clusters; VaDE (Jiang et al., 2017)
    starts it from a mixture fitted to the latents of a model trained without one.

    Args:
        epochs: Epochs with a single cluster, fixed at zero with scale 1.
        data: The samples the clusters are fitted to, anything that ``CMVAE.encode`` accepts.
        n_clusters: How many start, as in :func:`cmvae.initialize_clusters`.
        seed: Seed of the fit.
    """

    def __init__(
        self, epochs: int, data: Any, n_clusters: int | Literal["auto"] | None = None, seed: int | None = None
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.data = data
        self.n_clusters = n_clusters
        self.seed = seed
        self._trained: list[nn.Parameter] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make one cluster of all, unless training is resumed."""
        model = cast(CMVAEModule, pl_module).model
        if trainer.current_epoch == 0:
            collapse_clusters(model)
        if trainer.current_epoch < self.epochs:
            self._trained = [parameter for parameter in model.mixture.parameters() if parameter.requires_grad]
            self._train_mixture(False)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clusters when the warm-up is over."""
        if trainer.current_epoch == self.epochs:
            model = cast(CMVAEModule, pl_module).model
            self._train_mixture(True)
            initialize_clusters(model, self.data, self.n_clusters, seed=self.seed)
            # On several devices each has fitted clusters of its own: those of the first count.
            started = {name: value.cpu() for name, value in model.mixture.state_dict().items()}
            model.mixture.load_state_dict(trainer.strategy.broadcast(started))
            logger.info("clusters started after %d epochs of warm-up", self.epochs)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave nothing frozen that was not, and say so where training ended within the warm-up."""
        self._train_mixture(True)
        if trainer.current_epoch < self.epochs:
            logger.warning("training ended within the warm-up: the model has a single cluster")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave nothing frozen that was not."""
        self._train_mixture(True)

    def _train_mixture(self, trained: bool) -> None:
        for parameter in self._trained:
            parameter.requires_grad_(trained)


def fit(
    model: CMVAE | DCMVAE,
    train_data: Any,
    val_data: Any = None,
    *,
    max_epochs: int = 100,
    warmup_epochs: int = 0,
    initial_clusters: int | Literal["auto"] | None = None,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    optimizer: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer] | None = None,
    seed: int | None = None,
    run_dir: str | Path | None = None,
    resume_from: str | Path | None = None,
    overwrite: bool = False,
    callbacks: Iterable[Callback] | None = None,
    **trainer_arguments: Any,
) -> Trainer:
    """Train a CMVAE, or the diffusion decoders of a D-CMVAE.

    After every epoch the run folder gets ``checkpoints/last.ckpt`` and, when the validation loss (without
    validation data, the training loss) is the lowest yet, ``checkpoints/best.ckpt``; ``logs`` gets the terms of
    the loss as CSV. The model holds the last weights. A D-CMVAE's scale of the data is estimated on ``train_data``.

    Args:
        model: The model; its networks are set to training mode, those of a frozen CMVAE excepted.
        train_data: A dataset, {modality: tensor}, or a ``DataLoader``.
        val_data: Likewise; evaluated after every epoch.
        max_epochs: Epochs in all, a resumed run's first ones included.
        warmup_epochs: So many of them with a single cluster, after which :func:`initialize_clusters` starts the
            clusters on ``train_data``; 0 trains all clusters from where they are. Not for a D-CMVAE.
        initial_clusters: How many clusters start after the warm-up: a number, ``'auto'``, or None for all.
        batch_size: Samples per step, where the data are no ``DataLoader``.
        learning_rate: Step size of Adam, for a CMVAE with amsgrad.
        optimizer: Parameters → optimiser, instead of it.
        seed: Seeds PyTorch, NumPy and Python: the same seed, model and machine give the same weights.
        run_dir: Where files go; by default the first free ``cmvae_runs/version_N``.
        resume_from: A checkpoint of an earlier ``fit``, whose training goes on. Lightning reads it with
            ``weights_only=True``: nothing but tensors and plain values is unpickled.
        overwrite: Allow a ``run_dir`` that holds the checkpoints of another run.
        callbacks: Lightning callbacks beside those of this function.
        **trainer_arguments: Anything that ``lightning.pytorch.Trainer`` takes.

    Returns:
        The Lightning trainer; ``trainer.checkpoint_callback.best_model_path`` and ``last_model_path`` name the
        checkpoints, ``trainer.callback_metrics`` has the last epoch's figures.

    Raises:
        ValueError: For an argument out of its range, or a ``run_dir`` that holds results.
        TypeError: For an argument of a wrong type, or one that the trainer does not know.
        NonFiniteLossError: When the loss or a parameter stops being finite.
        KeyboardInterrupt: After an interruption; the last checkpoint stands.
    """
    module = _module(model, learning_rate, optimizer)
    positive_int("max_epochs", max_epochs)
    _check_warmup(model, warmup_epochs, max_epochs, initial_clusters)
    train_loader = _loader("train_data", train_data, batch_size, shuffle=True)
    val_loader = None if val_data is None else _loader("val_data", val_data, batch_size, shuffle=False)
    if resume_from is not None:
        check_checkpoint(Path(resume_from), getattr(model, "_orig_mod", model))
    folder = run_folder(run_dir, overwrite, resume_from)
    data = train_data.dataset if isinstance(train_data, DataLoader) else train_data
    module.prepare(data)
    if seed is not None:
        seed_everything(seed, verbose=False)
    model.train()
    own: list[Callback] = []
    if trainer_arguments.get("enable_checkpointing", True):
        own.append(EpochCheckpoints(folder, "train/loss" if val_loader is None else "val/loss"))
    if warmup_epochs:
        own.append(WarmUp(warmup_epochs, data, initial_clusters, seed))
    arguments = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, **trainer_arguments}
    arguments.setdefault("logger", CSVLogger(folder, name="logs"))
    if "default_root_dir" in arguments:
        raise TypeError("default_root_dir is set by run_dir: pass that")
    try:
        trainer = Trainer(
            max_epochs=max_epochs, default_root_dir=folder, callbacks=[*own, *(callbacks or ())], **arguments
        )
    except MisconfigurationException as error:
        raise ValueError(f"the trainer refuses its arguments: {error}") from error
    if isinstance(trainer.strategy, DDPStrategy):
        # The networks of a modality that a batch lacks have no gradients there.
        trainer.strategy._ddp_kwargs.setdefault("find_unused_parameters", True)
    with _interruptible(trainer):
        trainer.fit(module, train_loader, val_loader, ckpt_path=resume_from, weights_only=True)
    return trainer


def _module(model: CMVAE | DCMVAE, learning_rate: float, optimizer: Any) -> ModelModule:
    """Return the Lightning module for a model, which may be compiled."""
    kind = type(getattr(model, "_orig_mod", model))
    if issubclass(kind, CMVAE):
        return CMVAEModule(model, learning_rate, optimizer)
    if issubclass(kind, DCMVAE):
        from cmvae.diffusion.training import DCMVAEModule

        return DCMVAEModule(model, learning_rate, optimizer)
    raise TypeError(f"model must be a CMVAE or DCMVAE, got {type(model).__name__}")


def _check_warmup(model: CMVAE | DCMVAE, epochs: Any, max_epochs: int, initial_clusters: Any) -> None:
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, CMVAE):
        check_number(model, initial_clusters, "initial_clusters")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 0 <= epochs < max_epochs:
        raise ValueError(f"warmup_epochs must be an integer from 0 to max_epochs - 1, got {epochs!r}")
    if isinstance(model, DCMVAE) and (epochs or initial_clusters is not None):
        raise ValueError("warmup_epochs and initial_clusters start clusters; those of a DCMVAE are frozen: leave them")


class _Batches(Dataset[ModelOutput]):
    """A dataset whose batches are read by one indexing operation per tensor, not sample by sample."""

    def __init__(self, dataset: MultimodalBaseDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> ModelOutput:
        return self.dataset.batch(indices)


def _loader(argument: str, data: Any, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    loader = _make_loader(argument, data, batch_size, shuffle)
    if hasattr(loader.dataset, "__len__") and len(loader) == 0:
        raise ValueError(f"{argument} gives no batch: it holds no samples, or fewer than a whole batch is dropped")
    return loader


def _make_loader(argument: str, data: Any, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    if isinstance(data, DataLoader):
        return data
    if isinstance(data, Mapping) and isinstance(data.get("data"), Mapping):
        data = IncompleteDataset(data["data"], data.get("masks") or {}, data.get("labels"))
    elif isinstance(data, Mapping):
        data = MultimodalBaseDataset(data)
    size = positive_int("batch_size", batch_size)
    if isinstance(data, Dataset) and hasattr(data, "__len__") and len(data) == 0:
        raise ValueError(f"{argument} holds no samples")
    if isinstance(data, MultimodalBaseDataset):
        return DataLoader(_Batches(data), batch_size=size, shuffle=shuffle, collate_fn=_as_it_is)
    if isinstance(data, Dataset):
        return DataLoader(data, batch_size=size, shuffle=shuffle, collate_fn=collate)
    raise TypeError(f"{argument} must be a dataset, a mapping or a DataLoader, got {type(data).__name__}")


def _as_it_is(batch: Any) -> Any:
    return batch


@contextmanager
def _interruptible(trainer: Trainer) -> Iterator[None]:
    """Turn the exit that Lightning makes of Ctrl-C back into ``KeyboardInterrupt``."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt(f"training interrupted; last checkpoint: {last_checkpoint(trainer)}") from None
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
