"""Folders of tables of the same columns, the shards of one table, in the order of their names."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmvae.base.words import counted, listed
from cmvae.files.arrow_types import NOTHING
from cmvae.files.modality import ModalityFile
from cmvae.files.number_texts import NumberTexts
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
        ValueError: For shards that are no tables, or of different endings, columns or types, and
            for numbers that are written in several ways.
    """

    def __init__(self, path: Path, modality: str, options: ModalityFile) -> None:
        super().__init__(path, modality)
        self.paths = shards_of(path)
        suffixes = sorted({suffix_of(own) for own in self.paths})
        if len(suffixes) > 1:
            raise ValueError(f"{self.where}: the folder holds tables of several kinds, {suffixes}")
        self._options, self._id = options, options.id
        first = self._opened(self.paths[0])
        self.id_column, self.columns = first.id_column, first.columns
        # Whose ids are a column: it is the same one in all, wherever it stands.
        self._id = self._id if first.has_range else first.id_column
        self.reading, self.notes = first.reading, list(first.notes)
        self._numbered, self._codes, self._size = first.is_numbered, first.codes, first.numbers or 0
        self._types = _filled(first.types)
        self._written = {name: (first.path, *own) for name, own in first.written.items()}
        self.notes.append(f"{counted(len(self.paths), 'shard')} read as one table")
        self.notes += _passed_over(path)
        for own in self.paths[1:]:
            other = self._opened(own)
            self._check_index(first, other)
            self._check_alike(first, other)
            self._check_written(other)
            self._codes |= other.codes
            self._size += other.numbers or 0

    @property
    def is_numbered(self) -> bool:
        """Whether ids have no name; see ``Source``."""
        return self._numbered

    @property
    def codes(self) -> set[str]:
        """See ``Source``."""
        return self._codes

    @property
    def numbers(self) -> int | None:
        """See ``Source``."""
        return self._size

    def read(self) -> pd.DataFrame:
        """Return the whole table, its index the ids; a column is texts in all shards, or in none.

        Shards are read again where some have numbers, others texts: as of one table, these are
        numbers where all of its texts are.
        """
        texts = sorted(self._codes)
        parts = self._read(texts)
        mixed = [name for name in self.columns if len({*_held(parts, name)}) > 1]
        if not mixed:
            return pd.concat(parts)
        table = pd.concat(self._read([*texts, *mixed]))
        cells = {name: table[name].dropna().astype(str).tolist() for name in mixed}
        numbers = NumberTexts(self.where, self.modality, self._options, cells, typed=True)
        kept = {*texts, *numbers.codes}
        return table.assign(**numbers.convert(table[mixed], kept))

    def _read(self, texts: Sequence[str]) -> list[pd.DataFrame]:
        """Return the tables of the shards that have rows, or one without."""
        parts = [self._opened(own).read(texts, self.columns) for own in self.paths]
        return [own for own in parts if len(own)] or parts[:1]

    def chunks(
        self, rows: int = ROWS, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], pd.DataFrame]]:
        """Yield ids and rows; see ``Source``."""
        for own in self.paths:
            yield from self._opened(own).columns_in_chunks(self.columns, rows, texts)

    def _opened(self, path: Path) -> TableFile:
        return TableFile(path, self.modality, self._id, self._options)

    def _check_index(self, first: TableFile, other: TableFile) -> None:
        """Refuse an index that goes on from that of others beside numbers that may be no ids.

        pandas stores the numbers of rows with them; texts in the first column are ids all the same.
        """
        if self._options.id or first.has_range or first.types.get(self.id_column) != "numbers":
            return
        if TableFile(other.path, self.modality, None, self._options).has_range:
            raise ValueError(
                f"{other.where}: its index goes on from that of {first.path.name}, whose first "
                f"column is {self.id_column!r}: say which column has the ids, id=NAME, or write "
                "shards without an index"
            )

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

    def _check_written(self, other: TableFile) -> None:
        """Refuse a shard whose numbers are written otherwise than in those before it."""
        for name, (decimal, mark) in other.written.items():
            first, sign, known = self._written.setdefault(name, (other.path, decimal, mark))
            is_other = (mark == "%") != (known == "%") or (mark and known and mark != known)
            if (decimal and sign and decimal != sign) or is_other:
                ways = [_way(*own) for own in ((sign, known), (decimal, mark))]
                raise ValueError(
                    f"{other.where}: column {name!r} is written with {ways[1]}, in "
                    f"{first.name} with {ways[0]}: shards must write numbers in one way"
                )
            self._written[name] = (first, sign or decimal, known or mark)


def _way(decimal: str, mark: str) -> str:
    signs = {".": "a decimal point", ",": "a decimal comma", "": "no decimal sign"}
    return f"{signs[decimal]} and {mark or 'no mark'}"


def _held(parts: Sequence[pd.DataFrame], name: str) -> Iterator[str]:
    """Yield which kinds of cells a column has: texts, or others."""
    for own in parts:
        cells = own[name].dropna()
        if not len(cells):
            continue
        if isinstance(cells.dtype, pd.StringDtype | pd.CategoricalDtype):
            yield "texts"
        elif cells.dtype == object:
            yield from ("texts" if isinstance(cell, str) else "others" for cell in cells.unique())
        else:
            yield "others"


def _passed_over(folder: Path) -> Iterator[str]:
    """Yield words on what a folder of tables holds beside them."""
    seen = [own for own in folder.iterdir() if own.name[0] not in "._"]
    others = [o for o in seen if o.is_file() and suffix_of(o) not in READ_TABLE_SUFFIXES]
    if others:
        shown = listed(own.name for own in sorted(others))
        yield f"{counted(len(others), 'file')} passed over: {shown}"
    if below := _tables_below(folder):
        yield f"{counted(len(below), 'table')} in subfolders passed over"


def _tables_below(folder: Path) -> list[Path]:
    """Return the tables in subfolders."""
    inner = (own.relative_to(folder) for own in folder.glob("*/**/*") if own.is_file())
    return sorted(
        own
        for own in inner
        if suffix_of(own) in READ_TABLE_SUFFIXES and not any(p[0] in "._" for p in own.parts)
    )


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
