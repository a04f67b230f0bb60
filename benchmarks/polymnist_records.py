"""Records of the runs of benchmarks/polymnist.py: tables and curves."""

from collections.abc import Callable, Mapping, Sequence
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
TERMS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "KL divergence of z": lambda logged: logged["log_q_z"] - logged["log_p_z"],
    "KL divergence of w": lambda logged: logged["log_q_w"] - logged["log_p_w"],
    "log-likelihood of m0, from itself": lambda logged: logged["self_log_likelihood_m0"],
    "log-likelihood of m0, from others": lambda logged: logged["cross_log_likelihood_m0"],
    "log-likelihood of m1, from itself": lambda logged: logged["self_log_likelihood_m1"],
    "log-likelihood of m1, from others": lambda logged: logged["cross_log_likelihood_m1"],
    "alignment, as weighted": lambda logged: logged.get("alignment", logged["loss"] * np.nan),
    "information, as weighted": lambda logged: logged.get("information", logged["loss"] * np.nan),
}
"""Terms of the loss, means over an epoch in nats, of what ``cmvae.fit`` logs."""
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
    pictures = {"curves": curves(rows), "terms": curves(terms, list(TERMS), "epoch")}
    for what, picture in pictures.items():
        with atomic_write(RECORDS / f"{name}-{what}.png") as path:
            picture.savefig(path, dpi=110, format="png")


def terms_of(folder: Path) -> list[dict[str, object]]:
    """Return the terms of the loss for each epoch that a run in ``folder`` has logged."""
    parts = sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    logged = pd.concat([pd.read_csv(path) for path in parts]).drop_duplicates("epoch")
    logged = logged.rename(columns=lambda name: name.removeprefix("train/"))
    found = pd.DataFrame({name: term(logged) for name, term in TERMS.items()})
    found.insert(0, "epoch", logged["epoch"] + 1)
    return [
        {name: None if np.isnan(value) else value for name, value in row.items()}
        for row in found.to_dict("records")
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
