"""Sums of numbers over the samples of each cluster, a part of the samples at a time."""

import numpy as np

LOST = 1e-12  # relative


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

    def variances(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the unbiased variances of a cluster's samples and of all others, (D,) each.

        0 where they are lost in rounding, NaN of fewer than two values.
        """
        own = np.arange(len(self.counts)) == cluster
        inside, outside = map(self._variance_of, (own, ~own))
        return inside, outside

    def _variance_of(self, clusters: np.ndarray) -> np.ndarray:
        n, sums = self.counts[clusters].sum(0), self._sums[clusters].sum(0)
        squares = self._squares[clusters].sum(0) - sums**2 / n.clip(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            deviation = np.sqrt(squares.clip(0) / (n - 1))
        return np.where(n > 1, self._unless_lost(deviation) ** 2, np.nan)

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
