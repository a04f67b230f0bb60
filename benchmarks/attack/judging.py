"""What is a fault of a call: how it fails, what it says, how long it takes, what it leaves."""

import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cmvae import NonFiniteLossError

SECONDS = 20
MOST_LINES, MOST_LETTERS = 4, 700
NAMED = (ValueError, TypeError, KeyError, NonFiniteLossError)
# Words of the libraries beneath, that say nothing to who passed an argument.
INNER = re.compile(
    r"pydantic|site-packages|aten::|c10::|DefaultCPUAllocator|enforce fail|broadcast|mat1|ufunc"
    r"|unsupported operand|not subscriptable|not iterable|has no attribute|inhomogeneous"
    r"|setting an array element|truth value|Overflow when|positional argument"
    r"|interpreted as an integer|could not convert|Boolean value of|boolean value of|unhashable"
    r"|scalar type|must be Tensor|invalid literal|got multiple values|indices must be|unpack"
    r"|must be real number|can't convert|Cannot convert|Cannot interpret|cannot convert|SymInt"
    r"|combination of arguments|not callable|has no len|object of type|not supported between"
    r"|Exceeds the limit|surrogates not allowed|out of meta|TensorBase|dtype\(|Traceback"
    r"|maximum recursion|Storage size|numel|must be str, not|expected str, bytes"
)
FOREIGN = re.compile(r"(numpy|torch|sklearn|scipy|pandas|lightning|pydantic|joblib)/")
NUMERIC = re.compile(
    r"encountered in|Mean of empty slice|Degrees of freedom|All-NaN|casting|ragged"
)


@dataclass(frozen=True)
class Case:
    """A call to try.

    Attributes:
        of: The member, a row of the table.
        case: What is passed, enough to repeat it.
        call: Makes the call.
        names: Words of which a refusal must hold one: the argument, the modality.
        check: Returns what is wrong with what the call returned, or nothing.
        state: Returns what an evaluation must not change.
    """

    of: str
    case: str
    call: Callable[[], Any]
    names: tuple[str, ...]
    check: Callable[[Any], str] = field(default=lambda _: "")
    state: Callable[[], Any] | None = None


class TooLongError(BaseException):
    """A call is taking too long."""


def judge(case: Case) -> str:
    """Make the call, and return its fault, or nothing."""
    before = case.state() if case.state else None
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        fault = _outcome(case)
    leaked = [own for own in given if _is_foreign(own)]
    if not fault and leaked:
        own = leaked[0]
        text = " ".join(str(own.message).split())[:150]
        fault = f"a warning leaks: {own.category.__name__}: {text}"
    if not fault and case.state and case.state() != before:
        fault = "it changed the model"
    return fault


def _outcome(case: Case) -> str:
    try:
        with _limited(SECONDS):
            returned = case.call()
    except TooLongError:
        return f"it takes more than {SECONDS} seconds"
    except NAMED as error:
        return _of_message(error, case.names)
    except Exception as error:  # noqa: BLE001 any other is the fault that is looked for
        text = " ".join(str(error).split())[:150]
        return f"{type(error).__name__}: {text}"
    return case.check(returned)


def _of_message(error: BaseException, names: tuple[str, ...]) -> str:
    """Return what is wrong with a refusal, or nothing."""
    text = str(error)
    shown = f"{type(error).__name__}: {' '.join(text.split())[:200]}"
    if not text.strip(" '\""):
        return f"an empty {type(error).__name__}"
    if len(text.splitlines()) > MOST_LINES or len(text) > MOST_LETTERS:
        return f"{len(text.splitlines())} lines, {len(text)} letters: {shown}"
    if found := INNER.search(text):
        return f"inner words ({found[0]}): {shown}"
    if not isinstance(error, NonFiniteLossError) and not any(name in text for name in names):
        return f"names none of {', '.join(names)}: {shown}"
    return ""


def _is_foreign(own: warnings.WarningMessage) -> bool:
    if issubclass(own.category, PendingDeprecationWarning) or "feature names" in str(own.message):
        return False  # of np.matrix; and scikit-learn's own way to say what is meant
    is_numeric = bool(NUMERIC.search(str(own.message)))
    return is_numeric or bool(FOREIGN.search(own.filename.rpartition("site-packages/")[2]))


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    """Raise :class:`TooLongError` after so many seconds."""

    def stop(*_: Any) -> None:
        raise TooLongError

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)
