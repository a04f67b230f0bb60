"""From what is known of samples to the groups that clusters start from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np

from cmvae.clusters.consensus import Consensus, find_consensus
from cmvae.clusters.mixtures import gaussian_groups
from cmvae.clusters.number import MOST, NumberEvidence, count_clusters
from cmvae.clusters.sources import Views, sources_of
from cmvae.clusters.spectral import count_shared_groups, spectral_groups

Method = Literal["consensus", "spectral", "shared", "gmm"]
METHODS = ("consensus", "spectral", "shared", "gmm")


@dataclass(frozen=True)
class Known:
    """What is known of n samples before there are clusters.

    Attributes:
        rows: Which of all samples they are, (n,).
        means: Where a model has them, the means of q(z|X), (n, d).
        experts: Where each modality alone has them, (M, n, d).
        observed: Which of these count, (M, n) boolean.
        others: Means of other models, (n, d) each.
        views: The samples' own vectors; None where they are none.
    """

    rows: np.ndarray
    means: np.ndarray
    experts: np.ndarray
    observed: np.ndarray
    others: tuple[np.ndarray, ...] = ()
    views: Views | None = None


@dataclass(frozen=True)
class Groups:
    """Groups of n samples, (n,), what is behind them, and behind their number, where known.

    ``rows`` are the samples' places among all.
    """

    rows: np.ndarray
    labels: np.ndarray
    consensus: Consensus | None = None
    evidence: NumberEvidence | None = None

    def memberships_of(self, n_samples: int, n_clusters: int) -> np.ndarray | None:
        """Return the consensus' memberships of all samples, (n_samples, n_clusters) float32.

        Columns are the groups that have samples, in order; rows of samples that were not grouped
        are 0. None without a consensus.
        """
        if self.consensus is None:
            return None
        own = self.consensus.memberships[:, np.unique(self.labels)]
        whole = np.zeros((n_samples, n_clusters), dtype=np.float32)
        whole[self.rows, : own.shape[1]] = own / own.sum(1, keepdims=True)
        return whole

    def to_plain(self) -> dict[str, Any]:
        """Return it as what JSON can hold."""
        return {
            "rows": self.rows.tolist(),
            "labels": self.labels.tolist(),
            "consensus": None if self.consensus is None else self.consensus.to_plain(),
            "evidence": None if self.evidence is None else asdict(self.evidence),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what :meth:`to_plain` wrote."""
        consensus, evidence = plain["consensus"], plain["evidence"]
        return cls(
            np.array(plain["rows"]),
            np.array(plain["labels"]),
            None if consensus is None else Consensus.from_plain(consensus),
            None if evidence is None else NumberEvidence(**evidence),
        )


def find_groups(known: Known, wanted: Any, largest: int, method: str, seed: int) -> Groups:
    """Group samples by one of METHODS (:func:`cmvae.initialize_clusters`).

    ``wanted`` is how many groups, or ``'auto'``: as many as the method counts, up to ``largest``.
    ``ValueError`` for more groups than different samples, or ``'shared'`` groups that are to be
    counted where no sample has two modalities.
    """
    points = known.means
    distinct = len(np.unique(points, axis=0))
    largest = min(largest, distinct)
    if wanted != "auto" and wanted > distinct:
        raise ValueError(f"{wanted} clusters cannot start from {distinct} different samples")
    if method == "gmm":
        numbers = range(1, largest + 1) if wanted == "auto" else [wanted]
        return Groups(known.rows, gaussian_groups(points, numbers, seed))
    evidence = None
    if method == "shared" and wanted == "auto":
        if not (known.observed.sum(0) > 1).any():
            what = "method 'shared' counts groups that modalities agree on"
            raise ValueError(f"{what}, but no sample has two modalities")
        wanted = count_shared_groups(points, known.experts, known.observed, largest)
    if method == "spectral" and wanted == "auto":
        own = replace(known, others=(), views=None)
        evidence = count_clusters(None, _sources(own), min(largest, MOST), seed)
        wanted = evidence.chosen
    if method != "consensus":
        return Groups(known.rows, spectral_groups(points, wanted), evidence=evidence)
    sources = _sources(known)
    if wanted == "auto":
        evidence = count_clusters(known.views, sources, min(largest, MOST), seed)
        wanted = evidence.chosen
    consensus = find_consensus(sources, wanted, seed)
    return Groups(known.rows, consensus.groups, consensus, evidence)


def _sources(known: Known) -> Any:
    return sources_of(known.views, [known.means, *known.others])
