"""Competing partitions of the same samples, a judge that sees no labels, and their consensus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from cmvae.base.arrays import moments, standardise
from cmvae.clusters.graphs import leading_vectors, modularity
from cmvae.clusters.mixtures import best_of_kmeans, mixture_groups, mixture_likelihood
from cmvae.clusters.sources import Source, families
from cmvae.clusters.spectral import cut

# How often the modularity in a family's graphs counts. Side by side the columns say what no view
# says alone; separate views have two families.
WEIGHTS = {"columns": 1.0, "directions": 1.0, "joined": 2.0, "latents": 1.0}


@dataclass(frozen=True)
class Consensus:
    """The groups that competing partitions agree on.

    Attributes:
        groups: (n,) integers from 0.
        memberships: (n, k), rows of sum 1: which share of the partitions, weighed by their scores,
            has a sample in each group.
        stability: (k,), how similar the partitions' closest groups are to each, weighed likewise:
            the mean Jaccard index, from which Hennig (2007) calls a group valid where it is above
            0.75.
    """

    groups: np.ndarray
    memberships: np.ndarray
    stability: np.ndarray


def find_consensus(sources: Sequence[Source], number: int, seed: int) -> Consensus:
    """Return the consensus of all partitions of samples into so many groups.

    Each source is cut in several ways (:func:`partitions`); each partition is given a score
    (:func:`score_partitions`), and weighs by its exponential. The best one names the groups, which
    those of the others are matched to by their common samples.
    """
    if number == 1:
        n = len(sources[0].points)
        return Consensus(np.zeros(n, dtype=int), np.ones((n, 1)), np.ones(1))
    candidates = partitions(sources, number, seed)
    scores = score_partitions(candidates, sources, number)
    best, weights = candidates[scores.argmax()], np.exp(scores - scores.max())
    weights /= weights.sum()
    aligned = [_matched(groups, best, number) for groups in candidates]
    votes = np.tensordot(weights, np.array(aligned), 1)
    if len(np.unique(votes.argmax(1))) < number:  # outvoted altogether
        votes = (votes + 2 * np.eye(number)[best]) / 3
    closest = np.array([_closest_jaccard(groups, best, number) for groups in candidates])
    return Consensus(votes.argmax(1), votes, weights @ closest)


def partitions(sources: Sequence[Source], number: int, seed: int) -> list[np.ndarray]:
    """Return the partitions of samples that sources propose, each of ``number`` groups.

    The normalised cut of the graph by pivoted QR and by k-means of the eigenvectors; of points also
    k-means and a Gaussian mixture of one covariance; and where the columns of the data are so few
    that each group's covariance can be estimated, one of full covariances. Those that leave groups
    empty are left out, unless all do.
    """
    found = []
    for source in sources:
        vectors = leading_vectors(source.graph, number)[1]
        for how in (None, seed):
            found.append(cut(source.graph, vectors, source.points, number, how))
        if source.cuts_points:
            forms = ["tied"] if source.family == "latents" else []
            forms = ["tied", "full"] if _dense(source, number) else forms
            kmeans = best_of_kmeans(source.points, number, seed)
            found += [kmeans, *(mixture_groups(source.points, kmeans, form) for form in forms)]
    whole = [groups for groups in found if len(np.unique(groups)) == number]
    return whole or found


def score_partitions(
    candidates: Sequence[np.ndarray], sources: Sequence[Source], number: int
) -> np.ndarray:
    """Return how much speaks for each partition, without labels.

    Terms are standardised over the candidates and added: the mean adjusted Rand index with all
    candidates; modularity (Newman, 2006) in the mean graph of each family of sources, by
    ``WEIGHTS``; and where the columns of the data are few, as often as there are families, the
    likelihood of a full-covariance mixture of them that starts from the groups.
    """
    graphs = families(sources)
    weights, terms = [1.0], [adjusted_rand(candidates).mean(1)]
    for family, graph in graphs.items():
        weights.append(WEIGHTS[family])
        terms.append(np.array([modularity(graph, own) for own in candidates]))
    for source in sources:
        if _dense(source, number):
            weights.append(float(len(graphs)))
            own = [mixture_likelihood(source.points, groups, number) for groups in candidates]
            terms.append(np.array(own))
    return np.average([standardise(term, *moments(term)) for term in terms], 0, weights) * sum(
        weights
    )


def adjusted_rand(candidates: Sequence[np.ndarray]) -> np.ndarray:
    """Return the adjusted Rand index of every pair of partitions (Hubert and Arabie, 1985)."""
    size, n = len(candidates), len(candidates[0])
    within = [_pairs(np.bincount(own)).sum() for own in candidates]
    index = np.eye(size)
    for i in range(size):
        for j in range(i):
            common = _pairs(_contingency(candidates[i], candidates[j])).sum()
            chance = within[i] * within[j] / max(_pairs(np.array(n)), 1)
            most = (within[i] + within[j]) / 2
            index[i, j] = index[j, i] = (common - chance) / (most - chance) if most > chance else 1
    return index


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1.0) / 2


def _contingency(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return how many samples two partitions have in each pair of groups."""
    shape = first.max() + 1, second.max() + 1
    return np.bincount(first * shape[1] + second, minlength=shape[0] * shape[1]).reshape(shape)


def _matched(groups: np.ndarray, best: np.ndarray, number: int) -> np.ndarray:
    """Return groups as memberships (n, number) in those of the best partition, one to one."""
    common = _contingency(groups, best)
    own, others = linear_sum_assignment(common, maximize=True)
    names = np.zeros(len(common), dtype=int)
    names[own] = others
    return np.eye(number)[names[groups]]


def _closest_jaccard(groups: np.ndarray, best: np.ndarray, number: int) -> np.ndarray:
    """Return the largest Jaccard index of each group of the best partition with any other's."""
    common = _contingency(best, groups)
    union = common.sum(1, keepdims=True) + common.sum(0) - common
    index = np.divide(common, union, out=np.zeros(common.shape), where=union > 0).max(1)
    return np.append(index, np.zeros(number - len(index)))


def _dense(source: Source, number: int) -> bool:
    """Tell whether there are more samples than parameters of ``number`` full covariances."""
    n, dim = source.points.shape
    return source.has_density and n >= number * (dim + 1) * (dim + 2) / 2
