"""Tables in texts, such as CSV: read with what their first lines show of how they are written."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from cmvae.base.words import counted, shown
from cmvae.files.encoding import UNPACKING_ERRORS, find_encoding, opened_text
from cmvae.files.layout import DELIMITERS, ROW_NAMES, check_width, find_layout, rows_of
from cmvae.files.modality import ModalityFile
from cmvae.files.number_texts import MISSING, NumberTexts
from cmvae.files.source import ReadingError
from cmvae.files.suffixes import suffix_of

_LINES, _CHARACTERS = 5000, 1 << 22  # of the first part, which the rest is read like
DATES = ("date", "date+season")
_ID_MARK = "\x02"  # in front of ids while they are read, which may be called NA
_PLAIN_WORDS = {"delimiter": "comma", "encoding": "utf-8", "decimal": "point"}


class DelimitedText:
    """A table in a text.

    Args:
        path: The file.
        modality: Name for the errors.
        options: What is known of how it is written.

    Attributes:
        names: Its columns, without those that have neither name nor cells.
        reading: What to how it is read.
        notes: What of that is unusual.

    Raises:
        ValueError: For a file that is no table, or that can be read in several ways.
    """

    def __init__(self, path: Path, modality: str, options: ModalityFile) -> None:
        self.path, self.where = path, f"modality {modality!r}, {path}"
        self._modality, self._has_whole_rows = modality, False
        self._dates = [name for name, kind in options.kinds.items() if kind in DATES]
        usual = "\t" if suffix_of(path) == ".tsv" else ","
        given = options.delimiter and DELIMITERS.get(options.delimiter, options.delimiter)
        if given and (len(given) > 1 or given in '"\r\n'):
            words = ", ".join(DELIMITERS)
            raise ValueError(
                f"{self.where}: delimiter must be {words} or one sign, "
                f"got {shown(options.delimiter)}"
            )
        with self._told():
            self.encoding = find_encoding(path, modality, options.encoding)
            lines, whole = self._first_lines()
        self.layout = find_layout(lines, whole, self.where, modality, given, usual)
        self.names = [name for name in self.layout.names if name not in self.layout.empty]
        columns = zip(self.layout.names, zip(*self.layout.records, strict=True), strict=False)
        passed_over = {*self.layout.empty, options.id or self.names[0]}
        cells = {name: own for name, own in columns if name not in passed_over}
        clear = self.layout.delimiter != ";"
        self._numbers = NumberTexts(self.where, modality, options, cells, clear)
        self.codes, self.written = self._numbers.codes, self._numbers.written
        self.reading, self.notes = self._account()

    def frames(
        self, rows: int | None, id_column: str, texts: Sequence[str], columns: Sequence[str]
    ) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Yield ids, which are texts, and other columns, in parts of at most ``rows``.

        Args:
            rows: How many; None: all at once, and texts are recognised.
            id_column: The column of ids.
            texts: Columns that are texts, whatever they look like.
            columns: The other columns to return.
        """
        numbers = self._numbers
        kept = {*texts, *self._dates} if rows else {*texts, *self._dates, *numbers.codes}
        wanted = [name for name in columns if name != id_column]
        numbers.check([name for name in wanted if name not in kept])
        as_text, first = {*kept, *numbers.forced} - {id_column}, 0
        with self._text() as file:
            parsed = self._parsed(file, rows, id_column, as_text)
            for frame in parsed if rows else [parsed]:
                self._check_empty(frame, first)
                self._check_widths(frame, first)
                ids = frame[id_column].str.slice(len(_ID_MARK))
                yield ids, numbers.convert(frame[wanted], kept, first)
                first += len(frame)

    def _parsed(self, file: Any, rows: int | None, id_column: str, as_text: Collection[str]) -> Any:
        place = self.layout.names.index(id_column)
        return pd.read_csv(
            file,
            sep=r"\s+" if self.layout.delimiter == " " else self.layout.delimiter,
            header=None,
            names=self.layout.names,
            index_col=False,
            dtype=dict.fromkeys(as_text, str),
            converters={place: lambda text: _ID_MARK + text},
            na_values=MISSING,
            keep_default_na=False,
            decimal=self._numbers.decimal,
            float_precision="round_trip",
            low_memory=False,
            chunksize=rows,
        )

    def _first_lines(self) -> tuple[list[str], bool]:
        """Return the first lines, and whether they are all."""
        lines, size = list[str](), 0
        with opened_text(self.path, self.encoding) as file:
            for line in islice(file, _LINES):
                lines.append(line)
                size += len(line)
                if size > _CHARACTERS and len(lines) > 2:
                    break
            return lines, not file.read(1)

    @contextmanager
    def _text(self) -> Iterator[Any]:
        """Give the text after the header."""
        with self._told(), opened_text(self.path, self.encoding) as file:
            for _ in range(self.layout.skipped):
                file.readline()
            next(csv.reader(file, delimiter=self.layout.delimiter), None)
            yield file

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Name the file in what is raised while reading it, in words of a table's."""
        try:
            yield
        except UnicodeError as error:
            raise ReadingError(
                f"{self.where}: the text is not {self.encoding} throughout",
                self._modality,
                ["encoding=cp1252"],
            ) from error
        except (pd.errors.ParserError, csv.Error, *UNPACKING_ERRORS) as error:
            raise ValueError(f"{self.where}: not a readable table: {_said(error)}") from error

    def _check_empty(self, frame: pd.DataFrame, first: int) -> None:
        for name in self.layout.empty:
            filled = frame[name].notna().to_numpy()
            if filled.any():
                row = first + int(filled.argmax()) + 1
                place = self.layout.names.index(name) + 1
                raise ValueError(
                    f"{self.where}: column {place} has no name, and a cell in row {row} after the "
                    "header: name it, or empty the cell"
                )

    def _check_widths(self, frame: pd.DataFrame, first: int) -> None:
        """Refuse short rows after the first part of the file, which the parser fills up."""
        late = frame[self.layout.names[-1]].iloc[max(0, len(self.layout.records) - first) :]
        if self._has_whole_rows or not late.isna().any():
            return
        with self._text() as file:
            for number, row in enumerate(rows_of(file, self.layout.delimiter), 1):
                check_width(self.where, number, row, len(self.layout.names), self.layout.word)
        self._has_whole_rows = True

    def _account(self) -> tuple[dict[str, str], list[str]]:
        """Return how the file is read, and in words what is unusual."""
        layout, notes = self.layout, list[str]()
        encoding = {"utf-8-sig": "utf-8"}.get(self.encoding, self.encoding)
        decimal = "comma" if self._numbers.decimal == "," else "point"
        reading = {"delimiter": layout.word, "encoding": encoding, "decimal": decimal}
        usual = "tab" if suffix_of(self.path) == ".tsv" else _PLAIN_WORDS["delimiter"]
        if layout.word != usual:
            notes.append(f"{layout.word}s between cells")
        if encoding != "utf-8":
            notes.append(f"encoding {encoding}")
        notes += self._numbers.words
        if layout.row_names:
            notes.append(f"the header has no cell for the first column: {ROW_NAMES}, the ids")
        if layout.remarks:
            notes.append(f"{counted(layout.remarks, 'line')} before the header passed over")
        if layout.empty:
            columns = counted(len(layout.empty), "column")
            notes.append(f"{columns} without name and cells passed over")
        return reading, notes


def _said(error: BaseException) -> str:
    """Return what the parser says of rows in words of a table's."""
    text = " ".join(str(error).split())
    if match := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", text):
        wanted, line, got = match.groups()
        return (
            f"row {line} after the header has {got} cells, the header {wanted}; cells that hold "
            "the sign between cells must be in quotes"
        )
    if "EOF inside string" in text:
        return "a quote that is opened is never closed"
    return text.removeprefix("Error tokenizing data. C error: ") or type(error).__name__
