"""The records of multiview.py: tables, a summary in a few figures, figures to look at."""

import numpy as np
import sklearn
from matplotlib.figure import Figure
from reliability import draw, reliabilities
from rows import grouped, medians, middle, spread_of
from timing import write_record

from cmvae.base.files import atomic_write

GIVEN, FOUND = "CMVAE, number given", "CMVAE, number found"
SIMPLE = ("k-means", "Gaussian mixture")
RIVAL = "mv-cos"
NINE = (
    "tcga_breast",
    "multidrug",
    "nutrimouse_genotype",
    "nutrimouse_diet",
    "msrc_v1",
    "wikipedia",
    "webkb",
    "20news5",
    "bbc4view",
)
LOW_DIMENSIONAL = ("iris", "wine", "penguins", "breast cancer", "digits", "digits 720")
WATCHED = ("msrc_v1", "20news5", "tcga_breast")
CAUTION = "Published figures were read in notes about the papers, not checked; the number is given."
PUBLISHED = {
    "msrc_v1": {"MCSF, tuned": 96.2},
    "20news5": {"RAV": 98.0},
    "mfeat": {"MANGO (ICLR 2026)": 97.8, "LSGMC": 97.6, "HOPER": 96.85},
}
COUNTED = "RCNMC (CVPR 2026) reports 10 of 10, 5 of 5 and 101 of 100 groups on sets of its own."
GAPS = "Single NaN cells of observed rows (multidrug) are their column's mean; opponents get column"
GAPS += " means for missing modalities too, mv-cos aside."


def write_main(rows, origins, options):
    """Write scores, their summary and a figure."""
    by = grouped(rows, "table", "method")
    names = [*grouped(rows, "table")]
    lines = ["### ACC, medians over seeds, in %", "", *wide_table(by), "", CAUTION, GAPS, ""]
    lines += ["### Summary", "", *summary(by), "", "### All scores", "", *medians(rows, "table")]
    lines += ["", "### Origin of the tables", ""]
    lines += [f"- {name}: {origins[name]}" for (name,) in names]
    more = {
        "sources": {name: origins[name] for (name,) in names},
        "published_ACC": PUBLISHED,
        "caution": CAUTION,
        "gaps": GAPS,
    }
    write_rows("main", rows, lines, options, **more)
    draw_to(options, "main", draw_main, by)


def write_rows(part, rows, lines, options, **more):
    """Write a record of rows, what only the reliability needs left out."""
    left_out = ("partition", "confidence", "cmvae")
    seeds, commits = (sorted({row[name] for row in rows}) for name in ("seed", "commit"))
    write_record(
        f"multiview-{part}",
        f"python benchmarks/multiview.py {part} --data FOLDER",
        [{name: row[name] for name in row if name not in left_out} for row in rows],
        lines,
        folder=options.out,
        jobs=options.jobs,
        more={"seeds": seeds, "commits": commits, **more},
        **{"scikit-learn": sklearn.__version__, "numpy": np.__version__},
    )


def draw_to(options, part, draw, *what):
    """Write a figure."""
    with atomic_write(options.out / f"multiview-{part}.png") as path:
        draw(*what).savefig(path, dpi=120, format="png")


def tables_and_methods(by):
    """Return the tables and the methods of groups of rows, in the order of first appearance."""
    return list(dict.fromkeys(t for t, _ in by)), list(dict.fromkeys(m for _, m in by))


def wide_table(by):
    """Return Markdown lines, a row for each table and a column for each method."""
    tables, methods = tables_and_methods(by)
    lines = ["| table (samples, groups) | " + " | ".join([*methods, "published"]) + " |"]
    lines.append("|" + "---|" * (len(methods) + 2))
    for table in tables:
        one = next(rows[0] for (where, _), rows in by.items() if where == table)
        cells = [number(middle(by.get((table, method), []))) for method in methods]
        cells.append(", ".join(f"{v} ({name})" for name, v in PUBLISHED.get(table, {}).items()))
        lines.append(f"| {table} ({one['samples']}, {one['true']}) | " + " | ".join(cells) + " |")
    return lines


def number(value):
    """Return a figure as it is shown, nothing for NaN."""
    return "" if np.isnan(value) else f"{value:.1f}"


def mean_over(by, names, method):
    """Return the mean of medians over those tables that are there, and how many these are."""
    values = [middle(by[name, method]) for name in names if (name, method) in by]
    return (float(np.mean(values)) if values else np.nan), len(values)


def summary(by):
    """Return Markdown lines: the figures that decide whether the method is worth its installing."""
    tables, methods = tables_and_methods(by)
    lines = ["| method | mean ACC, nine tables | six low-dimensional ones | all |"]
    lines[0] += " mean spread over seeds | " + " | ".join(WATCHED) + " |"
    lines.append("|" + "---|" * (5 + len(WATCHED)))
    for method in methods:
        means = [mean_over(by, names, method) for names in (NINE, LOW_DIMENSIONAL, tables)]
        cells = [
            number(mean) + ("" if n == len(names) else f" (of {n})")
            for (mean, n), names in zip(means, (NINE, LOW_DIMENSIONAL, tables), strict=True)
        ]
        spreads = [np.diff(spread_of(rows))[0] for (_, m), rows in by.items() if m == method]
        cells.append(number(np.mean(spreads)))
        cells += [number(middle(by.get((table, method), []))) for table in WATCHED]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    nine = ", ".join(NINE)
    lines += ["", f"Nine: {nine}. Six: {', '.join(LOW_DIMENSIONAL)}.", ""]
    return [*lines, *losses(by), *better_of_simple(by), *counting(by)]


def losses(by):
    """Return lines: where ours are furthest below mv-cos, among the nine tables and all."""
    lines = []
    for method in (GIVEN, FOUND):
        for told, names in (("the nine", NINE), ("all", tables_and_methods(by)[0])):
            both = [t for t in names if (t, method) in by and (t, RIVAL) in by]
            lost = {t: middle(by[t, RIVAL]) - middle(by[t, method]) for t in both}
            if lost:
                worst = max(lost, key=lost.get)
                lines.append(
                    f"- Largest loss of {method} against {RIVAL} among {told} tables: "
                    f"{lost[worst]:.1f} ({worst})."
                )
    return lines


def simple_rows(by, table):
    """Return the rows of k-means or of the Gaussian mixture, whichever has the larger median."""
    return max((by.get((table, method), []) for method in SIMPLE), key=_median_or_least)


def _median_or_least(rows):
    return middle(rows) if rows else -np.inf


def better_of_simple(by):
    """Return lines: ours on the low-dimensional tables against the better of two simple methods."""
    best = {t: middle(simple_rows(by, t)) for t in LOW_DIMENSIONAL if simple_rows(by, t)}
    if not best:
        return []
    lines = ["- The better of k-means and the Gaussian mixture, mean of the six: "]
    lines[0] += f"{np.mean([*best.values()]):.1f}."
    for method in (GIVEN, FOUND):
        ahead = {t: middle(by[t, method]) - best[t] for t in best if (t, method) in by}
        told = ", ".join(f"{t} {value:+.1f}" for t, value in ahead.items())
        if ahead:
            mean = np.mean([*ahead.values()])
            lines.append(f"- {method}, ahead of the better of the two: {mean:+.1f} ({told}).")
    return lines


def counting(by):
    """Return lines: how far the number of clusters found is off."""
    found = {table: rows for (table, method), rows in by.items() if method == FOUND}
    if not found:
        return []
    off = [counting_error(rows) for rows in found.values()]
    single = {t: sum(row["clusters"] == 1 for row in rows) for t, rows in found.items()}
    ones = ", ".join(f"{t} ({n} of {len(found[t])} seeds)" for t, n in single.items() if n)
    exact = np.mean([row["clusters"] == row["true"] for rows in found.values() for row in rows])
    return [
        f"- Number found: mean of abs ln(found / true) {np.mean(off):.2f}, exact in {exact:.0%}.",
        f"- One cluster found in: {ones or 'none'}. {COUNTED}",
    ]


def counting_error(rows):
    """Return the mean of |ln(found / true)|."""
    return float(np.mean([abs(np.log(row["clusters"] / row["true"])) for row in rows]))


def draw_main(by):
    """Return a figure of medians with spreads, a group of marks for each table."""
    tables, _ = tables_and_methods(by)
    figure = Figure(figsize=(8, 1 + 0.5 * len(tables)), layout="constrained")
    axes = figure.subplots()
    series = {m: lambda t, m=m: by.get((t, m), []) for m in (GIVEN, FOUND, RIVAL)}
    series["better of k-means and Gaussian mixture"] = lambda t: simple_rows(by, t)
    weighed = "views / √columns + spectral"
    series[weighed] = lambda t: by.get((t, weighed), [])
    for place, (label, rows_of) in enumerate(series.items()):
        rows = {y: rows_of(table) for y, table in enumerate(tables) if rows_of(table)}
        values = np.array([middle(found) for found in rows.values()])
        ends = np.array([spread_of(found) for found in rows.values()]).reshape(-1, 2)
        if not rows:
            continue
        axes.errorbar(
            values,
            np.array([*rows]) + 0.15 * (place - 2),
            xerr=np.abs(ends - values[:, None]).T,
            fmt="os^Dv"[place],
            capsize=2,
            markersize=5,
            label=label,
        )
    axes.set_yticks(range(len(tables)), tables)
    axes.invert_yaxis()
    axes.set(xlabel="ACC, %: median, least and most over seeds", xlim=(0, 101))
    axes.grid(axis="y", alpha=0.2)
    figure.legend(loc="outside upper center", ncols=2, fontsize=8)
    return figure


def write_ablation(rows, variants, options):
    """Write mean ACC and counting error of every variant, overall and by table."""
    by = grouped(rows, "table", "method")
    tables, methods = tables_and_methods(by)
    head = ["variant", "mean", "nine", "six", "spread", "number off", *tables]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    common = [t for t in tables if all((t, method) in by for method in methods)]
    for method in methods:
        groups = [by.get((table, method), []) for table in tables]
        accuracies = [[row["ACC"] for row in group] for group in groups]
        kinds = (common, *([t for t in names if t in common] for names in (NINE, LOW_DIMENSIONAL)))
        means = [mean_over(by, own, method)[0] for own in kinds]
        spread = np.mean([np.ptp(own) for own in accuracies if own])
        off = np.mean([counting_error(group) for group in groups if group])
        cells = [number(np.mean(own) if own else np.nan) for own in accuracies]
        own = [*map(number, means), number(spread), f"{off:.2f}", *cells]
        lines.append(f"| {method} | " + " | ".join(own) + " |")
    lines += [
        "",
        "Means over seeds by table; of medians in the first columns, over the "
        f"{len(common)} tables that all variants have. Starts are scored before the model is "
        "trained on.",
    ]
    write_rows("ablation", rows, lines, options, variants=repr(variants))


def write_reliability(rows, options):
    """Write the curves of the tables that have several seeds, and draw them."""
    curves = reliabilities(rows)
    lines = ["| table | method | seeds | expected calibration error |", "|---|---|---|---|"]
    lines += [
        f"| {curve['table']} | {curve['method']} | {len(curve['seeds'])} | "
        f"{curve['expected_calibration_error']:.3f} |"
        for curve in curves
    ]
    if curves:
        write_rows("reliability", rows, lines, options, curves=curves)
        draw_to(options, "reliability", draw, curves)
