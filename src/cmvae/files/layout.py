"""How the cells of a text are laid out: what stands between them, and what names them."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cmvae.base.words import SHOWN, counted, quoted
from cmvae.files.source import ReadingError

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|", "blank": " "}
"""Words for delimiters, as they are said and shown; blanks may stand in rows."""

ROW_NAMES = "row names"
_SNIFFED = 100
MOST_COLUMNS = 1_000_000
_ID_NAMES = ("id", "ids", "key", "index", "sample", "samples", "sample_id", "name", "uuid")


@dataclass(frozen=True)
class Layout:
    """Where the cells of a text are.

    Attributes:
        delimiter: What stands between cells.
        skipped: How many lines are before the header.
        remarks: How many of them are remarks.
        names: The columns in the order of the file; ``Unnamed: 3`` where the header has no name.
        empty: Columns without name and cells.
        records: The first rows.
        row_names: Whether the header has no cell for the first column.
    """

    delimiter: str
    skipped: int
    remarks: int
    names: list[str]
    empty: list[str] = field(default_factory=list)
    records: list[list[str]] = field(default_factory=list)
    row_names: bool = False

    @property
    def word(self) -> str:
        """The delimiter in a word."""
        words = {sign: word for word, sign in DELIMITERS.items()}
        return words.get(self.delimiter, self.delimiter)


def rows_of(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    """Yield lines cut into cells; lines without any are left out."""
    if delimiter == " ":
        lines = (line.strip() + "\n" for line in lines)
    found = csv.reader(lines, delimiter=delimiter, skipinitialspace=delimiter == " ")
    yield from filter(None, found)


def fields_of(lines: Iterable[str], delimiter: str) -> list[list[str]]:
    """Return lines cut into cells; lines without any are left out."""
    return list(rows_of(lines, delimiter))


def check_width(where: str, number: int, row: Sequence[str], width: int, word: str) -> None:
    """Refuse a row that has more or fewer cells than the header.

    Args:
        where: Modality and file.
        number: The row, the first after the header being 1.
        row: Its cells.
        width: How many the header has.
        word: The delimiter in a word.
    """
    if len(row) != width:
        raise ValueError(
            f"{where}: not a readable table: row {number} after the header has "
            f"{counted(len(row), 'cell')}, the header {width}, with {word}s between them; cells "
            "that hold one must be in quotes"
        )


def find_layout(
    lines: Sequence[str], whole: bool, where: str, modality: str, given: str | None, usual: str
) -> Layout:
    """Tell the layout of a text by its first lines.

    Args:
        lines: These, with their ends.
        whole: Whether there are no others.
        where: Modality and file, for the messages.
        modality: The modality.
        given: The delimiter, if it is known.
        usual: That of the file's ending, which is taken where there is none at all.

    Raises:
        ReadingError: Where several delimiters fit.
        ValueError: For an empty file, and rows of unlike lengths.
    """
    skipped, remarks, hint = _before_header(lines)
    lines = lines[skipped:]
    if not lines:
        raise ValueError(f"{where}: the file is empty")
    few = lines[:_SNIFFED]
    widest = max(line.count(sign) for line in few for sign in DELIMITERS.values())
    if widest > MOST_COLUMNS:
        raise ValueError(
            f"{where}: a line has {widest} signs between cells; a table has at most "
            f"{MOST_COLUMNS} columns"
        )
    complete = whole and len(lines) <= _SNIFFED
    delimiter = given or hint or _find_delimiter(few, complete, where, modality, usual)
    try:
        records = fields_of(lines, delimiter)
    except csv.Error as error:
        raise ValueError(f"{where}: not a readable table: {error}") from error
    # The last of the lines may be the first part of a row.
    header, rows = records[0], records[1:] if whole else records[1:-1]
    is_quoted = len(lines) > 1 and lines[1].startswith('"')
    return _named(Layout(delimiter, skipped, remarks, header, records=rows), where, is_quoted)


def _before_header(lines: Sequence[str]) -> tuple[int, int, str | None]:
    """Return how many lines are before the header, how many of them are remarks.

    And the delimiter that Excel names in one.
    """
    remarks, hint = 0, None
    for place, line in enumerate(lines):
        text = line.strip("\r\n")
        if text.lower().startswith("sep=") and len(text) == 5:
            hint = text[4]
        elif _is_remark(text, lines[place + 1 :]):
            remarks += 1
        elif text.strip():
            return place, remarks, hint
    return len(lines), remarks, hint


def _is_remark(text: str, after: Sequence[str]) -> bool:
    """Tell whether a line is no header but a remark.

    It has other cells than what follows, or a blank after its sign and no numbers following.
    """
    if not text.startswith("#"):
        return False
    following = next((line for line in after if line.strip() and line[0] != "#"), "")
    signs = [sign for sign in DELIMITERS.values() if sign != " "]
    if all(text.count(sign) != following.count(sign) for sign in signs if sign in following):
        return True
    return text.startswith("# ") and not any(map(str.isdigit, following))


def _find_delimiter(
    lines: Sequence[str], complete: bool, where: str, modality: str, usual: str
) -> str:
    """Return the delimiter that gives every row as many cells as the header has.

    Or one less, where none does: R writes no name above the names of rows.
    """
    equal, shorter, uneven = list[str](), list[str](), list[str]()
    for sign in DELIMITERS.values():
        try:
            records = fields_of(lines, sign)
        except csv.Error:
            continue
        if not complete and len(records) > 2:
            records = records[:-1]
        widths = {len(row) for row in records[1:]}
        header = len(records[0])
        if max(widths, default=header) > 1:
            fits = widths <= {header}
            is_short = widths == {header + 1}
            (equal if fits else shorter if is_short else uneven).append(sign)
    for group in (equal, shorter):
        found = [sign for sign in group if sign != " "] or group
        # What the header holds stands between cells rather than in numbers.
        found = [sign for sign in found if len(fields_of(lines[:1], sign)[0]) > 1] or found
        if len(found) > 1 and "\t" in found:
            found = ["\t"]  # which hardly any cell holds
        if len(found) > 1:
            words = [word for word, sign in DELIMITERS.items() if sign in found]
            raise ReadingError(
                f"{where}: the cells may be separated by {quoted(found)}: all its rows have as "
                "many of each",
                modality,
                [f"delimiter={word}" for word in words],
            )
        if found:
            return found[0]
    return usual if usual in uneven or not uneven else uneven[0]


def _named(found: Layout, where: str, is_quoted: bool) -> Layout:
    """Return a layout with a name for each column, once the rows fit the header."""
    header, rows = [name.strip() for name in found.names], found.records
    widths = {len(row) for row in rows} or {len(header)}
    is_short = widths == {len(header) + 1}
    if is_short and not any(row[-1].strip() for row in rows):
        header, is_short = [*header, ""], False  # every row ends in a delimiter
    if is_short:
        _check_row_names(found, header, where, is_quoted)
        header = [ROW_NAMES, *header]
    for number, row in enumerate(rows):
        check_width(where, number + 1, row, len(header), found.word)
    # pandas writes an index without a name so, and reads it by this one.
    names = [name or f"Unnamed: {place}" for place, name in enumerate(header)]
    empty = [
        names[place]
        for place, name in enumerate(header)
        if place and not name and rows and not any(row[place].strip() for row in rows)
    ]
    return Layout(found.delimiter, found.skipped, found.remarks, names, empty, rows, is_short)


def _check_row_names(found: Layout, header: list[str], where: str, is_quoted: bool) -> None:
    """Refuse what may be numbers with decimal commas that are not in quotes.

    R, which writes names of rows below no name, puts them in quotes.
    """
    firsts = [row[0] for row in found.records]
    repeated = sorted({name for name in firsts if firsts.count(name) > 1})
    why = f"the first cells {repeated[:SHOWN]} repeat" if repeated else ""
    if header[0].lower() in _ID_NAMES:
        why = f"the header begins with {header[0]!r}"
    elif found.delimiter == "," and not is_quoted:
        why = why or "they may be decimal commas"
    if why:
        raise ValueError(
            f"{where}: every row has {len(header) + 1} cells, with {found.word}s between them, but "
            f"the header {header[:SHOWN]} has {len(header)}, and the first ones are not surely "
            f"names of rows ({why}): name every column, and put cells with such a sign in quotes"
        )
