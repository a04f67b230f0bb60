"""Data that come as a stream: what can be trained on them, and what is to be said beside."""

from collections.abc import Mapping, Sized
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, Dataset, IterableDataset

from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.data.reservoirs import drawn_from

ENDS = ("max_steps", "max_time", "fast_dev_run")  # arguments that end a training within an epoch


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
