"""Ways in which two spellings of one id differ, from the most harmless on."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal

from cmvae.files.suffixes import IMAGE_SUFFIXES

_QUOTES = re.compile(r"""[b=]?(['"])(.*)\1""", re.DOTALL)
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d{1,2})?")
_MIDNIGHT = re.compile(r"[T ]00:00(:00(\.0+)?)?(Z|[+-]00:?00)?$")
_ZEROS = re.compile(r"(?<!\d)(?<!\d\.)0+(?=\d)")  # 1.05 is not 1.5
_SEPARATORS = re.compile(r"[\s._/|:\-\u2010-\u2015\u2212]+")
_R_NAME = re.compile(r"[xX](?=\d)")
_IMAGES = "|".join(map(re.escape, IMAGE_SUFFIXES))
_IMAGE = re.compile(rf"^(.*[/\\])?(.+)({_IMAGES})$", re.IGNORECASE)
_ALIQUOT = re.compile(r"(TCGA[-.]\w{1,2}[-.]\w{1,4}[-.]\d\d?)[A-Z]\b.*", re.IGNORECASE)
_RAISED = ("<super>", "<sub>", "<fraction>")
_PART = re.compile(r"[-_.:#/|\s]")


@dataclass(frozen=True)
class Step:
    """A normalisation of ids.

    Attributes:
        differs: What it passes over, for "differ only in …".
        sign: What is seen in a line for each id where it may change one of them.
        normal: From an id to what is compared.
        share: The share that it must join, of the ids without a partner in the file that has fewer
            of them: what ids by chance agree in must join many.
        of_lines: Whether many ids, one a line, may be normalised at once.
    """

    differs: str
    sign: re.Pattern[str]
    normal: Callable[[str], str]
    share: float = 0.0
    of_lines: bool = False


def id_text(value: object) -> str:
    """Return an id as text; bytes are decoded."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def shown_id(name: str) -> str:
    """Return an id in quotes; characters that look like one are told apart."""
    return repr(name) if composed(name) == name else ascii(name)


def without_blanks(name: str) -> str:
    """Return an id without blanks around it and what cannot be seen; blanks within are one."""
    if not (name.isascii() and name.isprintable()):
        name = "".join(filter(_is_seen, name))
    return " ".join(name.split())


def _is_seen(letter: str) -> bool:
    """Tell blanks and letters from marks of byte order, zero width and control."""
    return letter.isspace() or unicodedata.category(letter) not in ("Cc", "Cf")


def composed(name: str) -> str:
    """Return an id in Unicode's composed form: é may be one character or two."""
    return unicodedata.normalize("NFC", name)


def _unquoted(name: str) -> str:
    found = _QUOTES.fullmatch(name)
    return found[2] if found else name


def _whole(name: str) -> str:
    """Return 12.0 and 1.2e+01 as 12."""
    if name.isdigit() or not _NUMBER.fullmatch(name):
        return name
    number = Decimal(name)
    return str(int(number)) if number == number.to_integral_value() else name


def _without(pattern: re.Pattern[str], instead: str = "") -> Callable[[str], str]:
    return lambda name: pattern.sub(instead, name)


def _compatible(name: str) -> str:
    """Return letters of another form, such as wide ones, as usual; 1² is not 12."""
    raised = any(unicodedata.decomposition(letter).startswith(_RAISED) for letter in name)
    return name if raised else unicodedata.normalize("NFKC", name)


def _r_name(name: str) -> str:
    return name[1:] if _R_NAME.match(name) else name


def _seen_in(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.MULTILINE)


_NOT_ASCII = _seen_in(r"[^\x00-\x7f]")
FEW, MANY = 0.01, 0.5

STEPS = (
    Step("blanks", _seen_in(r"^ | $|  |[^\n -~]"), without_blanks),
    Step("the Unicode form", _NOT_ASCII, composed),
    Step("quotes", _seen_in(r"""['"]$"""), _unquoted),
    Step("how a number is written", _seen_in(r"^[+-]?\d+[.eE]|^[+-]"), _whole),
    Step("a time of midnight", _seen_in("00:00"), _without(_MIDNIGHT)),
    Step("leading zeros", _ZEROS, _without(_ZEROS), FEW, True),
    Step("letter case", _seen_in(r"[A-Z]|[^\x00-\x7f]"), str.casefold, FEW, True),
    Step("the form of letters", _NOT_ASCII, _compatible, FEW),
    Step("the name of a file", _seen_in(rf"(?i:{_IMAGES})$"), _without(_IMAGE, r"\2"), FEW),
    Step("separators", _seen_in(r"[^\w\n]|_"), _without(_SEPARATORS, "-"), FEW),
    Step("an X before a number", _seen_in(r"^[xX]\d"), _r_name, FEW),
    Step("what follows the sample in a barcode", _ALIQUOT, _without(_ALIQUOT, r"\1"), MANY),
)
LOOKS = STEPS[:2]
"""What nobody sees."""
ALIKE = STEPS[: [step.differs for step in STEPS].index("letter case") + 1]
"""What two ids of one file rarely differ in alone."""


def normal_ids(names: Iterable[str], steps: Iterable[Step]) -> list[str]:
    """Return ids under normalisations, one after the other."""
    found = list(names)
    for step in steps:
        # Most steps change none of a million ids, and one search is much faster than these.
        lines = "\n".join(found)
        are_lines = lines.count("\n") < max(1, len(found))
        if are_lines and not step.sign.search(lines):
            continue
        if are_lines and step.of_lines:
            found = step.normal(lines).split("\n")
        else:
            found = list(map(step.normal, found))
    return found


def count_parts(name: str) -> int:
    """Return how many parts an id has, as ``TCGA-A1-A0SB`` has three."""
    return len(_PART.findall(name)) + 1


def first_parts(name: str, number: int) -> str:
    """Return an id's first parts; all of it where it has no more."""
    for place, found in enumerate(_PART.finditer(name), 1):
        if place == number:
            return name[: found.start()]
    return name
