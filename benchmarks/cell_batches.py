"""Clusters of real cells with and without a batch effect, with and without being told of it.

Usage: python benchmarks/cell_batches.py [--seeds 3] [--only SETTING ...]. Writes
records/cell-batches.json and cell-batches.md. Runs on the CPU. Needs scanpy, for its data, and
igraph, for Leiden.

The cells: scanpy's pbmc68k_reduced, 700 cells of 10 types (``bulk_labels``, which score and do
nothing else) and 765 genes. Counts are recovered from the logarithms of ``.raw``: the smallest
value of a cell is one count. 15 proteins are simulated from the types: log-normal means, negative
binomial counts; 150 cells lack them. The batches, drawn by coin, cross all types. The effect: in
the second batch every gene's counts are multiplied by exp(e), e ~ N(0, 0.8²), and rounded at random
up or down so that means are kept. All is drawn anew for each seed.

Settings: ``plain``: no effect, not told; ``plain, told``; ``effect``: not told; ``effect, told``;
``three, told``: three batches with an effect each, of which the second lacks the proteins and the
third the B cells. ``chance`` is the batch NMI of the true types; ``invented`` is how many of the
third batch's cells are in a cluster that is mostly B cells.
"""

import argparse
import importlib.util
import logging
import resource
import tempfile
import time
import warnings
from pathlib import Path

import anndata
import igraph
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import kneighbors_graph
from timing import table, write_record

from cmvae import IncompleteDataset
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.runs.config import RunConfig
from cmvae.runs.reading import read_files
from cmvae.runs.run import Run, prepare, train_run

PROTEINS, WITHOUT, LOG_SD, NEIGHBOURS = 15, 150, 0.8, 15
LACKING = "CD19+ B"
SETTINGS = {  # is there an effect, how many batches are there, is it told?
    "plain": (False, 2, False),
    "plain, told": (False, 2, True),
    "effect": (True, 2, False),
    "effect, told": (True, 2, True),
    "three, told": (True, 3, True),
}


def recovered() -> tuple[sp.csr_array, pd.DataFrame, list[str]]:
    """Return the counts of the cells, their table, and the names of the genes."""
    package = Path(importlib.util.find_spec("scanpy").origin).parent
    cells = anndata.read_h5ad(package / "datasets" / "10x_pbmc68k_reduced.h5ad")
    values = sp.csr_array(cells.raw.X)
    values.data = np.expm1(values.data)
    least = np.minimum.reduceat(values.data, values.indptr[:-1])
    values.data = np.rint(values.data / np.repeat(least, np.diff(values.indptr)))
    return values, cells.obs, list(map(str, cells.raw.var_names))


def made(
    seed: int, has_effect: bool, n_batches: int, without: int = WITHOUT
) -> tuple[mudata.MuData, pd.DataFrame]:
    """Return the cells as a MuData, with ``type`` and ``batch`` in obs, and all their proteins.

    The MuData has the proteins of all but ``without`` cells, drawn at random.
    """
    counts, obs, genes = recovered()
    rng = np.random.default_rng(seed)
    types = obs["bulk_labels"].cat.codes.to_numpy()
    n = len(types)
    means = np.exp(rng.normal(3.0, 1.0, (types.max() + 1, PROTEINS)))[types]
    means = means * rng.lognormal(0, 0.3, (n, 1))
    protein = rng.poisson(rng.gamma(3.0, means / 3.0))
    seen = np.ones(n, dtype=bool)
    seen[rng.choice(n, without, replace=False)] = False
    batch = rng.integers(0, n_batches, n)
    if n_batches == 3:
        lacks = obs["bulk_labels"].to_numpy() == LACKING
        batch[lacks] = rng.integers(0, 2, lacks.sum())
        seen = batch != 1
    effects = rng.normal(0, LOG_SD, (n_batches, counts.shape[1]))
    effects[0] = 0
    if has_effect:
        scaled = counts.toarray() * np.exp(effects)[batch]
        counts = sp.csr_array(np.floor(scaled + rng.random(scaled.shape)))
    names = np.array([f"cell{i}" for i in range(n)])
    index, marks = pd.DataFrame(index=names), [f"p{i}" for i in range(PROTEINS)]
    rna = anndata.AnnData(sp.csr_matrix(counts, dtype=np.float32), index, pd.DataFrame(index=genes))
    proteins = anndata.AnnData(
        protein[seen].astype(np.float32), index[seen], pd.DataFrame(index=marks)
    )
    whole = mudata.MuData({"rna": rna, "protein": proteins})
    table = {"type": obs["bulk_labels"].to_numpy().astype(str), "batch": batch.astype(str)}
    for name, values in table.items():
        whole.obs[name] = pd.Categorical(pd.Series(values, names).loc[whole.obs_names])
    return whole, pd.DataFrame(protein, names, marks)


def leiden(points: np.ndarray, seed: int) -> np.ndarray:
    """Return Leiden communities (modularity) of the graph of nearest neighbours of points."""
    import random

    random.seed(seed)
    near = kneighbors_graph(points, NEIGHBOURS, mode="connectivity")
    edges = np.array(sp.triu(near.maximum(near.T), 1).nonzero()).T.tolist()
    graph = igraph.Graph(len(points), edges)
    return np.array(graph.community_leiden("modularity", n_iterations=-1).membership)


def fitted(whole: mudata.MuData, seed: int, is_told: bool) -> tuple[Run, IncompleteDataset]:
    """Return what ``cmvae fit`` makes of the cells, by all its defaults, and their data."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = str(Path(folder) / "cells.h5mu")
        whole.write(path)
        files = {name: ModalityFile(path=path) for name in whole.mod}
        known = {"batch": CovariateFile(path=path, column="batch")} if is_told else {}
        config = RunConfig(modalities=files, seed=seed, device="cpu", covariates=known)
        prepared = prepare(config, *read_files(files, covariates=known))
        return train_run(prepared), prepared.data


def measure(setting: str, seed: int) -> dict:
    """Return the figures of one run."""
    has_effect, n_batches, is_told = SETTINGS[setting]
    start = time.process_time()
    run, data = fitted(whole := made(seed, has_effect, n_batches)[0], seed, is_told)
    obs = whole.obs.loc[run.samples["id"].tolist()].astype(str)
    types, batch = obs["type"].to_numpy(), obs["batch"].to_numpy()
    found, points = run.samples["cluster"].to_numpy(), run.embed(data)
    communities = leiden(points, seed)
    crossed = pd.crosstab(found, types)
    lacking = crossed.index[(crossed.idxmax(axis=1) == LACKING).to_numpy()]
    scores = {
        "clusters": run.model.n_clusters,
        "ARI": adjusted_rand_score(types, found),
        "NMI": normalized_mutual_info_score(types, found),
        "NMI batch": normalized_mutual_info_score(batch, found),
        "chance": normalized_mutual_info_score(batch, types),
        "Leiden ARI": adjusted_rand_score(types, communities),
        "Leiden NMI batch": normalized_mutual_info_score(batch, communities),
        "invented": int(np.isin(found[batch == "2"], lacking).sum()) if n_batches == 3 else None,
        "CPU s": time.process_time() - start,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    plain = {name: None if value is None else float(value) for name, value in scores.items()}
    return {"setting": setting, "seed": seed, **plain}


def medians(rows: list[dict]) -> list[dict]:
    """Return median and range of each setting."""
    found = []
    for setting in dict.fromkeys(row["setting"] for row in rows):
        own = pd.DataFrame([row for row in rows if row["setting"] == setting])
        numbers = own.drop(columns=["setting", "seed"]).dropna(axis=1)
        spread = zip(numbers.median(), numbers.min(), numbers.max(), strict=True)
        texts = [f"{mid:.3g} ({low:.3g} to {high:.3g})" for mid, low, high in spread]
        found.append({"setting": setting, **dict(zip(numbers, texts, strict=True))})
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=list(SETTINGS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    pd.set_option("future.infer_string", False)  # which anndata below 0.13 cannot write
    rows = []
    for seed in range(asked.seeds):
        for setting in asked.only:
            rows.append(measure(setting, seed))
            print(rows[-1], flush=True)
    lines = [f"Median of {asked.seeds} seeds, and their range.", ""]
    middle = medians(rows)
    lines += table(middle, list(dict.fromkeys(name for row in middle for name in row)))
    if asked.only == list(SETTINGS):
        command = "python benchmarks/cell_batches.py"
        command += "" if asked.seeds == 3 else f" --seeds {asked.seeds}"
        write_record("cell-batches", command, rows, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
