"""How many samples of each cluster have which modalities and which labels."""

from typing import TYPE_CHECKING

import numpy as np

from cmvae.base.words import listed
from cmvae.report.content import Agreement, Pattern

if TYPE_CHECKING:
    import pandas as pd

NO_LABEL = "(none)"
MOST_PATTERNS = 12

Labels = tuple[tuple[str, ...], np.ndarray]
"""Names of labels, and the place of each sample's, (n,)."""


def read_labels(labels: "pd.Series[str]", ids: list[str]) -> Labels:
    """Return the labels of samples, ``NO_LABEL`` of those that have none.

    Raises:
        TypeError: For what is no series of strings.
        ValueError: For ids that repeat, or labels of none of the samples.
    """
    if not hasattr(labels, "reindex"):
        raise TypeError(f"labels must be a pandas Series, got {type(labels).__name__}")
    repeated = labels.index[labels.index.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"labels: duplicate ids: {listed(repeated)}")
    found = labels.reindex(ids).astype(object)
    own = found.where(found.notna(), NO_LABEL).tolist()
    odd = [label for label in own if not isinstance(label, str)]
    if odd:
        raise TypeError(f"labels must be strings, got {listed(map(repr, odd))}")
    names, places = np.unique(np.array(own, dtype=np.str_), return_inverse=True)
    if names.tolist() == [NO_LABEL]:
        raise ValueError("labels: none of the samples has one")
    return tuple(names.tolist()), places


def count_patterns(
    observed: np.ndarray, clusters: np.ndarray, n_clusters: int
) -> tuple[tuple[Pattern, ...], np.ndarray]:
    """Return combinations of modalities, the rarest put together, and that of each sample, (n,)."""
    kinds, codes, counts = np.unique(observed, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = order if len(order) <= MOST_PATTERNS else order[: MOST_PATTERNS - 1]
    place = np.full(len(order), len(kept))
    place[kept] = np.arange(len(kept))
    of_sample = place[codes.reshape(-1)]
    by_cluster = _counts(of_sample, clusters, int(of_sample.max()) + 1, n_clusters)
    present = [tuple(map(bool, kinds[k])) for k in kept] + [()] * (len(by_cluster) - len(kept))
    return tuple(map(Pattern, present, by_cluster)), of_sample


def _counts(
    groups: np.ndarray, clusters: np.ndarray, n_groups: int, n_clusters: int
) -> tuple[tuple[int, ...], ...]:
    """Return for each group its samples by cluster."""
    counts = np.zeros((n_groups, n_clusters), int)
    np.add.at(counts, (groups, clusters), 1)
    return tuple(map(tuple, counts.tolist()))


def score_labels(
    names: tuple[str, ...], labels: np.ndarray, clusters: np.ndarray, n_clusters: int
) -> Agreement:
    """Count labels by cluster, and score the clusters of the samples that have one."""
    from cmvae.metrics.clustering import clustering_scores  # scikit-learn is slow to import

    known = np.array([name != NO_LABEL for name in names])[labels]
    scores = clustering_scores(labels[known], clusters[known])
    return Agreement(names, _counts(labels, clusters, len(names), n_clusters), scores)
