"""What the commands print: lines as they are, errors in one line."""

import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from cmvae.base.words import Refusals, UnseenError, message_of

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
}
"""Arguments of the library to the options that set them."""

EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 130

console = Console()
errors = Console(stderr=True, soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Print a line as it is."""
    console.print(text, highlight=False, soft_wrap=True, markup=False)


def quieten() -> None:
    """Keep the training framework's advice away from people who did not write the training."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    warnings.filterwarnings("ignore", category=DeprecationWarning)


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
    except KeyboardInterrupt:
        errors.print(f"Interrupted: {left() if left else 'nothing was written'}", markup=False)
        sys.exit(EXIT_INTERRUPTED)
    except (ValueError, TypeError, KeyError, OSError, ImportError, FloatingPointError) as error:
        found = error.errors if isinstance(error, Refusals) else [error]
        errors.print(f"Error: {'; '.join(map(_in_options, found))}", markup=False)
        sys.exit(EXIT_FAILED if isinstance(error, FloatingPointError) else status)


def _in_options(error: Exception) -> str:
    """Return a message of the library, which names arguments, with the options that set them."""

    def as_option(match: re.Match[str]) -> str:
        value = match[2] or "True"
        return OPTIONS[match[1]] + ("" if value == "True" else f" {value}")

    names = "|".join(OPTIONS)
    text = re.sub(rf"\b({names})=(True|[A-Z]+)\b", as_option, message_of(error))
    text = re.sub(rf"^({names})()(?=:| must)", as_option, text)
    found: Any = error
    columns = [f"--kind {found.modality}.{c}=category" for c in getattr(found, "columns", ())]
    if columns:
        return f"{text}, as in {' '.join(columns)}"
    return f"{text}, or pass --lenient" if isinstance(error, UnseenError) else text
