"""Steps counted from the data: `python benchmarks/steps.py` warms up on many rows in two ways.

Two tables of 40 columns each, in ten groups; 4000 further rows are held out. `before` takes batches
of 128, ten epochs and a constant learning rate, as small tables do; `by the data` is what
`CMVAEClusterer` does where nothing is given. One cluster, without companions; each way is a process
of its own with one thread, both at the same time. The bound is the mean over four draws; nothing is
chosen by it.

`--fit N …` fits so many rows as a whole instead. Groups overlap, so that beside the ARI stands that
of a discriminant analysis that was told the groups, and of a Gaussian mixture on six principal
components, the best of three starts; both learn from 60,000 rows at most.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import torch
from rows import quiet
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from timing import table, write_record

from cmvae import CMVAE, CMVAEClusterer, CMVAEConfig, MultimodalBaseDataset
from cmvae.data.loading import batch_loader
from cmvae.training.callbacks import LEAST_RATE
from cmvae.training.initialization import collapse_clusters
from cmvae.training.module import CMVAEModule
from cmvae.training.recipe import Recipe

GROUPS, FACTORS, PRIVATE, COLUMNS, HELD_OUT = 10, 6, 4, 40, 4000
MOST_REFERENCE = 60_000  # rows that others learn from
PARTS = 5  # of the training, after each of which the bound is taken
SIDES = {
    "before": Recipe(batch_size=128, max_epochs=10, learning_rate=1e-3),
    "by the data": Recipe(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=60_000)
    parser.add_argument("--fit", type=int, nargs="+")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fit:
        rows = [fit(n) for n in arguments.fit]
        write_record(
            "scale-whole", "python benchmarks/steps.py --fit", rows, table(rows, [*rows[0]])
        )
        return
    if arguments.one:
        print(json.dumps(curve(arguments.rows, arguments.one)))
        return
    begun = [started(arguments.rows, side) for side in SIDES]
    rows = [row for process in begun for row in result(process)]
    lines = table(rows, ["rows", "way", "batch", "steps", "CPU s", "held-out bound"])
    write_record("scale-steps", "python benchmarks/steps.py", rows, lines, jobs=2)


def started(n: int, side: str) -> subprocess.Popen:
    """Start a training in a process of its own."""
    own = [sys.executable, __file__, "--rows", str(n), "--one", side]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(own, env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen) -> list[dict]:
    """Return what a training found, once it has ended."""
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(text.splitlines()[-1])


def curve(n: int, side: str) -> list[dict]:
    """Train, and return the bound of what was held out after each part."""
    quiet()
    recipe, (seen, _), (held, _) = SIDES[side], make(n, 1), make(HELD_OUT, 2)
    scales = {name: (own.mean(0), own.std(0)) for name, own in seen.items()}
    seen, held = (
        {
            name: torch.from_numpy((own - scales[name][0]) / scales[name][1]).float()
            for name, own in tables.items()
        }
        for tables in (seen, held)
    )
    batch, epochs = recipe.samples_per_step(n), recipe.warmup_epochs(n)
    torch.manual_seed(0)
    model = built(seen, recipe)
    optimizer = CMVAEModule(model, recipe.step_size(n)).configure_optimizers()
    steps = epochs * math.ceil(n / batch)

    def share(done: int) -> float:
        fallen = 0.5 * (1 + math.cos(math.pi * done / steps))
        return LEAST_RATE + (1 - LEAST_RATE) * fallen if recipe.decays(n) else 1.0

    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    loader, rows, cpu = batch_loader(MultimodalBaseDataset(seen), batch, shuffle=True), [], 0.0
    start = time.process_time()
    for done, part in enumerate((own for _ in range(epochs) for own in loader), 1):
        optimizer.zero_grad()
        model(part).loss.backward()
        optimizer.step()
        rate.step()
        if done % (steps // PARTS) == 0:
            cpu += time.process_time() - start
            found = {"rows": n, "way": side, "batch": batch, "steps": done, "CPU s": cpu}
            rows.append({**found, "held-out bound": bound(model, held)})
            print(rows[-1], file=sys.stderr, flush=True)
            start = time.process_time()
    return rows


def built(tables: dict[str, torch.Tensor], recipe: Recipe) -> CMVAE:
    """Return a model as a fit builds it, with one cluster that is not trained."""
    model = CMVAE(
        CMVAEConfig(
            n_modalities=len(tables),
            input_dims=dict.fromkeys(tables, (COLUMNS,)),
            decoder_dist_params={name: {"scale": recipe.scale} for name in tables},
            number_of_clusters=1,
            **recipe.model_settings(COLUMNS * len(tables), len(tables)),
        )
    )
    collapse_clusters(model)
    model.mixture.requires_grad_(False)
    return model.train()


@torch.no_grad()
def bound(model: CMVAE, held: dict[str, torch.Tensor]) -> float:
    """Return the mean bound of log p(X), in nats of standardised columns."""
    model.eval()
    losses = [model(held, generator=torch.Generator().manual_seed(seed)).loss for seed in range(4)]
    model.train()
    return -float(torch.stack(losses).mean())


def fit(n: int) -> dict:
    """Fit many rows as a whole; labels score alone."""
    quiet()
    (seen, known), (held, groups) = make(n, 1), make(HELD_OUT, 2)
    clusterer = CMVAEClusterer(GROUPS, device="cpu", random_state=0)
    start = time.process_time()
    clusterer.fit(seen)
    found = {"rows": n, "CPU s": time.process_time() - start}
    found["held-out bound"] = clusterer.score(held)
    found["ARI"] = adjusted_rand_score(groups, clusterer.predict(held))
    some, new = (
        np.hstack([own[:MOST_REFERENCE] for own in each.values()]) for each in (seen, held)
    )
    told = LinearDiscriminantAnalysis().fit(some, known[:MOST_REFERENCE])
    found["ARI, told the groups"] = adjusted_rand_score(groups, told.predict(new))
    mixture = make_pipeline(PCA(FACTORS), GaussianMixture(GROUPS, n_init=3, random_state=0))
    found["ARI, mixture"] = adjusted_rand_score(groups, mixture.fit(some).predict(new))
    print(found, flush=True)
    return found


def make(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return rows of both tables, of factors that they share and own ones, and their groups."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(GROUPS, FACTORS))
    loadings = rng.normal(size=(2, FACTORS + PRIVATE, COLUMNS)) / 2
    rng = np.random.default_rng(seed)
    groups = rng.integers(GROUPS, size=n)
    shared = (centres[groups] + rng.normal(size=(n, FACTORS))).astype(np.float32)
    tables = {}
    for name, (common, own) in zip(
        "ab", (np.split(one, [FACTORS]) for one in loadings), strict=True
    ):
        private = rng.normal(size=(n, PRIVATE)) @ own
        noise = rng.normal(size=(n, COLUMNS))
        tables[name] = 2 * np.tanh(shared @ common) + 0.5 * private + 0.5 * noise
    return tables, groups


if __name__ == "__main__":
    main()
