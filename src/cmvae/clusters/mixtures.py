"""Gaussian mixtures of points, started from groups."""

from typing import Any

import numpy as np
from scipy.special import logsumexp

RELATIVE_FLOOR = 1e-3  # of the points' variance: no component gets thinner
ABSOLUTE_FLOOR = 1e-6
N_INIT = 20


def gaussian_groups(points: np.ndarray, numbers: Any, seed: int) -> np.ndarray:
    """Group points (n, d) by the mixture of smallest BIC (Schwarz, 1978) with one of ``numbers``.

    Covariances are full; each mixture starts from the best of several k-means solutions. One with
    the same covariance for all clusters is a step on the way: large groups are then not merged in
    favour of small dense ones, as they are where the start of the largest likelihood is taken.
    """
    if len(points) == 1:
        return np.zeros(1, dtype=int)
    fits = []
    for number in numbers:
        tied = _fitted(points, best_of_kmeans(points, number, seed), "tied")
        fits.append(_fitted(points, tied.predict(points), "full", tied.means_, tied.weights_))
    return np.asarray(min(fits, key=lambda fitted: fitted.bic(points)).predict(points))


def best_of_kmeans(points: np.ndarray, number: int, seed: int, tries: int = N_INIT) -> np.ndarray:
    """Return the groups (n,) of the best of several k-means solutions."""
    from sklearn.cluster import KMeans

    return np.asarray(KMeans(number, n_init=tries, random_state=seed).fit_predict(points))


def mixture_groups(points: np.ndarray, groups: np.ndarray, form: str) -> np.ndarray:
    """Return the groups (n,) of a Gaussian mixture of that form, fitted from other groups on."""
    return np.asarray(_fitted(points, groups, form).predict(points))


def _fitted(
    points: np.ndarray, groups: np.ndarray, form: str, means: Any = None, weights: Any = None
) -> Any:
    from sklearn.mixture import GaussianMixture

    if means is None:
        own = np.unique(groups, return_inverse=True)[1]
        members = np.eye(own.max() + 1)[own]
        counts = members.sum(0)
        means = members.T @ points / counts[:, None]
        weights = counts / counts.sum()
    start = {"means_init": means, "weights_init": weights}
    settings = {"covariance_type": form, "reg_covar": _floor(points), "max_iter": 200}
    return GaussianMixture(len(means), **start, **settings, random_state=0).fit(points)


def mixture_likelihood(points: np.ndarray, groups: np.ndarray, number: int) -> float:
    """Return the mean log-density of points (n, d) in the mixture of their groups' Gaussians."""
    weights, means, covariances = maximise(points, np.eye(number)[groups])
    factors = np.linalg.cholesky(np.linalg.inv(covariances))
    offsets = np.einsum("nkd,kde->nke", points[:, None] - means, factors, optimize=True)
    scale = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(1)
    joint = np.log(weights) + scale - np.square(offsets).sum(2) / 2
    return float(logsumexp(joint, axis=1).mean())


def maximise(points: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (k,), means (k, d) and covariances (k, d, d) of a mixture: the M step of EM.

    Of points (n, d) with memberships (n, k). Covariances are posterior modes under an
    inverse-Wishart prior of d + 2 degrees at the covariance within all components (Fraley and
    Raftery, 2007).
    """
    dim = points.shape[1]
    counts = members.sum(0) + np.finfo(float).eps
    means = members.T @ points / counts[:, None]
    scatter = np.stack(
        [
            ((points - mean) * own[:, None]).T @ (points - mean)
            for own, mean in zip(members.T, means, strict=True)
        ]
    )
    prior = dim + 2
    floor = _floor(points) * np.eye(dim)
    shared = scatter.sum(0) / counts.sum() + floor
    covariances = (scatter + prior * shared) / (counts + prior)[:, None, None] + floor
    return counts / counts.sum(), means, covariances


def _floor(points: np.ndarray) -> float:
    return max(RELATIVE_FLOOR * float(points.var(0).mean()), ABSOLUTE_FLOOR)
