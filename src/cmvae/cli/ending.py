"""What ends a command before its end: signals; and streams that nobody reads, which do not."""

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

GRACE = 5.0  # seconds after a signal in which others are not heard: what was begun is put right
AGAIN = 0.05  # seconds until a signal is sent again
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")


class Stopped(KeyboardInterrupt):
    """A signal asked the command to end.

    Attributes:
        status: The exit status that this has: 128 and the number of the signal.
    """

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


@contextmanager
def signals_stop() -> Iterator[list[int]]:
    """Raise :class:`Stopped` where a signal asks the process to end, once for several in a row.

    Gives the exit statuses of those that were heard: others may catch what is raised.

    A signal that is ignored, as SIGHUP is by ``nohup``, stays so. Once one was heard, the others
    are ignored to the end of the process, which is near.
    """
    heard: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield heard
        return
    last = -math.inf

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal last
        before, last = last, time.monotonic()
        heard.append(128 + number)
        if last - before > GRACE:
            raise Stopped(128 + number)

    def once_more(unraised: "sys.UnraisableHookArgs") -> None:
        """Send a signal again that came while an object was removed: nothing is raised there."""
        nonlocal last
        if not isinstance(unraised.exc_value, Stopped):
            hook(unraised)
            return
        last, number = -math.inf, unraised.exc_value.status - 128
        threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()

    hook = sys.unraisablehook
    usual = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [getattr(signal, name) for name in ENDING if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    own = [number for number, handler in handlers.items() if handler in usual]
    try:
        sys.unraisablehook = once_more
        for number in own:
            signal.signal(number, stop)
        yield heard
    finally:
        sys.unraisablehook = hook
        for number in own:
            signal.signal(number, handlers[number] if not heard else signal.SIG_IGN)


def keep_streams() -> None:
    """Make sure that what is printed cannot get into files, and can always be printed.

    A closed standard stream leaves its number to the next file that is opened.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
