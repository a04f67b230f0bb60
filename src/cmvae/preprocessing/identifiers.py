"""Columns that tell rows apart and are no measurements: ids, zip codes, phone numbers, dates."""

import re
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import texts_of
from cmvae.files.numerals import Habit, find_form

LONG = 20  # so many rows tell an identifier from a coincidence
COUNTS_UP = "counts up by one from row to row"

_MOST = 0.95  # of the cells that a pattern must fit
_DIGITS = 8  # numbers as long as this, all different, are no measurements
_YEARS = (1800, 2100)

# The last words of names of columns; the second ones only after a thing that has such numbers.
_ID_WORDS = ("id", "ids", "uid", "uuid", "guid", "identifier", "pk", "key", "nr", "nummer", "isbn")
_NUMBER_WORDS = ("no", "num", "number", "code", "ref", "reference")
_THINGS = (
    *("account", "case", "client", "contract", "customer", "device", "employee", "invoice"),
    *("member", "order", "participant", "patient", "person", "product", "record", "row"),
    *("sample", "serial", "session", "subject", "ticket", "transaction", "user"),
)
_GLUED = {thing + end for thing in _THINGS for end in (*_ID_WORDS, *_NUMBER_WORDS)}
_ZIP_WORDS = (
    "zip",
    "zipcode",
    "postal",
    "postcode",
    "postalcode",
    "plz",
    "pincode",
    "postleitzahl",
)
_PHONE_WORDS = ("phone", "telephone", "tel", "telefon", "mobile", "fax", "phones")
_YEAR_WORDS = ("year", "years", "yr", "jahr", "annee", "année", "ano", "año")

_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|\d{1,2}[ .-]+[A-Za-zäéû]{3,9}[ .,-]+\d{2,4}|[A-Za-zäéû]{3,9}\.? \d{1,2},? \d{4})"
    r"([ T]+\d{1,2}:\d{2}.*)?"
)
_ZIP = re.compile(r"\d{5}-\d{4}|[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}|[A-Z]\d[A-Z] \d[A-Z]\d")
_NAMED_ZIP = re.compile(r"(?=.*\d)[A-Z]{0,2}[- ]?[A-Z\d]{2,6}([- ][A-Z\d]{2,4})?", re.IGNORECASE)
_PHONE = re.compile(r"(?=.*[+() /-])\+?[\d(][\d ()/.-]{6,20}")


def identifying(
    frame: pd.DataFrame, named: Collection[Any] = (), of: int | None = None
) -> dict[Any, str]:
    """Tell which columns of a table are no measurements, and what tells so.

    They are: numbers that count up from row to row or number the rows in another order, numbers of
    eight digits and more that all differ, numbers that mostly differ in a column that is named as
    ids, and texts that differ in more than half of the rows, all of them in at least 20 rows; zip
    codes and phone numbers; and dates, as such, as texts and as numbers such as 20240131.

    Args:
        frame: A table.
        named: Columns that are passed over.
        of: How many rows the table was drawn from; None: it is the whole.

    Returns:
        Column to what is said of it.
    """
    plain = _plain_columns(frame, named)
    passed_over = {*named, *_fractional(frame, plain)}
    rest = [name for name in frame if name not in passed_over]
    reasons = {name: _reason(name, frame[name].dropna(), of) for name in rest}
    return {name: reason for name, reason in reasons.items() if reason}


def constant(frame: pd.DataFrame, named: Collection[Any] = ()) -> dict[Any, str]:
    """Tell which columns of a table of at least two rows hold one value alone, and which.

    Args:
        frame: A table.
        named: Columns that are passed over.
    """
    plain, passed_over = _plain_columns(frame, named), set(named)
    rest = [name for name in frame if name not in passed_over]
    numbers = frame[plain].to_numpy(dtype=np.float64)
    gone = np.isnan(numbers)
    low = np.where(gone, np.inf, numbers).min(0, initial=np.inf)
    flat = dict(zip(plain, (gone | (numbers == low)).all(0) & np.isfinite(low), strict=True))
    found = {}
    for name in rest:
        if not flat.get(name, True):
            continue
        cells = frame[name].dropna()
        if len(cells) > 1 and _is_hashable(cells) and cells.nunique() == 1:
            found[name] = f"is the same in all rows: {cells.iloc[0]}"
    return found


def rows_count_up(numbers: np.ndarray) -> np.ndarray:
    """Tell of which columns (n, ...) numbers go up by one from row to row, for 20 rows at least."""
    up = (np.diff(numbers, axis=0) == 1).all(0)
    return up & (len(numbers) >= LONG)


def words_of(name: Any) -> list[str]:
    """Return the words of a column's name, in small letters: customerId → customer, id."""
    split = re.sub(r"(?<=[a-zäöüß\d])(?=[A-ZÄÖÜ])", " ", str(name))
    return [word.lower() for word in re.split(r"[^A-Za-zÀ-ž]+", split) if word]


def named_as_ids(name: Any) -> bool:
    """Tell whether a column's name says that it holds ids: customer_id, orderNo, userid."""
    words = words_of(name) or [""]
    last = words[-1]
    of_thing = len(words) > 1 and words[-2] in _THINGS and last in _NUMBER_WORDS
    return last in _ID_WORDS or last in _GLUED or of_thing


def named_as_years(name: Any) -> bool:
    """Tell whether a column's name says that it holds years."""
    return any(word in _YEAR_WORDS for word in words_of(name))


def _plain_columns(frame: pd.DataFrame, named: Collection[Any]) -> list[Any]:
    """Return the columns of NumPy's numbers that are not named."""
    passed_over = set(named)
    return [n for n, own in frame.dtypes.items() if _is_plain(own) and n not in passed_over]


def _is_plain(dtype: Any) -> bool:
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def _is_hashable(cells: Any) -> bool:
    return cells.dtype != object or bool(cells.map(pd.api.types.is_hashable).all())


def _fractional(frame: pd.DataFrame, names: list[Any]) -> list[Any]:
    """Return the columns that hold numbers that are not whole, looked through all at once."""
    numbers = frame[names].to_numpy(dtype=np.float64)
    odd = (~np.isnan(numbers) & (numbers != np.rint(numbers))).any(0)
    return [name for name, is_odd in zip(names, odd, strict=True) if is_odd]


def _reason(name: Any, cells: Any, of: int | None) -> str | None:
    """Tell what makes a column without missing cells no measurement; None: nothing."""
    if not len(cells):
        return None
    if _is_plain(cells.dtype):
        return _reason_of_numbers(name, cells.to_numpy(dtype=np.float64), of)
    inferred = pd.api.types.infer_dtype(cells)
    if inferred in ("datetime64", "datetime", "date"):
        return _dates(cells.iloc[0])
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal"):
        try:
            return _reason_of_numbers(name, cells.to_numpy(dtype=np.float64), of)
        except OverflowError:  # of a whole number of hundreds of digits, which is refused later
            return None
    if inferred not in ("string", "mixed", "mixed-integer") or not _is_hashable(cells):
        return None  # pandas categoricals are meant to be such
    return _reason_of_texts(name, texts_of(cells).str.strip())


def _reason_of_numbers(name: Any, numbers: np.ndarray, of: int | None) -> str | None:
    if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
        return None
    n, low, high, words = len(numbers), numbers.min(), numbers.max(), words_of(name)
    if set(words) & set(_PHONE_WORDS) and low >= 10**5:
        return "holds phone numbers"
    if set(words) & set(_ZIP_WORDS) and low >= 0 and 100 <= high < 10**9:
        return "holds zip codes"
    if low >= 19000101 and high < 21010000 and _are_days(numbers):
        return _dates(int(numbers[0]))
    if n < LONG or (named_as_years(name) and _YEARS[0] <= low and high <= _YEARS[1]):
        return None
    if rows_count_up(numbers):
        return COUNTS_UP
    distinct = len(np.unique(numbers))
    if distinct == n and (of or n) == high - low + 1:
        return f"numbers the rows from {low:.0f} to {high:.0f}"
    is_long = (
        distinct == n and low >= 10 ** (_DIGITS - 1) and len(f"{low:.0f}") == len(f"{high:.0f}")
    )
    if is_long or (distinct > n / 2 and named_as_ids(name)):
        return f"holds {distinct} different numbers in {n} rows"
    return None


def _dates(example: Any) -> str:
    return f"holds dates, such as {example} (its kind date takes years)"


def _are_days(numbers: np.ndarray) -> bool:
    month, day = numbers // 100 % 100, numbers % 100
    return bool(((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)).all())


def _reason_of_texts(name: Any, texts: "pd.Series[str]") -> str | None:
    words, distinct, n = set(words_of(name)), texts.nunique(), len(texts)
    values = pd.Series(texts.unique())

    def fits(pattern: re.Pattern[str]) -> bool:
        return bool(values.str.fullmatch(pattern).mean() >= _MOST)

    digits = values.str.count(r"\d")
    if fits(_DATE):
        return _dates(values[0])
    if fits(_ZIP) or (words & set(_ZIP_WORDS) and fits(_NAMED_ZIP)):
        return f"holds zip codes, such as {values[0]}"
    is_phone = fits(_PHONE) and digits.between(7, 15).mean() >= _MOST
    if (is_phone and distinct > n / 2) or (words & set(_PHONE_WORDS) and (digits >= 6).all()):
        return f"holds phone numbers, such as {values[0]}"
    share = numeric_share(texts)
    if n < LONG or distinct <= n / 2 or 0.5 <= share < 1:
        return None
    if share < 1 and find_form(values, Habit()) is not None:
        return None  # amounts such as 1,5 or $3, of which their kind is to be told
    what = "numbers as texts" if share == 1 else "texts"
    return f"holds {distinct} different {what} in {n} rows"


def numeric_share(texts: Any) -> float:
    """Return which share of texts are numbers."""
    return float(pd.to_numeric(texts, errors="coerce").notna().mean())
