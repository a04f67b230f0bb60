"""The same cells by scvi-tools' totalVI and MultiVI, and by ours: clusters, batches, CPU seconds.

Usage: python benchmarks/cell_peers.py --python PYTHON [--seeds 3] [--only SETTING ...]

PYTHON is that of an environment with scvi-tools (``pip install scvi-tools`` and nothing of ours).
Writes records/cell-peers.json and cell-peers.md, a row after each fit; rows that are there are not
measured again. Runs on the CPU, one thread each, one after the other.

Data and settings are those of cell_batches.py. Each embedding is clustered by Leiden at its usual
resolution of 1 on 15 nearest neighbours, and by k-means with as many clusters as ours found; ours
also by the model's own clusters. ``CPU s`` is from reading to the embedding, of ours to the
clusters and their number. ``chance`` is the batch NMI of the true types: what a batch that lacks
types, or luck, makes of clusters that are right.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from itertools import product
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import torch
from cell_batches import SETTINGS, fitted, leiden, made, medians
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from timing import RECORDS, table, write_record

METHODS = ("ours", "totalVI", "MultiVI")
TOLD = ("plain, told", "effect, told", "three, told")
OPPONENTS = Path(__file__).with_name("cell_opponents.py")


def scored(whole: mudata.MuData, names: list[str], found: dict[str, np.ndarray]) -> dict:
    """Return ARI and batch NMI of partitions of the cells named."""
    obs = whole.obs.loc[names].astype(str)
    scores = {"chance": normalized_mutual_info_score(obs["batch"], obs["type"])}
    for name, own in found.items():
        scores[f"{name} clusters"] = len(np.unique(own))
        scores[f"{name} ARI"] = adjusted_rand_score(obs["type"], own)
        scores[f"{name} NMI batch"] = normalized_mutual_info_score(obs["batch"], own)
    return {name: float(value) for name, value in scores.items()}


def by_ours(whole: mudata.MuData, seed: int) -> dict:
    """Fit ours; return its row."""
    start = time.process_time()
    run, data = fitted(whole, seed, is_told=True)
    own, points = run.samples["cluster"].to_numpy(), run.embed(data)
    seconds = time.process_time() - start
    found = {"own": own, "Leiden": leiden(points, seed)}
    return {**scored(whole, run.samples["id"].tolist(), found), "CPU s": seconds}


def by_theirs(python: str, method: str, whole: mudata.MuData, seed: int, number: int) -> dict:
    """Fit one of theirs in its own environment; return its row."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "cells.h5mu", Path(folder) / "out.npz"
        whole.write(str(path))
        alone = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"}
        command = [python, str(OPPONENTS), method, str(path), str(seed), str(out)]
        threads = {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=alone | threads, stderr=subprocess.DEVNULL)
        got = dict(np.load(out))
    points = got["points"]
    kmeans = KMeans(number, n_init=10, random_state=seed).fit_predict(points)
    found = {"Leiden": leiden(points, seed), "k-means": kmeans}
    return {**scored(whole, got["names"].tolist(), found), "CPU s": float(got["seconds"])}


def measure(rows: list[dict], python: str, setting: str, seed: int, method: str) -> dict:
    """Return the row of one fit."""
    has_effect, n_batches, _ = SETTINGS[setting]
    whole, _ = made(seed, has_effect, n_batches)
    if method == "ours":
        own = by_ours(whole, seed)
    else:
        same = {"setting": setting, "seed": seed, "method": "ours"}
        ours = next(row for row in rows if same.items() <= row.items())
        own = by_theirs(python, method, whole, seed, int(ours["own clusters"]))
    return {"setting": setting, "seed": seed, "method": method, **own}


def write(rows: list[dict], command: str) -> None:
    """Write the record: medians by setting and method."""
    order = sorted(rows, key=lambda row: (TOLD.index(row["setting"]), METHODS.index(row["method"])))
    named = [{**row, "setting": f"{row['setting']}: {row['method']}"} for row in order]
    middle = medians([{k: v for k, v in row.items() if k != "method"} for row in named])
    seeds = Counter(row["setting"] for row in named)
    middle = [{"setting": row["setting"], "seeds": seeds[row["setting"]], **row} for row in middle]
    lines = ["Medians, and ranges, of as many seeds as are there.", ""]
    lines += table(middle, list(dict.fromkeys(name for row in middle for name in row)))
    write_record("cell-peers", command, rows, lines)


def main() -> None:
    """Measure what is not there yet, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(TOLD))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pd.set_option("future.infer_string", False)  # which anndata below 0.13 cannot write
    path = RECORDS / "cell-peers.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {(row["setting"], row["seed"], row["method"]) for row in rows}
    command = "python benchmarks/cell_peers.py --python PYTHON"
    wanted = product(METHODS, range(asked.seeds), asked.only)
    for method, seed, setting in wanted:
        if (setting, seed, method) not in done:
            rows.append(measure(rows, asked.python, setting, seed, method))
            print(rows[-1], flush=True)
            write(rows, command)


if __name__ == "__main__":
    main()
