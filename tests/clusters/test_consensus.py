import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import adjusted_rand_score

from clusters.cases import all_sources, same_partition, two_views, views_of
from cmvae.clusters import consensus
from cmvae.clusters.consensus import (
    adjusted_rand,
    find_consensus,
    partitions,
    score_partitions,
)
from cmvae.clusters.graphs import modularity
from cmvae.clusters.mixtures import mixture_likelihood
from cmvae.clusters.sources import Source, families, sources_of


def fixed(monkeypatch, candidates, scores):
    """Let these partitions compete, with these scores."""
    candidates = [np.array(own) for own in candidates]
    monkeypatch.setattr(consensus, "partitions", lambda *_: candidates)
    monkeypatch.setattr(consensus, "score_partitions", lambda *_: np.array(scores, dtype=float))


def test_adjusted_rand_is_that_of_scikit_learn():
    generator = np.random.default_rng(0)
    candidates = [generator.integers(number, size=50) for number in (1, 2, 3, 7, 50)]
    candidates += [np.arange(50), np.zeros(50, dtype=int)]
    index = adjusted_rand(candidates)
    for i, one in enumerate(candidates):
        for j, other in enumerate(candidates):
            assert index[i, j] == pytest.approx(adjusted_rand_score(one, other))
    assert (adjusted_rand([np.zeros(1, dtype=int)] * 2) == 1).all()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("n", [2, 3, 9, 24])
def test_there_are_exactly_as_many_groups_as_asked_for(seed, n):
    generator = np.random.default_rng(seed)
    views = views_of(*generator.normal(size=(2, n, 3)))
    for number in {1, 2, 3, n // 2, n - 1, n} - {0}:
        if number > n:
            continue
        found = find_consensus(all_sources(views), number, seed)
        assert set(found.groups) == set(range(number))
        assert found.memberships.shape == (n, number)
        assert found.memberships.sum(1) == pytest.approx(1)
        assert (found.memberships >= 0).all()
        assert np.array_equal(found.memberships.argmax(1), found.groups)
        assert found.stability.shape == (number,)
        assert ((found.stability >= 0) & (found.stability <= 1 + 1e-12)).all()


def test_memberships_are_the_votes_of_partitions_whatever_they_call_their_groups(monkeypatch):
    best, other = [0, 0, 0, 1, 1, 2], [1, 1, 0, 0, 0, 2]
    fixed(monkeypatch, [best, other], [np.log(3), 0.0])
    found = find_consensus([], 3, 0)
    # Three quarters to one: only the third sample is seen elsewhere.
    expected = np.eye(3)[best]
    expected[2] = [0.75, 0.25, 0]
    np.testing.assert_allclose(found.memberships, expected)
    assert found.groups.tolist() == best
    np.testing.assert_allclose(found.stability, [(3 + 2 / 3) / 4, (3 + 2 / 3) / 4, 1])


def test_the_best_partition_names_the_groups_but_is_outvoted_where_others_agree(monkeypatch):
    best, other = [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]
    fixed(monkeypatch, [best, other, other], [0.1, 0.0, 0.0])
    assert find_consensus([], 2, 0).groups.tolist() == other


def test_a_group_outvoted_altogether_stays(monkeypatch):
    best, other = [0, 0, 0, 1], [0, 0, 0, 0]
    fixed(monkeypatch, [best, other, other], [0.0, 0.0, 0.0])
    found = find_consensus([], 2, 0)
    assert found.groups.tolist() == best
    assert found.memberships.sum(1) == pytest.approx(1)


def test_scores_are_standardised_terms_by_their_weights():
    views = two_views(0, np.arange(90) % 3, 3.0)
    sources = all_sources(views)
    candidates = partitions(sources, 3, 0)
    terms = [(1.0, adjusted_rand(candidates).mean(1))]
    graphs = families(sources)
    for family, weight in (("latents", 1), ("columns", 1), ("directions", 1), ("joined", 2)):
        graph = graphs[family]
        terms.append((weight, np.array([modularity(graph, own) for own in candidates])))
    expected = sum(weight * (t - t.mean()) / t.std() for weight, t in terms)
    np.testing.assert_allclose(score_partitions(candidates, sources, 3), expected)


def test_the_likelihood_counts_as_often_as_families_where_columns_are_few():
    generator = np.random.default_rng(1)
    views = views_of(generator.normal(size=(60, 2)))  # 3 clusters have 18 parameters
    sources = all_sources(views)
    candidates = partitions(sources, 3, 0)
    joined = sources[-1].points
    term = np.array([mixture_likelihood(joined, own, 3) for own in candidates])
    without = [
        Source(s.family, s.graph, np.zeros((60, 9)) if s.family == "joined" else s.points, False)
        for s in sources
    ]
    difference = score_partitions(candidates, sources, 3) - score_partitions(candidates, without, 3)
    np.testing.assert_allclose(difference, 3 * (term - term.mean()) / term.std(), atol=1e-9)


def test_scores_of_like_partitions_are_like():
    views = two_views(2, np.arange(60) % 3)
    own = np.arange(60) % 3
    scores = score_partitions([own, own, own], all_sources(views), 3)
    np.testing.assert_allclose(scores, 0, atol=1e-9)


def test_partitions_with_empty_groups_compete_only_where_all_have_them(monkeypatch):
    views = two_views(3, np.arange(60) % 3)
    monkeypatch.setattr(consensus, "cut", lambda graph, *_: np.zeros(graph.shape[0], dtype=int))
    found = partitions(all_sources(views), 3, 0)
    assert found
    assert all(len(np.unique(own)) == 3 for own in found)
    alike = [Source("latents", csr_array((6, 6)), np.zeros((6, 1)), False)]
    assert partitions(alike, 3, 0)


def test_a_view_of_nothing_but_noise_does_not_win():
    for seed in range(3):
        labels = np.arange(160) % 4
        clear = two_views(seed, labels).raw[0]
        noise = np.random.default_rng(seed).normal(size=(160, 6))
        # Even the model has learnt nothing but the noise.
        sources = sources_of(views_of(clear, noise), [noise])
        assert same_partition(find_consensus(sources, 4, seed).groups, labels)


@pytest.mark.parametrize("number", [2, 5, 12])
def test_clear_groups_are_found_and_stable_for_any_seed(number):
    labels = np.arange(20 * number) % number
    views = two_views(4, labels, 12.0)
    for seed in range(2):
        found = find_consensus(all_sources(views), number, seed)
        assert same_partition(found.groups, labels)
        assert found.stability.min() > 0.9


def test_groups_are_the_same_in_another_order_of_samples():
    labels = np.arange(150) % 3
    views = two_views(5, labels, 5.0)
    order = np.random.default_rng(0).permutation(150)
    found = find_consensus(all_sources(views), 3, 0)
    again = find_consensus(all_sources(views.rows(order)), 3, 0)
    assert same_partition(found.groups[order], again.groups)
    np.testing.assert_allclose(np.sort(found.stability), np.sort(again.stability), atol=0.02)
