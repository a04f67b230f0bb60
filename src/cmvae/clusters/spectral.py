"""Groups among points by spectral clustering of a neighbour graph."""

import itertools

import numpy as np
from scipy.linalg import qr, svd
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from cmvae.clusters.graphs import leading_vectors, neighbour_graph, pieces_of

AGREED = 0.5
KMEANS_STARTS = 10


def spectral_groups(points: np.ndarray, n_groups: int) -> np.ndarray:
    """Cluster points (n, d) by the normalised cut of their neighbour graph, (n,) integers.

    The leading eigenvectors are turned into groups by pivoted QR (Damle, Minden and Ying, 2019).
    Where the graph falls into more pieces than groups, the smallest join those that lie nearest;
    otherwise no group has parts of two pieces. Some groups may be empty.
    """
    graph = neighbour_graph(points)
    return cut(graph, leading_vectors(graph, n_groups)[1], points, n_groups)


def cut(
    graph: csr_array,
    vectors: np.ndarray,
    points: np.ndarray,
    number: int,
    seed: int | None = None,
) -> np.ndarray:
    """Turn the leading eigenvectors (n, ≥ number) of a graph into groups, (n,) integers.

    By pivoted QR; with a seed by k-means of the rows, scaled to length 1 (Ng, Jordan and Weiss,
    2001). ``points`` (n, d) say which pieces of the graph lie near to each other.
    """
    if connected_components(graph, directed=False)[0] >= number:
        return pieces_of(graph, points, number)
    leading = vectors[:, :number]
    if seed is None:
        pivots = qr(leading.T, pivoting=True, mode="economic")[2][:number]
        left, _, right = svd(leading[pivots].T, full_matrices=False)
        return np.asarray(np.abs(leading @ (left @ right)).argmax(1))
    from sklearn.cluster import KMeans

    lengths = np.linalg.norm(leading, axis=1, keepdims=True)
    rows = leading / np.where(lengths > 0, lengths, 1)
    return np.asarray(KMeans(number, n_init=KMEANS_STARTS, random_state=seed).fit_predict(rows))


def count_shared_groups(
    points: np.ndarray, views: np.ndarray, observed: np.ndarray, largest: int
) -> int:
    """Return the largest number of groups of which the modalities agree on every one.

    They agree on a group whose Jaccard index (:func:`group_agreement`) is above one half: samples
    that one modality sees in it, the other sees in it more often than not. Of a group that a single
    modality or chance cuts in two, the index is at most a third.
    """
    agreed = np.flatnonzero(group_agreement(points, views, observed, largest) > AGREED) + 1
    return int(agreed.max())


def group_agreement(
    points: np.ndarray, views: np.ndarray, observed: np.ndarray, largest: int
) -> np.ndarray:
    """Return how well modalities agree on the worst of k = 1, 2, … groups, at index k − 1.

    Points (n, d) are grouped by :func:`spectral_groups`, k up to ``largest`` and n / 4. A modality
    sees a sample, at its own location in ``views`` (M, n, d) where ``observed`` (M, n), in the
    group of closest mean over this modality's locations. The agreement on a group is the Jaccard
    index of the samples that two modalities see in it, among those that have both, over all pairs
    of modalities together; of one group it is 1.
    """
    largest = max(1, min(largest, len(points) // 4))
    graph = neighbour_graph(points)
    vectors = leading_vectors(graph, largest)[1]
    agreement = [1.0]
    for k in range(2, largest + 1):
        groups = cut(graph, vectors, points, k)
        pairs = zip(views, observed, strict=True)
        seen = [np.eye(k, dtype=bool)[_nearest_group(*pair, groups, k)] for pair in pairs]
        common, either = np.zeros(k), np.zeros(k)
        for first, second in itertools.combinations(range(len(views)), 2):
            both = observed[first] & observed[second]
            common += (seen[first][both] & seen[second][both]).sum(0)
            either += (seen[first][both] | seen[second][both]).sum(0)
        agreement.append(float(np.divide(common, either, out=np.zeros(k), where=either > 0).min()))
    return np.array(agreement)


def _nearest_group(
    view: np.ndarray, observed: np.ndarray, groups: np.ndarray, number: int
) -> np.ndarray:
    """Return the group of nearest mean, over the observed, of each point of a view: (n,)."""
    members = np.eye(number)[groups[observed]]
    sizes = members.sum(0)
    means = members.T @ view[observed] / np.maximum(sizes, 1)[:, None]
    distances = np.square(view).sum(1)[:, None] - 2 * view @ means.T + np.square(means).sum(1)
    return np.where(sizes > 0, distances, np.inf).argmin(1)
