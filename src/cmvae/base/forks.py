"""Processes that are forked off this one, into which the threads of PyTorch do not come along."""

import os

import torch


def survive_forks() -> None:
    """Let processes that are forked off later calculate in one thread.

    They would wait for ever for the threads of their parent, of which a fork takes none along.
    """
    if hasattr(os, "register_at_fork"):  # there are no forks on Windows
        os.register_at_fork(after_in_child=_calculate_alone)


def _calculate_alone() -> None:
    torch.set_num_threads(1)
