"""Means and deviations of features by cluster, summed up batch by batch."""

import numpy as np

LOST = 1e-12  # relative


class Moments:
    """Sums of the features of one modality, over the observed samples of each cluster.

    Values are taken relative to the mean of the first samples added: sums of squares of numbers far
    from zero would lose their digits.

    Args:
        n_clusters: C.
        n_features: D.

    Attributes:
        counts: Samples by cluster, (C,).
    """

    def __init__(self, n_clusters: int, n_features: int) -> None:
        self.counts = np.zeros(n_clusters)
        self._shift = np.zeros(n_features)
        self._sums, self._squares = np.zeros((2, n_clusters, n_features))

    def add(self, values: np.ndarray, clusters: np.ndarray) -> None:
        """Add samples (B, D) of clusters (B,), integers from 0 to C − 1."""
        if not len(values):
            return
        values = values.astype(np.float64)
        if not self.counts.any():
            self._shift = values.mean(0)
        values = values - self._shift
        members = np.equal.outer(np.arange(len(self.counts)), clusters).astype(np.float64)
        self.counts += members.sum(1)
        self._sums += members @ values
        self._squares += members @ values**2

    @property
    def mean(self) -> np.ndarray:
        """Mean of all samples, (D,)."""
        return self._shift + self._sums.sum(0) / max(self.counts.sum(), 1)

    @property
    def deviation(self) -> np.ndarray:
        """Standard deviation of all samples, (D,); 0 where it is lost in rounding."""
        n = max(self.counts.sum(), 1)
        variance = self._squares.sum(0) / n - (self._sums.sum(0) / n) ** 2
        deviation = np.sqrt(variance.clip(0))
        return np.where(deviation <= 1e-9 * np.abs(self.mean), 0.0, deviation)

    def inside_and_outside(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the means of a cluster's samples and of all others, (D,) each; NaN of none."""
        others = np.arange(len(self.counts)) != cluster
        return self._mean_of(~others), self._mean_of(others)

    def _mean_of(self, clusters: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            mean = self._shift + self._sums[clusters].sum(0) / self.counts[clusters].sum()
        # What is lost in rounding beside the shift is zero.
        return np.where(np.abs(mean) <= LOST * np.abs(self._shift), 0.0, mean)

    def differences(self, cluster: int) -> np.ndarray:
        """Return the mean of a cluster minus that of all others, (D,), in standard deviations.

        Those are of all samples. Zero for a constant feature, and where the cluster or the others
        have no sample.
        """
        inside, outside = self.inside_and_outside(cluster)
        return standardised(inside - outside, self.deviation)

    def scores(self, values: np.ndarray) -> np.ndarray:
        """Return how many standard deviations values (B, D) are from the mean of all samples."""
        return standardised(values - self.mean, self.deviation)


def standardised(differences: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Return differences over deviations, 0 where either is missing."""
    scaled = differences / np.where(deviation > 0, deviation, 1)
    return np.nan_to_num(np.where(deviation > 0, scaled, 0.0))
