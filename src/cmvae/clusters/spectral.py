"""Groups among points by spectral clustering of a neighbour graph, and how many are real."""

import itertools

import numpy as np
from scipy.linalg import eigh, qr, svd
from scipy.sparse import csr_array, diags_array
from scipy.sparse.linalg import eigsh
from scipy.special import logsumexp

NEIGHBOURS = 10
SCALE_NEIGHBOUR = 7
DENSE_BELOW = 500
STABLE = 0.75
AGREED = 0.5
FLOOR = 1e-2  # of the points' variances: what covariances are drawn to
SUBSET = 0.632  # the share of different points in a bootstrap sample


def spectral_groups(points: np.ndarray, n_groups: int) -> np.ndarray:
    """Cluster points (n, d) by the normalised cut of their self-tuning neighbour graph.

    The affinity of neighbours is exp(−‖x−y‖² / (σ_x σ_y)), σ the distance to the seventh neighbour
    (Zelnik-Manor and Perona, 2004); the leading eigenvectors of the normalised graph are turned
    into groups, (n,) integers, by pivoted QR (Damle, Minden and Ying, 2019). Some may be empty.
    """
    return _group(_leading_vectors(points, n_groups), n_groups)


def count_groups(points: np.ndarray, largest: int, seed: int = 0) -> int:
    """Return the number of groups of points (n, d): of the numbers whose groups are all stable.

    Of these, the one of smallest BIC. Stable means a Jaccard index above 0.75
    (:func:`group_stability`), from which Hennig (2007) calls a group valid. Parts of a single
    stretched cloud are stable too, so the BIC (Schwarz, 1978) of a Gaussian mixture with these
    groups as components and one covariance for all must find the division worth its parameters.
    """
    stable = np.flatnonzero(group_stability(points, largest, seed) > STABLE) + 1
    criteria = [information_criterion(points, spectral_groups(points, k)) for k in stable.tolist()]
    return int(stable[np.argmin(criteria)])


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
    vectors = _leading_vectors(points, largest)
    agreement = [1.0]
    for k in range(2, largest + 1):
        groups = _group(vectors, k)
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


def information_criterion(points: np.ndarray, groups: np.ndarray) -> float:
    """Return the BIC, up to a constant, of a mixture of the groups with one covariance."""
    n, dim = points.shape
    members = np.eye(groups.max() + 1)[groups]
    members = members[:, members.any(0)]
    shares = members.mean(0)
    means = members.T @ points / members.sum(0)[:, None]
    residuals = points - members @ means
    prior = FLOOR * np.diag(points.var(0)) + np.finfo(float).tiny * np.eye(dim)
    covariance = (residuals.T @ residuals + (dim + 2) * prior) / (n + dim + 2)
    inverse = np.linalg.pinv(covariance, hermitian=True)
    differences = points[:, None] - means
    distances = np.einsum("nkd,de,nke->nk", differences, inverse, differences, optimize=True)
    scale = np.linalg.eigvalsh(covariance).clip(np.finfo(float).tiny)
    joint = np.log(shares) - distances / 2
    likelihood = logsumexp(joint, axis=1).sum() - n / 2 * np.log(scale).sum()
    return float(-2 * likelihood + len(shares) * (dim + 1) * np.log(n))


def group_stability(
    points: np.ndarray, largest: int, seed: int = 0, n_subsets: int = 20
) -> np.ndarray:
    """Return how well the least stable of k = 1, 2, … groups is found in subsets, at index k − 1.

    Points (n, d) are clustered, k up to ``largest`` and n / 4, and so are random subsets of them,
    as large as the number of different points in a bootstrap sample. A group's stability is its
    Jaccard index with the most similar group of a subset, on the points of that subset, averaged
    over subsets (Hennig, 2007); of one group it is 1.
    """
    n = len(points)
    largest = max(1, min(largest, n // 4))
    generator = np.random.default_rng(seed)
    vectors = _leading_vectors(points, largest)
    whole = [_group(vectors, k) for k in range(1, largest + 1)]
    found: list[list[np.ndarray]] = [[] for _ in whole]
    for _ in range(n_subsets if largest > 1 else 0):
        subset = generator.permutation(n)[: int(SUBSET * n)]
        vectors = _leading_vectors(points[subset], largest)
        for k, groups in enumerate(whole, start=1):
            found[k - 1].append(_best_jaccard(groups[subset], _group(vectors, k), k))
    return np.array([1.0, *(np.mean(similarities, 0).min() for similarities in found[1:])])


def _best_jaccard(groups: np.ndarray, others: np.ndarray, number: int) -> np.ndarray:
    """Return the largest Jaccard index of each of the groups with any of the others, (number,)."""
    common = np.zeros((number, number))
    np.add.at(common, (groups, others), 1)
    union = common.sum(1, keepdims=True) + common.sum(0) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0).max(1)


def _leading_vectors(points: np.ndarray, number: int) -> np.ndarray:
    """Return the leading eigenvectors of the normalised affinity, (n, number), first ones first."""
    from sklearn.neighbors import NearestNeighbors

    n = len(points)
    number = min(number, n)
    if n <= 2:
        return np.eye(n)[:, :number]
    distances, near = NearestNeighbors(n_neighbors=min(NEIGHBOURS, n - 1)).fit(points).kneighbors()
    scales = distances[:, min(SCALE_NEIGHBOUR, distances.shape[1]) - 1]
    products = scales[:, None] * scales[near]
    # Among many copies of one point the scale is zero: they are bound fully, others not at all.
    limit = np.where(distances > 0, np.inf, 0.0)
    weights = np.exp(-np.divide(distances**2, products, out=limit, where=products > 0))
    rows = np.repeat(np.arange(n), near.shape[1])
    affinity = csr_array((weights.ravel(), (rows, near.ravel())), shape=(n, n))
    affinity = (affinity + affinity.T) / 2
    degrees = np.maximum(affinity.sum(1), np.finfo(float).tiny)
    inverse = diags_array(1 / np.sqrt(degrees))
    normalised = inverse @ affinity @ inverse
    if n <= DENSE_BELOW or number >= n - 1:
        return eigh(normalised.toarray(), subset_by_index=(n - number, n - 1))[1][:, ::-1]
    start = np.random.default_rng(0).normal(size=n)
    values, vectors = eigsh(normalised, k=number, which="LA", v0=start)
    return vectors[:, np.argsort(-values)]


def _group(vectors: np.ndarray, number: int) -> np.ndarray:
    """Turn the first ``number`` eigenvectors into groups by pivoted QR."""
    leading = vectors[:, :number]
    pivots = qr(leading.T, pivoting=True, mode="economic")[2][:number]
    left, _, right = svd(leading[pivots].T, full_matrices=False)
    return np.abs(leading @ (left @ right)).argmax(1)
