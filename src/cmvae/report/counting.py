"""Counts of the samples of each cluster: by modalities, labels, covariates."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from cmvae.base.words import listed
from cmvae.files.join import JoinedRows
from cmvae.preprocessing.covariates import CovariateCodec, encode_covariates
from cmvae.report.content import Agreement, Covariate, Pattern
from cmvae.runs.covariates import CovariateFindings

if TYPE_CHECKING:
    import pandas as pd

NO_LABEL = "(none)"
MOST_PATTERNS = 12

Labels = tuple[tuple[str, ...], np.ndarray]
"""Names of labels, and the place of each sample's, (n,)."""


def read_labels(labels: "pd.Series[str]", ids: list[str]) -> Labels:
    """Return the labels of samples, ``NO_LABEL`` of those that have none."""
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
    by_cluster = _counts(of_sample, clusters, n_clusters)
    present = [tuple(map(bool, kinds[k])) for k in kept] + [()] * (len(by_cluster) - len(kept))
    return tuple(map(Pattern, present, by_cluster)), of_sample


def _counts(groups: np.ndarray, clusters: np.ndarray, n: int) -> tuple[tuple[int, ...], ...]:
    """Return for each group its samples in each of n clusters."""
    counts = np.zeros((groups.max() + 1, n), int)
    np.add.at(counts, (groups, clusters), 1)
    return tuple(map(tuple, counts.tolist()))


def cross_covariates(
    codecs: Mapping[str, CovariateCodec],
    rows: JoinedRows,
    clusters: np.ndarray,
    latents: np.ndarray,
    n_clusters: int,
) -> tuple[Covariate, ...]:
    """Cross the covariates of n samples with their clusters, (n,), and score what is known of them.

    Those of which no sample has a value are left out.
    """
    known = {
        name: values
        for name, values in encode_covariates(codecs, rows.covariates).items()
        if not np.isnan(values).all()
    }
    told, found = CovariateFindings(codecs, rows), []
    told.add(0, clusters, latents)
    scores = told.scores()
    for name, values in known.items():
        codec, seen = codecs[name], ~np.isnan(values)
        counts, means = [], list[float | None]()
        for level in range(len(codec.categories)):
            own = np.bincount(clusters[values == level], minlength=n_clusters)
            counts.append(tuple(own.tolist()))
        for cluster in range(0 if codec.categories else n_clusters):
            own = values[seen & (clusters == cluster)]
            means.append(float(codec.decode(own).mean()) if len(own) else None)
        found.append(Covariate(name, codec.categories, tuple(counts), tuple(means), scores[name]))
    return tuple(found)


def score_labels(
    names: tuple[str, ...], labels: np.ndarray, clusters: np.ndarray, n_clusters: int
) -> Agreement:
    """Count labels by cluster, and score the clusters of the samples that have one."""
    from cmvae.metrics.clustering import clustering_scores  # scikit-learn is slow to import

    known = np.array([name != NO_LABEL for name in names])[labels]
    scores = clustering_scores(labels[known], clusters[known])
    return Agreement(names, _counts(labels, clusters, n_clusters), scores)
