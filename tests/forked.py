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


def by_torchrun(place, number, port):
    """Return the variables that tell a process its place."""
    return {
        "RANK": place,
        "LOCAL_RANK": place,
        "GROUP_RANK": 0,
        "WORLD_SIZE": number,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "TORCHELASTIC_RUN_ID": "test",
    }


def by_torchrun_on_machines(place, number, port):
    """Return the same for a process that is the only one on its machine."""
    return {**by_torchrun(place, number, port), "LOCAL_RANK": 0, "GROUP_RANK": place}


def by_srun(place, number, port):
    """Return the variables that tell a process its place, of a job on one machine."""
    return {
        "SLURM_NTASKS": number,
        "SLURM_NTASKS_PER_NODE": number,
        "SLURM_STEP_NUM_TASKS": number,
        "SLURM_NNODES": 1,
        "SLURM_NODEID": 0,
        "SLURM_PROCID": place,
        "SLURM_LOCALID": place,
        "SLURM_NODELIST": "localhost",
        "SLURM_JOB_ID": 1000 + port % 9000,
        "SLURM_JOB_NAME": "test",
    }


def in_processes(work, *arguments, number=2, by=by_torchrun):
    """Call ``work(place, *arguments)`` in so many; return what each returns, or what it raises.

    An error is returned as the name of its class and its words.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(number)]
    processes = [
        context.Process(
            target=_run, args=(work, arguments, place, by(place, number, port), pipes[place][1])
        )
        for place in range(number)
    ]
    for process in processes:
        process.start()
    for _, own in pipes:
        own.close()
    found = [_received(pipe) for pipe, _ in pipes]
    for process in processes:
        process.join(5)
        process.kill()
    return found


def _received(pipe):
    try:
        return pipe.recv() if pipe.poll(TIMEOUT) else ("", "no answer")
    except EOFError:
        return "", "died"


def join():
    """Let this one of several processes meet the others."""
    torch.distributed.init_process_group("gloo")


def _run(work, arguments, place, variables, pipe):
    os.environ.update({name: str(value) for name, value in variables.items()})
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
