"""Clustering quality on UCI Multiple Features, and on other tables that packages carry.

Usage: python benchmarks/mfeat.py main|ablation|tables [--jobs 2]

Writes a JSON record, a table and, for ``main``, a figure into benchmarks/records. Labels score, nothing else.
"""

import argparse
import datetime
import json
import logging
import os
import platform
import time
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import sklearn
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

import cmvae
from cmvae import CMVAE, CMVAEClusterer, CMVAEConfig, fit
from cmvae.checkpoints import atomic_write
from cmvae.datasets import mfeat
from cmvae.metrics import clustering_scores

RECORDS = Path(__file__).parent / "records"
SEEDS = range(10, 15)
RATES = (0.0, 0.1, 0.3, 0.5, 0.7)
TARGETS = {0.0: 97.7, 0.1: 97.0, 0.3: 96.5, 0.5: 95.5, 0.7: 94.5}
PUBLISHED = {
    "MFLVC": {0.0: 89.90},
    "CVCL": {0.0: 91.94},
    "DIVIDE": {0.0: 87.08},
    "MAGA": {0.0: 94.15},
    "HOPER": {0.0: 96.85},
    "GIMVC": {0.1: 92.14, 0.3: 93.58, 0.5: 90.73, 0.7: 86.10},
    "DIMVC-HIA": {0.1: 96.85, 0.3: 96.35, 0.5: 95.15, 0.7: 94.05},
}
VARIANTS = {
    "the defaults": {},
    "start: Gaussian mixture from k-means": {"start": "gmm"},
    "latent_dim 10": {"latent_dim": 10},
    "likelihood scale 1": {"scale": 1.0},
    "covariance identity": {"covariance": "identity"},
    "covariance diagonal": {"covariance": "diagonal"},
}


def tables_of(rate, seed):
    data = mfeat(rate, seed, standardize=False)
    return {name: values.numpy() for name, values in data.data.items()}, np.asarray(data.labels)


def quiet():
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def scored(labels, clusters):
    return {name: 100 * value for name, value in clustering_scores(labels, clusters).items()}


def cluster(method, rate, seed, **settings):
    """Fit our estimator; the other rules are read off the same model."""
    quiet()
    tables, labels = tables_of(rate, seed)
    start = time.perf_counter()
    model = CMVAEClusterer(random_state=seed, **settings).fit(tables)
    seconds = time.perf_counter() - start
    rows = [{"method": method, **scored(labels, model.labels_), "clusters": model.n_clusters_, "seconds": seconds}]
    if method == "the defaults":
        data = model._dataset(model._read(tables))
        for rule in ("mean", "vote"):
            found = model.model_.predict_clusters(data, rule=rule).clusters
            rows.append({"method": f"rule {rule}", **scored(labels, found)})
    return [{"rate": rate, "seed": seed, **row} for row in rows]


def baselines(rate, seed):
    quiet()
    data = mfeat(rate, seed)
    features = np.nan_to_num(torch.cat(list(data.data.values()), 1).double().numpy())
    methods = {
        "k-means, 10 given": KMeans(10, n_init=10, random_state=seed),
        "Gaussian mixture, 10 given": GaussianMixture(10, random_state=seed),
    }
    return [
        {"rate": rate, "seed": seed, "method": name, **scored(data.labels, method.fit_predict(features))}
        for name, method in methods.items()
    ]


def paper(rate, seed):
    """Train the paper's model: random centres, Laplace latents, unit scales; 35 epochs, all ten clusters."""
    quiet()
    data = mfeat(rate, seed)
    torch.manual_seed(seed)
    config = CMVAEConfig(
        n_modalities=6,
        input_dims={name: values.shape[1] for name, values in data.data.items()},
        modalities_specific_dim=10,
        K=1,
        hidden_dims=(256,),
    )
    model = CMVAE(config)
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    fit(model, data, max_epochs=35, enable_model_summary=False, **silent)
    found = model.predict_clusters(data, rule="vote").clusters
    return [{"rate": rate, "seed": seed, "method": "the paper's model and rule", **scored(data.labels, found)}]


def other_tables():
    """Return name → ({modality: array}, labels) of tables that scikit-learn carries, cut into views."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

    wine, cancer, iris, digits = load_wine(), load_breast_cancer(), load_iris(), load_digits()
    few = np.concatenate([np.flatnonzero(digits.target == d)[: 20 + 40 * (d % 4)] for d in range(10)])
    half = digits.data.reshape(-1, 8, 8)
    return {
        "wine (178; chemistry, colour)": ({"a": wine.data[:, :6], "b": wine.data[:, 6:]}, wine.target),
        "breast cancer (569; mean, error, worst)": (
            {name: cancer.data[:, 10 * i : 10 * i + 10] for i, name in enumerate(("mean", "error", "worst"))},
            cancer.target,
        ),
        "iris (150; sepal, petal)": ({"sepal": iris.data[:, :2], "petal": iris.data[:, 2:]}, iris.target),
        "digits 8x8 (1797; upper, lower half)": (
            {"upper": half[:, :4].reshape(-1, 32), "lower": half[:, 4:].reshape(-1, 32)},
            digits.target,
        ),
        "digits 8x8, unequal groups of 20 to 140": (
            {"upper": half[few, :4].reshape(-1, 32), "lower": half[few, 4:].reshape(-1, 32)},
            digits.target[few],
        ),
    }


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
        found = KMeans(number, n_init=10, random_state=seed).fit_predict(features)
        rows.append({"method": "k-means, number given", **scored(labels, found)})
    return [{"rate": name, "seed": seed, **row} for row in rows]


def jobs_of(part):
    if part == "main":
        for rate in RATES:
            for seed in SEEDS:
                yield cluster, ("CMVAE, 10 given", rate, seed), {"n_clusters": 10}
                yield cluster, ("CMVAE, found from 30", rate, seed), {}
                yield baselines, (rate, seed), {}
    elif part == "ablation":
        for seed in SEEDS:
            for name, change in VARIANTS.items():
                yield cluster, (name, 0.0, seed), {"n_clusters": 10, **change}
            yield paper, (0.0, seed), {}
    else:
        for name in other_tables():
            for seed in SEEDS:
                for given in (True, False):
                    yield other, (name, seed, given), {}


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
        lines.append(
            f"| {place} | {method} | {np.median(values['ACC']):.2f} | {values['ACC'].min():.2f}–"
            f"{values['ACC'].max():.2f} | {np.median(values['NMI']):.2f} | {np.median(values['ARI']):.2f} | {counts} | "
            f"{f'{np.median(seconds):.0f}' if seconds else ''} |"
        )
    return lines


def draw(rows, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for method in dict.fromkeys(row["method"] for row in rows):
        points = [[row["ACC"] for row in rows if row["method"] == method and row["rate"] == rate] for rate in RATES]
        medians = [np.median(values) for values in points]
        spread = [np.abs(np.array([min(v), max(v)]) - m) for v, m in zip(points, medians, strict=True)]
        axes.errorbar(RATES, medians, np.array(spread).T, marker="o", capsize=3, label=method)
    for method, values in PUBLISHED.items():
        axes.plot(list(values), list(values.values()), "x--", linewidth=0.8, label=f"{method} (published, 10 given)")
    axes.set(xlabel="missing rate", ylabel="ACC, %: median, least and most of 5 seeds", ylim=(40, 100))
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
        futures = [pool.submit(job, *args, **settings) for job, args, settings in jobs_of(arguments.part)]
        for future in futures:
            rows += future.result()
            print(rows[-1], flush=True)
    rows.sort(key=lambda row: (str(row["rate"]), row["method"], row["seed"]))
    record = {
        "command": f"python benchmarks/mfeat.py {arguments.part}",
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread for each of {arguments.jobs} runs",
        "versions": {"cmvae": cmvae.__version__, "torch": torch.__version__, "scikit-learn": sklearn.__version__},
        "published_ACC": PUBLISHED,
        "rows": rows,
    }
    name = f"mfeat-{arguments.part}"
    lines = summary(rows)
    print("\n".join(lines))
    with atomic_write(RECORDS / f"{name}.json") as path:
        path.write_text(json.dumps(record, indent=1) + "\n")
    with atomic_write(RECORDS / f"{name}.md") as path:
        path.write_text(f"`{record['command']}`, {record['date']}, {record['machine']}\n\n" + "\n".join(lines) + "\n")
    if arguments.part == "main":
        with atomic_write(RECORDS / f"{name}.png") as path:
            draw(rows, path)


if __name__ == "__main__":
    main()
