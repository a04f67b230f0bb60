"""A call in a process of its own, watched: how long, how much memory, what it opens and runs."""

import contextlib
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

SECONDS, MEMORY = 20.0, 2 << 30
_STEP = 0.004  # seconds between looks at a process
# What a file must never bring about; Python tells of each.
_NEVER = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class")
_NEVER += ("socket.connect", "socket.getaddrinfo")


@dataclass(frozen=True)
class Trial:
    """What a call did.

    Attributes:
        status: Its exit status; −9 where it was killed.
        said: All that it printed.
        seconds: How long it took.
        memory: The most memory that it had beyond what it began with, in bytes.
        done: What it did that no file may bring about, a line each.
    """

    status: int
    said: str
    seconds: float
    memory: int
    done: tuple[str, ...]


def watched(
    call: Callable[[], object], folder: Path, closed: Path, seconds: float = SECONDS
) -> Trial:
    """Run a call in a process of its own, which begins with what is imported here.

    Args:
        call: The call; what it raises is printed as a traceback.
        folder: Where it is run, and what it prints is kept.
        closed: A folder in which it is to open nothing.
        seconds: After so long it is killed.
    """
    out, events = folder / ".said", folder / ".done"
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _run(call, folder, out, events, closed)
    memory, before, status = 0, None, None
    while status is None:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        elif time.monotonic() - start > seconds:
            os.kill(child, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        else:
            held = _held(child)
            before = held if before is None else before
            memory = max(memory, held - before)
            time.sleep(_STEP)
    said = out.read_text(errors="replace") if out.is_file() else ""
    lines = events.read_text(errors="replace").splitlines() if events.is_file() else []
    return Trial(status, said, time.monotonic() - start, memory, tuple(lines))


def _held(process: int) -> int:
    """Return the memory of a process that no file stands for, in bytes."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    return 0


def _run(
    call: Callable[[], object], folder: Path, out: Path, events: Path, closed: Path
) -> NoReturn:
    status = 70
    try:
        os.chdir(folder)
        with out.open("wb", buffering=0) as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        sys.stdout, sys.stderr = (os.fdopen(i, "w", 1, closefd=False) for i in (1, 2))
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        _listen(os.open(events, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), str(closed))
        _bound_memory()
        with _status_of_exit() as found:
            call()
        status = found[0]
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 - whatever it is, it is to be seen
        traceback.print_exc()
    finally:
        os._exit(status)


@contextlib.contextmanager
def _status_of_exit() -> Iterator[list[int]]:
    found = [0]
    try:
        yield found
    except SystemExit as stop:
        found[0] = stop.code if isinstance(stop.code, int) else int(stop.code is not None)


def _bound_memory() -> None:
    """Allow so much memory beyond what is there already."""
    lines = Path("/proc/self/status").read_text().splitlines()
    there = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (there + MEMORY, there + MEMORY))


def _listen(file: int, closed: str) -> None:
    """Write down what no file may bring about."""

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        opened = event == "open" and os.path.abspath(str(arguments[0])).startswith(closed)
        if event in _NEVER or opened:
            os.write(file, f"{event} {arguments!r:.200}\n".encode(errors="replace"))

    sys.addaudithook(hear)
