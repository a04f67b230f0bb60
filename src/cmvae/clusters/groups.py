"""From points to the groups that clusters start from, and to the components of a mixture."""

from typing import Any

import numpy as np

from cmvae.clusters.spectral import count_groups, count_shared_groups, spectral_groups

METHODS = ("spectral", "shared", "gmm")
RELATIVE_FLOOR = 1e-3  # of the points' variance: no component gets thinner
ABSOLUTE_FLOOR = 1e-6
N_INIT = 20


def find_groups(
    points: np.ndarray,
    views: np.ndarray,
    observed: np.ndarray,
    wanted: Any,
    largest: int,
    method: str,
    seed: int,
) -> np.ndarray:
    """Group points (n, d) into groups (n,) by one of METHODS (:func:`cmvae.initialize_clusters`).

    ``views`` (M, n, d) are where each modality alone sees the points, ``observed`` (M, n) boolean
    which of these count. ``wanted`` is how many groups, or ``'auto'``: as many as the method
    counts, up to ``largest``. ``ValueError`` for more groups than different points, or ``'shared'``
    groups that are to be counted where no point has two modalities.
    """
    distinct = len(np.unique(points, axis=0))
    largest = min(largest, distinct)
    if wanted == "auto" and method == "gmm":
        return gaussian_groups(points, range(1, largest + 1), seed)
    if wanted == "auto" and method == "spectral":
        wanted = count_groups(points, largest, seed)
    elif wanted == "auto":
        if not (observed.sum(0) > 1).any():
            what = "method 'shared' counts groups that modalities agree on"
            raise ValueError(f"{what}, but no sample has two modalities")
        wanted = count_shared_groups(points, views, observed, largest)
    if wanted > distinct:
        raise ValueError(f"{wanted} clusters cannot start from {distinct} different samples")
    if method == "gmm":
        return gaussian_groups(points, [wanted], seed)
    return spectral_groups(points, wanted)


def gaussian_groups(points: np.ndarray, numbers: Any, seed: int) -> np.ndarray:
    """Group points (n, d) by the mixture of smallest BIC (Schwarz, 1978) with one of ``numbers``.

    Covariances are full; each mixture starts from the best of several k-means solutions. One with
    the same covariance for all clusters is a step on the way: large groups are then not merged in
    favour of small dense ones, as they are where the start of the largest likelihood is taken.
    """
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    fits = []
    for number in numbers:
        kmeans = KMeans(number, n_init=N_INIT, random_state=seed).fit(points)
        centers = kmeans.cluster_centers_
        weights = np.bincount(kmeans.labels_, minlength=number) / len(points)
        for kind in ("tied", "full"):
            start = {"means_init": centers, "weights_init": weights / weights.sum()}
            form = {"covariance_type": kind, "reg_covar": _floor(points), "max_iter": 200}
            mixture = GaussianMixture(number, **start, **form, random_state=seed).fit(points)
            weights, centers = mixture.weights_, mixture.means_
        fits.append(mixture)
    return min(fits, key=lambda fitted: fitted.bic(points)).predict(points)


def maximise(points: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (k,), means (k, d) and covariances (k, d, d) of a mixture: the M step of EM.

    Of points (n, d) with memberships (n, k). Covariances are posterior modes under an
    inverse-Wishart prior of d + 2 degrees at the covariance within all components (Fraley and
    Raftery, 2007).
    """
    dim = points.shape[1]
    counts = members.sum(0) + np.finfo(float).eps
    means = members.T @ points / counts[:, None]
    centred = points[:, None] - means
    each = zip(members.T, centred.swapaxes(0, 1), strict=True)
    scatter = np.stack([(own[:, None] * x).T @ x for own, x in each])
    prior = dim + 2
    floor = _floor(points) * np.eye(dim)
    shared = scatter.sum(0) / counts.sum() + floor
    covariances = (scatter + prior * shared) / (counts + prior)[:, None, None] + floor
    return counts / counts.sum(), means, covariances


def _floor(points: np.ndarray) -> float:
    return max(RELATIVE_FLOOR * float(points.var(0).mean()), ABSOLUTE_FLOOR)
