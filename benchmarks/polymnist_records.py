"""Records of the runs of benchmarks/polymnist.py: tables and curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
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
TERMS = (
    *("bound", "β × KL divergence of z", "β × KL divergence of w"),
    *("log p(m0 | m0)", "log p(m1 | m1)", "log p(m0 | another)"),
    *("alignment, × 100", "information, weighted"),
)
"""Terms of the loss that are drawn, means over the training tuples in nats."""
OTHER_SCALES = ("without-sharp", "paper")  # likelihoods of other scales do not compare
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


def write_ways(name: str, command: str, rows: Rows, terms: Rows) -> None:
    """Write the record of several ways: medians at the end, the range behind, and the marks.

    The terms of the loss are drawn, and stand in the ``.json``.
    """
    ends, ways = [], list(dict.fromkeys(row["way"] for row in rows))
    for way in ways:
        own = [row for row in rows if row["way"] == way]
        found = {measure: at_end(own, measure) for measure in (*MEASURES, *LATENTS, "minutes")}
        shown = {m: f"{each['median']:.3g} ({each['range']})" for m, each in found.items()}
        ends.append({"way": way, "seeds": len({row["seed"] for row in own}), **shown})
    columns = ["way", "seed", "steps", *MEASURES, *LATENTS]
    lines = [*table(ends, list(ends[0])), "", *table(without_details(rows), columns)]
    write_record(name, command, rows, lines, more={"terms": terms})
    compared = [row for row in terms if row["way"] not in OTHER_SCALES]
    pictures = {"curves": curves(rows), "terms": curves(compared, TERMS, "epoch")}
    for what, picture in pictures.items():
        with atomic_write(RECORDS / f"{name}-{what}.png") as path:
            picture.savefig(path, dpi=110, format="png")


def terms_of(folder: Path) -> list[dict[str, object]]:
    """Return the terms of the loss for each epoch that a run in ``folder`` has logged."""
    parts = sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda p: int(p.parent.name[8:]))
    logged = pd.concat([pd.read_csv(path) for path in parts]).drop_duplicates("epoch")
    logged = logged.rename(columns=lambda name: name.removeprefix("train/"))
    empty, known = logged["loss"] * np.nan, logged["log_q_z"].notna()
    # Encoders alone have another loss.
    alignment = logged.get("alignment", empty).where(known)
    information = logged.get("information", empty)
    terms = {
        "epoch": logged["epoch"] + 1,
        "bound": (alignment.fillna(0) + information.fillna(0) - logged["loss"]).where(known),
        "β × KL divergence of z": logged["log_q_z"] - logged["log_p_z"],
        "β × KL divergence of w": logged["log_q_w"] - logged["log_p_w"],
        "alignment, × 100": alignment,
        "information, weighted": information,
    }
    modalities = [name[-2:] for name in logged if name.startswith("self_log_likelihood_")]
    n = len(modalities)
    for m in modalities:  # the bound has the mean over the modalities that are given
        terms[f"log p({m} | {m})"] = n * logged[f"self_log_likelihood_{m}"]
        terms[f"log p({m} | another)"] = n / (n - 1) * logged[f"cross_log_likelihood_{m}"]
    return [
        {name: None if np.isnan(value) else value for name, value in row.items()}
        for row in pd.DataFrame(terms).to_dict("records")
    ]


def at_end(rows: Rows, measure: str) -> dict[str, object]:
    """Return the median and the range of a measure over seeds, at the last mark of each."""
    last = {row["seed"]: row for row in rows}
    values = [float(row[measure]) for row in last.values()]
    spread = f"{min(values):.3g} to {max(values):.3g}"
    return {"median": float(np.median(values)), "range": spread}


def without_details(rows: Rows) -> list[dict[str, object]]:
    """Return the rows as tables show them."""
    return [{k: v for k, v in row.items() if k != "details"} for row in rows]


def curves(rows: Rows, measures: Sequence[str] = CURVES, along: str = "steps") -> Figure:
    """Draw eight measures along the steps, a colour for each way: medians over seeds, and ranges.

    Measures that are None at a place are left out there.
    """
    figure = Figure(figsize=(12, 5), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    ways = list(dict.fromkeys(row["way"] for row in rows))
    for axis, measure in zip(axes, measures, strict=True):
        for way in ways:
            own = [row for row in rows if row["way"] == way and row[measure] is not None]
            places = sorted({row[along] for row in own})
            values = [[row[measure] for row in own if row[along] == at] for at in places]
            axis.plot(places, [*map(np.median, values)], marker="o", markersize=3, label=way)
            axis.fill_between(places, [*map(min, values)], [*map(max, values)], alpha=0.25)
        axis.set_title(measure, fontsize=9)
        axis.set_xlabel(along, fontsize=8)
        axis.tick_params(labelsize=7)
    if len(ways) > 1:
        named = axes[0].get_legend_handles_labels()
        figure.legend(*named, loc="outside lower center", ncols=len(ways), fontsize=8)
    return figure
