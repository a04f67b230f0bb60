"""What a file of one modality gives: ids and rows, a part at a time."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmvae.base.words import SHOWN


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

    @abstractmethod
    def read(self) -> Any:
        """Return all rows at once."""

    @abstractmethod
    def chunks(self, rows: int, texts: Sequence[str] = ()) -> Iterator[tuple[list[str], Any]]:
        """Yield ids and rows, at most ``rows`` of them at a time.

        Args:
            rows: How many.
            texts: Columns of a table that are texts, whatever they look like.
        """


def checked_ids(values: Any, where: str, first: int = 0) -> list[str]:
    """Return ids as strings.

    Args:
        values: The ids.
        where: Modality and file, for the message.
        first: Row of the first of them.

    Raises:
        ValueError: If some are missing; the message names their rows.
    """
    ids = pd.Series(values)
    bad = (ids.isna() | (ids.astype(str) == "")).to_numpy().nonzero()[0]
    if len(bad):
        raise ValueError(
            f"{where}: {len(bad)} rows have no id, the first {(bad[:SHOWN] + first).tolist()}"
        )
    return list(map(str, ids.tolist()))
