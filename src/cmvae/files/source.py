"""What a file of one modality gives: ids and rows, a part at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import SHOWN
from cmvae.files.spellings import id_text, without_blanks

ROWS = 8192  # read at a time where ids alone are wanted


class ReadingError(ValueError):
    """A file that can be read in several ways; it is not guessed which.

    Args:
        message: What is wrong.
        modality: Name of the modality.
        options: Each of the ways, as ``option=value`` of :class:`cmvae.files.ModalityFile`.

    Attributes:
        modality: The modality.
        options: The ways.
    """

    def __init__(self, message: str, modality: str, options: Sequence[str]) -> None:
        self.modality, self.options = modality, list(options)
        super().__init__(message)


class Source(ABC):
    """Rows of one modality in a file, each with an id.

    Attributes:
        path: The file or folder.
        modality: Its name, for the errors.
        reading: How the file is read: what to how, such as 'delimiter' to 'semicolon'.
        notes: What of that is unusual, or passed over, a few words each.
    """

    def __init__(self, path: Path, modality: str) -> None:
        self.path, self.modality = path, modality
        self.reading: dict[str, str] = {}
        self.notes: list[str] = []
        if not path.exists():
            raise ValueError(f"modality {modality!r}: no such file: {path}")
        if not (path.is_file() or path.is_dir()):  # a pipe, of which a reader waits for a writer
            raise ValueError(f"{self.where}: neither a file nor a folder")

    @property
    def where(self) -> str:
        """The modality and its file, for messages."""
        return f"modality {self.modality!r}, {self.path}"

    @property
    def is_numbered(self) -> bool:
        """Whether the rows may have no ids of their own: ids from 0 on are then their numbers."""
        return False

    @property
    def codes(self) -> set[str]:
        """Columns of digits with zeros in front: texts, unless they were learned as numbers."""
        return set()

    @property
    def width(self) -> int:
        """About how many cells a row has."""
        return max(1, len(getattr(self, "columns", ())))

    @property
    def numbers(self) -> int | None:
        """About how many cells a table has, before it is read; None: what it gives takes little."""
        return None

    @property
    def account(self) -> str:
        """What is unusual about the file, in one line; empty where nothing is."""
        return f"{self.modality} ({self.path.name}): {'; '.join(self.notes)}" if self.notes else ""

    @abstractmethod
    def read(self) -> Any:
        """Return all rows at once."""

    def ids(self) -> list[str]:
        """Return the ids of all rows; the file is read through once."""
        return [name for ids, _ in self.chunks(ROWS) for name in ids]

    @abstractmethod
    def chunks(self, rows: int, texts: Sequence[str] = ()) -> Iterator[tuple[list[str], Any]]:
        """Yield ids and rows, at most ``rows`` of them at a time.

        Args:
            rows: How many.
            texts: Columns of a table that are texts, whatever they look like.
        """


@contextmanager
def unchanged(paths: Mapping[str, str | None]) -> Iterator[None]:
    """Refuse files that change while they are read.

    Args:
        paths: Modality to file or folder; None is passed over.

    Raises:
        ValueError: Naming the modality and the file, whatever else was found wrong with it.
    """
    before = {name: stamp(Path(path)) for name, path in paths.items() if path is not None}

    def check(cause: Exception | None) -> None:
        for name, was in before.items():
            if was != stamp(Path(str(paths[name]))):
                raise ValueError(
                    f"modality {name!r}: {paths[name]} changed while it was read; "
                    "try again when nothing writes to it"
                ) from cause

    try:
        yield
    except Exception as error:
        check(error)
        raise
    check(None)


def stamp(path: Path) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of a file, or of all files in a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = ((str(own), own.stat()) for own in files if own.exists())
    return [(name, own.st_size, own.st_mtime_ns) for name, own in found]


def checked_ids(values: Any, where: str, first: int = 0) -> list[str]:
    """Return ids as strings, bytes decoded.

    Args:
        values: The ids.
        where: Modality and file, for the message.
        first: Row of the first of them.

    Raises:
        ValueError: If some are missing or blank; the message names their rows.
    """
    given = pd.Series(values)
    ids = given.tolist()
    is_blank = given.isna().to_numpy(copy=True)
    if is_blank.any() or not _are_plain(ids):
        ids = list(map(id_text, ids))
        is_blank |= np.array([not without_blanks(name) for name in ids], dtype=bool)
    bad = is_blank.nonzero()[0]
    if len(bad):
        raise ValueError(
            f"{where}: {len(bad)} rows have no id, the first {(bad[:SHOWN] + first).tolist()}"
        )
    return ids


def _are_plain(ids: list[Any]) -> bool:
    """Tell whether ids are surely texts that are not blank; of a million that is seen at once."""
    try:
        letters = "".join(ids)
    except TypeError:
        return False
    return letters.isascii() and letters.isprintable() and all(map(str.strip, ids))
