"""What the commands print: lines as they are, errors in one line."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console

from cmvae.base.processes import launched, whose
from cmvae.base.words import Refusals, UnseenError, message_of
from cmvae.files.source import ReadingError

if TYPE_CHECKING:
    from cmvae.files.overlap import Join

OPTIONS = {
    "out": "--out",
    "overwrite": "--overwrite",
    "resume": "--resume",
    "id": "--id",
    "column": "--column",
    "labels": "--labels",
    "names": "--names",
    "cluster": "--cluster",
    "alignment_epochs": "--alignment-epochs",
    "device": "--device",
    "devices": "--devices",
    "num_nodes": "--num-nodes",
    "strategy": "--strategy",
    "precision": "--precision",
    "clusters": "--clusters",
    "diffusion": "--diffusion",
}
"""Arguments of the library to the options that set them."""

_COLUMN = re.compile(r"modality '([^']+)'[^:]*: column '?([^']+?)'? holds")

# What PyTorch says, at length, where a process waits for another one that is gone.
_LOST = re.compile(r"connection (?:closed|reset) by peer|broken pipe|remote process exited", re.I)

LONGEST = 600  # characters of the beginning and of the end of a message
EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130


class Lines(Console):
    """A console whose stream may be closed, or full: the work goes on without it.

    Attributes:
        unwritten: Whether lines were lost that someone may wait for, as on a full disk.
    """

    unwritten = False

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as every console does, as long as that can be done."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            self._end()
            self.unwritten = True
            if not self.stderr:
                errors.print(f"Warning: standard output: {message_of(error)}", markup=False)

    def on_broken_pipe(self) -> None:
        """Nobody reads any longer."""
        self._end()

    def _end(self) -> None:
        """Write nothing more, what is left in the stream's own memory neither."""
        self.quiet = True
        stream = os.open(os.devnull, os.O_WRONLY)
        os.dup2(stream, self.file.fileno())
        os.close(stream)


console = Lines()
errors = Lines(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def say_join(join: "Join | None", title: str = "Joined on ids") -> None:
    """Print how samples were joined: how many have what, and what one is to look at."""
    for line in join.lines(title) if join is not None else ():
        say(line)


def quieten() -> None:
    """Keep the training framework's advice away from people who did not write the training."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def refuse_several_processes(way: str = "") -> None:
    """Refuse to train in each of several processes, which would write one run folder."""
    name, count, _ = launched()
    if name:
        raise ValueError(
            f"{name} is {count}: this is one of several processes, and would train by itself: {way}"
            "start it once, without torchrun or mpirun (or unset the variable)"
        )


def only_first_speaks() -> None:
    """Print nothing in others of several processes that have met: all find the same."""
    console.quiet = errors.quiet = console.quiet or bool(launched()[2])


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Print the library's warnings as a line each."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        errors.print(f"Warning: {' '.join(str(message).split())}", markup=False)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


@contextmanager
def one_line_errors(
    left: Callable[[], str] | None = None, status: int = EXIT_USAGE
) -> Iterator[None]:
    """Turn errors of the library into one line and an exit status.

    Args:
        left: Returns what is said after an interruption.
        status: Exit status for bad input.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        errors.print(f"Interrupted: {left() if left else 'nothing was written'}", markup=False)
        sys.exit(getattr(stop, "status", EXIT_INTERRUPTED))
    except (RuntimeError, MemoryError) as error:  # of PyTorch, say: a device that is full
        words = f"{type(error).__name__}: {message_of(error)}"
        if lost := _LOST.search(words):
            rest = left() if left else "nothing was written"
            words = f"another of the processes ended before its time ({lost[0].lower()}); {rest}"
        errors.print(f"Error: {whose()}{words}", markup=False)
        sys.exit(EXIT_FAILED)
    except (ValueError, TypeError, KeyError, OSError, ImportError, FloatingPointError) as error:
        found = error.errors if isinstance(error, Refusals) else [error]
        errors.print(f"Error: {whose()}{'; '.join(map(_in_options, found))}", markup=False)
        sys.exit(EXIT_FAILED if isinstance(error, FloatingPointError) else status)


def _in_options(error: Exception) -> str:
    """Return a message of the library, which names arguments, with the options that set them."""

    def as_option(match: re.Match[str]) -> str:
        value = match[2] or "True"
        return OPTIONS[match[1]] + ("" if value == "True" else f" {value}")

    names = "|".join(OPTIONS)
    text = re.sub(rf"\b({names})=(True|[A-Z]+)\b", as_option, message_of(error))
    text = re.sub(rf"^({names})()(?=:| must)", as_option, text)
    if len(text) > 2 * LONGEST:  # of names, say, that a file has
        text = f"{text[:LONGEST]} … {text[-LONGEST:]}"
    return " ".join([_with_way(text, error), *(f"({file})" for file in _notes(error))])


def _notes(error: Exception) -> list[str]:
    return list(getattr(error, "__notes__", ()))


def _with_way(text: str, error: Exception) -> str:
    """Return a message with the option that helps."""
    found: Any = error
    columns = [f"--kind {found.modality}.{c}=category" for c in getattr(found, "columns", ())]
    if columns:
        return f"{text}, as in {' '.join(columns)}"
    if "name its kind" in text and (place := _COLUMN.search(text)):
        return f"{text}, as in --kind {place[1]}.{place[2]}=category"
    if isinstance(error, ReadingError):
        ways = " or ".join(f"--read {error.modality}.{way}" for way in error.options)
        return f"{text}, as in {ways}"
    return f"{text}, or pass --lenient" if isinstance(error, UnseenError) else text
