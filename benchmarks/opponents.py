"""What scikit-learn does in a few lines: views (tables.py), a number of groups, a seed → groups.

Nothing is tuned. Rows that are missing get the means of their columns, but in ``mv_cos``.
"""

from contextlib import suppress

import numpy as np
from scipy.sparse import csr_array
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph
from tables import standardised

NEIGHBOURS = 10
FORMS = ("full", "tied", "diag", "spherical")
FLOORS = (1e-6, 1e-4, 1e-2, 1.0)


def joined(views):
    """Return the standardised columns of all views side by side."""
    return np.concatenate([standardised(values) for values in views.values()], 1)


def k_means(views, n_groups, seed):
    """Return groups of the standardised columns."""
    return KMeans(n_groups, n_init=10, random_state=seed).fit_predict(joined(views))


def gaussian_mixture(views, n_groups, seed):
    """Return groups of the standardised columns, or of leading components where these are fewer.

    The form of the covariances is that of smallest BIC.
    """
    points = joined(views)
    components = min(50, len(points) // 4)
    if points.shape[1] > components:
        points = PCA(components, random_state=seed).fit_transform(points)
    mixtures = [fitted_mixture(points, n_groups, form, seed) for form in FORMS]
    return min(mixtures, key=lambda mixture: mixture.bic(points)).predict(points)


def fitted_mixture(points, n_groups, form, seed):
    """Return a mixture with the lowest of the floors of the variances at which it can be fitted."""
    for floor in FLOORS:
        mixture = GaussianMixture(
            n_groups, covariance_type=form, reg_covar=floor, n_init=10, random_state=seed
        )
        with suppress(ValueError):
            return mixture.fit(points)
    raise ValueError(f"no mixture with {form} covariances can be fitted")


def spectral(views, n_groups, seed):
    """Return groups of the neighbour graph of the standardised columns."""
    return _cut_of_points(joined(views), n_groups, seed)


def weighed_spectral(views, n_groups, seed):
    """Return groups of the neighbour graph of the standardised columns, views / √(columns)."""
    weighed = [standardised(values) / np.sqrt(values.shape[1]) for values in views.values()]
    return _cut_of_points(np.concatenate(weighed, 1), n_groups, seed)


def mv_cos(views, n_groups, seed):
    """Return groups of the mean of the views' cosine neighbour graphs.

    Two samples have the mean over the views in which both are observed.
    """
    n = len(next(iter(views.values())))
    total, shared = csr_array((n, n)), np.zeros((n, n))
    for values in views.values():
        rows = np.flatnonzero(~np.isnan(values).all(1))
        graph = kneighbors_graph(values[rows], NEIGHBOURS, metric="cosine").tocoo()
        places = rows[graph.row], rows[graph.col]
        total = total + csr_array((graph.data, places), shape=(n, n))
        shared[np.ix_(rows, rows)] += 1
    mean = ((total + total.T) / 2).toarray() / np.maximum(shared, 1)
    cut = SpectralClustering(n_groups, affinity="precomputed", random_state=seed)
    return cut.fit_predict(mean)


def _cut_of_points(points, n_groups, seed):
    cut = SpectralClustering(
        n_groups, affinity="nearest_neighbors", n_neighbors=NEIGHBOURS, random_state=seed
    )
    return cut.fit_predict(points)


OPPONENTS = {
    "k-means": k_means,
    "Gaussian mixture": gaussian_mixture,
    "10-NN spectral": spectral,
    "mv-cos": mv_cos,
    "views / √columns + spectral": weighed_spectral,
}
