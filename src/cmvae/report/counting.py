"""Sums over the samples of each cluster: of features, of modalities, of labels."""

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
LOST = 1e-12  # relative

Labels = tuple[tuple[str, ...], np.ndarray]
"""Names of labels, and the place of each sample's, (n,)."""


class Moments:
    """Sums of D numbers over the samples of each of C clusters; NaN is passed over.

    Values are taken relative to the mean of the first samples added: sums of squares of numbers far
    from zero would lose their digits.
    """

    def __init__(self, n_clusters: int, n_features: int) -> None:
        self.counts = np.zeros((n_clusters, n_features))  # of values that are there, (C, D)
        self.low, self.high = np.full((2, n_features), np.nan)  # the least and largest, (D,)
        self._shift = np.zeros(n_features)
        self._sums, self._squares = np.zeros((2, n_clusters, n_features))

    def add(self, values: np.ndarray, clusters: np.ndarray) -> None:
        """Add samples (B, D) of clusters (B,), integers from 0 to C − 1."""
        seen = ~np.isnan(values)
        if not self.counts.any():
            self._shift = np.where(seen, values, 0).sum(0) / seen.sum(0).clip(1)
        self.low = np.fmin(self.low, np.fmin.reduce(values))
        self.high = np.fmax(self.high, np.fmax.reduce(values))
        values = np.where(seen, values - self._shift, 0.0)
        members = np.equal.outer(np.arange(len(self.counts)), clusters).astype(np.float64)
        self.counts += members @ seen
        self._sums += members @ values
        self._squares += members @ values**2

    @property
    def mean(self) -> np.ndarray:
        """Mean of all samples, (D,); NaN of none."""
        return self._mean_of(np.ones(len(self.counts), dtype=bool))

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of all samples, (D,); 0 where it is lost in rounding."""
        n = self.counts.sum(0).clip(1)
        variance = self._squares.sum(0) / n - (self._sums.sum(0) / n) ** 2
        return self._unless_lost(np.sqrt(variance.clip(0)))

    def reach(self, width: float) -> np.ndarray:
        """Return between what values lie, (2, D), at most so many deviations from the mean.

        Both are 0 where there are no values.
        """
        mean, far = self.mean, width * self.deviation
        ends = np.fmax(self.low, mean - far), np.fmin(self.high, mean + far)
        return np.nan_to_num(np.stack(ends))

    def inside_and_outside(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the means of a cluster's samples and of all others, (D,) each; NaN of none."""
        own = np.arange(len(self.counts)) == cluster
        return self._mean_of(own), self._mean_of(~own)

    def numbers(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return how many values a cluster's samples and all others have, (D,) each."""
        return self.counts[cluster], self.counts.sum(0) - self.counts[cluster]

    def pooled(self, cluster: int) -> np.ndarray:
        """Return the standard deviation within a cluster and within all others, pooled, (D,).

        0 where it is lost in rounding, NaN of fewer than three values.
        """
        own = np.arange(len(self.counts)) == cluster
        squares, n = np.zeros_like(self._shift), self.counts.sum(0)
        for side in (own, ~own):
            sums = self._sums[side].sum(0)
            squares += self._squares[side].sum(0) - sums**2 / self.counts[side].sum(0).clip(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            pooled = np.sqrt(squares.clip(0) / (n - 2))
        return np.where(n > 2, self._unless_lost(pooled), np.nan)

    def _unless_lost(self, deviation: np.ndarray) -> np.ndarray:
        return np.where(deviation <= 1e-9 * np.abs(np.nan_to_num(self.mean)), 0.0, deviation)

    def _mean_of(self, clusters: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            mean = self._shift + self._sums[clusters].sum(0) / self.counts[clusters].sum(0)
        # What is lost in rounding beside the shift is zero.
        return np.where(np.abs(mean) <= LOST * np.abs(self._shift), 0.0, mean)

    def telling(
        self, values: np.ndarray, top: int, told: np.ndarray
    ) -> list[list[tuple[int, float, float]]]:
        """Return for each sample (B, D) its values furthest from the mean of all.

        The furthest first, ``top`` at most of the places ``told``: feature, value, standard
        deviations from the mean.
        """
        deviation = self.deviation
        scores = (values - self.mean) / np.where(deviation > 0, deviation, 1)
        scores = np.nan_to_num(np.where(deviation > 0, scores, 0.0))[:, told]
        order = np.argsort(-np.abs(scores), axis=1, kind="stable")[:, :top]
        return [
            [
                (int(told[j]), float(values[i, told[j]]), float(scores[i, j]))
                for j in row
                if scores[i, j] != 0
            ]
            for i, row in enumerate(order)
        ]


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
