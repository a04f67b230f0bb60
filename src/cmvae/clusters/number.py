"""How many groups there are: the evidence for each number, and for there being any."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from cmvae.clusters.graphs import leading_vectors, modularity, normalised
from cmvae.clusters.sources import Source, Views, coordinates, mean_graph, sources_of
from cmvae.clusters.spectral import cut

MOST = 100
NULLS = 19  # structureless data as many: one in twenty shows more by chance
NULL_SAMPLES = 500
SUBSETS, SUBSET, SUBSET_SAMPLES = 20, 0.632, 1000


@dataclass(frozen=True)
class NumberEvidence:
    """What speaks for each number of clusters.

    Attributes:
        numbers: The numbers compared, (k,) from 2; empty where nothing was compared.
        scores: Their scores, (k,): modularity of that many groups, plus the gap between the
            eigenvalues that follow, each standardised over the numbers; the larger the better.
        chosen: The number found.
        runner_up: The next best; None where there is none.
        share: How often, of random subsets of the samples, the same number won; the closer to 1 the
            surer.
        strength: How much more structure there is than in a single cloud of the same covariance:
            the second eigenvalue of the neighbour graph less the largest of such clouds. At most 0:
            one cluster.
    """

    numbers: tuple[int, ...]
    scores: tuple[float, ...]
    chosen: int
    runner_up: int | None
    share: float
    strength: float


def count_clusters(
    views: Views | None, sources: Sequence[Source], largest: int, seed: int
) -> NumberEvidence:
    """Return how many groups samples show, from 1 to ``largest`` and a quarter of the samples.

    For each number k the mean neighbour graph of all sources is cut into k groups. Its score adds
    up their modularity (Newman, 2006) and the gap between the k-th eigenvalue of the graph and the
    next (von Luxburg, 2007), standardised over k. There is one group where the graph of the data
    has no second eigenvalue larger than those of Gaussian clouds of the same covariances have
    (parallel analysis; Horn, 1965).
    """
    n = sources[0].graph.shape[0]
    largest = min(largest, n // 4)
    strength = structure(views, sources, seed) if largest > 1 else 0.0
    if strength <= 0:
        return NumberEvidence((), (), 1, None, 1.0, strength)
    graph, points = mean_graph(sources), sources[0].points
    scores = _scores(graph, points, largest)
    order = np.argsort(-scores, kind="stable")
    chosen = int(order[0]) + 2
    return NumberEvidence(
        tuple(range(2, largest + 1)),
        tuple(scores.tolist()),
        chosen,
        int(order[1]) + 2 if len(order) > 1 else None,
        _share_of_subsets(graph, points, largest, chosen, seed),
        strength,
    )


def _scores(graph: csr_array, points: np.ndarray, largest: int) -> np.ndarray:
    """Return the score of each number from 2 to ``largest``."""
    values, vectors = leading_vectors(graph, largest + 1)
    numbers = range(2, largest + 1)
    cuts = [modularity(graph, cut(graph, vectors, points, k)) for k in numbers]
    gaps = values[1:largest] - np.append(values, 0.0)[2 : largest + 1]
    return _standard(np.array(cuts)) + _standard(gaps)


def _standard(values: np.ndarray) -> np.ndarray:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _share_of_subsets(
    graph: csr_array, points: np.ndarray, largest: int, chosen: int, seed: int
) -> float:
    """Return how often a number wins in random subsets, of the graph between their samples."""
    generator, n = np.random.default_rng(seed), len(points)
    size = min(int(SUBSET * n), SUBSET_SAMPLES)
    most, won = min(largest, size // 4), []
    if most < 2:  # too few samples for any number to win
        return 0.0
    for _ in range(SUBSETS):
        rows = generator.permutation(n)[:size]
        part = normalised(graph[rows][:, rows])
        won.append(int(_scores(part, points[rows], most).argmax()) + 2 == chosen)
    return float(np.mean(won))


def structure(views: Views | None, sources: Sequence[Source], seed: int) -> float:
    """Return how much the second eigenvalue of samples exceeds those of structureless clouds.

    Of up to 500 samples; the clouds are Gaussian with the covariance of the data, of all views
    together. Without views the latents stand for the data.
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
        chance.append(_second_eigenvalue(Views(clouds[0], clouds[1], seen)))
    return _second_eigenvalue(Views(values, raw, seen)) - max(chance)


def _cloud(view: np.ndarray, seen: np.ndarray, mixing: np.ndarray) -> np.ndarray:
    """Return a Gaussian cloud of the mean and covariance of a view's observed samples, (n, d)."""
    mean = view[seen].mean(0)
    weight = np.sqrt(len(seen) / seen.sum())
    return mean + mixing @ np.where(seen[:, None], view - mean, 0) * weight


def _second_eigenvalue(views: Views) -> float:
    return float(leading_vectors(mean_graph(sources_of(views, [])), 2)[0][-1])
