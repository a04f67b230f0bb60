"""What a file of one modality gives: ids and rows, a part at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import SHOWN
from cmvae.files.spellings import id_text, without_blanks

ROWS = 8192  # read at a time where ids alone are wanted


class Source(ABC):
    """Rows of one modality in a file, each with an id.

    Attributes:
        path: The file or folder.
        modality: Its name, for the errors.
    """

    def __init__(self, path: Path, modality: str) -> None:
        self.path, self.modality = path, modality
        if not path.exists():
            raise ValueError(f"modality {modality!r}: no such file: {path}")

    @property
    def where(self) -> str:
        """The modality and its file, for messages."""
        return f"modality {self.modality!r}, {self.path}"

    @property
    def is_numbered(self) -> bool:
        """Whether the rows may have no ids of their own: ids from 0 on are then their numbers."""
        return False

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
    ids = list(map(id_text, given.tolist()))
    is_blank = np.array([not without_blanks(name) for name in ids], dtype=bool)
    bad = (given.isna().to_numpy() | is_blank).nonzero()[0]
    if len(bad):
        raise ValueError(
            f"{where}: {len(bad)} rows have no id, the first {(bad[:SHOWN] + first).tolist()}"
        )
    return ids
