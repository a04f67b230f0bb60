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
    """Group points by one of the methods of :func:`cmvae.initialize_clusters`.

    Args:
        points: (n, d).
        views: Where each modality alone sees the points, (M, n, d).
        observed: Which of these count, (M, n) boolean.
        wanted: How many groups, or ``'auto'``: as many as the method counts.
        largest: The largest number that is counted.
        method: One of METHODS.
        seed: Seed of the method's draws.

    Returns:
        Groups (n,).

    Raises:
        ValueError: For more groups than different points, or ``'shared'`` groups that are to be
            counted where no point has two modalities.
    """
    distinct = len(np.unique(points, axis=0))
    largest = min(largest, distinct)
    if wanted == "auto" and method == "gmm":
        return gaussian_groups(points, range(1, largest + 1), seed)
    if wanted == "auto" and method == "spectral":
        wanted = count_groups(points, largest, seed)
    elif wanted == "auto":
        if not (observed.sum(0) > 1).any():
            raise ValueError(
                "method 'shared' counts groups that modalities agree on, "
                "but no sample has two modalities"
            )
        wanted = count_shared_groups(points, views, observed, largest)
    if wanted > distinct:
        raise ValueError(f"{wanted} clusters cannot start from {distinct} different samples")
    if method == "gmm":
        return gaussian_groups(points, [wanted], seed)
    return spectral_groups(points, wanted)


def gaussian_groups(points: np.ndarray, numbers: Any, seed: int) -> np.ndarray:
    """Group points by the Gaussian mixture with the smallest BIC (Schwarz, 1978).

    Covariances are full; each mixture starts from the best of several k-means solutions. One with
    the same covariance for all clusters is a step on the way: large groups are then not merged in
    favour of small dense ones, as they are where the start of the largest likelihood is taken.

    Args:
        points: (n, d).
        numbers: Which numbers of groups to try.
        seed: Seed of k-means.
    """
    from sklearn.cluster import KMeans
    from sklearn.mixture import GaussianMixture

    fits = []
    for number in numbers:
        kmeans = KMeans(number, n_init=N_INIT, random_state=seed).fit(points)
        centers = kmeans.cluster_centers_
        weights = np.bincount(kmeans.labels_, minlength=number) / len(points)
        for kind in ("tied", "full"):
            mixture = GaussianMixture(
                number,
                covariance_type=kind,
                means_init=centers,
                weights_init=weights / weights.sum(),
                reg_covar=_floor(points),
                max_iter=200,
                random_state=seed,
            ).fit(points)
            weights, centers = mixture.weights_, mixture.means_
        fits.append(mixture)
    return min(fits, key=lambda fitted: fitted.bic(points)).predict(points)


def maximise(points: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the components of a mixture: the M step of expectation–maximisation.

    Covariances are posterior modes under an inverse-Wishart prior of d + 2 degrees at the
    covariance within all components (Fraley and Raftery, 2007).

    Args:
        points: (n, d).
        members: Memberships, (n, k).

    Returns:
        Weights (k,), means (k, d) and covariances (k, d, d).
    """
    dim = points.shape[1]
    counts = members.sum(0) + np.finfo(float).eps
    means = members.T @ points / counts[:, None]
    centred = points[:, None] - means
    scatter = np.stack(
        [(members[:, k, None] * x).T @ x for k, x in enumerate(centred.swapaxes(0, 1))]
    )
    prior = dim + 2
    floor = _floor(points) * np.eye(dim)
    shared = scatter.sum(0) / counts.sum() + floor
    covariances = (scatter + prior * shared) / (counts + prior)[:, None, None] + floor
    return counts / counts.sum(), means, covariances


def _floor(points: np.ndarray) -> float:
    return max(RELATIVE_FLOOR * float(points.var(0).mean()), ABSOLUTE_FLOOR)
