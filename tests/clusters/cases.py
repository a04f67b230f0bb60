"""Points in groups, and views of them."""

import numpy as np

from cmvae.clusters.sources import Views, sources_of


def blobs(seed, sizes, dim, separation):
    """Gaussian groups of unit variance around the corners of a simplex, or far-off random points.

    Returns points (n, dim) and their groups.
    """
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    centers = separation * np.eye(len(sizes), dim)
    if len(sizes) > dim:
        centers = separation * generator.normal(size=(len(sizes), dim))
    return centers[labels] + generator.normal(size=(len(labels), dim)), labels


def rings(seed, n=300):
    """Two rings around each other in two columns."""
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, n)
    radius = np.where(np.arange(n) % 2, 1.0, 3.0) + 0.1 * generator.normal(size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), np.arange(n) % 2


def moons(seed, n=300, noise=0.07):
    """Two half circles that reach into each other, in two columns."""
    generator = np.random.default_rng(seed)
    angle, labels = generator.uniform(0, np.pi, n), np.arange(n) % 2
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    points = np.where(labels[:, None], np.array([1, 0.5]) - upper, upper)
    return points + noise * generator.normal(size=(n, 2)), labels


def views_of(*arrays, observed=None):
    """Standardise arrays (n, D), NaN where a view is not observed."""
    if observed is None:
        observed = np.ones((len(arrays), len(arrays[0])), dtype=bool)
    values = []
    for array, seen in zip(arrays, observed, strict=True):
        spread = array[seen].std(0)
        values.append((array - array[seen].mean(0)) / np.where(spread > 0, spread, 1))
    return Views(values, list(arrays), observed)


def two_views(seed, labels, separation=8.0, dims=(6, 5)):
    """Two views of the same groups; each has its own places for them."""
    generator = np.random.default_rng(seed)
    number, arrays = labels.max() + 1, []
    for dim in dims:
        centers = generator.normal(size=(number, dim))
        centers *= separation / np.linalg.norm(centers, axis=1, keepdims=True)
        if number <= dim:
            centers = separation * np.eye(number, dim)
        arrays.append(centers[labels] + generator.normal(size=(len(labels), dim)))
    return views_of(*arrays)


def all_sources(views):
    """Return the sources of views, the columns side by side for latents."""
    return sources_of(views, [views.joined])


def same_partition(one, other):
    """Tell whether two partitions are the same but for the names of the groups."""
    pairs = set(zip(np.asarray(one).tolist(), np.asarray(other).tolist(), strict=True))
    return len(pairs) == len(set(np.asarray(one).tolist())) == len(set(np.asarray(other).tolist()))
