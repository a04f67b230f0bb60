"""Columns of texts that are numbers: found by the first cells, and turned into numbers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pandas as pd

from cmvae.base.words import SHOWN, listed
from cmvae.files.modality import ModalityFile
from cmvae.files.numerals import PLAIN, SIGNS, Form, Habit, choose, find_form, is_code
from cmvae.files.source import ReadingError

MISSING = [
    *("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None", "<NA>", "NaT"),
    *("#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?"),
]
AS_TEXT = ("category", "text", "ignore", "date", "date+season")
"""Kinds of columns that are no numbers, whatever their texts look like."""

_MISSING = frozenset(MISSING)


class NumberTexts:
    """How the numbers of a table's columns are written.

    Args:
        where: Modality and file, for the messages.
        modality: The modality.
        options: What is known of how they are written, and kinds of columns that are no numbers.
        first: Column to its first cells.
        point_is_decimal: Whether 1.234 is taken for a number below 2 unless others show that it
            is not.
        typed: Whether the file says itself which cells are missing, and what is a text.

    Attributes:
        forms: Column to how its numbers are written.
        codes: Columns of digits with zeros in front.
        written: Column to what its first cells show: decimal sign, empty where none, and mark.
        decimal: The decimal sign of most columns.
        forced: Columns that a parser with this sign would misread.
    """

    def __init__(
        self,
        where: str,
        modality: str,
        options: ModalityFile,
        first: Mapping[str, Sequence[str]],
        point_is_decimal: bool = True,
        typed: bool = False,
    ) -> None:
        self._typed = typed
        self.where, self._modality, self._kinds = where, modality, options.kinds
        self._said = Habit(
            None if options.decimal is None else SIGNS.get(options.decimal, options.decimal),
            None if options.thousands is None else SIGNS.get(options.thousands, options.thousands),
        )
        self.codes: set[str] = set()
        found: dict[str, Form | list[Form]] = {}
        shown: dict[str, list[str]] = {}
        habits = set()
        for name, column in first.items():
            if self._kinds.get(name) in AS_TEXT:
                continue
            cells = list(dict.fromkeys(c for c in column if c.strip() not in _MISSING))
            form = find_form(cells, self._said)
            if form is None:
                continue
            found[name], shown[name] = form, cells
            if form is PLAIN and name not in self._kinds and is_code(cells):
                self.codes.add(name)
            if isinstance(form, Form) and form.shown_by(cells):
                habits.add(form.decimal)
        decimal = self._said.decimal or (min(habits) if len(habits) == 1 else None)
        clear = point_is_decimal and len(habits) < 2
        self._habit = Habit(decimal, self._said.thousands, clear)
        self._settle(found, shown)

    def check(self, columns: Collection[str]) -> None:
        """Refuse columns whose numbers may be two.

        Raises:
            ReadingError: Naming the first of them.
        """
        for name, error in self._refused.items():
            if name in columns:
                raise error

    def convert(self, frame: pd.DataFrame, kept: Collection[str], first: int = 0) -> pd.DataFrame:
        """Return a table with the numbers that its texts are, and other texts without margins.

        Args:
            frame: The table, or a part of it.
            kept: Columns that stay texts.
            first: The row of the first of them.

        Raises:
            ReadingError: For numbers written in two ways.
            ValueError: For percentages beside numbers that are none.
        """
        changed: dict[str, Any] = {}
        for name, dtype in frame.dtypes.items():
            is_number = pd.api.types.is_numeric_dtype(dtype)
            # Not the type: pandas 2 has texts beside missing cells as objects.
            if not is_number and pd.api.types.infer_dtype(frame[name], skipna=True) == "string":
                changed[str(name)] = self._cells(frame[name], str(name), kept, first)
        for name, form in self.forms.items():
            if form.mark == "%" and name in frame and name not in changed:
                self._check_share(frame[name], name)
        return frame.assign(**changed) if changed else frame

    @property
    def words(self) -> list[str]:
        """What is unusual about the numbers, with the columns."""
        by_words: dict[str, list[str]] = {}
        for name, form in self.forms.items():
            for words in form.words():
                by_words.setdefault(words, []).append(name)
        said = [f"{words} in {listed(names)}" for words, names in by_words.items()]
        if self._below_zero:
            said.append(f"parentheses say below zero in {listed(sorted(self._below_zero))}")
        if self.codes:
            said.append(f"kept as text for the zeros in front: {listed(sorted(self.codes))}")
        return said

    def _settle(
        self, found: Mapping[str, Form | list[Form]], shown: Mapping[str, list[str]]
    ) -> None:
        """Choose between several forms of a column, by those of others."""
        self.forms: dict[str, Form] = {}
        self._refused: dict[str, ReadingError] = {}
        for name, form in found.items():
            try:
                own = form if isinstance(form, Form) else self._chosen(form, name, shown[name])
            except ReadingError as error:
                self._refused[name] = error
            else:
                self.forms[name] = own
        self.written = {
            name: (form.decimal if form.shown_by(shown[name]) else "", form.mark)
            for name, form in self.forms.items()
        }
        commas = sum(form.decimal == "," for form in self.forms.values())
        points = sum(
            form.is_plain and any("." in cell for cell in shown[name])
            for name, form in self.forms.items()
        )
        self.decimal = "," if commas > points else "."
        self._below_zero = {
            name for name in self.forms if any(cell.strip()[0] == "(" for cell in shown[name])
        }
        # The first cells have no sign, and the first one that comes may be of thousands.
        self._unsigned = {
            name
            for name, form in self.forms.items()
            if form is PLAIN and not any("." in cell for cell in shown[name])
        }
        # The parser would take their separator for a decimal sign.
        self.forced = [
            name
            for name, form in self.forms.items()
            if form.decimal != self.decimal and form.thousands in (",", ".")
        ]

    def _chosen(self, forms: list[Form], name: str, cells: Sequence[str]) -> Form:
        return choose(forms, self._habit, name, cells, self.where, self._modality)

    def _check_share(self, column: "pd.Series[Any]", name: str) -> None:
        if (column.fillna(0) != 0).any():
            raise ValueError(
                f"{self.where}: column {name!r} holds percentages and numbers that are none"
            )

    def _cells(
        self, column: "pd.Series[Any]", name: str, kept: Collection[str], first: int
    ) -> "pd.Series[Any]":
        texts = column.str.strip()
        texts = texts.mask(texts.isin(MISSING))
        if name not in kept and self._kinds.get(name) not in AS_TEXT:
            numbers = self._numbers(texts, name, first)
            if numbers is not None:
                return numbers
        return column if self._typed else texts

    def _numbers(self, texts: "pd.Series[str]", name: str, first: int) -> "pd.Series[Any] | None":
        """Return the numbers of a column of texts; None where they are other texts."""
        distinct = texts.dropna().unique().tolist()
        found = find_form(distinct, self._said)
        if name not in self.forms:
            if found is None:
                return None
            own = found if isinstance(found, Form) else self._chosen(found, name, distinct)
            self.forms[name] = own
        elif name in self._unsigned and isinstance(found, list):
            self.forms[name] = self._chosen(found, name, distinct)
        form = self.forms[name]
        numbers = {text: form.number(text) for text in distinct}
        odd = [text for text, number in numbers.items() if number is None]
        other = find_form(odd, Habit())
        if isinstance(other, Form) and other.decimal == form.decimal and not form.thousands:
            # Thousands may come first where the numbers are larger.
            wider = {text: other.number(text) for text in distinct}
            if None not in wider.values():
                self.forms[name], numbers, odd = other, wider, []
        if not odd:
            return texts.map(numbers).astype("float64")
        if other is not None and not (isinstance(other, Form) and other.is_plain and form.is_plain):
            row = first + int((texts == odd[0]).to_numpy().argmax()) + 1
            example = next(text for text in distinct if text not in odd)
            message = (
                f"{self.where}: column {name!r} holds {odd[:SHOWN]}, the first in row {row}, "
                f"beside numbers such as {example!r}: they are written in two ways"
            )
            if isinstance(other, Form) and other.signs == form.signs:  # in several units
                raise ValueError(message)
            raise ReadingError(
                message,
                self._modality,
                [f"decimal={word}" for word in ("point", "comma")],
            )
        cells = {text: text if number is None else number for text, number in numbers.items()}
        return texts.astype(object).map(cells)
