"""Proteins that 30 % of cells lack, imputed from their RNA, beside other ways to do so.

Usage: python benchmarks/cell_proteins.py [--seeds 3] [--python PYTHON]

Writes records/cell-proteins.json and cell-proteins.md, a row after each seed; rows that are there
are not measured again. With PYTHON, of an environment with scvi-tools, totalVI imputes too.

The cells are those of cell_batches.py without an effect. A score is the mean over the 15 proteins
of the correlation of log(1 + imputed) and log(1 + true) over the 210 cells that lack them: what is
imputed are means, of counts that vary with the cell's total and by chance, so that one is out of
reach. The ways:

- ``neighbours``: the mean of the nearest cells in principal components of the RNA (normalised,
  logarithms), their numbers chosen among cells that have proteins;
- ``ours``: ``CMVAE.predict`` from the RNA, for a cell of median total;
- ``ours, total``: likewise, times the mean total of proteins of the clusters that the cell may
  belong to;
- ``ours, neighbours``: the mean of the nearest cells in our embedding;
- ``totalVI``: its normalised expression, as if measured in batches that have proteins;
- ``forest``: 300 regression trees trained to do this and nothing else, on 50 components;
- ``true types``: the mean of the cell's true type, which nobody has.
"""

import argparse
import json
import logging
import os
import subprocess
import tempfile
import warnings
from pathlib import Path

import mudata
import numpy as np
import pandas as pd
import torch
from cell_batches import fitted, made, medians
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.neighbors import NearestNeighbors
from timing import RECORDS, table, write_record

HELD_OUT = 210
OPPONENTS = Path(__file__).with_name("cell_opponents.py")


def agreement(imputed: np.ndarray, true: np.ndarray) -> float:
    """Return the mean correlation of columns on the scale of log(1 + count)."""
    pairs = zip(np.log1p(imputed).T, np.log1p(true).T, strict=True)
    return float(np.mean([np.corrcoef(one, other)[0, 1] for one, other in pairs]))


def near(points: np.ndarray, known: np.ndarray, of: np.ndarray, k: int) -> np.ndarray:
    """Return the places among known points of the k nearest to each of others."""
    found = NearestNeighbors(n_neighbors=k).fit(points[known])
    return found.kneighbors(points[of], return_distance=False)


def by_neighbours(components: np.ndarray, has: np.ndarray, proteins: np.ndarray) -> np.ndarray:
    """Impute by the mean of neighbours, their number chosen among cells with proteins."""
    best = (-1.0, 10, 5)
    for width in (10, 20, 50):
        for k in (5, 10, 15, 30, 50):
            own = components[:, :width]
            others = near(own, has, has, k + 1)[:, 1:]  # the first is the cell itself
            score = agreement(proteins[has][others].mean(1), proteins[has])
            best = max(best, (score, width, k))
    return proteins[has][near(components[:, : best[1]], has, ~has, best[2])].mean(1)


def by_ours(
    whole: mudata.MuData, seed: int, has: np.ndarray, proteins: np.ndarray, names: list[str]
) -> dict[str, np.ndarray]:
    """Return what our model imputes, by way; in the order of the names of all cells."""
    run, data = fitted(whole, seed, is_told=False)
    order = pd.Index(run.samples["id"]).get_indexer(names)
    lacking, model = data[order[~has]], run.model
    plain = model.to_data(model.predict(lacking, gen_mod="protein", return_mean=True))
    means = plain["protein"][:, 0].numpy()
    chances = run.assign(data)[1][order]
    totals = chances[has].T @ proteins[has].sum(1) / chances[has].sum(0).clip(1e-9)
    points = run.embed(data)[order]
    return {
        "ours": means,
        "ours, total": means / means.sum(1, keepdims=True) * (chances[~has] @ totals)[:, None],
        "ours, neighbours": proteins[has][near(points, has, ~has, 15)].mean(1),
    }


def by_total_vi(python: str, whole: mudata.MuData, seed: int, names: list[str]) -> np.ndarray:
    """Return what totalVI imputes, of all cells."""
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "cells.h5mu", Path(folder) / "out.npz"
        whole.write(str(path))
        alone = {n: v for n, v in os.environ.items() if n != "PYTHONPATH"} | {
            "OMP_NUM_THREADS": "1"
        }
        command = [python, str(OPPONENTS), "totalVI", str(path), str(seed), str(out)]
        subprocess.run(command, check=True, env=alone, stderr=subprocess.DEVNULL)
        got = dict(np.load(out))
    return got["imputed"][pd.Index(got["names"]).get_indexer(names)]


def measure(seed: int, python: str | None) -> dict:
    """Return the scores of one seed."""
    whole, truth = made(seed, False, 2, HELD_OUT)
    names = list(whole.obs_names)
    proteins = truth.loc[names].to_numpy(float)
    has = np.isin(names, whole["protein"].obs_names)
    counts = whole["rna"][names].X.toarray()
    logs = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    components = PCA(50, random_state=seed).fit_transform(logs)
    types = whole.obs.loc[names, "type"].to_numpy()
    means = pd.DataFrame(proteins[has]).groupby(types[has].astype(str)).mean()
    forest = RandomForestRegressor(300, min_samples_leaf=5, max_features=0.3, random_state=seed)
    forest.fit(components[has], np.log1p(proteins[has]))
    imputed = {
        "neighbours": by_neighbours(components, has, proteins),
        **by_ours(whole, seed, has, proteins, names),
        "forest": np.expm1(forest.predict(components[~has])),
        "true types": means.loc[types[~has].astype(str)].to_numpy(),
    }
    if python:
        imputed["totalVI"] = by_total_vi(python, whole, seed, names)[~has]
    scores = {name: agreement(own, proteins[~has]) for name, own in imputed.items()}
    added = {
        f"{name} − neighbours": scores[name] - scores["neighbours"]
        for name in scores
        if name != "neighbours"
    }
    return {"seed": seed, **scores, **added}


def write(rows: list[dict]) -> None:
    """Write the record."""
    middle = medians([{"setting": "", **row} for row in rows])[0]
    names = [name for name in middle if name != "setting" and "−" not in name]
    lines = [f"Median of {len(rows)} seeds, and their range.", ""]
    lines += table(
        [
            {
                "way": name,
                "correlation": middle[name],
                "beside neighbours": middle.get(f"{name} − neighbours", ""),
            }
            for name in names
        ],
        ["way", "correlation", "beside neighbours"],
    )
    write_record("cell-proteins", "python benchmarks/cell_proteins.py --python PYTHON", rows, lines)


def main() -> None:
    """Measure what is not there yet, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--python")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pd.set_option("future.infer_string", False)  # which anndata below 0.13 cannot write
    path = RECORDS / "cell-proteins.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    done = {row["seed"] for row in rows}
    for seed in range(asked.seeds):
        if seed not in done:
            rows.append(measure(seed, asked.python))
            print(rows[-1], flush=True)
            write(rows)


if __name__ == "__main__":
    main()
