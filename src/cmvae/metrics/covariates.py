"""What clusters and latents still know of covariates."""

from collections.abc import Mapping
from typing import Any

import numpy as np

NEIGHBOURS = 15
FOLDS = 5
MOST_SAMPLES = 5000
HIGH_CLUSTERS, HIGH_LATENTS = 0.05, 0.2  # from here there is something to be said


def covariate_scores(values: Any, clusters: Any, latents: np.ndarray) -> dict[str, float]:
    """Return what clusters and latents of n samples tell of a covariate.

    Args:
        values: n categories, integers from 0, or n numbers with ``clusters`` of integers.
        clusters: n integers.
        latents: The means of q(z|X), (n, d).

    Returns:
        Of a category ``'NMI'``, the mutual information of clusters and categories over the mean of
        the entropies; ``'AMI'``, the same adjusted for chance (Vinh, Epps and Bailey, 2010);
        ``'accuracy'``, the balanced accuracy, over held-out folds, of the better of two classifiers
        that see the latents, a logistic regression and one of 15 nearest neighbours; ``'chance'``,
        that of the majority. Both are of the categories with 5 samples or more, where there are
        several. Of a number ``'R2 clusters'`` and ``'R2'``, the share of its variance
        that the clusters' means and a ridge regression on the latents explain in held-out folds,
        at least 0. Of more than 5000 samples so many are drawn.
    """
    values, clusters = np.asarray(values), np.asarray(clusters)
    if len(values) > MOST_SAMPLES:
        rows = drawn_samples(len(values))
        values, clusters, latents = values[rows], clusters[rows], latents[rows]
    if values.dtype.kind in "iu":
        return _of_categories(values, clusters, latents)
    return _of_numbers(values.astype(float), clusters, latents)


def drawn_samples(n: int) -> np.ndarray:
    """Return which of n samples scores are measured on: all, or 5000 drawn at random."""
    if n <= MOST_SAMPLES:
        return np.arange(n)
    return np.random.default_rng(0).choice(n, MOST_SAMPLES, replace=False)


def is_known(scores: Mapping[str, float]) -> tuple[bool, bool]:
    """Return whether clusters, and latents, tell much of a covariate, by its scores."""
    if "R2" in scores:
        return scores["R2 clusters"] > HIGH_CLUSTERS, scores["R2"] > HIGH_LATENTS
    gained = scores["accuracy"] - scores["chance"]
    return scores["AMI"] > HIGH_CLUSTERS, gained > HIGH_LATENTS * (1 - scores["chance"])


def _of_categories(
    values: np.ndarray, clusters: np.ndarray, latents: np.ndarray
) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import (
        adjusted_mutual_info_score,
        balanced_accuracy_score,
        normalized_mutual_info_score,
    )
    from sklearn.model_selection import cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    found, counts = np.unique(values, return_counts=True)
    scores = {"NMI": 0.0, "AMI": 0.0}  # of a single category, all that were drawn, they would be 1
    if len(found) > 1:
        scores["NMI"] = normalized_mutual_info_score(values, clusters)
        scores["AMI"] = adjusted_mutual_info_score(values, clusters)
    if (counts >= FOLDS).sum() > 1:  # else what few tell is all there is
        rows = np.isin(values, found[counts >= FOLDS])
        values, latents = values[rows], latents[rows]
        found, counts = np.unique(values, return_counts=True)
    scores["accuracy"] = scores["chance"] = 1 / len(found)
    folds = min(FOLDS, int(counts.min()))
    if len(found) > 1 and folds > 1:
        points, near = _standardised(latents), min(NEIGHBOURS, len(values) // 2)
        tellers = (
            LogisticRegression(class_weight="balanced", max_iter=500),
            KNeighborsClassifier(near),
        )
        told = [cross_val_predict(own, points, values, cv=folds) for own in tellers]
        scores["accuracy"] = max(balanced_accuracy_score(values, own) for own in told)
    return {name: float(value) for name, value in scores.items()}


def _of_numbers(values: np.ndarray, clusters: np.ndarray, latents: np.ndarray) -> dict[str, float]:
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict

    members = np.eye(clusters.max() + 1)[clusters]
    found = {"R2 clusters": 0.0, "R2": 0.0}
    if len(values) < 2 * FOLDS or not values.var():
        return found
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    for name, points in (("R2 clusters", members), ("R2", _standardised(latents))):
        told = cross_val_predict(RidgeCV(np.logspace(-2, 3, 6)), points, values, cv=folds)
        found[name] = max(0.0, float(1 - ((values - told) ** 2).mean() / values.var()))
    return found


def _standardised(points: np.ndarray) -> np.ndarray:
    spread = points.std(0)
    return np.asarray((points - points.mean(0)) / np.where(spread > 0, spread, 1))
