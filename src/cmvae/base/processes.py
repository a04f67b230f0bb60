"""Processes that train one model together: how they were started, and what they tell each other."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from cmvae.base.words import message_of

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")

# Of torchrun and its like, of Open MPI, and of a step of SLURM: how many, and which this one is.
COUNTS = {
    "WORLD_SIZE": "RANK",
    "OMPI_COMM_WORLD_SIZE": "OMPI_COMM_WORLD_RANK",
    "SLURM_STEP_NUM_TASKS": "SLURM_PROCID",
}
FAULTS = (
    *(ValueError, TypeError, KeyError, RuntimeError, ArithmeticError),
    *(OSError, ImportError, MemoryError),
)
"""What one process may find that all are to end with."""
FAULT, DONE = -1, -2  # what a process tells instead of a size

_TOGETHER: ContextVar[bool] = ContextVar("together", default=False)


class FaultElsewhereError(RuntimeError):
    """Another process has found a fault, while this one waited for its part of a step."""


def launched() -> tuple[str, int, int]:
    """Return by which variable this is one of several processes, how many, and which it is.

    ``("WORLD_SIZE", 2, 1)`` is the second of two; ``("", 1, 0)`` one that is alone.
    """
    for name, rank in COUNTS.items():
        count, place = os.environ.get(name, ""), os.environ.get(rank, "")
        if count.isdecimal() and int(count) > 1:
            return name, int(count), int(place) if place.isdecimal() else 0
    return "", 1, 0


def whose() -> str:
    """Return what words of this process begin with, where they are not those of the first one."""
    _, count, place = launched()
    return f"process {place} of {count}: " if place else ""


@contextmanager
def together(number: int) -> Iterator[None]:
    """Let losses over a batch see the batches of all, where several processes take a step."""
    token = _TOGETHER.set(number > 1)
    try:
        yield
    finally:
        _TOGETHER.reset(token)


def are_together() -> bool:
    """Tell whether other processes take the same step, within :func:`together`."""
    return _TOGETHER.get()


def exchange(number: int, device: "torch.device | str") -> list[int]:
    """Return the numbers that all processes tell, in the order of their places."""
    import torch

    own = torch.tensor([number], device=device)
    found = [torch.empty_like(own) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(found, own)
    return torch.cat(found).tolist()


def gather(tensor: "torch.Tensor") -> "tuple[list[torch.Tensor], int]":
    """Return the tensors of all processes without gradients, and the place of the own one.

    They may differ in the size of the last axis but one, as batches do.

    Raises:
        FaultElsewhereError: Where another process has found a fault and has nothing to give.
    """
    import torch

    sizes = exchange(tensor.shape[-2], tensor.device)
    if min(sizes) < 0:
        raise FaultElsewhereError("another process has found a fault")
    padded = tensor.new_zeros(*tensor.shape[:-2], max(sizes), tensor.shape[-1])
    padded[..., : tensor.shape[-2], :] = tensor.detach()
    found = [torch.empty_like(padded) for _ in sizes]
    torch.distributed.all_gather(found, padded)
    parts = [part[..., :size, :] for part, size in zip(found, sizes, strict=True)]
    return parts, torch.distributed.get_rank()


def raise_together(number: int, fault: Exception | None) -> None:
    """Raise a fault, if there is one, in all processes; each of them has to call it.

    Args:
        number: How many there are; one raises its own.
        fault: What this process has found.

    Raises:
        FloatingPointError: Where the first process that found one has one.
        RuntimeError: Likewise, and where memory ran out.
        ValueError: Where it has another fault; that process raises its own.
    """
    if number == 1:
        if fault is not None:
            raise fault
        return
    import torch

    own = fault is not None and not isinstance(fault, FaultElsewhereError)
    found: list[tuple[type[Exception], str] | None] = [None] * number
    kind = _kind(fault)
    torch.distributed.all_gather_object(found, (kind, message_of(fault)) if own and fault else None)
    first = next(((place, *told) for place, told in enumerate(found) if told), None)
    if first is None:
        if fault is not None:
            raise fault
        return
    if own and fault is not None and not isinstance(fault, FloatingPointError):
        raise fault
    place, error, words = first
    raise error(f"process {place} of {number}: {words}") from fault


def _kind(fault: Exception | None) -> type[Exception]:
    """Return the kind of error that other processes raise of a fault, to be made of its words."""
    if isinstance(fault, FloatingPointError):
        return type(fault)
    return RuntimeError if isinstance(fault, RuntimeError | MemoryError) else ValueError


def is_first(number: int) -> bool:
    """Tell whether this is the first of several processes that have met."""
    if number == 1:
        return True
    import torch

    return torch.distributed.get_rank() == 0


def agreed(number: int, work: Callable[[], Result]) -> Result:
    """Do something in all of several processes; where one of them fails, all do."""
    result: Any = None
    fault: Exception | None = None
    try:
        result = work()
    except FAULTS as error:
        fault = error
    raise_together(number, fault)
    return result


def by_first(number: int, work: Callable[[], Result]) -> Result:
    """Return in all of several processes what the first one has done, or raise its fault."""
    if number == 1:
        return work()
    import torch

    done: list[Any] = [agreed(number, work if is_first(number) else lambda: None)]
    torch.distributed.broadcast_object_list(done, src=0)
    return done[0]
