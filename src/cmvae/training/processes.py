"""Trainings in several processes: whether they are one, and that all end where one has to."""

import os
from pathlib import Path
from typing import Any

from cmvae.base.words import message_of

COUNTS = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE")  # of torchrun and its like, and of Open MPI


def launched() -> str:
    """Say by which variable this is one of several processes: ``WORLD_SIZE is 2``; else nothing."""
    for name in COUNTS:
        count = os.environ.get(name, "")
        if count.isdecimal() and int(count) > 1:
            return f"{name} is {int(count)}"
    return ""


def refuse_to_train_apart(trainer: Any, folder: Path) -> None:
    """Refuse a training that writes files, of which several processes each do one of their own.

    Raises:
        ValueError: Naming the variable that says so, and what to set.
    """
    how = launched()
    if how and trainer.world_size == 1 and (trainer.checkpoint_callbacks or trainer.loggers):
        raise ValueError(
            f"{how}: this is one of several processes, each of which would train a model of its "
            f"own into {folder}; pass devices (how many of them are on a machine) and num_nodes "
            "(how many machines), so that they train one model together, or start one process"
        )


def end_together(trainer: Any, fault: Exception | None) -> None:
    """Raise a fault, if there is one, in all processes of a training that found it or wait for one.

    To be called in all of them at the same step: one that ended alone would leave the others to
    wait for it, and to fail without a name.

    Args:
        trainer: The Lightning trainer.
        fault: What this process has found.

    Raises:
        FloatingPointError: Where the first process that found one has one.
        ValueError: Where it has another fault; that process raises its own.
    """
    number = trainer.world_size
    if number == 1:
        if fault is not None:
            raise fault
        return
    if trainer.strategy.reduce_boolean_decision(fault is None, all=True):
        return
    import torch

    found: list[tuple[type[Exception], str] | None] = [None] * number
    kind = type(fault) if isinstance(fault, FloatingPointError) else ValueError
    torch.distributed.all_gather_object(found, fault and (kind, message_of(fault)))
    if fault is not None and kind is ValueError:
        raise fault
    place, (error, words) = next((place, own) for place, own in enumerate(found) if own)
    raise error(f"process {place} of {number}: {words}") from fault
