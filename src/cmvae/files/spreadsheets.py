"""Texts that a spreadsheet would compute, guarded by an apostrophe."""

import re
from typing import Any

import pandas as pd

_COMPUTED = re.compile(r"['\s]*[=+\-@＝＋－＠]|'*[\t\r\n]")
_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")


def guarded(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts, names of columns included, are texts in spreadsheets too.

    Before what would be a formula stands an apostrophe: what begins with ``=``, ``+``, ``-``,
    ``@``, a tab or a line's end, or with one of these after blanks and apostrophes. Numbers stay
    as they are, also those in texts.

    Example:
        >>> guarded(pd.DataFrame({"id": ["=1+1", "-1.5", "a=b"], "+x": [-1.5, 2.0, 3.0]}))
              id  '+x
        0  '=1+1 -1.5
        1   -1.5  2.0
        2    a=b  3.0
    """
    plain = [kind.kind if hasattr(kind, "kind") else "O" for kind in rows.dtypes]
    columns = [
        rows.iloc[:, place] if kind in "iufcbmM" else rows.iloc[:, place].astype(object).map(_guard)
        for place, kind in enumerate(plain)
    ]
    if not columns:
        return rows
    return pd.concat(columns, axis=1).set_axis([_guard(name) for name in rows.columns], axis=1)


def _guard(value: Any) -> Any:
    is_text = isinstance(value, str) and _COMPUTED.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_text else value
