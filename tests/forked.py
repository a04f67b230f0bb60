"""Processes that know of each other as those of torchrun do, forked off for a test."""

import multiprocessing
import os
import socket
import sys
import traceback
import warnings

import torch

from cmvae.base.processes import FAULTS

TIMEOUT = 120


def in_processes(work, *arguments, number=2):
    """Call ``work(place, *arguments)`` in so many; return what each returns, or what it raises.

    An error is returned as the name of its class and its words.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(number)]
    processes = [
        context.Process(target=_run, args=(work, arguments, place, number, port, pipes[place][1]))
        for place in range(number)
    ]
    for process in processes:
        process.start()
    for _, own in pipes:
        own.close()
    try:
        found = [pipe.recv() if pipe.poll(TIMEOUT) else ("", "no answer") for pipe, _ in pipes]
    except EOFError:
        found = [("", "a process has died")] * number
    for process in processes:
        process.join(5)
        process.kill()
    return found


def join():
    """Let this one of several processes meet the others."""
    torch.distributed.init_process_group("gloo")


def _run(work, arguments, place, number, port, pipe):
    os.environ.update(
        RANK=str(place),
        LOCAL_RANK=str(place),
        GROUP_RANK="0",
        WORLD_SIZE=str(number),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
        TORCHELASTIC_RUN_ID="test",
    )
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    try:
        found = work(place, *arguments)
    except (*FAULTS, SystemExit) as error:
        traceback.print_exc(file=sys.stderr)
        found = (type(error).__name__, str(error))
    pipe.send(found)
    if torch.distributed.is_initialized():
        # Or the one that is done first would end what the others still tell each other.
        torch.distributed.destroy_process_group()
