"""Clusters of many labelled tables in views, against what scikit-learn does in a few lines.

Usage: python benchmarks/multiview.py main|ablation|reliability|summary --data FOLDER [--jobs 2]

FOLDER holds tables, NAME.npz with views by name and ``labels``, and SOURCES.tsv, which tells their
origin; they are no part of this repository. Others come from packages (see tables.py). Labels
score, nothing else. A run that was cut off goes on where it was: finished rows are in --work.
``summary`` writes the records of the rows that are there; so does every other part at its end.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor, as_completed
from fnmatch import fnmatch
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
from multiview_records import FOUND, GIVEN, write_ablation, write_main, write_reliability
from opponents import OPPONENTS
from rows import Rows, quiet, source_state, timed
from start_variants import BEST, HINDSIGHT, START_VARIANTS, start_rows
from tables import read_table, sources
from timing import RECORDS

from cmvae import CMVAEClusterer

# Settings of the estimator; the number of clusters is given where they do not say otherwise.
OURS = {GIVEN: {}, FOUND: {"n_clusters": "auto"}}
# Fits of their own; the number of other starts of the same fits is larger (start_variants.py).
VARIANTS = {
    "start: the model's normalised cut": {"start": "spectral"},
    "start: Gaussian mixture": {"start": "gmm"},
    "linear model": {"hidden_dims": ()},
}
STARTS = (*START_VARIANTS, BEST, HINDSIGHT)
RELIABILITY = ("msrc_v1", "tcga_breast", "wikipedia", "bbc4view", "wine", "digits 720")


def rows_of(table, folder, method, seed):
    """Return the row of one fit; where the number is given, also those of other starts."""
    quiet()
    views, labels = read_table(table, folder)
    number = len(np.unique(labels))
    key = {"table": table, "method": method, "seed": seed, "samples": len(labels), "true": number}
    if method in OPPONENTS:
        return [{**key, **timed(labels, OPPONENTS[method], views, number, seed)}]
    settings = {"n_clusters": number, **(OURS | VARIANTS)[method]}
    model = CMVAEClusterer(random_state=seed, **settings)
    scores = timed(labels, model.fit_predict, views)
    partition = model.labels_
    confidence = model.predict_proba(views)[np.arange(len(partition)), partition]
    # What the reliability is computed from; the records leave it out.
    kept = {"partition": partition.tolist(), "confidence": np.round(confidence, 4).tolist()}
    rows = [{**key, **scores, **kept}]
    if method == GIVEN:
        others = start_rows(model, views, labels, number, seed)
        rows += [{**key, **own, "method": name} for name, own in others.items()]
    return rows


def methods_of(part):
    """Return the methods that a part needs."""
    return {
        "main": [*OURS, *OPPONENTS],
        "ablation": [GIVEN, *VARIANTS],
        "reliability": [*OURS],
        "summary": [],
    }[part]


def wanted_keys(options, names):
    """Return (table, method, seed) of the fits that are asked for."""
    names = [name for name in names if options.part != "reliability" or name in RELIABILITY]
    tables = [name for name in names if not options.tables or name in options.tables]
    methods = [
        method
        for method in methods_of(options.part)
        if any(fnmatch(method, pattern) for pattern in options.methods)
    ]
    return [(t, m, seed) for t in tables for m in methods for seed in options.seeds]


def compute(options, rows, keys):
    """Fit what is not known yet; return how many fits failed, which are told and tried again."""
    state, failed = source_state(), 0
    waiting = [key for key in keys if key not in rows.known]
    older = {rows.known[key]["commit"] for key in set(keys) - set(waiting)}
    known = f"{len(keys) - len(waiting)} rows known (commits: {', '.join(sorted(older)) or 'none'})"
    print(f"{known}, {len(waiting)} to compute; the commit is {state['commit']}", flush=True)
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = {
            pool.submit(rows_of, table, options.data, method, seed): (table, method, seed)
            for table, method, seed in waiting
        }
        for future in as_completed(futures):
            if error := future.exception():
                failed += 1
                print(*futures[future], repr(error), flush=True)
                continue
            row, *others = future.result()
            for own in (row, *others):
                rows.add({**own, **state})
            told = f"ACC {row['ACC']:.1f}, {row['clusters']} clusters, {row['seconds']:.1f} s"
            print(*futures[future], told, flush=True)
    return failed


def write(options, rows, origins):
    """Write the records of rows that are known, in the order of the tables and methods."""
    methods = [*OURS, *OPPONENTS, *STARTS, *VARIANTS]
    known = sorted(
        (
            row
            for row in rows.known.values()
            if row["table"] in origins and row["method"] in methods
        ),
        key=lambda row: ([*origins].index(row["table"]), methods.index(row["method"]), row["seed"]),
    )
    parts = ("main", "ablation", "reliability") if options.part == "summary" else (options.part,)
    chosen = [row for row in known if row["method"] in (*OURS, *OPPONENTS)]
    if "main" in parts and chosen:
        write_main(chosen, origins, options)
    chosen = [row for row in known if row["method"] in (GIVEN, *STARTS, *VARIANTS)]
    if {"main", "ablation"} & {*parts} and chosen:
        write_ablation(chosen, VARIANTS, options)
    if "reliability" in parts:
        chosen = [r for r in known if r["method"] in OURS and r["table"] in RELIABILITY]
        write_reliability(chosen, options)


def arguments():
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["main", "ablation", "reliability", "summary"])
    parser.add_argument("--data", type=Path, required=True, help="folder of the tables")
    parser.add_argument("--jobs", type=int, default=2, help="fits side by side, a thread each")
    parser.add_argument("--tables", nargs="*", help="only these")
    parser.add_argument("--methods", nargs="*", default=["*"], help="patterns, as 'CMVAE*'")
    parser.add_argument("--seeds", nargs="*", type=int, default=[*range(5)])
    parser.add_argument("--work", type=Path, default=RECORDS / ".multiview-rows", help="rows")
    parser.add_argument("--fresh", action="store_true", help="compute known rows again")
    parser.add_argument("--out", type=Path, default=RECORDS, help="folder of the records")
    return parser.parse_args()


def main():
    """Compute rows and write records."""
    options = arguments()
    options.data = options.data.resolve()
    origins = sources(options.data)
    if unknown := set(options.tables or ()) - origins.keys():
        raise SystemExit(f"no such tables: {sorted(unknown)}; there are {list(origins)}")
    rows, keys = Rows(options.work), wanted_keys(options, origins)
    if options.fresh:
        rows.forget(set(keys))
    failed = compute(options, rows, keys)
    write(options, rows, origins)
    if failed:
        raise SystemExit(f"{failed} fits failed; run the command again to try them again")


if __name__ == "__main__":
    main()
