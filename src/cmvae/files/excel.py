"""Tables in sheets of .xlsx files."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pandas as pd

from cmvae.base.extras import from_extra
from cmvae.base.unpacking import check_archive
from cmvae.base.words import counted, quoted
from cmvae.files.modality import ModalityFile
from cmvae.files.number_texts import NumberTexts
from cmvae.files.source import ReadingError

_FIRST = 5000  # rows that the others are read like


class ExcelSheet:
    """A sheet whose first row that has cells names the columns.

    Args:
        path: The .xlsx file.
        modality: Name for the errors.
        options: What is known of it, such as the sheet; None: the only one with cells.

    Attributes:
        names: Its columns.
        reading: What to how it is read.
        notes: What of that is unusual.

    Raises:
        ValueError: For a file that is none, or a sheet that is not there.
        ReadingError: For several sheets.
        ImportError: If the extra ``excel`` is not installed.
    """

    def __init__(self, path: Path, modality: str, options: ModalityFile) -> None:
        self.path, self.where = path, f"modality {modality!r}, {path}"
        self._modality = modality
        with self._book() as book:
            self._sheet, self.notes = self._choose(book, options.sheet)
            rows = self._rows(book)
            self.names = self._header(next(rows, ()))
            first = list(islice(self._fitted(rows, len(self.names)), _FIRST))
        texts = {
            name: [row[place] for row in first if isinstance(row[place], str)]
            for place, name in enumerate(self.names)
            if name != (options.id or self.names[0])
        }
        empty = {name for place, name in enumerate(self.names) if _is_empty(first, place)}
        self._unnamed = {n for n in empty if n.startswith("Unnamed: ")} - {self.names[0]}
        self._all, self.names = self.names, [n for n in self.names if n not in self._unnamed]
        self._numbers = NumberTexts(self.where, modality, options, texts)
        self.codes, self.written = self._numbers.codes, self._numbers.written
        self.reading = {"format": "xlsx", "sheet": self._sheet}
        self.notes += self._numbers.words

    def frames(
        self, rows: int | None, id_column: str, texts: Sequence[str], columns: Sequence[str]
    ) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Yield ids and other columns, in parts of at most ``rows``; None: all at once."""
        kept = {*texts, *(self._numbers.codes if rows is None else ())}
        wanted = list(dict.fromkeys([id_column, *columns]))
        self._numbers.check([name for name in columns if name not in kept])
        with self._book() as book:
            own, first = self._rows(book), 0
            next(own, None)
            own = self._fitted(own, len(self._all))
            while part := list(islice(own, rows)):
                frame = pd.DataFrame(part, columns=self._all, dtype=object)[wanted]
                frame = frame.infer_objects()
                for name in {*texts} & {*wanted}:
                    frame[name] = frame[name].map(_as_text, na_action="ignore")
                ids = frame[id_column].map(_as_text, na_action="ignore")
                yield ids, self._numbers.convert(frame[list(columns)], kept, first)
                first += len(part)

    def _choose(self, book: Any, given: str | None) -> tuple[str, list[str]]:
        """Return the name of the sheet, and what is said of others."""
        names = [sheet.title for sheet in book.worksheets]
        if given is not None:
            if given not in names:
                raise ValueError(f"{self.where}: no sheet {given!r}; there are {quoted(names)}")
            return given, [f"sheet {given!r} of {len(names)}"] if len(names) > 1 else []
        filled = [sheet.title for sheet in book.worksheets if any(self._rows(book, sheet.title))]
        if not filled:
            raise ValueError(f"{self.where}: its sheets are empty")
        if len(filled) > 1:
            raise ReadingError(
                f"{self.where}: there are {len(filled)} sheets with cells, {quoted(filled)}: say "
                "which one is read",
                self._modality,
                [f"sheet={name}" for name in filled],
            )
        empty = len(names) - 1
        return filled[0], [f"{counted(empty, 'empty sheet')} passed over"] if empty else []

    def _rows(self, book: Any, sheet: str | None = None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows that have cells.

        Those that a far cell leaves out are all one object, which is looked at once.
        """
        empty = None
        for row in book[sheet or self._sheet].iter_rows(values_only=True):
            if row is not empty:
                if any(cell is not None for cell in row):
                    yield row
                else:
                    empty = row

    def _fitted(self, rows: Iterator[tuple[Any, ...]], width: int) -> Iterator[tuple[Any, ...]]:
        """Yield rows as wide as the header: some writers leave empty cells at an end out."""
        for number, row in enumerate(rows, 1):
            if any(cell is not None for cell in row[width:]):
                raise ValueError(
                    f"{self.where}: row {number} after the header has more cells than the header"
                )
            yield (*row[:width], *[None] * (width - len(row)))

    def _header(self, cells: Sequence[Any]) -> list[str]:
        return [
            f"Unnamed: {place}" if cell is None else str(_as_text(cell)).strip()
            for place, cell in enumerate(cells)
        ]

    @contextmanager
    def _book(self) -> Iterator[Any]:
        """Open the file; what is wrong with it is told with its name."""
        library = from_extra("openpyxl", "excel", ".xlsx")
        try:
            with ZipFile(self.path) as archive:
                check_archive(archive, self.path)
            with closing(library.load_workbook(self.path, read_only=True, data_only=True)) as book:
                yield book
        except Exception as error:  # whatever zip and XML raise
            if isinstance(error, ValueError) and str(self.path) in str(error):
                raise
            raise ValueError(f"{self.where}: not an .xlsx file that can be read") from error


def _is_empty(rows: Sequence[Sequence[Any]], place: int) -> bool:
    return all(row[place] is None for row in rows)


def _as_text(cell: Any) -> str:
    """Return a cell as a text; a whole number has no point, as Excel shows it."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
