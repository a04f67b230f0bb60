"""The features that set each cluster most apart, of all tables together."""

from collections.abc import Mapping

import numpy as np

from cmvae.report.content import Difference, Histogram
from cmvae.report.effects import COHENS_H, OF_KIND, SYMBOLS
from cmvae.report.tables import TableSums


def find_differences(
    tables: Mapping[str, TableSums],
    generated: Mapping[str, np.ndarray],
    places: Mapping[str, int],
    n_clusters: int,
    top: int,
) -> list[tuple[Difference, ...]]:
    """Return for each cluster the features of the largest effect sizes, the largest first.

    Args:
        tables: What was summed of each table, by modality.
        generated: The mean of what is generated from each cluster, by modality, (C, D).
        places: Those of the modalities.
        n_clusters: C.
        top: At most so many features of a cluster.
    """
    chosen = [_largest(tables, cluster, top) for cluster in range(n_clusters)]
    drawn = {
        m: _Drawn(own, [j for found in chosen for n, j in found if n == m])
        for m, own in tables.items()
    }
    return [
        tuple(drawn[m].difference(places[m], generated[m][cluster], cluster, j) for m, j in found)
        for cluster, found in enumerate(chosen)
    ]


def _largest(tables: Mapping[str, TableSums], cluster: int, top: int) -> list[tuple[str, int]]:
    """Return modality and place of the numbers of the largest effect sizes."""
    found = []
    for modality, table in tables.items():
        sizes = np.nan_to_num(np.abs(table.effects(cluster)), posinf=np.inf)
        order = table.told[np.argsort(-sizes[table.told], kind="stable")][:top]
        found += [(float(sizes[j]), modality, int(j)) for j in order if sizes[j] > 0]
    return [(m, j) for _, m, j in sorted(found, key=lambda own: -own[0])[:top]]


class _Drawn:
    """Some of the numbers of a table, with the histograms of those that are no shares."""

    def __init__(self, table: TableSums, places: list[int]) -> None:
        self.table = table
        self.places = sorted({j for j in places if not self.is_share(j)})
        self.counts, self.ends = table.histograms(np.array(self.places, dtype=int))

    def is_share(self, j: int) -> bool:
        return OF_KIND[self.table.entries[j].kind] == COHENS_H

    def difference(self, place: int, generated: np.ndarray, cluster: int, j: int) -> Difference:
        inside, outside = self.table.scaled.inside_and_outside(cluster)
        p = float(self.table.p_values(cluster)[1][j])
        return Difference(
            modality=place,
            feature=j,
            effect=float(self.table.effects(cluster)[j]),
            symbol=SYMBOLS[OF_KIND[self.table.entries[j].kind]],
            p=None if np.isnan(p) else p,
            is_share=self.is_share(j),
            inside=float(inside[j]),
            outside=float(outside[j]),
            generated=float(generated[j]),
            histogram=None if self.is_share(j) else self._histogram(cluster, j),
        )

    def _histogram(self, cluster: int, j: int) -> Histogram:
        k = self.places.index(j)
        inside = self.counts[cluster, k]
        outside = self.counts[:, k].sum(0) - inside
        low, high = map(float, self.ends[:, k])
        return Histogram(tuple(inside.tolist()), tuple(outside.tolist()), low, high)
