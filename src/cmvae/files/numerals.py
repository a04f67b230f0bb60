"""Numbers as people write them: decimal signs, thousands separators, percent and currency signs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from cmvae.base.words import SHOWN
from cmvae.files.source import ReadingError

SIGNS = {"point": ".", "comma": ",", "apostrophe": "'", "blank": " "}
"""Words for decimal signs and thousands separators."""

LEAST_SHARE = 0.5  # of a column's cells must be numbers for the others to be none

_BLANKS = " \u00a0\u2009\u202f"
_CURRENCY = (
    r"(?:[A-Z]{1,2}\$|[$€£¥₹₽₩₺₪₫฿₴]|\b(?:USD|EUR|GBP|CHF|JPY|CNY|INR|SEK|NOK|DKK|PLN|CZK|AUD|CAD"
    r"|BRL|MXN|[Kk]r|zł|Fr|Rs)\b\.?)"
)
_CELL = re.compile(
    rf"(?P<open>\()?\s*(?P<sign>[+\-−–])?\s*(?P<before>{_CURRENCY})?\s*(?P<inner>[+\-−–])?\s*"
    rf"(?P<digits>[\d.,](?:[\d.,'’{_BLANKS}]*[\d.,])?(?:[eE][+-]?\d+)?)\s*"
    rf"(?P<after>%|{_CURRENCY})?\s*(?P<behind>[-−])?(?P<close>\))?"
)
_PLAIN = re.compile(r"\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\s*")
_MINUS = ("-", "−", "–")
# Decimal sign and thousands separator, the first that fits being taken.
_PAIRS = (
    *((".", ""), (",", ""), (".", ","), (",", "."), (".", "'"), (",", "'"), (".", " ")),
    *((",", " "),),
)


@dataclass(frozen=True)
class Form:
    """How the numbers of a column are written.

    Attributes:
        decimal: The decimal sign.
        thousands: The thousands separator; empty: none.
        mark: A percent or currency sign; empty: none.
        is_plain: Whether there is nothing about them but a point and a sign in front.
    """

    decimal: str = "."
    thousands: str = ""
    mark: str = ""
    is_plain: bool = False

    @property
    def signs(self) -> tuple[str, str]:
        """Decimal sign and thousands separator."""
        return self.decimal, self.thousands

    def number(self, text: str) -> float | None:
        """Return the number that a cell holds; None: it holds none."""
        cell = _CELL.fullmatch(text.strip())
        if cell is None or _shape(self.decimal, self.thousands).fullmatch(cell["digits"]) is None:
            return None
        mark = cell["before"] or cell["after"] or ""
        marks = {cell["before"], cell["after"]} - {None}
        signs = [cell[name] for name in ("sign", "inner", "behind") if cell[name]]
        if len(marks) > 1 or len(signs) > 1 or bool(cell["open"]) != bool(cell["close"]):
            return None
        if cell["open"] and signs:
            return None
        bare = re.sub(rf"['’{_BLANKS}]", "", cell["digits"])
        bare = bare.replace(self.thousands, "") if self.thousands in (".", ",") else bare
        size = float(bare.replace(",", "."))
        # A percentage beside what is none would be a hundred times as large.
        if (mark == "%") != (self.mark == "%") and size:
            return None
        if mark and self.mark and mark != self.mark:
            return None
        return -size if cell["open"] or (signs and signs[0] in _MINUS) else size

    def shown_by(self, cells: Iterable[str]) -> bool:
        """Tell whether cells have the decimal sign, or a separator that makes the other one it."""
        return self.thousands in (",", ".") or any(self.decimal in cell for cell in cells)

    def words(self) -> list[str]:
        """Say what is unusual about it."""
        names = {sign: word for word, sign in SIGNS.items()}
        said = ["decimal comma"] if self.decimal == "," else []
        said += [f"{names[self.thousands]}s between thousands"] if self.thousands else []
        return said + ([f"{self.mark} taken off"] if self.mark else [])


@dataclass(frozen=True)
class Habit:
    """How numbers are written in a file, where a column does not show it.

    Attributes:
        decimal: The decimal sign; None: unknown.
        thousands: The thousands separator, where it was said; empty: there is none.
        point_is_decimal: Whether 1.234 is taken for a number below 2 unless others show that it
            is not.
    """

    decimal: str | None = None
    thousands: str | None = None
    point_is_decimal: bool = True

    def allows(self, decimal: str, thousands: str, said: bool) -> bool:
        """Tell whether a reading is possible, where signs were ``said`` or were only seen."""
        if not said:
            return True
        return (self.decimal in (None, decimal)) and (self.thousands in (None, thousands))


PLAIN = Form(is_plain=True)


def find_form(cells: Iterable[str], said: Habit) -> Form | list[Form] | None:
    """Tell how the numbers of a column are written.

    Args:
        cells: Its cells, without missing ones.
        said: What was said of it.

    Returns:
        None where fewer than half of the cells are numbers; several forms where they fit equally
        well and give other numbers.
    """
    cells = list(cells)
    if not cells:
        return None
    free = said.decimal in (None, ".") and said.thousands in (None, "")
    if free and all(map(_PLAIN.fullmatch, cells)):
        grouped = _shape(*_PAIRS[3])
        signed = [cell.strip().lstrip("+-") for cell in cells if "." in cell]
        return (
            [PLAIN, Form(*_PAIRS[3])] if signed and all(map(grouped.fullmatch, signed)) else PLAIN
        )
    allowed = [pair for pair in _PAIRS if said.allows(*pair, said=True)]
    fits = {pair: _fit(cells, *pair) for pair in allowed}
    most = max(fits.values(), default=0)
    if most < LEAST_SHARE * len(cells):
        return None
    best = [pair for pair in allowed if fits[pair] == most]
    mark = _mark(cells)
    plain = len(best) > 1 and set(best) >= {_PAIRS[1], _PAIRS[2]}
    point = len(best) > 1 and set(best) >= {_PAIRS[0], _PAIRS[3]}
    if plain and not point:
        # A dollar or a pound stands before numbers with a decimal point.
        return Form(*_PAIRS[2], mark) if mark in ("$", "£") else _forms(_PAIRS[1:3], mark)
    if point and not plain:
        return _forms((_PAIRS[0], _PAIRS[3]), mark)
    return Form(*best[0], mark)


def choose(
    found: list[Form], habit: Habit, name: str, cells: Sequence[str], where: str, modality: str
) -> Form:
    """Return the one of several forms that the other columns of a file speak for.

    Raises:
        ReadingError: If they speak for none, or for both.
    """
    fitting = [form for form in found if form.decimal == habit.decimal]
    if fitting:
        return fitting[0]
    if found[0].decimal == "." and habit.point_is_decimal:
        return found[0]
    sign = "." if found[0].decimal == "." else ","
    word = {mark: own for own, mark in SIGNS.items()}[sign]
    shown = list(dict.fromkeys(cell for cell in cells if sign in cell))[:SHOWN]
    both = " or ".join(f"{form.number(shown[0]):.6g}" for form in found)
    raise ReadingError(
        f"{where}: column {name!r} holds {shown}: {shown[0]} may be {both}, the {word} a decimal "
        "sign or between thousands",
        modality,
        [f"decimal={word}", f"thousands={word}"],
    )


def is_code(cells: Iterable[str]) -> bool:
    """Tell whether cells are digits, some with zeros in front: codes, such as postal ones."""
    cells = [cell.strip() for cell in cells]
    return all(map(str.isdecimal, cells)) and any(c[0] == "0" and len(c) > 1 for c in cells)


def _forms(pairs: Iterable[tuple[str, str]], mark: str) -> list[Form]:
    return [Form(*pair, mark) for pair in pairs]


def _fit(cells: list[str], decimal: str, thousands: str) -> int:
    """Return how many cells are numbers with such signs."""
    shape = _shape(decimal, thousands)
    found = (_CELL.fullmatch(cell.strip()) for cell in cells)
    return sum(cell is not None and shape.fullmatch(cell["digits"]) is not None for cell in found)


def _mark(cells: list[str]) -> str:
    """Return the sign that cells have, a percent sign if most of them do; empty: none."""
    found = [cell for cell in (_CELL.fullmatch(own.strip()) for own in cells) if cell]
    marks = [cell["before"] or cell["after"] or "" for cell in found]
    most = max((mark for mark in dict.fromkeys(marks) if mark), key=marks.count, default="")
    return "" if most == "%" and 2 * marks.count(most) <= len(marks) else most


@cache
def _shape(decimal: str, thousands: str) -> re.Pattern[str]:
    """Return the pattern of the digits of a number."""
    point = re.escape(decimal)
    power = r"(?:[eE][+-]?\d+)?"
    plain = rf"(?:\d+(?:{point}\d*)?|{point}\d+)"
    if not thousands:
        return re.compile(plain + power)
    between = {"'": "['’]", " ": f"[{_BLANKS}]"}.get(thousands, re.escape(thousands))
    groups = rf"[1-9]\d{{0,2}}(?:{between}\d{{3}})+"
    if thousands == ",":
        groups = rf"(?:{groups}|[1-9]\d?(?:,\d\d)+,\d{{3}})"  # lakhs and crores
    return re.compile(rf"(?:{plain}|{groups}(?:{point}\d*)?){power}")
