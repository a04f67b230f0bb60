"""Whether a model is compiled for its training."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import nn

from cmvae.base.words import shown

Compile = bool | Literal["auto"]

PAYS_FROM = (
    10_000  # steps, after which a minute of compiling is earned back (docs/benchmarks-cost.md)
)
COMPILERS = ("c++", "g++", "clang++", "cl")


def check_compile(value: Compile) -> None:
    """Refuse what is neither True, False nor ``'auto'``."""
    if not (value is True or value is False or value == "auto"):
        raise ValueError(f"compile must be True, False or 'auto', got {shown(value)}")


def pays(loader: Any, epochs: int, arguments: Mapping[str, Any]) -> bool:
    """Tell whether a training is so long, and there is a compiler of C++.

    Args:
        loader: Its batches.
        epochs: How many passes it takes.
        arguments: Those of Lightning's trainer.
    """
    steps = epochs * _batches(loader, arguments.get("limit_train_batches"))
    if (most := arguments.get("max_steps", -1)) >= 0:
        steps = min(steps, most)
    is_trial = bool(arguments.get("fast_dev_run"))
    return steps >= PAYS_FROM and not is_trial and any(map(shutil.which, COMPILERS))


def _batches(loader: Any, limit: int | float | None) -> float:
    """Return how many batches an epoch has, where Lightning takes so many or such a share."""
    try:
        whole = len(loader)
    except TypeError:  # a stream without a length
        return limit if isinstance(limit, int) else 0
    if isinstance(limit, int):
        return min(limit, whole)
    return whole if limit is None else int(limit * whole)


@contextmanager
def compiled(model: nn.Module, is_wanted: bool) -> Iterator[None]:
    """Compile the forward pass of a model inside the block; it is the same object."""
    if not is_wanted:
        yield
        return
    model.compile()
    try:
        yield
    finally:
        model._compiled_call_impl = None
