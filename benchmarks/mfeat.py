"""Clustering quality on UCI Multiple Features.

Usage: python benchmarks/mfeat.py main|entries|ablation [--jobs 2]

Writes a JSON record, a table and, for ``main`` and ``entries``, a figure into benchmarks/records.
Labels score, nothing else. A run that was cut off goes on where it was: finished rows are in
--work. "Missing rate" has two meanings in print: the share of samples that are incomplete, in
``main``, and the share of (sample, modality) entries that are missing, in ``entries``.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import sklearn
from mfeat_variants import MODELS, TEN, VARIANTS
from opponents import OPPONENTS
from rows import Rows, grouped, medians, middle, quiet, source_state, spread_of, timed
from tables import mfeat_views
from timing import RECORDS, write_record

from cmvae import CMVAEClusterer
from cmvae.base.files import atomic_write

SEEDS = range(10, 15)
RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
CAUTION = "Published figures were read in notes about the papers, not checked; ten clusters given."
# The meaning of the rate in each paper was not checked either.
PUBLISHED = {
    "MFLVC": {0.0: 89.90},
    "CVCL": {0.0: 91.94},
    "DIVIDE": {0.0: 87.08},
    "MAGA": {0.0: 94.15},
    "HOPER": {0.0: 96.85},
    "LSGMC": {0.0: 97.6},
    "MANGO (ICLR 2026)": {0.0: 97.8},
    "GIMVC": {0.1: 92.14, 0.3: 93.58, 0.5: 90.73, 0.7: 86.10},
    "DIMVC-HIA": {0.1: 96.85, 0.3: 96.35, 0.5: 95.15, 0.7: 94.05},
    "ARSL-IMVC": {0.1: 96.90},
    "GHICMC": {0.3: 96.11, 0.5: 94.88, 0.7: 92.73},
}
MEANINGS = {"main": "missing rate", "entries": "share of entries missing"}


def cluster(rate, seed, settings, entries=False):
    quiet()
    views, labels = mfeat_views(rate, seed, entries)
    model = CMVAEClusterer(random_state=seed, **settings)
    return timed(labels, model.fit_predict, views)


def oppose(rate, seed, name, entries):
    quiet()
    views, labels = mfeat_views(rate, seed, entries)
    return timed(labels, OPPONENTS[name], views, 10, seed)


def jobs_of(part, seeds):
    """Yield method, rate, seed, and what scores it with further arguments."""
    if part in MEANINGS:
        entries = part == "entries"
        for seed in seeds:
            for rate in RATES[1:] if entries else RATES:
                yield "CMVAE, 10 given", rate, seed, cluster, TEN, entries
                yield "CMVAE, number found", rate, seed, cluster, {}, entries
                for name in OPPONENTS:
                    yield f"{name}, 10 given", rate, seed, oppose, name, entries
    else:
        for seed in seeds:
            for name, settings in {"the defaults": TEN, **VARIANTS}.items():
                yield name, 0.0, seed, cluster, settings
            for name, score in MODELS.items():
                yield name, 0.0, seed, score


def published_lines():
    """Return Markdown lines of the published figures."""
    lines = ["", f"ACC in %. {CAUTION}", ""]
    lines.append("| published | complete | " + " | ".join(map(str, RATES[1:])) + " |")
    lines.append("|" + "---|" * (1 + len(RATES)))
    for method, values in PUBLISHED.items():
        cells = [f"{values[rate]:.2f}" if rate in values else "" for rate in RATES]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return [*lines, "", "Of complete data, a tensor method has NMI 98.4."]


def draw(rows, meaning, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 6), layout="constrained")
    axes = figure.subplots()
    for (method,), own in grouped(rows, "method").items():
        at = [found for _, found in sorted(grouped(own, "rate").items())]
        values = np.array([middle(found) for found in at])
        errors = np.abs(np.array([spread_of(found) for found in at]) - values[:, None]).T
        rates = [found[0]["rate"] for found in at]
        axes.errorbar(rates, values, errors, marker="o", capsize=3, label=method)
    for method, values in PUBLISHED.items():
        label = f"{method} (published)"
        axes.plot(list(values), list(values.values()), "x--", linewidth=0.8, label=label)
    axes.set(xlabel=meaning, ylabel="ACC, %: median, least and most of seeds", ylim=(20, 100))
    figure.legend(loc="outside lower center", fontsize=7, ncols=3)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["main", "entries", "ablation"])
    parser.add_argument("--seeds", nargs="*", type=int, default=[*SEEDS])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=Path, default=RECORDS / ".mfeat-rows", help="rows")
    options = parser.parse_args()
    known = Rows(options.work)
    wanted = jobs_of(options.part, options.seeds)
    jobs = {(f"{options.part} {job[1]}", job[0], job[2]): job for job in wanted}
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = {
            pool.submit(score, rate, seed, *given): (key, rate)
            for key, (_, rate, seed, score, *given) in jobs.items()
            if key not in known.known
        }
        for future in as_completed(futures):
            (table, method, seed), rate = futures[future]
            row = {"table": table, "rate": rate, "seed": seed, "method": method}
            known.add({**row, **future.result(), **source_state()})
            print(*row.values(), flush=True)
    rows = [known.known[key] for key in jobs]
    rows.sort(key=lambda row: (str(row["rate"]), row["method"], row["seed"]))
    record(options, rows)


def record(options, rows):
    """Write the record of a part, and its figure."""
    seeds = "" if options.seeds == [*SEEDS] else f" --seeds {' '.join(map(str, options.seeds))}"
    name, meaning = f"mfeat-{options.part}", MEANINGS.get(options.part, "missing rate")

    def shown(rate):
        return rate if isinstance(rate, str) else f"{meaning} {rate}" if rate else "complete"

    lines = medians(rows, "rate", shown)
    if options.part in MEANINGS:
        lines += published_lines()
    write_record(
        name,
        f"python benchmarks/mfeat.py {options.part}{seeds}",
        rows,
        lines,
        jobs=options.jobs,
        more={"missing_rate": meaning, "published_ACC": PUBLISHED, "caution": CAUTION},
        **{"scikit-learn": sklearn.__version__},
    )
    if options.part in MEANINGS:
        with atomic_write(RECORDS / f"{name}.png") as path:
            draw(rows, meaning, path)


if __name__ == "__main__":
    main()
