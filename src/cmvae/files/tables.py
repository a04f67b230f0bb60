"""Tables in files, whole or a part at a time."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from cmvae.base.words import SHOWN, texts_of
from cmvae.files.modality import ModalityFile
from cmvae.files.source import ReadingError, Source, checked_ids
from cmvae.files.suffixes import COMPRESSED, READ_TABLE_SUFFIXES, suffix_of

_ROWS = 8192


class TableFile(Source):
    """A table with an id column.

    Args:
        path: A .csv, .tsv, .txt, .parquet, .feather, .arrow or .xlsx file; texts may be packed.
        modality: Name for the errors.
        id_column: The column of ids; None: a stored index where there is one, else the first
            column.
        options: How it is read, where its bytes shall not decide.

    Attributes:
        id_column: The column of ids.
        columns: The others, in the order of the file.

    Raises:
        ValueError: For a file that is missing or no table, columns that repeat, or an id column
            that is not there.
        ReadingError: For a text that can be read in several ways.
        ImportError: For an .xlsx file, if the extra ``excel`` is not installed.
    """

    def __init__(
        self,
        path: Path,
        modality: str,
        id_column: str | None = None,
        options: ModalityFile | None = None,
    ) -> None:
        super().__init__(path, modality)
        options = (options or ModalityFile()).replace(id=id_column)
        self._table = _open_table(path, modality, options)
        self.reading, self.notes = self._table.reading, self._table.notes
        self._numbers: range | None = getattr(self._table, "numbers", None)
        names, index = self._table.names, getattr(self._table, "index", None)
        repeated = sorted(name for name, count in Counter(names).items() if count > 1)
        if repeated:
            raise ValueError(f"{self.where}: columns {repeated[:SHOWN]} occur more than once")
        self.id_column = id_column or index or names[0]
        if self.id_column not in names and self._numbers is None:
            raise ValueError(
                f"{self.where}: no id column {self.id_column!r}; its columns are {names[:10]}"
            )
        self.columns = [
            name for name in names if name != self.id_column or self._numbers is not None
        ]
        if not self.columns:
            raise ValueError(
                f"{self.where}: the table has no columns beside the ids, {self.id_column!r}"
            )

    @property
    def types(self) -> dict[str, str]:
        """Column to what it holds, where the file says so."""
        return dict(getattr(self._table, "types", {}))

    @property
    def is_numbered(self) -> bool:
        """Whether ids have no name, as those that pandas writes of an index without one."""
        return self._numbers is None and self.id_column.startswith("Unnamed: ")

    @property
    def has_range(self) -> bool:
        """Whether ids are a stored index of evenly spaced numbers, and no column."""
        return self._numbers is not None

    @property
    def codes(self) -> set[str]:
        """See ``Source``."""
        return set(getattr(self._table, "codes", ()))

    @property
    def written(self) -> dict[str, tuple[str, str]]:
        """Column of texts that are numbers to their decimal sign, where it is seen, and mark."""
        return dict(getattr(self._table, "written", {}))

    @property
    def numbers(self) -> int | None:
        """See ``Source``; of a text by its size, eight bytes a cell, packed ones two."""
        if (rows := getattr(self._table, "rows", None)) is not None:
            return int(rows) * len(self.columns)
        return self.path.stat().st_size // (2 if self.path.suffix.lower() in COMPRESSED else 8)

    def read(self, texts: Sequence[str] = (), columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the whole table, its index the ids.

        Args:
            texts: Columns that are texts, whatever they look like.
            columns: Those that are read, in their order; None: all.
        """
        columns = self.columns if columns is None else columns
        parts = list(self._table.frames(None, self.id_column, texts, columns))
        if not parts:
            return pd.DataFrame(columns=list(columns))
        # Columns that lie together are looked at much faster.
        return self._indexed(*parts[0]).copy()

    def chunks(
        self, rows: int = _ROWS, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], pd.DataFrame]]:
        """Yield ids and rows; see ``Source``."""
        return self.columns_in_chunks(self.columns, rows, texts)

    def columns_in_chunks(
        self, columns: Sequence[str], rows: int = _ROWS, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], pd.DataFrame]]:
        """Yield ids and some of the columns, at most ``rows`` at a time."""
        first = 0
        for ids, frame in self._table.frames(rows, self.id_column, texts, columns):
            table = self._indexed(ids, frame, first)
            first += len(table)
            yield table.index.tolist(), table

    def _indexed(self, ids: Any, frame: pd.DataFrame, first: int = 0) -> pd.DataFrame:
        if self._numbers is None:
            names = checked_ids(ids, self.where, first)
        else:
            names = list(map(str, self._numbers[first : first + len(frame)]))
        return frame.set_axis(pd.Index(names, dtype=object), axis=0)


def _open_table(path: Path, modality: str, options: ModalityFile) -> Any:
    """Return what reads a table of its ending; each brings a library of its own."""
    suffix = suffix_of(path)
    if suffix in (".parquet", ".feather", ".arrow"):
        from cmvae.files.arrow import ArrowTable

        return ArrowTable(path, modality, options)
    if suffix == ".xlsx":
        from cmvae.files.excel import ExcelSheet

        return ExcelSheet(path, modality, options)
    from cmvae.files.delimited import DelimitedText

    return DelimitedText(path, modality, options)


def read_column(
    path: Path, what: str, id_column: str | None = None, column: str | None = None
) -> "pd.Series[str]":
    """Return one column of a table as strings, its index the ids; empty cells are left out.

    Args:
        path: A table.
        what: What it holds, for the errors.
        id_column: The column of ids, as for :class:`TableFile`.
        column: The column; None: the only one.

    Raises:
        ValueError: If the file is no table, the column is not there, or ids repeat.
    """
    if suffix_of(path) not in READ_TABLE_SUFFIXES:
        raise ValueError(f"{what} must be a table ({', '.join(READ_TABLE_SUFFIXES)}), got {path}")
    try:
        source = TableFile(path, what, id_column)
    except ReadingError as error:
        raise ValueError(f"{error}; or save it in UTF-8, with commas between cells") from error
    if column is None and len(source.columns) > 1:
        raise ValueError(
            f"{path} has several columns beside the ids, name one with column=NAME: "
            f"{source.columns[:10]}"
        )
    name = column or source.columns[0]
    if name not in source.columns:
        raise ValueError(f"{path}: no column {name!r}; it has {source.columns[:10]}")
    table = pd.concat([part[name] for _, part in source.columns_in_chunks([name], texts=[name])])
    if not table.index.is_unique:
        repeated = table.index[table.index.duplicated()].unique()[:SHOWN].tolist()
        raise ValueError(f"{path}: duplicate ids: {repeated}")
    return texts_of(table.dropna())
