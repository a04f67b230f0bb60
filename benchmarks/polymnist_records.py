"""Records of the runs of benchmarks/polymnist.py: tables and curves."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from polymnist_latents import LATENTS, PROBE_Z
from polymnist_scores import (
    ACC,
    ACC_ONE,
    CONDITIONAL,
    DISTANCE,
    LIKELIHOOD,
    MEASURES,
    SELF,
    UNCONDITIONAL,
)
from timing import RECORDS, table, write_record

from cmvae.base.files import atomic_write

PUBLISHED = {CONDITIONAL: 0.897, UNCONDITIONAL: 0.781}
CURVES = (CONDITIONAL, UNCONDITIONAL, SELF, ACC, ACC_ONE, PROBE_Z, DISTANCE, LIKELIHOOD)
Rows = Sequence[Mapping[str, object]]


def write_one(name: str, command: str, rows: Rows, wanted: Mapping[str, float]) -> None:
    """Write the record of one way: each measure at the end beside its target, and the marks."""
    ends = []
    for measure in (*MEASURES, *LATENTS, "clusters", "minutes"):
        own = {"measure": measure, **at_end(rows, measure)}
        target = f"≥ {wanted[measure]}" if measure in wanted else ""
        ends.append({**own, "target": target, "paper": PUBLISHED.get(measure, "")})
    columns = ["seed", "steps", "minutes", *MEASURES, *LATENTS]
    note = "'paper': five modalities of the published data, with which these do not compare."
    seeds = f"{note} Seeds {sorted({row['seed'] for row in rows})}."
    lines = [*table(ends, list(ends[0])), "", seeds, "", *table(without_details(rows), columns)]
    write_record(name, command, rows, lines)
    with atomic_write(RECORDS / f"{name}-curves.png") as path:
        curves(rows).savefig(path, dpi=110, format="png")


def write_ways(name: str, command: str, rows: Rows) -> None:
    """Write the record of several ways: medians at the end, the range behind, and the marks."""
    ends, ways = [], list(dict.fromkeys(row["way"] for row in rows))
    for way in ways:
        own = [row for row in rows if row["way"] == way]
        found = {measure: at_end(own, measure) for measure in (*MEASURES, *LATENTS, "minutes")}
        shown = {m: f"{each['median']:.3g} ({each['range']})" for m, each in found.items()}
        ends.append({"way": way, "seeds": len({row["seed"] for row in own}), **shown})
    columns = ["way", "seed", "steps", *MEASURES, *LATENTS]
    lines = [*table(ends, list(ends[0])), "", *table(without_details(rows), columns)]
    write_record(name, command, rows, lines)
    with atomic_write(RECORDS / f"{name}-curves.png") as path:
        curves(rows).savefig(path, dpi=110, format="png")


def at_end(rows: Rows, measure: str) -> dict[str, object]:
    """Return the median and the range of a measure over seeds, at the last mark of each."""
    last = {row["seed"]: row for row in rows}
    values = [float(row[measure]) for row in last.values()]
    spread = f"{min(values):.3g} to {max(values):.3g}"
    return {"median": float(np.median(values)), "range": spread}


def without_details(rows: Rows) -> list[dict[str, object]]:
    """Return the rows as tables show them."""
    return [{k: v for k, v in row.items() if k != "details"} for row in rows]


def curves(rows: Rows) -> Figure:
    """Draw the measures along the steps, a colour for each way: medians over seeds, and ranges."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    ways = list(dict.fromkeys(row["way"] for row in rows))
    for axis, measure in zip(axes, CURVES, strict=True):
        for way in ways:
            own = [row for row in rows if row["way"] == way]
            steps = sorted({row["steps"] for row in own})
            values = [[row[measure] for row in own if row["steps"] == at] for at in steps]
            axis.plot(steps, [*map(np.median, values)], marker="o", markersize=3, label=way)
            axis.fill_between(steps, [*map(min, values)], [*map(max, values)], alpha=0.25)
        axis.set_title(measure, fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)
    if len(ways) > 1:
        named = axes[0].get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=len(ways), fontsize=8)
    return figure
