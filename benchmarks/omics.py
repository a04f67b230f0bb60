"""Time and peak memory of single-cell data from MuData to clusters in MuData, on simulated counts.

Usage: python benchmarks/omics.py [--cells 20000] [--genes 2000] [--counts 1000] [--epochs 12]
[--threads 1] [--record omics]. Writes records/omics.json and omics.md, or those of another name.
Runs on the CPU.

The counts: 8 groups of unequal size; genes, negative binomial, and 100 proteins; library sizes
that differ between cells; a tenth of the cells lacks either modality. They are made, read,
clustered and scored in a process of its own, whose peak resident memory is read after every step,
the imports included. CPU seconds are those of this process: on a machine that does other work
beside they, not the clock's, are what a step takes.
"""

import argparse
import logging
import multiprocessing
import resource
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version

import anndata
import mudata
import numpy as np
import pandas as pd
import scipy.sparse
import torch
from timing import table, write_record

from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.metrics import clustering_scores
from cmvae.omics import from_mudata, to_mudata

PROTEINS, GROUPS = 100, 8
BLOCK = 1000


def counts(
    rng: np.random.Generator, groups: np.ndarray, features: int, total: float, share: float
) -> scipy.sparse.csr_matrix:
    """Return sparse counts of cells, negative binomial; some of the features mark each group."""
    base = rng.gamma(0.4, size=features)
    marked = rng.random((GROUPS, features)) < share
    rates = base * np.where(marked, rng.uniform(2, 6, (GROUPS, features)), 1.0)
    rates /= rates.sum(1, keepdims=True)
    parts = []
    for start in range(0, len(groups), BLOCK):
        own = groups[start : start + BLOCK]
        mean = rates[own] * rng.lognormal(np.log(total), 0.4, (len(own), 1))
        parts.append(
            scipy.sparse.csr_matrix(rng.poisson(rng.gamma(2.0, mean / 2.0)).astype(np.float32))
        )
    return scipy.sparse.vstack(parts, format="csr")


def simulate(cells: int, genes: int, total: float, seed: int = 0) -> mudata.MuData:
    """Return a MuData of sparse counts with the column ``group`` in obs.

    Args:
        cells: How many cells.
        genes: How many genes.
        total: The median count of the genes of a cell.
        seed: Of all that is drawn.
    """
    rng = np.random.default_rng(seed)
    groups = rng.choice(GROUPS, cells, p=np.arange(1, GROUPS + 1) / np.arange(1, GROUPS + 1).sum())
    names = np.array([f"cell{i}" for i in range(cells)])
    lacking = rng.choice(3, cells, p=[0.8, 0.1, 0.1])
    modalities = {}
    for i, (name, features, size, share) in enumerate(
        (("rna", genes, total, 0.03), ("protein", PROTEINS, 500, 0.1))
    ):
        seen = lacking != i + 1
        obs, var = (
            pd.DataFrame(index=names[seen]),
            pd.DataFrame(index=[f"{name}{j}" for j in range(features)]),
        )
        modalities[name] = anndata.AnnData(
            counts(rng, groups, features, size, share)[seen], obs=obs, var=var
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mudata, about its next version
        mdata = mudata.MuData(modalities)
    mdata.obs["group"] = pd.Series(groups, index=names).loc[mdata.obs_names].to_numpy()
    return mdata


def peak() -> float:
    """Return the most memory that the process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(cells: int, genes: int, total: float, epochs: int, threads: int) -> list[dict]:
    """Return time and peak memory of every step, and the score; two thirds of epochs warm up."""
    torch.set_num_threads(threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    rows: list[dict] = [{"step": "imports", "peak MiB": peak()}]

    @contextmanager
    def step(name: str) -> Iterator[dict]:
        row, start, cpu = {"step": name}, time.perf_counter(), time.process_time()
        yield row
        row["seconds"] = time.perf_counter() - start
        row["CPU seconds"] = time.process_time() - cpu
        row["peak MiB"] = peak()
        rows.append(row)

    with step("simulate"):
        mdata = simulate(cells, genes, total)
    with step("from_mudata"):
        data = from_mudata(mdata)
    torch.manual_seed(0)
    config = CMVAEConfig(
        **data.coding.settings,
        latent_dim=10,
        modalities_specific_dim=5,
        number_of_clusters=GROUPS,
        prior_and_posterior_dist="normal_with_softplus",
        covariance="full",
        hidden_dims=(128,),
        K=1,
    )
    model = CMVAE(config)
    with step(f"fit, {epochs} epochs"), tempfile.TemporaryDirectory() as folder:
        quiet = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_model_summary": False,
            "accelerator": "cpu",
        }
        quiet["enable_progress_bar"] = False
        fit(
            model,
            data.dataset,
            max_epochs=epochs,
            warmup_epochs=2 * epochs // 3,
            seed=0,
            run_dir=folder,
            **quiet,
        )
    with step("to_mudata"):
        to_mudata(mdata, model, data)
    found = mdata.obs["cmvae_cluster"].cat.codes.to_numpy()
    scores = clustering_scores(mdata.obs["group"].to_numpy(), found)
    density = mdata["rna"].X.nnz / np.prod(mdata["rna"].shape)
    rows[-1] |= {
        "ARI": float(scores["ARI"]),
        "clusters": len(np.unique(found)),
        "density of rna": float(density),
    }
    return rows


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("cells", 20000), ("genes", 2000), ("counts", 1000), ("epochs", 12)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--record", default="omics")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sizes = (given.cells, given.genes, given.counts, given.epochs, given.threads)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        rows = pool.submit(measure, *sizes).result()
    command = "python benchmarks/omics.py"
    for name, value in vars(given).items():
        command += "" if value == parser.get_default(name) else f" --{name} {value}"
    lines = [
        f"{given.cells} cells, {given.genes} genes, {PROTEINS} proteins, {GROUPS} groups; peaks "
        "are resident memory so far",
        "",
    ]
    shown = ["step", "seconds", "CPU seconds", "peak MiB", "ARI", "clusters", "density of rna"]
    lines += table(rows, shown)
    write_record(
        given.record, command, rows, lines, mudata=version("mudata"), anndata=version("anndata")
    )


if __name__ == "__main__":
    main()
