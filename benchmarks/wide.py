"""Steps on wide data, as the recipe takes them: `python benchmarks/wide.py`.

Sparse counts of 100,000 features, one in a hundred above zero, beside a table of 20 numbers, batch
128; and 12 to 50 modalities of 10 numbers. Each row is a process of its own with one thread: median
CPU seconds of a step with its batch and Adam's part, and the most memory that the process held.
`all values` scores zeros one by one, `all pairs` reconstructs every modality from every other.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from scipy.sparse import csr_matrix
from timing import table, write_record

from cmvae import CMVAE, CMVAEConfig, MultimodalBaseDataset
from cmvae.data.loading import batch_loader
from cmvae.likelihoods import zeros
from cmvae.training.module import CMVAEModule
from cmvae.training.recipe import Recipe

FEATURES, SHARE, BATCH = 100_000, 100, 128
TARGETS = {("sparse", 1): "≤ 1.2 s, 1536 MiB"}
SIDES = {"sparse": ("all values", "by zeros"), "modalities": ("all pairs", "sampled")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, number, fast = arguments.one
        print(json.dumps(one(what, int(number), fast == "1", arguments.steps)))
        return
    rows = []
    for what, number in (("sparse", 1), ("modalities", 12), ("modalities", 24), ("modalities", 50)):
        for fast, side in enumerate(SIDES[what]):
            own = [sys.executable, __file__, "--steps", str(arguments.steps)]
            own += ["--one", what, str(number), str(fast)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                own, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            data = f"{FEATURES:,} sparse counts" if what == "sparse" else f"{number} modalities"
            row = {"data": data, "side": side, **json.loads(done.stdout.splitlines()[-1])}
            rows.append({**row, "target": TARGETS.get((what, number), "") if fast else ""})
            print(rows[-1], flush=True)
    lines = table(rows, ["data", "side", "CPU s a step", "peak MiB", "target"])
    write_record("wide", "python benchmarks/wide.py", rows, lines)


def one(what: str, number: int, fast: bool, steps: int) -> dict:
    """Return what a step costs."""
    data, dists, params = sparse(steps) if what == "sparse" else modalities(number, steps)
    if not fast:
        zeros.MANY = float("inf")
    shapes = {name: tuple(values.shape[1:]) for name, values in data.data.items()}
    settings = Recipe().model_settings(sum(shape[0] for shape in shapes.values()), len(shapes))
    if not fast:
        settings["cross_modal_targets"] = None
    torch.manual_seed(0)
    model = CMVAE(
        CMVAEConfig(
            n_modalities=len(shapes),
            input_dims=shapes,
            decoders_dist=dists,
            decoder_dist_params=params,
            number_of_clusters=1,
            **settings,
        )
    )
    optimizer, seconds = CMVAEModule(model).configure_optimizers(), []
    loader = iter(batch_loader(data, BATCH))
    for _ in range(steps + 1):
        start = time.process_time()
        optimizer.zero_grad()
        model(next(loader)).loss.backward()
        optimizer.step()
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"CPU s a step": statistics.median(seconds[1:]), "peak MiB": peak}


def sparse(steps: int) -> tuple:
    """Return sparse counts beside a table, and the likelihoods of both."""
    rng, n, each = np.random.default_rng(0), (steps + 1) * BATCH, FEATURES // SHARE
    columns = rng.integers(SHARE, size=(n, each)) + SHARE * np.arange(each)
    counts = 1 + rng.poisson(1.0, size=n * each).astype(np.float32)
    matrix = csr_matrix((counts, columns.ravel(), each * np.arange(n + 1)), shape=(n, FEATURES))
    data = {"counts": matrix, "table": rng.normal(size=(n, 20)).astype(np.float32)}
    dists = {"counts": "negative_binomial", "table": "normal"}
    params = {"counts": {"library_size": True}, "table": {"scale": "learned"}}
    return MultimodalBaseDataset(data), dists, params


def modalities(number: int, steps: int) -> tuple:
    """Return so many tables of noise, and their likelihoods."""
    names, n = [f"m{i}" for i in range(number)], (steps + 1) * BATCH
    data = MultimodalBaseDataset({name: torch.randn(n, 10) for name in names})
    return data, dict.fromkeys(names, "normal"), {name: {"scale": "learned"} for name in names}


if __name__ == "__main__":
    main()
