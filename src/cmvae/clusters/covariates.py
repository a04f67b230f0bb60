"""Points without what covariates add to them, so that groups among them are no batches."""

import numpy as np

from cmvae.clusters.mixtures import best_of_kmeans
from cmvae.clusters.sources import coordinates

ROUNDS, TRIES = 3, 2
SAMPLES_EACH, MOST_GROUPS = 30, 30  # of a group on average, and how many at most
MOST_AXES = 30
PRIOR = 10.0  # samples that the common effect weighs as, beside those of a group


def without_covariates(points: np.ndarray, codes: np.ndarray, seed: int) -> np.ndarray:
    r"""Return points (n, d) less what covariates, encoded (n, c), add to them.

    .. math:: x_i = a_{g(i)} + (B + B_{g(i)}) s_i + e_i

    with g the groups of k-means among the points corrected so far. The intercepts a_g keep what
    groups differ in: where batches hold types in different shares, that is not taken for an effect,
    unless shares and effects differ so much that groups of different types come together. B is
    fitted by least squares, each group's own B_g to what is left by a ridge, as Harmony does
    (Korsunsky et al., Nature Methods 2019, eq. 15). The mean of all points stays.
    """
    varying = codes - codes.mean(0)
    if len(points) < 2 or not varying.any():
        return points
    corrected = points - varying @ _least_squares(varying, points - points.mean(0))
    number = int(np.clip(len(points) // SAMPLES_EACH, 1, MOST_GROUPS))
    for _ in range(ROUNDS):
        groups = best_of_kmeans(_leading(corrected), number, seed, TRIES)
        corrected = points - _effects(points, codes, groups)
    return corrected


def _effects(points: np.ndarray, codes: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return (B + B_g) s of every point, (n, d), s less its mean over all."""
    members = np.eye(groups.max() + 1)[groups]
    sizes = members.sum(0)[:, None]

    def within(values: np.ndarray) -> np.ndarray:
        means = (members.T @ values) / np.maximum(sizes, 1)
        return np.asarray(values - means[groups])

    own, left = within(codes), within(points)
    common = _least_squares(own, left)
    left = left - own @ common
    varying = codes - codes.mean(0)
    found = varying @ common
    for group in range(len(sizes)):
        rows = groups == group
        gram = own[rows].T @ own[rows] + PRIOR * np.eye(codes.shape[1])
        found[rows] += varying[rows] @ np.linalg.solve(gram, own[rows].T @ left[rows])
    return np.asarray(found)


def _least_squares(codes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return B, (c, d), of least norm."""
    return np.asarray(np.linalg.lstsq(codes, points, rcond=1e-8)[0])


def _leading(points: np.ndarray) -> np.ndarray:
    """Return the coordinates of centred points along the axes in which they vary most."""
    centred = points - points.mean(0)
    if centred.shape[1] <= MOST_AXES:
        return centred
    reduced = coordinates(centred)
    _, _, axes = np.linalg.svd(reduced, full_matrices=False)
    return np.asarray(reduced @ axes[:MOST_AXES].T)
