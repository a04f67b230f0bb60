"""Neighbour graphs of points, their leading eigenvectors, and how well groups cut them."""

from collections.abc import Sequence

import numpy as np
from scipy.linalg import eigh
from scipy.sparse import csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh

NEIGHBOURS = 10
SCALE_NEIGHBOUR = 7
DENSE_BELOW = 600


def neighbour_graph(points: np.ndarray) -> csr_array:
    """Return the self-tuning graph of the ten nearest neighbours of points (n, d), normalised.

    The affinity of neighbours is exp(−‖x−y‖² / (σ_x σ_y)), σ the distance to the seventh neighbour
    (Zelnik-Manor and Perona, 2004), symmetrised, and divided by the root of both degrees.
    """
    from sklearn.neighbors import NearestNeighbors

    n = len(points)
    if n <= 1:
        return csr_array((n, n))
    distances, near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, n - 1)).fit(points).kneighbors()
    scales = distances[:, min(SCALE_NEIGHBOUR, distances.shape[1]) - 1]
    products = scales[:, None] * scales[near]
    # Among many copies of one point the scale is zero: they are bound fully, others not at all.
    limit = np.where(distances > 0, np.inf, 0.0)
    weights = np.exp(-np.divide(distances**2, products, out=limit, where=products > 0))
    rows = np.repeat(np.arange(n), near.shape[1])
    affinity = csr_array((weights.ravel(), (rows, near.ravel())), shape=(n, n))
    affinity.eliminate_zeros()
    return normalised(affinity + affinity.T)


def normalised(affinity: csr_array) -> csr_array:
    """Return D^(−1/2) A D^(−1/2) of a symmetric affinity A of degrees D; a point alone keeps 0."""
    degrees = np.asarray(affinity.sum(1))
    inverse = diags_array(1 / np.sqrt(np.where(degrees > 0, degrees, 1)))
    return csr_array(inverse @ affinity @ inverse)


def fused(views: Sequence[np.ndarray], observed: np.ndarray) -> csr_array:
    """Return the sum of the graphs of several views (n, d), normalised.

    Of a sample unobserved by a view, (views, n) boolean, that view says nothing.
    """
    n = observed.shape[1]
    total = csr_array((n, n))
    for view, seen in zip(views, observed, strict=True):
        rows, own = np.flatnonzero(seen), neighbour_graph(view[seen]).tocoo()
        total = total + csr_array((own.data, (rows[own.row], rows[own.col])), shape=(n, n))
    return normalised(total)


def leading_vectors(graph: csr_array, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest eigenvalues of a normalised graph, (number,), and vectors (n, number).

    Where the graph falls into pieces, each has the eigenvalue 1 once. Iterative solvers find such
    copies in part only, depending on rounding; so they are given the pieces one by one. Larger
    pieces come first.
    """
    n = graph.shape[0]
    number = min(number, n)
    found, pieces = connected_components(graph, directed=False)
    order = np.argsort(-np.bincount(pieces), kind="stable")
    values, vectors = [], []
    for piece in order if found < number else order[:number]:
        rows = np.flatnonzero(pieces == piece)
        own = graph[rows][:, rows] if found > 1 else graph
        few = min(1 + max(0, number - found), len(rows))
        value, vector = _of_piece(own, few)
        whole = np.zeros((n, few))
        whole[rows] = vector
        values.append(value)
        vectors.append(whole)
    joined, whole = np.concatenate(values), np.concatenate(vectors, 1)
    best = np.argsort(-joined, kind="stable")[:number]
    return joined[best], whole[:, best]


def _of_piece(graph: csr_array, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return leading eigenvalues and vectors of a connected graph."""
    n = graph.shape[0]
    if n == 1:
        return np.ones(1), np.ones((1, 1))
    if n <= DENSE_BELOW or number > n // 3:
        values, vectors = eigh(graph.toarray(), subset_by_index=(n - number, n - 1))
        return values[::-1], vectors[:, ::-1]
    start = np.random.default_rng(0).normal(size=n)
    values, vectors = eigsh(graph, k=number, ncv=min(n, 2 * number + 40), which="LA", v0=start)
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def pieces_of(graph: csr_array, points: np.ndarray, number: int) -> np.ndarray:
    """Return the connected pieces of a graph, (n,) integers, merged until ``number`` are left.

    The smallest piece joins the one whose mean of the points (n, d) lies nearest.
    """
    found, pieces = connected_components(graph, directed=False)
    sizes = np.bincount(pieces).astype(float)
    sums = np.zeros((found, points.shape[1]))
    np.add.at(sums, pieces, points)
    into = np.arange(found)
    for _ in range(found - number):
        small = int(np.where(sizes > 0, sizes, np.inf).argmin())
        means = sums / np.maximum(sizes, 1)[:, None]
        distances = np.where(sizes > 0, np.square(means - means[small]).sum(1), np.inf)
        distances[small] = np.inf
        near = int(distances.argmin())
        sums[near] += sums[small]
        sizes[near] += sizes[small]
        sizes[small], into[into == small] = 0, near
    return np.unique(into[pieces], return_inverse=True)[1]


def modularity(graph: csr_array, groups: np.ndarray) -> float:
    """Return the share of a graph's weight within groups (n,), less that expected by chance.

    (Newman, 2006.)
    """
    degrees = np.asarray(graph.sum(1))
    total = degrees.sum()
    if not total:
        return 0.0
    links = graph.tocoo()
    within = links.data[groups[links.row] == groups[links.col]].sum() / total
    return float(within - np.square(np.bincount(groups, degrees) / total).sum())
