"""From what is known of samples to the groups that clusters start from."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cmvae.base.words import counted
from cmvae.clusters.consensus import Consensus, find_consensus
from cmvae.clusters.evidence import MOST, NumberEvidence
from cmvae.clusters.mixtures import gaussian_groups
from cmvae.clusters.number import count_clusters
from cmvae.clusters.sources import Views, sources_of
from cmvae.clusters.spectral import count_shared_groups, spectral_groups

Method = Literal["consensus", "spectral", "shared", "gmm"]
METHODS = ("consensus", "spectral", "shared", "gmm")


@dataclass(frozen=True)
class Known:
    """What is known of n samples before there are clusters.

    Attributes:
        rows: Which of all samples they are, (n,).
        latents: Where models have them, the means of q(z|X), (n, d) each.
        experts: Where each modality alone has them in the first model, (M, n, d).
        observed: Which of these count, (M, n) boolean.
        views: The samples' own vectors; None where they are none.
        counted: Among which of them ``'shared'`` groups are counted, (n,) boolean; None: all.
    """

    rows: np.ndarray
    latents: tuple[np.ndarray, ...]
    experts: np.ndarray
    observed: np.ndarray
    views: Views | None = None
    counted: np.ndarray | None = None

    @property
    def n_different(self) -> int:
        """How many different means the first model has: there can be no more groups."""
        return len(np.unique(self.latents[0], axis=0))


def _shared_number(known: Known, largest: int) -> int:
    """Return how many groups modalities agree on, among the samples that are to be counted."""
    rows = np.ones(len(known.rows), dtype=bool) if known.counted is None else known.counted
    if not (known.observed[:, rows].sum(0) > 1).any():
        rows = np.ones_like(rows)
    points, views = known.latents[0][rows], known.experts[:, rows]
    return count_shared_groups(points, views, known.observed[:, rows], largest)


@dataclass(frozen=True)
class Groups:
    """Groups of n samples, and what is behind them.

    Attributes:
        known: The samples that were grouped.
        labels: Their groups, (n,).
        consensus: What the groups are the consensus of, where they are one.
        evidence: What speaks for their number, where it was counted.
    """

    known: Known
    labels: np.ndarray
    consensus: Consensus | None = None
    evidence: NumberEvidence | None = None

    def memberships_of(self, n_clusters: int) -> np.ndarray | None:
        """Return the consensus' memberships of the samples, (n, n_clusters) float32.

        Columns are the groups that have samples, in order. None without a consensus.
        """
        if self.consensus is None:
            return None
        own = self.consensus.memberships[:, np.unique(self.labels)]
        whole = np.zeros((len(own), n_clusters), dtype=np.float32)
        whole[:, : own.shape[1]] = own / own.sum(1, keepdims=True)
        return whole


@contextmanager
def _without_notices() -> Iterator[None]:
    """Keep what scikit-learn has to say of single candidates to itself: a judge weighs them."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


@_without_notices()
def find_groups(known: Known, wanted: Any, largest: int, method: str, seed: int) -> Groups:
    """Group samples by one of METHODS (:func:`cmvae.initialize_clusters`).

    ``wanted`` is how many groups, or ``'auto'``: as many as the method counts, up to ``largest``.
    ``ValueError`` for more groups than different samples, or ``'shared'`` groups that are to be
    counted where no sample has two modalities.
    """
    points = known.latents[0]
    most = known.n_different
    largest = min(largest, most)
    if wanted != "auto" and wanted > most:
        different = counted(most, "different sample")
        raise ValueError(f"{counted(wanted, 'cluster')} cannot start from {different}")
    if method == "gmm":
        numbers = range(1, largest + 1) if wanted == "auto" else [wanted]
        return Groups(known, gaussian_groups(points, numbers, seed))
    evidence = None
    if method == "shared" and wanted == "auto":
        if not (known.observed.sum(0) > 1).any():
            what = "method 'shared' counts groups that modalities agree on"
            raise ValueError(f"{what}, but no sample has two modalities")
        wanted = _shared_number(known, largest)
    if method == "spectral" and wanted == "auto":
        evidence = count_clusters(None, sources_of(None, [points]), min(largest, MOST), seed)
        wanted = evidence.chosen
    if method != "consensus":
        return Groups(known, spectral_groups(points, wanted), evidence=evidence)
    sources = sources_of(known.views, known.latents)
    if wanted == "auto":
        evidence = count_clusters(known.views, sources, min(largest, MOST), seed)
        wanted = evidence.chosen
    consensus = find_consensus(sources, wanted, seed)
    return Groups(known, consensus.groups, consensus, evidence)
