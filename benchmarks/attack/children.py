"""Commands in processes of their own, forked from one that has imported all they need.

A fork costs milliseconds where a start costs seconds: commands can be harmed by the hundred.
"""

import io
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LONGEST = 120.0  # seconds of one command

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")
"""Audit events of Python that change what is on the disk."""


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status; of one that a signal ended, the signal's number, negative.
        out: What it printed.
        said: What it printed as errors and warnings.
        seconds: How long it took.
    """

    status: int
    out: str
    said: str
    seconds: float

    @property
    def error(self) -> str:
        """The line of the error alone, or nothing."""
        lines = [line for line in self.said.splitlines() if line.startswith("Error: ")]
        return " ".join(lines)


def warm_up() -> None:
    """Import what commands import, so that those that are forked need not."""
    import anndata  # noqa: F401
    import h5py  # noqa: F401
    import lightning.pytorch  # noqa: F401
    import mudata  # noqa: F401
    import torch

    import cmvae.cli
    import cmvae.cli.demonstration
    import cmvae.report
    import cmvae.runs.generated
    import cmvae.runs.predicting
    import cmvae.training.fit  # noqa: F401

    torch.set_num_threads(1)


def run(
    arguments: Sequence[str],
    folder: Path,
    harm: Callable[[], None] | None = None,
    signals: Sequence[tuple[float, int]] = (),
) -> Ended:
    """Run a command of ``cmvae`` in a folder.

    Args:
        arguments: Of the command line.
        folder: Where it runs.
        harm: Is called in the process before the command.
        signals: What is sent to it, each after so many seconds.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(arguments, folder, out.fileno(), said.fileno(), harm)
        code = _wait(child, [(start + after, number) for after, number in signals])
        seconds = time.monotonic() - start
        texts = []
        for file in (out, said):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ended(os.waitstatus_to_exitcode(code), *texts, seconds)


def _become(
    arguments: Sequence[str], folder: Path, out: int, said: int, harm: Callable[[], None] | None
) -> None:
    """Be the command, and end."""
    status = 1
    try:
        os.chdir(folder)
        os.dup2(out, 1)
        os.dup2(said, 2)
        # Streams of its own: those of the parent may be those of a test, or hold what it printed.
        sys.stdout, sys.stderr = (io.TextIOWrapper(io.FileIO(fd, "w"), "utf-8") for fd in (1, 2))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["cmvae", *arguments]
        from cmvae.cli import main

        if harm is not None:
            harm()
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(status)


def _wait(child: int, signals: list[tuple[float, int]]) -> int:
    """Return the code that a process ended with; send it signals when their times have come."""
    left = [*signals, (time.monotonic() + LONGEST, signal.SIGKILL)]
    while True:
        ended, code = os.waitpid(child, os.WNOHANG)
        if ended:
            return code
        if time.monotonic() >= left[0][0]:
            os.kill(child, left.pop(0)[1])
        time.sleep(0.001)


def at_changes(act: Callable[[int, str, str], None]) -> None:
    """Call before each change of the disk, with its number from 0, the event and a path."""
    number = 0

    def hook(event: str, given: tuple[object, ...]) -> None:
        nonlocal number
        if event in CHANGES and _changes(event, given):
            number += 1
            act(number - 1, event, str(given[0]))

    sys.addaudithook(hook)


def _changes(event: str, given: tuple[object, ...]) -> bool:
    if event != "open":
        return True
    path, _, flags = given
    is_write = bool(int(str(flags or 0)) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    return is_write and isinstance(path, str | bytes) and not os.fsdecode(path).startswith("/dev/")


def kill_at(number: int) -> Callable[[], None]:
    """Return what kills a process right before so many-th change of the disk."""

    def kill(now: int, *_: str) -> None:
        if now == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return lambda: at_changes(kill)
