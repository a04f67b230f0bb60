"""What the numbers of one table are in each cluster: means, effect sizes, histograms."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from cmvae.data.datasets import IncompleteDataset
from cmvae.data.observed import coded_values
from cmvae.metrics.contrasts import adjusted, log_fold_change, welch_test
from cmvae.metrics.moments import Moments
from cmvae.models.inference import likelihood_of
from cmvae.preprocessing.codec import Entry
from cmvae.report.effects import (
    COHENS_D,
    COHENS_H,
    FOLD,
    OF_KIND,
    cohens_d,
    cohens_h,
    effect_sizes,
    kind_of,
)
from cmvae.report.profiles import PROFILE
from cmvae.report.samples import readable
from cmvae.runs.run import Run

ONE_UNIT = 10  # as many columns of counts alone are taken to count things of one kind
BINS = 16
LARGE = 100  # from here counts are drawn on the scale of their square roots
WIDTH = 3.0  # of a histogram to each side of the mean, in standard deviations


class TableSums:
    """The numbers of a table, by cluster.

    Two things are summed: the numbers as people read them, and as the model sees them, standardised
    after a transform where they have one. Counts that a sample has a total of are scaled to one
    total first: those whose likelihood has a library size, and tables of counts alone, of at least
    ten columns.
    """

    def __init__(
        self, run: Run, data: IncompleteDataset, modality: str, clusters: np.ndarray, size: int
    ) -> None:
        self.modality, self.codec = modality, run.preprocessing.codecs[modality]
        self.entries = self.codec.entries
        self.libraries = _libraries(run, modality, self.entries)
        self._data, self._clusters, self._size = data, clusters, size
        self.plain, self.coded, own_scaled, self.tested = (
            Moments(run.n_clusters, len(self.entries)) for _ in range(4)
        )
        self.scaled = own_scaled if self.libraries else self.plain
        self.is_count = np.array([OF_KIND[entry.kind] == FOLD for entry in self.entries])
        for part, coded in self._parts(np.arange(len(data))):
            values = flat(readable(self.codec, coded))
            scaled, own = self.to_one_library(values), clusters[part]
            self.plain.add(values, own)
            self.coded.add(flat(coded).astype(np.float64), own)
            if self.libraries:
                self.scaled.add(scaled, own)
            # Counts are tested by their logarithms.
            logs = np.log1p(np.where(self.is_count, scaled, 0))
            self.tested.add(np.where(self.is_count, logs, flat(coded)), own)

    @property
    def is_bent(self) -> np.ndarray:
        """Which numbers go through a transform, (D,)."""
        return np.array([entry.transform != "none" for entry in self.entries])

    @property
    def told(self) -> np.ndarray:
        """Places of the numbers worth a line: of a category of two values the second alone."""
        widths = Counter(entry.column for entry in self.entries if entry.kind == "category")
        met: set[str] = set()
        places = []
        for place, entry in enumerate(self.entries):
            if widths[entry.column] != 2 or entry.column in met:
                places.append(place)
            met.add(entry.column)
        return np.array(places)

    def to_one_library(self, values: np.ndarray) -> np.ndarray:
        """Return readable numbers (n, D), the counts of each row scaled to one total."""
        if self.libraries:
            values = values.copy()
        for start, stop, total in self.libraries:
            own = np.nansum(values[:, start:stop], axis=1, keepdims=True)
            values[:, start:stop] *= total / np.where(own > 0, own, 1)
        return values

    def effects(self, cluster: int) -> np.ndarray:
        """Return the effect sizes of a cluster beside all others, (D,); NaN where there is none."""
        inside, outside = self.scaled.inside_and_outside(cluster)

        def of(name: str) -> np.ndarray:
            if name == COHENS_D:
                return cohens_d(*self.coded.inside_and_outside(cluster), self.coded.pooled(cluster))
            if name == COHENS_H:
                return cohens_h(inside, outside)
            return log_fold_change(inside, outside, np.minimum(*self.scaled.numbers(cluster)))

        return effect_sizes(self.entries, of)

    def p_values(self, cluster: int) -> tuple[np.ndarray, np.ndarray]:
        """Return p-values of the differences of means, (D,), as they are and adjusted.

        Of Welch's t-test on the scale of the model, of counts on that of log(1 + count); adjusted
        for the numbers that are told.
        """
        found, told = welch_test(self.tested, cluster), self.told
        corrected = np.full(len(found), np.nan)
        corrected[told] = adjusted(found[told])
        return found, corrected

    def kinds(self) -> list[str]:
        """Return the names of the effect sizes."""
        totals: dict[int, float] = {}
        for start, stop, total in self.libraries:
            totals |= dict.fromkeys(range(start, stop), total)
        return [kind_of(entry, totals.get(j)) for j, entry in enumerate(self.entries)]

    def profile(self, cluster: int) -> pd.DataFrame:
        """Return the lines of a cluster, one for each number worth it, with ``PROFILE`` columns."""
        told, kinds = self.told, self.kinds()
        means = self.scaled.inside_and_outside(cluster)
        numbers = self.scaled.numbers(cluster)
        lines = zip(
            [self.entries[j].column for j in told],
            [self.entries[j].level for j in told],
            *(own[told] for own in (*means, self.effects(cluster))),
            [kinds[j] for j in told],
            *(own[told] for own in self.p_values(cluster)),
            *(own[told].astype(int) for own in numbers),
            strict=True,
        )
        return pd.DataFrame(
            [(self.modality, column, level, cluster, *rest) for column, level, *rest in lines],
            columns=list(PROFILE),
        )

    def histograms(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return how many values of numbers, (k,), lie where, and between which numbers.

        Bins are evenly spaced on the scale of the model, of counts as they are, of large ones on
        that of their square roots. What lies more than three standard deviations from the mean is
        counted in the last ones.

        Returns:
            Counts by cluster, (C, k, BINS), and the ends (2, k), in units of the data.
        """
        is_count = self.is_count[places]
        coded_ends, scaled_ends = self.coded.reach(WIDTH), self.scaled.reach(WIDTH)
        is_large = scaled_ends[1, places] > LARGE
        # So that each bin has as many whole numbers.
        whole = scaled_ends[0] + BINS * np.ceil((np.ptp(scaled_ends, axis=0) + 1) / BINS)
        scaled_ends[1] = np.where(scaled_ends[1] > LARGE, scaled_ends[1], whole)

        def drawn(coded: np.ndarray, scaled: np.ndarray) -> np.ndarray:
            counts = scaled[:, places].clip(0)
            counts = np.where(is_large, np.sqrt(counts), counts)
            return np.where(is_count, counts, coded[:, places])

        shaped = coded_ends.reshape(2, *self.codec.input_shape)
        ends = flat(readable(self.codec, shaped))[:, places]
        low, high = drawn(coded_ends, scaled_ends)
        counts = np.zeros((len(self.plain.counts), len(places), BINS), int)
        for part, coded in self._parts(np.arange(len(self._data))):
            scaled = self.to_one_library(flat(readable(self.codec, coded)))
            values = drawn(flat(coded), scaled)
            rows, columns = np.nonzero(~np.isnan(values))
            shares = ((values - low) / np.where(high > low, high - low, 1))[rows, columns]
            bins = (shares * BINS).clip(0, BINS - 1).astype(int)
            np.add.at(counts, (self._clusters[part][rows], columns, bins), 1)
        return counts, np.where(is_count, scaled_ends[:, places], ends)

    def _parts(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return coded_values(self._data, self.modality, rows, self._size)


def flat(values: np.ndarray) -> np.ndarray:
    """Return samples (n, *) as (n, D)."""
    return values.reshape(len(values), -1)


def _libraries(run: Run, modality: str, entries: list[Entry]) -> list[tuple[int, int, float]]:
    """Return first and last place of counts whose samples have a total, and the one to scale to."""
    found = []
    for block in likelihood_of(run.model, modality).counts:
        total = block.size
        is_whole = all(entry.kind == "count" for entry in entries)
        if total is None and is_whole and len(entries) >= ONE_UNIT:
            total = sum(block.means)
        if total:
            found.append((block.start, block.stop, float(total)))
    return found
