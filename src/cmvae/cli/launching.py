"""A command run in several processes of this machine: started, watched, and ended together."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from cmvae.cli.console import EXIT_FAILED, errors

POLL, GRACE = 0.05, 10.0  # seconds: between looks, and for others to end by themselves
Process = subprocess.Popen[bytes]


def run_in_processes(count: int, left: Callable[[], str]) -> int:
    """Run this command in so many processes, as torchrun does, and return its exit status.

    The first one prints, writes, and has the status. Where another one ends before its time, the
    rest has ten seconds to find that out. Signals are passed on.

    Args:
        count: How many.
        left: Says what is left, where the first one cannot say anything any longer.
    """
    shared = {
        "TORCH_CPP_LOG_LEVEL": "ERROR",  # its advice to who writes a training is nobody's here
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "cmvae",  # which Lightning asks before it asks SLURM
    }
    command = [sys.executable, "-m", "cmvae", *sys.argv[1:]]
    processes: list[Process] = []
    try:
        for place in map(str, range(count)):
            own = {**shared, "RANK": place, "LOCAL_RANK": place}
            processes.append(subprocess.Popen(command, env=own))
        _wait(processes)
    except KeyboardInterrupt as stop:
        _end(processes, getattr(stop, "status", 128 + signal.SIGINT) - 128)
        raise SystemExit(getattr(stop, "status", 128 + signal.SIGINT)) from None
    finally:
        for process in processes:
            process.kill()  # those that have ended are let be
    if processes[0].returncode >= 0:
        return processes[0].returncode
    killed = [f"process {n} by {_signal(p)}" for n, p in enumerate(processes) if p.returncode < 0]
    words = f"of {count} processes these were ended: {', '.join(killed)}"
    errors.print(f"Error: {words}; {left()}", markup=False)
    return EXIT_FAILED


def _signal(process: Process) -> str:
    return signal.Signals(-process.returncode).name


def _free_port() -> int:
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return int(own.getsockname()[1])


def _wait(processes: Sequence[Process]) -> None:
    """Wait until all have ended, or some time longer than the first that failed."""
    failed = None
    while None in (statuses := [process.poll() for process in processes]):
        if failed is None and any(statuses):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > GRACE:
            _end(processes, signal.SIGTERM)
            return
        time.sleep(POLL)


def _end(processes: Sequence[Process], number: int) -> None:
    """Send a signal to those that still run, and wait for them, but not for ever."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)
    limit = time.monotonic() + GRACE
    while any(process.poll() is None for process in processes):
        if time.monotonic() > limit:
            for process in processes:
                process.kill()
        time.sleep(POLL)
