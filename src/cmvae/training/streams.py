"""Data that come as a stream: what can be trained on them, and what is to be said beside."""

from collections import Counter
from collections.abc import Mapping, Sized
from itertools import islice
from typing import Any

from lightning.pytorch import Callback, Trainer
from torch.utils.data import DataLoader, Dataset, IterableDataset

from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.data.reservoirs import drawn_from

ENDS = ("max_steps", "max_time", "fast_dev_run")  # arguments that end a training within an epoch


class Passes(Callback):
    """Refuses streams that give nothing when they are read again, as a generator does."""

    def __init__(self) -> None:
        super().__init__()
        self._batches = Counter[str]()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin to count."""
        self._batches["train_data"] = 0

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Likewise."""
        self._batches["val_data"] = 0

    def on_train_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        self._batches["train_data"] += 1

    def on_validation_batch_end(self, *_: Any) -> None:
        """Likewise."""
        self._batches["val_data"] += 1

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Raise ``ValueError`` where there was no batch."""
        self._check(trainer, "train_data")

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Likewise."""
        self._check(trainer, "val_data")

    def _check(self, trainer: Trainer, argument: str) -> None:
        if not self._batches[argument]:
            raise ValueError(
                f"{argument} gave no batch in epoch {trainer.current_epoch}: each time that a "
                "stream is iterated over it must begin anew, also after the pass in which samples "
                "are drawn for the start of the clusters; make its iterator in __iter__"
            )


def passes_of(*loaders: DataLoader[Any] | None) -> list[Passes]:
    """Return what counts the batches of each pass, where one of the loaders reads a stream."""
    return [Passes()] if any(own is not None and is_stream(own.dataset) for own in loaders) else []


def is_stream(data: Any) -> bool:
    """Tell whether data give their samples one after the other alone, not by place."""
    return isinstance(data, IterableDataset) or (
        isinstance(data, Dataset) and not isinstance(data, Sized)
    )


def check_end(argument: str, loader: DataLoader[Any], trainer: Mapping[str, Any]) -> None:
    """Refuse a stream without a length, of which it is not known when an epoch ends.

    Args:
        argument: The data's name.
        loader: What gives its batches.
        trainer: Arguments of Lightning's trainer.

    Raises:
        ValueError: Naming what says so.
    """
    limit = f"limit_{argument.removesuffix('_data')}_batches"
    given = isinstance(trainer.get(limit), int) or any(trainer.get(name) for name in ENDS)
    if isinstance(loader.dataset, Sized) or given:
        return
    kind = type(loader.dataset).__name__
    raise ValueError(
        f"{argument} is a stream without a length ({kind}), so that it is not known when an epoch "
        f"ends: give {limit}=N, the number of its batches, or the stream a __len__"
    )


def samples_of(
    loader: DataLoader[Any], trainer: Mapping[str, Any], seed: int | None
) -> MultimodalBaseDataset:
    """Return samples drawn from a first pass over a stream, which is an epoch long.

    Args:
        loader: What gives its batches; each time that it is asked, from the start.
        trainer: Arguments of Lightning's trainer.
        seed: Of the draws.

    Raises:
        ValueError: For a stream without samples, or one that has no end.
    """
    limit = trainer.get("limit_train_batches")
    if not isinstance(limit, int) and not isinstance(loader.dataset, Sized):
        raise ValueError(
            "train_data is a stream without a length, from which samples are to be drawn before "
            "the first epoch: give limit_train_batches=N, the number of its batches"
        )
    return drawn_from(islice(loader, limit if isinstance(limit, int) else None), seed or 0)
