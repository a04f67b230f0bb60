"""Names in messages: quoted, and no more of them than one reads."""

from collections.abc import Iterable, Sequence
from typing import Any

from cmvae.base.refused_writes import words_of

SHOWN = 5
LONGEST = 60  # characters of what was got


def shown(value: Any) -> str:
    """Return what was got, for a message: on one line, and no more of it than one reads.

    Some values cannot be written out: whole numbers of thousands of digits, and objects whose own
    words fail.
    """
    try:
        return shortened(" ".join(repr(value).split()))
    except Exception:  # noqa: BLE001 what foreign objects raise there is not known
        return f"a {type(value).__name__}"


def quoted(names: Iterable[Any]) -> str:
    """Return names as ``'a', 'b'``, or ``none``."""
    return ", ".join(map(shown, names)) or "none"


def listed(names: Iterable[Any], most: int = SHOWN) -> str:
    """Return names as ``a, b and 3 more``."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(map(str, names[:most]))}{more}"


def shortened(text: str, most: int = LONGEST) -> str:
    """Return a text, or the beginning of a long one."""
    return text if len(text) <= most else f"{text[:most]}…"


def joined_words(words: Sequence[str]) -> str:
    """Return words as ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def counted(n: int, noun: str) -> str:
    """Return ``1 sample`` or ``2 samples``."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def message_of(error: BaseException) -> str:
    """Return what an error says, on one line; of one that says nothing, what it is."""
    if isinstance(error, OSError) and error.strerror:
        return words_of(error)
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    return " ".join(str(said).split()) or f"{type(error).__name__}, without a message"


def texts_of(cells: Any) -> Any:
    """Return a column of pandas as texts; bytes in it may be in any encoding."""
    if cells.dtype == object:
        cells = cells.map(lambda x: x.decode("utf-8", "backslashreplace") if _is_bytes(x) else x)
    return cells.astype(str)


def _is_bytes(value: Any) -> bool:
    return isinstance(value, bytes | bytearray)


class UnseenError(ValueError):
    """So many unknown values that a column may be coded in another way than the one learned."""


class Refusals(ValueError):
    """Several things that are wrong, said at once.

    Attributes:
        errors: Each of them.
    """

    def __init__(self, errors: Sequence[Exception]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(map(message_of, errors)))


def raise_all(errors: Sequence[Exception]) -> None:
    """Raise what was found wrong, all at once: one error as it is, several as :class:`Refusals`."""
    flat = [own for e in errors for own in (e.errors if isinstance(e, Refusals) else [e])]
    if flat:
        raise flat[0] if len(flat) == 1 else Refusals(flat)
