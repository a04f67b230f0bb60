"""What the columns of a table were taken for, in a line each."""

from itertools import groupby

import numpy as np

from cmvae.preprocessing.codec import Entry
from cmvae.preprocessing.transforms import SAID
from cmvae.report.content import Column
from cmvae.report.drawing import shortened
from cmvae.report.tables import TableSums

LONGEST_NAME, LONGEST_VALUES = 80, 120
MOST_LEVELS = 4


def describe_columns(table: TableSums, n_samples: int) -> list[Column]:
    """Return the columns of a table, and those left out of it.

    Args:
        table: What was summed of it.
        n_samples: All samples, with the table and without.
    """
    found = []
    places = groupby(range(len(table.entries)), key=lambda j: table.entries[j].column)
    seen = table.plain.counts.sum(0)
    for name, group in places:
        own = list(group)
        entry = table.entries[own[0]]
        missing = 1 - float(seen[own[0]]) / n_samples
        words = shortened(_values(table, own), LONGEST_VALUES)
        found.append(_column(table, name, _kind(entry), missing, words))
    ignored = getattr(table.codec, "ignored", ())
    return [*found, *(_column(table, name, "left out", float("nan"), "") for name in ignored)]


def _column(table: TableSums, name: str, kind: str, missing: float, words: str) -> Column:
    return Column(table.modality, shortened(name, LONGEST_NAME), kind, missing, words)


def _kind(entry: Entry) -> str:
    return entry.kind if entry.transform == "none" else f"{entry.kind}, {SAID[entry.transform]}"


def _values(table: TableSums, places: list[int]) -> str:
    """Return the most frequent values of a category, the share of a binary column, or a range."""
    mean = table.plain.mean
    levels = sorted(places, key=lambda j: -np.nan_to_num(mean[j]))
    if table.entries[places[0]].level:
        shares = [f"{table.entries[j].level}: {_percent(mean[j])}" for j in levels[:MOST_LEVELS]]
        more = len(levels) - MOST_LEVELS
        return ", ".join([*shares, f"{more} more"] if more > 0 else shares)
    low, high = table.plain.low[places[0]], table.plain.high[places[0]]
    return "" if np.isnan(low) else f"{low:.4g} to {high:.4g}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
