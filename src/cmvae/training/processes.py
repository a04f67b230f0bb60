"""Trainings in several processes: how they meet, whether they are one, and that all end alike."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmvae.base.processes import (
    DONE,
    FAULT,
    FaultElsewhereError,
    exchange,
    launched,
    raise_together,
)
from cmvae.base.quiet import quiet_training

if TYPE_CHECKING:
    from cmvae.training.devices import Devices


def refuse_to_train_apart(trainer: Any, folder: Path) -> None:
    """Refuse a training that writes files, of which several processes each do one of their own.

    Raises:
        ValueError: Naming the variable that says so, and what to set.
    """
    name, count, _ = launched()
    if name and trainer.world_size == 1 and (trainer.checkpoint_callbacks or trainer.loggers):
        raise ValueError(
            f"{name} is {count}: this is one of several processes, each of which would train a "
            f"model of its own into {folder}; pass devices (how many of them are on a machine) and "
            "num_nodes (how many machines), so that they train one model together, or start one "
            "process"
        )


def meet(where: "Devices") -> None:
    """Wait until all processes of a training are there; start those that nobody has started.

    These run the script of this one from its beginning.

    Args:
        where: Where it trains, resolved.

    Raises:
        ValueError: Where this process cannot start the others, and where the machine was set up
            for another number.
    """
    if where.processes == 1:
        return
    import torch
    from lightning.fabric import Fabric

    if torch.distributed.is_initialized():
        if (there := torch.distributed.get_world_size()) != where.processes:
            raise ValueError(
                f"devices must be {there} in all, as many processes have met before, got "
                f"{where.processes}"
            )
        return
    script = sys.argv[0] if sys.argv else ""
    if not launched()[0] and (hasattr(sys, "ps1") or not Path(script).is_file()):
        raise ValueError(
            f"devices = {where.devices}: each device has a process that starts the script again, "
            "and there is none here: write one and run it, or let the command line or torchrun "
            "start the processes"
        )
    own = {"accelerator": where.kind, "devices": where.devices, "num_nodes": where.num_nodes}
    with quiet_training():
        Fabric(strategy="ddp", **own).launch()


def end_together(trainer: Any, fault: Exception | None) -> None:
    """Raise a fault, if there is one, in all processes of a training that found it or wait for one.

    To be called in all of them at the same step: one that ended alone would leave the others to
    wait for it, and to fail without a name. Those that wait for its part of a loss over all batches
    (:func:`cmvae.base.processes.gather`) hear of it there.

    Args:
        trainer: The Lightning trainer.
        fault: What this process has found.

    Raises:
        FloatingPointError, RuntimeError, ValueError: As
            :func:`cmvae.base.processes.raise_together`.
    """
    if trainer.world_size == 1:
        raise_together(1, fault)
        return
    own = DONE if fault is None else FAULT
    while max(told := exchange(own, trainer.strategy.root_device)) >= 0:
        pass  # others waited amid the step: now they come here too
    if min(told) == max(told) == DONE:
        return
    if fault is None:
        fault = FaultElsewhereError("other processes take other steps than this one")
    raise_together(trainer.world_size, fault)
