"""How many groups there are: the evidence for each number, and for there being any."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from cmvae.base.arrays import moments, standardise
from cmvae.clusters.evidence import NumberEvidence
from cmvae.clusters.graphs import leading_vectors, modularity, normalised
from cmvae.clusters.mixtures import mixture_likelihood
from cmvae.clusters.sources import Source, Views, coordinates, mean_graph, sources_of
from cmvae.clusters.spectral import cut

FEW_COLUMNS = 10  # samples for each parameter, from which densities are believed
NULLS = 19  # so many structureless clouds: one in twenty shows more by chance
NULL_SAMPLES = 300
NULL_NUMBERS = (2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 28, 36, 47, 60)
SUBSETS, SUBSET, SUBSET_SAMPLES = 10, 0.632, 500


def count_clusters(
    views: Views | None, sources: Sequence[Source], largest: int, seed: int
) -> NumberEvidence:
    """Return how many groups samples show, from 1 to ``largest`` and a quarter of the samples.

    For each number k the mean neighbour graph of all sources is cut into k groups. Its score adds
    up their modularity (Newman, 2006) and the gap between the k-th eigenvalue of the graph and the
    next (von Luxburg, 2007), standardised over k. Where there are ten times more samples than a
    covariance of all columns of the data has parameters, the graph tells little and densities much:
    the score is then the BIC (Schwarz, 1978; half of it, per sample, the larger the better) of a
    Gaussian mixture with these groups as components. There is one group where the data show no more
    structure than Gaussian clouds of the same covariance (:func:`structure`).
    """
    n = sources[0].graph.shape[0]
    columns = next((source.points for source in sources if source.has_density), None)
    few = columns is not None and n >= FEW_COLUMNS * _parameters(columns)
    known = _Known(mean_graph(sources), sources[0].points, columns if few else None)
    largest = min(largest, known.most)
    strength = structure(views, sources, seed) if largest > 1 else 0.0
    if strength <= 0:
        return NumberEvidence((), (), 1, None, 1.0, strength)
    scores = known.scores(largest)
    order = np.argsort(-scores, kind="stable")
    chosen = int(order[0]) + 2
    return NumberEvidence(
        tuple(range(2, largest + 1)),
        tuple(scores.tolist()),
        chosen,
        int(order[1]) + 2 if len(order) > 1 else None,
        _share_of_subsets(known, largest, chosen, seed),
        strength,
    )


def _parameters(columns: np.ndarray) -> float:
    """Return how many parameters a component of a Gaussian mixture of points (n, d) has."""
    dim = columns.shape[1]
    return (dim + 1) * (dim + 2) / 2


@dataclass(frozen=True)
class _Known:
    """What numbers are scored by: a graph, where samples lie, and their columns where few."""

    graph: csr_array
    points: np.ndarray
    columns: np.ndarray | None

    @property
    def most(self) -> int:
        """The largest number that so many samples can show."""
        n = len(self.points)
        return n // 4 if self.columns is None else min(n // 4, int(n / _parameters(self.columns)))

    def subset(self, rows: np.ndarray) -> "_Known":
        """Return the same of some samples, the graph between them alone."""
        columns = None if self.columns is None else self.columns[rows]
        return _Known(normalised(self.graph[rows][:, rows]), self.points[rows], columns)

    def scores(self, largest: int) -> np.ndarray:
        """Return the score of each number from 2 to ``largest``."""
        numbers = range(2, largest + 1)
        values, vectors = leading_vectors(self.graph, largest + 1)
        groups = [cut(self.graph, vectors, self.points, k) for k in numbers]
        if self.columns is not None:
            n, own = len(self.columns), self.columns
            cost = _parameters(own) * np.log(n) / (2 * n)
            pairs = zip(groups, numbers, strict=True)
            return np.array([mixture_likelihood(own, cuts, k) - cost * k for cuts, k in pairs])
        cuts = np.array([modularity(self.graph, own) for own in groups])
        gaps = values[1:largest] - np.append(values, 0.0)[2 : largest + 1]
        return np.asarray(sum(standardise(own, *moments(own)) for own in (cuts, gaps)))


def _share_of_subsets(known: _Known, largest: int, chosen: int, seed: int) -> float:
    """Return how often a number wins in random subsets."""
    generator, n = np.random.default_rng(seed), len(known.points)
    size = min(int(SUBSET * n), SUBSET_SAMPLES)
    parts = [known.subset(generator.permutation(n)[:size]) for _ in range(SUBSETS)]
    most = min(largest, parts[0].most)
    if most < 2:  # too few samples for any number to win
        return 0.0
    return float(np.mean([int(part.scores(most).argmax()) + 2 == chosen for part in parts]))


def structure(views: Views | None, sources: Sequence[Source], seed: int) -> float:
    """Return how much more structure samples show than clouds that have none; at most 0: no more.

    Two figures of the neighbour graph are compared with the largest of such clouds: its second
    eigenvalue, and the modularity of its groups beyond that of the clouds', for the number of
    groups where this is largest. The clouds are Gaussian with the covariance of the data, of all
    views together. Without views the latents stand for the data. Of up to 300 samples.
    """
    generator = np.random.default_rng(seed)
    if views is None:
        latents = [source.points for source in sources]
        everywhere = np.ones((len(latents), len(latents[0])), dtype=bool)
        views = Views(latents, latents, everywhere)
    rows = np.sort(generator.permutation(views.observed.shape[1])[:NULL_SAMPLES])
    # Views that any of these samples has.
    some = np.flatnonzero(views.observed[:, rows].any(1)).tolist()
    seen = views.observed[some][:, rows]
    values, raw = (
        # In coordinates as few as samples: neither distances nor directions change.
        [
            coordinates(np.where(own[:, None], part[m][rows], 0))
            for m, own in zip(some, seen, strict=True)
        ]
        for part in (views.values, views.raw)
    )
    chance = []
    for _ in range(NULLS):
        mixing = generator.normal(size=(len(rows), len(rows))) / np.sqrt(len(rows))
        clouds = [
            [_cloud(view, s, mixing) for view, s in zip(part, seen, strict=True)]
            for part in (values, raw)
        ]
        chance.append(_profile(Views(clouds[0], clouds[1], seen)))
    own, usual = _profile(Views(values, raw, seen)), np.mean(chance, 0)
    figures = [(row[0], max(row[1:])) for row in np.array([*chance, own]) - usual]
    return max(float(found - max(others)) for *others, found in zip(*figures, strict=True))


def _cloud(view: np.ndarray, seen: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Return a Gaussian cloud of the mean and covariance of a view's observed samples, (n, d)."""
    mean = view[seen].mean(0)
    weight = np.sqrt(len(seen) / seen.sum())
    return mean + mixing @ np.where(seen[:, None], view - mean, 0) * weight


def _profile(views: Views) -> list[float]:
    """Return the second eigenvalue of the graph of views, and modularities of its groups."""
    sources = sources_of(views, [])
    graph, points = mean_graph(sources), sources[0].points
    numbers = [k for k in NULL_NUMBERS if k == 2 or k <= len(points) // 4]
    values, vectors = leading_vectors(graph, numbers[-1])
    return [
        float(values[1]),
        *(modularity(graph, cut(graph, vectors, points, k)) for k in numbers),
    ]
