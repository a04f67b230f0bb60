"""Folders of tables of the same columns, the shards of one table, in the order of their names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmvae.base.words import counted, listed
from cmvae.files.arrow_types import NOTHING
from cmvae.files.modality import ModalityFile
from cmvae.files.source import ROWS, Source
from cmvae.files.suffixes import IMAGE_SUFFIXES, READ_TABLE_SUFFIXES, suffix_of
from cmvae.files.tables import TableFile


class ShardFolder(Source):
    """The tables of a folder, read one after the other as one table.

    Numbers in names count as such: ``part-10`` comes after ``part-9``. Files whose names begin with
    a dot or an underscore, as those that Spark leaves beside its own, are passed over.

    Args:
        path: The folder.
        modality: Name for the errors.
        options: How they are read.

    Attributes:
        id_column: The column of ids.
        columns: The others, in the order of the first shard.

    Raises:
        ValueError: For shards that are no tables, or of different endings, columns or types.
    """

    def __init__(self, path: Path, modality: str, options: ModalityFile) -> None:
        super().__init__(path, modality)
        self.paths = shards_of(path)
        suffixes = sorted({suffix_of(own) for own in self.paths})
        if len(suffixes) > 1:
            raise ValueError(f"{self.where}: the folder holds tables of several kinds, {suffixes}")
        self._options = options
        first = self._opened(self.paths[0])
        self.id_column, self.columns = first.id_column, first.columns
        self.reading, self.notes = first.reading, list(first.notes)
        self._types = _filled(first.types)
        self.notes.append(f"{counted(len(self.paths), 'shard')} read as one table")
        for own in self.paths[1:]:
            self._check_alike(first, self._opened(own))

    @property
    def is_numbered(self) -> bool:
        """Whether ids have no name; see ``Source``."""
        return self._opened(self.paths[0]).is_numbered

    @property
    def codes(self) -> set[str]:
        """See ``Source``."""
        return {name for own in self.paths for name in self._opened(own).codes}

    @property
    def numbers(self) -> int | None:
        """See ``Source``."""
        return sum(self._opened(own).numbers or 0 for own in self.paths)

    def read(self) -> pd.DataFrame:
        """Return the whole table, its index the ids."""
        return pd.concat([self._opened(own).read() for own in self.paths])

    def chunks(
        self, rows: int = ROWS, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], pd.DataFrame]]:
        """Yield ids and rows; see ``Source``."""
        for own in self.paths:
            yield from self._opened(own).columns_in_chunks(self.columns, rows, texts)

    def _opened(self, path: Path) -> TableFile:
        return TableFile(path, self.modality, self._options.id, self._options)

    def _check_alike(self, first: TableFile, other: TableFile) -> None:
        """Refuse a shard of other columns or types than the first one."""
        where = f"{other.where}: unlike the first shard, {first.path.name}, "
        names = [{own.id_column, *own.columns} for own in (first, other)]
        lost, new = (sorted(one - two) for one, two in (names, names[::-1]))
        if lost or new:
            said = [
                f"{what} {listed(map(repr, own))}"
                for what, own in (("it lacks", lost), ("it has", new))
                if own
            ]
            raise ValueError(f"{where}{' and '.join(said)}: shards must have the same columns")
        wrong = [
            f"{name!r} holds {other.types[name]}, not {kind}"
            for name, kind in self._types.items()
            if other.types.get(name, kind) not in (kind, NOTHING)
        ]
        if wrong:
            raise ValueError(f"{where}{listed(wrong)}: shards must have the same types")
        self._types = _filled(other.types) | self._types


def _filled(types: Mapping[str, str]) -> dict[str, str]:
    return {name: kind for name, kind in types.items() if kind != NOTHING}


def shards_of(folder: Path) -> list[Path]:
    """Return the tables of a folder, in order; none where it holds images too."""
    seen = [own for own in folder.iterdir() if own.name[0] not in "._" and own.is_file()]
    if any(suffix_of(own) in IMAGE_SUFFIXES for own in seen):
        return []
    found = [own for own in seen if suffix_of(own) in READ_TABLE_SUFFIXES]
    return sorted(found, key=_in_order)


def _in_order(path: Path) -> list[Any]:
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), part) if part.isdecimal() else (-1, part) for part in parts]
