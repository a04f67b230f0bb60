"""Whether probabilities mean what they say: of clusters of one seed against those of the others.

For each sample, the probability of its cluster stands against the share of its cluster mates with
which it is together in the fits of the other seeds; every seed has its turn as the one.
"""

import numpy as np
from matplotlib.figure import Figure
from rows import grouped

BINS = 10


def reliability(rows):
    """Return the curve of one table and method, by bins of the probability, with its error.

    The expected calibration error is the mean over samples of |mean probability − mean share| in
    their bin. A sample alone in its cluster has no mates and does not count.
    """
    pairs = [
        togetherness(row, [other["partition"] for other in rows if other is not row])
        for row in rows
    ]
    said, seen = (np.concatenate(values) for values in zip(*pairs, strict=True))
    places = np.minimum((said * BINS).astype(int), BINS - 1)
    curve = [
        {
            "samples": int((places == b).sum()),
            "probability": float(said[places == b].mean()),
            "together": float(seen[places == b].mean()),
        }
        for b in np.unique(places)
    ]
    errors = [one["samples"] * abs(one["probability"] - one["together"]) for one in curve]
    return {"expected_calibration_error": sum(errors) / max(len(said), 1), "curve": curve}


def togetherness(row, others):
    """Return probabilities of samples' own clusters, and the shares of mates kept by others."""
    own, said = np.array(row["partition"]), np.array(row["confidence"])
    mates = (own[:, None] == own) & ~np.eye(len(own), dtype=bool)
    kept = np.mean([np.equal.outer(found, found) for found in map(np.array, others)], 0)
    counted = mates.any(1)
    return said[counted], (mates * kept).sum(1)[counted] / mates.sum(1)[counted]


def reliabilities(rows):
    """Return the curves of all tables and methods with more than one seed."""
    return [
        {"table": table, "method": method, "seeds": [row["seed"] for row in found]}
        | reliability(found)
        for (table, method), found in grouped(rows, "table", "method").items()
        if len(found) > 1
    ]


def draw(curves):
    """Return a figure, a panel for each table."""
    tables = list(dict.fromkeys(curve["table"] for curve in curves))
    columns = min(3, len(tables))
    height = -(-len(tables) // columns)
    figure = Figure(figsize=(3.2 * columns, 3.2 * height), layout="constrained")
    panels = figure.subplots(height, columns, squeeze=False)
    for axes, table in zip(panels.flat, tables, strict=False):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for curve in (curve for curve in curves if curve["table"] == table):
            points = curve["curve"]
            axes.plot(
                [point["probability"] for point in points],
                [point["together"] for point in points],
                "o-",
                markersize=4,
                label=f"{curve['method']}: error {curve['expected_calibration_error']:.2f}",
            )
        axes.set(title=table, xlim=(0, 1.02), ylim=(0, 1.02), xlabel="probability of the cluster")
        axes.set_ylabel("mates kept in other fits")
        axes.legend(fontsize=7)
    return figure
