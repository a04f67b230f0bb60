"""Processes that are forked off this one, into which its other threads do not come along."""

import os
from collections.abc import Callable

import torch


def at_fork(call: Callable[[], object]) -> None:
    """Call something in all processes that are forked off later."""
    if hasattr(os, "register_at_fork"):  # there are no forks on Windows
        os.register_at_fork(after_in_child=call)


def survive_forks() -> None:
    """Let processes that are forked off later calculate in one thread.

    They would wait for ever for the threads of PyTorch in their parent.
    """
    at_fork(lambda: torch.set_num_threads(1))
