"""Training through Lightning: the module around a CMVAE, and :func:`fit`."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import collate
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.diffusion.dcmvae import DCMVAE
from cmvae.models.cmvae import CMVAE
from cmvae.training.checkpoints import (
    EpochCheckpoints,
    check_checkpoint,
    last_checkpoint,
    run_folder,
)
from cmvae.training.initialization import check_number
from cmvae.training.module import ModelModule
from cmvae.training.warmup import Alignment, WarmUp


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
    """

    model: CMVAE

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.options: dict[str, float] = {}
        self.encoders_alone = False

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss of a batch.

        Raises:
            NonFiniteLossError: If it is not finite.
        """
        output = (
            self.model.align(batch) if self.encoders_alone else self.model(batch, **self.options)
        )
        return self._step(batch, "train", output)

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
        names = ("loss", "alignment", "log_p_z", "log_q_z", "log_p_w", "log_q_w")
        shown = {name: terms[name] for name in names if name in terms}
        for kind in ("self", "cross"):
            parts = [value for name, value in terms.items() if name.startswith(f"{kind}_log_")]
            shown |= {kind: torch.stack(parts).sum()} if parts else {}
        return shown


def fit(
    model: CMVAE | DCMVAE,
    train_data: Any,
    val_data: Any = None,
    *,
    max_epochs: int = 100,
    warmup_epochs: int = 0,
    alignment_epochs: tuple[int, int] | None = None,
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

    After every epoch the run folder gets ``checkpoints/last.ckpt`` and, when the validation loss
    (without validation data, the training loss) is the lowest yet, ``checkpoints/best.ckpt``;
    ``logs`` gets the terms of the loss as CSV. The model holds the last weights. A D-CMVAE's scale
    of the data is estimated on ``train_data``.

    Args:
        model: The model; its networks are set to training mode, those of a frozen CMVAE excepted.
        train_data: A dataset, {modality: tensor}, or a ``DataLoader``.
        val_data: Likewise; evaluated after every epoch.
        max_epochs: Epochs in all, a resumed run's first ones included.
        warmup_epochs: So many of them with a single cluster, after which
            :func:`initialize_clusters` starts the clusters on ``train_data``; 0 trains all clusters
            from where they are. Not for a D-CMVAE.
        alignment_epochs: Instead, for modalities that share little but the cluster, such as images
            of the same class: epochs in which the encoders alone learn what modalities share, after
            which the clusters start, and epochs in which decoders learn to read it
            (:class:`cmvae.training.warmup.Alignment`); in as many more β rises.
        initial_clusters: How many clusters start after the warm-up: a number, ``'auto'``, or None
            for all.
        batch_size: Samples per step, where the data are no ``DataLoader``.
        learning_rate: Step size of Adam, for a CMVAE with amsgrad.
        optimizer: Parameters → optimiser, instead of it.
        seed: Seeds PyTorch, NumPy and Python: the same seed, model and machine give the same
            weights.
        run_dir: Where files go; by default the first free ``cmvae_runs/version_N``.
        resume_from: A checkpoint of an earlier ``fit``, whose training goes on. Lightning reads it
            with ``weights_only=True``: nothing but tensors and plain values is unpickled.
        overwrite: Allow a ``run_dir`` that holds the checkpoints of another run.
        callbacks: Lightning callbacks beside those of this function.
        **trainer_arguments: Anything that ``lightning.pytorch.Trainer`` takes.

    Returns:
        The Lightning trainer; ``trainer.checkpoint_callback.best_model_path`` and
        ``last_model_path`` name the checkpoints, ``trainer.callback_metrics`` has the last epoch's
        figures.

    Raises:
        ValueError: For an argument out of its range, or a ``run_dir`` that holds results.
        TypeError: For an argument of a wrong type, or one that the trainer does not know.
        NonFiniteLossError: When the loss or a parameter stops being finite.
        KeyboardInterrupt: After an interruption; the last checkpoint stands.
    """
    module = _module(model, learning_rate, optimizer)
    positive_int("max_epochs", max_epochs)
    _check_warmup(model, warmup_epochs, max_epochs, initial_clusters)
    _check_alignment(model, alignment_epochs, max_epochs, warmup_epochs)
    train_loader = _loader("train_data", train_data, batch_size, shuffle=True)
    val_loader = (
        None if val_data is None else _loader("val_data", val_data, batch_size, shuffle=False)
    )
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
    if alignment_epochs is not None:
        own.append(Alignment(alignment_epochs, data, initial_clusters, seed))
    arguments = {"num_sanity_val_steps": 0, "log_every_n_steps": 1, **trainer_arguments}
    arguments.setdefault("logger", CSVLogger(folder, name="logs"))
    if "default_root_dir" in arguments:
        raise TypeError("default_root_dir is set by run_dir: pass that")
    try:
        trainer = Trainer(
            max_epochs=max_epochs,
            default_root_dir=folder,
            callbacks=[*own, *(callbacks or ())],
            **arguments,
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


def _check_warmup(
    model: CMVAE | DCMVAE, epochs: Any, max_epochs: int, initial_clusters: Any
) -> None:
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, CMVAE):
        check_number(model, initial_clusters, "initial_clusters")
    if isinstance(epochs, bool) or not isinstance(epochs, int) or not 0 <= epochs < max_epochs:
        raise ValueError(
            f"warmup_epochs must be an integer from 0 to max_epochs - 1, got {epochs!r}"
        )
    if isinstance(model, DCMVAE) and (epochs or initial_clusters is not None):
        raise ValueError(
            "warmup_epochs and initial_clusters start clusters; those of a DCMVAE are frozen: leave them"
        )


def _check_alignment(
    model: CMVAE | DCMVAE, epochs: Any, max_epochs: int, warmup_epochs: int
) -> None:
    if epochs is None:
        return
    if isinstance(getattr(model, "_orig_mod", model), DCMVAE):
        raise ValueError("alignment_epochs align experts; those of a DCMVAE are frozen: leave it")
    if len(model.modalities) < 2:
        raise ValueError(
            f"alignment_epochs align modalities with each other, the model has only {model.modalities}"
        )
    numbers = list(epochs) if isinstance(epochs, Sequence) and not isinstance(epochs, str) else []
    if len(numbers) != 2 or any(
        isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in numbers
    ):
        raise ValueError(f"alignment_epochs must be two positive integers, got {epochs!r}")
    if numbers[0] + 2 * numbers[1] >= max_epochs:
        least = numbers[0] + 2 * numbers[1] + 1
        raise ValueError(
            f"alignment_epochs = {tuple(numbers)} need max_epochs of at least {least}, got {max_epochs}"
        )
    if warmup_epochs:
        raise ValueError(
            f"warmup_epochs = {warmup_epochs} and alignment_epochs are two ways to begin: give one"
        )


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
        raise ValueError(
            f"{argument} gives no batch: it holds no samples, or fewer than a whole batch is dropped"
        )
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
    raise TypeError(
        f"{argument} must be a dataset, a mapping or a DataLoader, got {type(data).__name__}"
    )


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
        raise KeyboardInterrupt(
            f"training interrupted; last checkpoint: {last_checkpoint(trainer)}"
        ) from None
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler)
