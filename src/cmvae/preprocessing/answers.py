"""Texts that say yes or no."""

from typing import Any

import pandas as pd

PAIRS = (
    *(("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"), ("off", "on")),
    *(("nein", "ja"), ("non", "oui"), ("falsch", "wahr"), ("faux", "vrai"), ("no", "sí")),
    *(("no", "si"), ("nee", "ja"), ("nej", "ja")),
)
"""What no and yes are called, in small letters."""

_CODES = {**{text: place for pair in PAIRS for place, text in enumerate(pair)}, "0": 0, "1": 1}


def are_texts(cells: Any) -> bool:
    """Tell whether a column, (n,), holds texts, and no pandas categories."""
    return pd.api.types.infer_dtype(cells, skipna=True) == "string"


def find_answers(cells: Any) -> tuple[str, str] | None:
    """Return how no and yes are written in a column of texts, (n,); None: it holds other texts.

    Both must occur. Where they are written in several ways, it is the most frequent one.

    Example:
        >>> find_answers(pd.Series(["Yes", "no", "No", "No"]))
        ('No', 'Yes')
    """
    counts = cells.value_counts()
    found = {text: _plain(text) for text in counts.index}
    for pair in PAIRS:
        if set(found.values()) == set(pair):
            first, second = (next(t for t in counts.index if found[t] == own) for own in pair)
            return str(first), str(second)
    return None


def answer_codes(cells: Any) -> "pd.Series[float]":
    """Return 0 for no and 1 for yes in any of the ways to say so, (n,); NaN for other texts."""
    return cells.map(_plain).map(_CODES).astype("float64")


def _plain(text: Any) -> str:
    return str(text).strip().casefold()
