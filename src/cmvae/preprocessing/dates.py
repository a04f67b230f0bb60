"""Dates as numbers: years since the first one, and the season on request."""

import re
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd

from cmvae.base.settings import Finite, PositiveFloat
from cmvae.base.words import SHOWN
from cmvae.preprocessing.columns import Cells, Column

YEAR = 365.2425
"""Days in a year, on average."""

STORED = "stored"
"""The form of dates that are no texts."""

EXAMPLE = pd.Timestamp(2024, 1, 31)
"""What forms are shown by."""

# Those in one row look alike, and are told apart by a day above the twelfth alone.
_FORMS = (
    *(("%Y-%m-%d",), ("%Y/%m/%d",), ("%Y.%m.%d",), ("%Y%m%d",), ("%d.%m.%Y",), ("%d.%m.%y",)),
    *(("%d/%m/%Y", "%m/%d/%Y"), ("%d-%m-%Y", "%m-%d-%Y")),
    *(("%d/%m/%y", "%m/%d/%y", "%y/%m/%d"), ("%d-%m-%y", "%m-%d-%y", "%y-%m-%d")),
    *(("%d %b %Y",), ("%d %B %Y",), ("%d-%b-%Y",), ("%d-%b-%y",), ("%d. %B %Y",), ("%d%b%Y",)),
    *(("%b %d, %Y",), ("%B %d, %Y",), ("%b %d %Y",), ("%B %d %Y",), ("%a, %d %b %Y",)),
    *(("%Y-%m",), ("%Y/%m",), ("%m/%Y",), ("%m.%Y",), ("%b %Y",), ("%B %Y",), ("%Y",)),
)
_TIME = re.compile(
    r"[T ]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?"
    r"(?: ?(?P<half>[AaPp])\.?[Mm]\.?)?(?: ?(?P<zone>Z|UTC|[+-]\d{2}:?\d{2}))?$"
)


class Date(Column):
    """Dates, as years since the first one, standardised.

    Attributes:
        form: How they are written, as ``strptime`` takes it, or 'stored' where they are no texts.
        first: The first date, in days since 1970.
        center: The mean, in years.
        spread: The standard deviation, in years; 1 where all are the same.
    """

    kind: Literal["date"] = "date"
    form: str = STORED
    first: Finite = 0.0
    center: Finite = 0.0
    spread: PositiveFloat = 1.0

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation, in years."""
        return self.center, self.spread

    @classmethod
    def learn(cls, name: str | int, cells: Cells, modality: str) -> Self:
        """Find how the dates are written, and measure them.

        Raises:
            ValueError: For cells that are no dates, and dates that may be read in two ways.
        """
        where = f"modality {modality!r}: column {name!r}"
        form = find_form(cells, where)
        days = read_days(cells, form, where)
        first = float(days.min())
        years = (days - first) / YEAR
        spread = float(years.std()) or 1.0
        return cls(name=name, form=form, first=first, center=float(years.mean()), spread=spread)

    def encode(self, cells: Cells, modality: str) -> np.ndarray:
        """Return years, standardised, (n, 1) float64; ``ValueError`` for what is no such date."""
        days = read_days(cells, self.form, f"modality {modality!r}: column {self.name!r}")
        years = (days - self.first) / YEAR
        return np.asarray((years - self.center) / self.spread)[:, None]

    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return dates, (n,) datetime64 of whole days."""
        years = super().decode(values, sample)
        # The numbers of a model are off by minutes; days that no calendar has would be missing.
        days = np.floor(self.first + years * YEAR + 0.02).clip(-700_000, 2_900_000)
        return days.astype(np.int64).astype("datetime64[D]").astype("datetime64[s]")

    def written(self, dates: "pd.Series[Any]") -> "pd.Series[Any]":
        """Return dates, (n,), as those that were learned were written."""
        return dates if self.form == STORED else dates.dt.strftime(self.form)


class DateAndSeason(Date):
    """Dates, as years since the first one, and as sine and cosine of the day of the year."""

    kind: Literal["date+season"] = "date+season"  # type: ignore[assignment]

    @property
    def names(self) -> list[str]:
        """The years, and where in the year."""
        return [str(self.name), f"{self.name} (sine of the year)", f"{self.name} (cosine)"]

    @property
    def scales(self) -> list[tuple[float, float]]:
        """Those of the years, and none of the season."""
        return [self.scale, (0.0, 1.0), (0.0, 1.0)]

    def encode(self, cells: Cells, modality: str) -> np.ndarray:
        """Return standardised years, sine and cosine, (n, 3) float64."""
        days = read_days(cells, self.form, f"modality {modality!r}: column {self.name!r}")
        stamps = days.astype("datetime64[D]")
        starts = stamps.astype("datetime64[Y]")
        length = ((starts + 1).astype("datetime64[D]") - starts.astype("datetime64[D]")).astype(int)
        passed = days - starts.astype("datetime64[D]").astype(np.float64)
        angle = 2 * np.pi * passed / length
        years = super().encode(cells, modality)
        return np.concatenate([years, np.sin(angle)[:, None], np.cos(angle)[:, None]], 1)


DATES: dict[str, type[Date]] = {"date": Date, "date+season": DateAndSeason}
"""Kind to what codes such a column."""


def find_form(cells: Cells, where: str) -> str:
    """Return how dates are written, as ``strptime`` takes it; 'stored' where they are no texts.

    Args:
        cells: The dates, (n,), none missing.
        where: Modality and column, for the messages.

    Raises:
        ValueError: For cells that are no dates, and where days and months may be each other.
    """
    if not _are_texts(cells):
        return STORED
    texts = [_split(cell)[0] for cell in cells.unique()]
    best: tuple[str, ...] = ()
    most = 0
    for alike in _FORMS:
        fitting = [form for form in alike if _parsed(texts, form).notna().all()]
        readings = {form: _parsed(texts, form) for form in fitting}
        if len(fitting) > 1 and not all(
            own.equals(readings[fitting[0]]) for own in readings.values()
        ):
            shown = next(
                place
                for place in range(len(texts))
                if len({own.iloc[place] for own in readings.values()}) > 1
            )
            both = " or ".join(f"{own.iloc[shown]:%Y-%m-%d}" for own in readings.values())
            raise ValueError(
                f"{where}: the date {texts[shown]!r} may be {both}, and no other date tells: write "
                "year-month-day"
            )
        if fitting:
            return fitting[0]
        count = max(int(_parsed(texts, form).notna().sum()) for form in alike)
        if count > most:
            best, most = alike, count
    if not most:
        raise ValueError(f"{where} (date) holds {texts[:SHOWN]}, which are no dates")
    odd = [t for t in texts if all(_parsed([t], form).isna().all() for form in best)]
    usual = next(text for text in texts if text not in odd) if len(odd) < len(texts) else texts[0]
    raise ValueError(
        f"{where} (date) holds {(odd or texts)[:SHOWN]} beside {usual!r}: they are not written in "
        "one way"
    )


def read_days(cells: Cells, form: str, where: str) -> np.ndarray:
    """Return dates as days since 1970, (n,) float64.

    Args:
        cells: The dates, (n,), none missing.
        form: How they are written, as :func:`find_form` returns it.
        where: Modality and column, for the messages.

    Raises:
        ValueError: For what is no such date.
    """
    if not _are_texts(cells):
        return _days_of(_stored(cells, where))
    if form == STORED:
        form = find_form(cells, where)
    parts = [_split(cell) for cell in cells]
    dates = _parsed([text for text, _ in parts], form)
    bad = dates.isna().to_numpy()
    if bad.any():
        shown = list(dict.fromkeys(cells[bad].tolist()))[:SHOWN]
        example = f"{EXAMPLE:%d %B %Y} is {EXAMPLE.strftime(form)}"
        raise ValueError(
            f"{where} (date) holds {shown}, which are no dates written as those known: {example}"
        )
    return _days_of(dates) + np.array([days for _, days in parts])


def _are_texts(cells: Cells) -> bool:
    return pd.api.types.infer_dtype(cells, skipna=True) in ("string", "categorical", "mixed")


def _stored(cells: Cells, where: str) -> "pd.Series[Any]":
    """Return dates, or numbers that are years or year, month and day, as stamps."""
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
        numbers = cells.to_numpy(dtype=np.float64)
        whole = (numbers == np.rint(numbers)).all()
        texts = [f"{number:.0f}" for number in numbers]
        for form, low, high in (("%Y", 1000, 3000), ("%Y%m%d", 10_000_101, 29_991_231)):
            if whole and ((numbers >= low) & (numbers <= high)).all():
                found = _parsed(texts, form)
                if found.notna().all():
                    return found
        raise ValueError(
            f"{where} (date) holds {cells.unique()[:SHOWN].tolist()}: numbers are dates as years, "
            "or as year, month and day in eight digits"
        )
    try:
        stamps = pd.Series(pd.to_datetime(pd.Series(cells.to_numpy()), utc=True))
    except (ValueError, TypeError, OverflowError):
        shown = cells.unique()[:SHOWN].tolist()
        raise ValueError(f"{where} (date) holds {shown}, which are no dates") from None
    return stamps.dt.tz_localize(None)


def _days_of(stamps: "pd.Series[Any]") -> np.ndarray:
    seconds = stamps.to_numpy().astype("datetime64[s]").astype(np.int64)
    return np.asarray(seconds / 86_400)


def _parsed(texts: Sequence[str], form: str) -> "pd.Series[Any]":
    """Return texts as stamps, those that are no dates of the form as NaT."""
    return pd.Series(pd.to_datetime(pd.Series(texts, dtype=object), format=form, errors="coerce"))


def _split(cell: Any) -> tuple[str, float]:
    """Return the date of a text, and the time of the day in days."""
    text = str(cell).strip()
    match = _TIME.search(text)
    if match is None:
        return text, 0.0
    hour, minute = int(match["hour"]), int(match["minute"])
    if match["half"]:
        hour = hour % 12 + 12 * (match["half"].lower() == "p")
    seconds = float((match["second"] or "0").replace(",", "."))
    if match["zone"] and match["zone"][0] in "+-":
        offset = int(match["zone"][1:3]) * 60 + int(match["zone"][-2:])
        minute -= offset if match["zone"][0] == "+" else -offset
    return text[: match.start()].strip(), (hour * 3600 + minute * 60 + seconds) / 86_400
