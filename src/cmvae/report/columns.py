"""What the columns of a table were taken for, in a line each."""

import math
from itertools import groupby
from typing import Any

import numpy as np

from cmvae.preprocessing.transforms import SAID
from cmvae.report.content import Column
from cmvae.report.drawing import shortened
from cmvae.report.tables import TableSums

LONGEST_NAME, LONGEST_VALUES = 80, 120
MOST_LEVELS = 4


def describe_columns(table: TableSums, n_samples: int, understood: Any = None) -> list[Column]:
    """Return the columns of a table, and those left out of it.

    Args:
        table: What was summed of it.
        n_samples: How many samples have it.
        understood: What the run has kept of it: its ``columns``, each with name, kind, note, share
            of missing cells, and range. Without, all is found anew.
    """
    if understood is not None and understood.columns:
        said = {entry.column: SAID.get(entry.transform, "") for entry in table.entries}
        return [
            _column(
                table,
                own.name,
                own.kind,
                "; ".join(filter(None, (own.note, said.get(own.name)))),
                own.missing,
                own.range,
            )
            for own in understood.columns
        ]
    found = []
    places = groupby(range(len(table.entries)), key=lambda j: table.entries[j].column)
    seen, means = table.plain.counts.sum(0), np.nan_to_num(table.plain.mean)
    for name, group in places:
        own = list(group)
        entry, missing = table.entries[own[0]], 1 - float(seen[own[0]]) / max(n_samples, 1)
        note = SAID.get(entry.transform, "")
        found.append(_column(table, name, entry.kind, note, missing, _values(table, own, means)))
    ignored = getattr(table.codec, "ignored", ())
    return [*found, *(_column(table, own, "left out", "", math.nan, "") for own in ignored)]


def _column(
    table: TableSums, name: str, kind: str, note: str, missing: float, values: str
) -> Column:
    name, values = shortened(name, LONGEST_NAME), shortened(values, LONGEST_VALUES)
    return Column(table.modality, name, kind, shortened(note, LONGEST_VALUES), missing, values)


def _values(table: TableSums, places: list[int], means: np.ndarray) -> str:
    """Return the most frequent values of a category, the share of a binary column, or a range."""
    levels = sorted(places, key=lambda j: -means[j])
    if table.entries[places[0]].level:
        shares = [f"{table.entries[j].level}: {_percent(means[j])}" for j in levels[:MOST_LEVELS]]
        more = len(levels) - MOST_LEVELS
        return ", ".join([*shares, f"{more} more"] if more > 0 else shares)
    low, high = table.plain.low[places[0]], table.plain.high[places[0]]
    return "" if np.isnan(low) else f"{low:.4g} to {high:.4g}"


def _percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")
