"""Clusters and completed cells of tables of which a fifth of the cells is missing at random.

Usage: python benchmarks/missing_cells.py --data FOLDER [--jobs 2] [--seeds 3] [TABLE ...]

FOLDER holds the tables of benchmarks/multiview.py. Writes a JSON record and a table into
benchmarks/records. Errors are root mean squares over the cells taken out, each in standard
deviations of what is left of its column; labels score, nothing else. Others get all columns side by
side, standardised: scikit-learn's KNNImputer as it stands, and its IterativeImputer (BayesianRidge)
with 50 nearest features and 5 rounds at most, since all 649 columns of mfeat take minutes a round.
"""

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import sklearn
from rows import grouped, middle, quiet, scored
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from tables import read_table, sources
from timing import write_record

from cmvae import CMVAEClusterer

RATE = 0.2
TABLES = ("mfeat", "msrc_v1", "tcga_breast", "wine")
OTHERS = {
    "k-nearest neighbours": partial(KNNImputer, keep_empty_features=True),
    "iterative ridge": partial(
        IterativeImputer,
        n_nearest_features=50,
        max_iter=5,
        random_state=0,
        keep_empty_features=True,
    ),
    "column means": None,
}


def holes(name, folder, seed):
    """Return views, the same with a fifth of their cells NaN, where these are, and labels."""
    views, labels = read_table(name, folder)
    rng = np.random.default_rng(seed)
    views = {key: np.asarray(values, float) for key, values in views.items()}
    taken = {key: (rng.random(own.shape) < RATE) & ~np.isnan(own) for key, own in views.items()}
    given = {key: np.where(taken[key], np.nan, own) for key, own in views.items()}
    kept = {key: np.nanstd(own, 0) > 0 for key, own in given.items()}
    views, given, taken = (
        {key: own[key][:, kept[key]] for key in own} for own in (views, given, taken)
    )
    return views, given, taken, labels


def error(views, given, taken, completed):
    """Return the root mean square of errors at cells taken out, in deviations of their column."""
    parts = []
    for key, own in views.items():
        scale = np.nanstd(given[key], 0)
        parts.append((((completed[key] - own) / scale)[taken[key]]) ** 2)
    return float(np.sqrt(np.concatenate(parts).mean()))


def run_model(name, folder, seed):
    """Return rows of the clusterer on a table with holes, and on the whole one."""
    quiet()
    views, given, taken, labels = holes(name, folder, seed)
    rows = []
    for method, tables in (("CMVAE", given), ("CMVAE, complete", views)):
        if method != "CMVAE" and name != "mfeat":
            continue
        start = time.perf_counter()
        model = CMVAEClusterer(len(np.unique(labels)), random_state=seed).fit(tables)
        row = {"table": name, "method": method, "seed": seed, **scored(labels, model.labels_)}
        row["seconds"] = time.perf_counter() - start
        if method == "CMVAE":
            row["RMSE"] = error(views, given, taken, model.impute(tables))
        rows.append(row)
    return rows


def run_others(name, folder, seed):
    """Return rows of other imputers."""
    quiet()
    views, given, taken, _ = holes(name, folder, seed)
    side_by_side = np.concatenate(list(given.values()), 1)
    center, scale = np.nanmean(side_by_side, 0), np.nanstd(side_by_side, 0)
    places = np.cumsum([own.shape[1] for own in given.values()])[:-1]
    rows = []
    for method, build in OTHERS.items():
        start = time.perf_counter()
        standardised = (side_by_side - center) / scale
        filled = np.nan_to_num(standardised)
        if build is not None:
            filled = build().fit_transform(standardised)
        parts = np.split(filled * scale + center, places, 1)
        completed = dict(zip(given, parts, strict=True))
        found = {"RMSE": error(views, given, taken, completed)}
        found["seconds"] = time.perf_counter() - start
        rows.append({"table": name, "method": method, "seed": seed, **found})
    return rows


def summary(rows):
    """Return Markdown lines: medians over seeds, and errors relative to the model's rivals."""
    lines = ["| table | method | RMSE | CMVAE's, relative | ACC | seconds |", "|" + "---|" * 6]
    for (name,), own in grouped(rows, "table").items():
        methods = grouped(own, "method")
        model = middle(methods["CMVAE",], "RMSE")
        for (method,), found in methods.items():
            cells = ["", ""]
            if "RMSE" in found[0]:
                rmse = middle(found, "RMSE")
                cells = [f"{rmse:.3f}", "" if method == "CMVAE" else f"{model / rmse:.2f}"]
            acc = f"{middle(found):.2f}" if "ACC" in found[0] else ""
            shown = [name, method, *cells, acc, f"{middle(found, 'seconds'):.0f}"]
            lines.append("| " + " | ".join(shown) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", default=TABLES)
    parser.add_argument("--data", dest="folder", type=Path, required=True)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows, seeds = [], range(10, 10 + options.seeds)
    with ProcessPoolExecutor(options.jobs) as pool:
        futures = [
            pool.submit(job, name, options.folder, seed)
            for name in options.tables
            for seed in seeds
            for job in (run_model, run_others)
        ]
        for future in futures:
            rows += future.result()
            print(rows[-1], flush=True)
    order = {name: place for place, name in enumerate(options.tables)}
    rows.sort(key=lambda row: (order[row["table"]], row["method"], row["seed"]))
    origin = sources(options.folder)
    write_record(
        "missing-cells",
        "python benchmarks/missing_cells.py --data FOLDER",
        rows,
        summary(rows),
        jobs=options.jobs,
        more={"missing": RATE, "tables": {name: origin[name] for name in options.tables}},
        **{"scikit-learn": sklearn.__version__},
    )


if __name__ == "__main__":
    main()
