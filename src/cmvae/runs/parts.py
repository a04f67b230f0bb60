"""Rows of a long result, kept in parts beside it until all are there: a later try goes on."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from cmvae.base.files import PARTIAL, atomic_write, link_target, sole_writer
from cmvae.base.words import listed
from cmvae.files.writing import open_rows

PART_ROWS = 1 << 17  # rows in memory, which are lost with a process that is killed
_STATE = "state.json"
_OWN = re.compile(r"\.?(\d{6}\.parquet|state\.json).*")  # written, or about to be


class Parts:
    """Tables that are added one after the other, most of them in files.

    Args:
        folder: Where the files are, made with the first.
        key: What the rows depend on: files of another key are dropped.

    Attributes:
        samples: How many rows are in files.
        state: What :meth:`add` was given with the last of these; empty at the start.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder, self.key = folder, key
        self._waiting: list[pd.DataFrame] = []
        self.samples, self.state, self._number = 0, dict[str, Any](), 0
        with suppress(OSError, ValueError, TypeError, KeyError):  # none, or damaged: from the start
            known = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            if known["key"] == key and all(own.is_file() for own in self._files(known["number"])):
                self.samples, self.state = known["samples"], known["state"]
                self._number = known["number"]
        if not self._number:
            self.drop()

    def add(self, rows: pd.DataFrame, state: Callable[[], dict[str, Any]]) -> None:
        """Add rows, and what is to be known where they are the last ones that are kept."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) < PART_ROWS:
            return
        self.folder.mkdir(exist_ok=True)
        with open_rows(self._file(self._number)) as append:
            for own in self._waiting:
                append(own)
        self.samples += sum(map(len, self._waiting))
        self._number += 1
        self._waiting = []
        known = {"key": self.key, "number": self._number, "samples": self.samples}
        with atomic_write(self.folder / _STATE) as path:
            path.write_text(json.dumps({**known, "state": state()}), encoding="utf-8")

    def tables(self) -> Iterator[pd.DataFrame]:
        """Yield all tables, as they were added."""
        for path in self._files(self._number):
            with pq.ParquetFile(path) as file:
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group).to_pandas()
        yield from self._waiting

    def drop(self) -> None:
        """Remove the files, and the folder.

        Raises:
            ValueError: If it holds anything else, which somebody else has put there.
        """
        if not self.folder.is_dir():
            if self.folder.exists() or self.folder.is_symlink():
                raise ValueError(f"{self.folder} is in the way of what is unfinished: move it")
            return
        others = [path.name for path in self.folder.iterdir() if not _OWN.fullmatch(path.name)]
        if others:
            raise ValueError(
                f"{self.folder} is in the way of what is unfinished: it holds {listed(others)}; "
                "move it"
            )
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self, number: int) -> list[Path]:
        return [self._file(place) for place in range(number)]

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.parquet"


@contextmanager
def open_parts(out: Path, key: str, append: Callable[[pd.DataFrame], None]) -> Iterator[Parts]:
    """Give parts of a result, which are appended to it at the end, and then removed.

    Whatever breaks this off leaves the files, for the next try of the same ``key``.

    Args:
        out: The result; the files are in a folder beside it.
        key: What its rows depend on.
        append: Takes all tables in order.

    Raises:
        ValueError: If another process is at it.
    """
    folder = link_target(out)
    folder = folder.with_name(folder.name + PARTIAL)
    with sole_writer(folder):
        parts = Parts(folder, key)
        yield parts
        for table in parts.tables():
            append(table)
        parts.drop()
