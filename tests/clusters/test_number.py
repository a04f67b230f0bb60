import itertools

import numpy as np
import pytest

from clusters.cases import all_sources, blobs, same_partition, two_views, views_of
from cmvae.clusters import number
from cmvae.clusters.graphs import leading_vectors, modularity
from cmvae.clusters.number import count_clusters, structure
from cmvae.clusters.sources import Views, mean_graph, sources_of
from cmvae.clusters.spectral import spectral_groups


@pytest.fixture
def few_subsets(monkeypatch):
    """Leave how sure the number is to few subsets: they take the time."""
    monkeypatch.setattr(number, "SUBSETS", 3)


def count(views, largest=60, seed=0):
    return count_clusters(views, all_sources(views), largest, seed)


@pytest.mark.parametrize(("draw", "least"), [("normal", 10), ("uniform", 8)])
def test_structureless_data_are_mostly_one_cluster(few_subsets, draw, least):
    found = []
    for n, seed in itertools.product((100, 250, 400), range(4)):
        generator = np.random.default_rng(seed)
        views = [getattr(generator, draw)(size=(n, width)) for width in (5, 4)]
        found.append(count(views_of(*views), seed=seed))
    single = [evidence for evidence in found if evidence.chosen == 1]
    assert len(single) >= least
    for evidence in single:
        assert (evidence.numbers, evidence.scores, evidence.runner_up) == ((), (), None)
    assert all((own.strength <= 0) == (own.chosen == 1) for own in found)


@pytest.mark.parametrize(("wanted", "n"), [(2, 60), (3, 150), (8, 240), (20, 300), (40, 400)])
def test_separate_groups_are_counted_whatever_the_seed(few_subsets, wanted, n):
    labels = np.arange(n) % wanted
    views = two_views(wanted, labels, 12.0)
    counts = [count(views, seed=seed) for seed in range(2)]
    assert all(abs(evidence.chosen - wanted) <= (wanted > 20) for evidence in counts)
    assert all(evidence.strength > 0 and evidence.share > 0.5 for evidence in counts)


def test_many_samples_in_eight_groups(few_subsets):
    points, labels = blobs(0, [250] * 8, 8, 12.0)
    views = views_of(points)
    assert count(views, 12).chosen == 8
    assert same_partition(spectral_groups(points, 8), labels)


def test_small_groups_count(few_subsets):
    views = two_views(1, np.repeat(np.arange(4), [200, 100, 60, 20]), 14.0)
    assert count(views, 12).chosen == 4


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [2, 3, 5, 8, 9, 10, 12, 16])
@pytest.mark.parametrize("case", ["cloud", "equal", "apart", "copies"])
def test_few_samples_never_fail(n, case):
    own = np.arange(n) % 2
    views = {
        "cloud": lambda: views_of(*np.random.default_rng(n).normal(size=(2, n, 3))),
        "equal": lambda: views_of(np.ones((n, 3)), np.ones((n, 2))),
        "apart": lambda: two_views(0, own, 20.0),
        "copies": lambda: views_of(own[:, None] * np.ones(3), own[:, None] * np.ones(2)),
    }[case]()
    evidence = count(views)
    assert 1 <= evidence.chosen <= max(1, n // 4)
    assert 0 <= evidence.share <= 1
    if case in ("cloud", "equal"):
        assert evidence.chosen == 1


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("n", [60, 700])
def test_a_view_of_two_samples_changes_nothing_much(n):
    generator = np.random.default_rng(2)
    observed = np.ones((2, n), dtype=bool)
    # Of 700, two that the 500 which are judged against chance are not among.
    observed[1, np.random.default_rng(0).permutation(n)[:-2]] = False
    first, second = generator.normal(size=(2, n, 3))
    second[~observed[1]] = np.nan
    views = views_of(first, second, observed=observed)
    assert count(views, 10).chosen == 1


def test_nothing_unobserved_changes_the_count():
    labels = np.arange(90) % 3
    views = two_views(0, labels, 10.0)
    views.observed[0, ::7], views.observed[1, 3::7] = False, False
    before = count(views, 6)
    for values in (views.values, views.raw):
        for value, seen in zip(values, views.observed, strict=True):
            value[~seen] = np.nan
    assert count(views, 6) == before
    assert before.chosen == 3


def test_scores_are_modularity_and_gaps_of_eigenvalues(few_subsets):
    views = two_views(2, np.arange(120) % 4, 6.0)
    sources = all_sources(views)
    evidence = count_clusters(views, sources, 7, 0)
    graph = mean_graph(sources)
    dense = np.linalg.eigvalsh(graph.toarray())[::-1]
    numbers = np.arange(2, 8)
    vectors = leading_vectors(graph, 8)[1]
    cuts = [modularity(graph, number.cut(graph, vectors, sources[0].points, k)) for k in numbers]
    gaps = dense[numbers - 1] - dense[numbers]
    expected = sum((term - np.mean(term)) / np.std(term) for term in (np.array(cuts), gaps))
    np.testing.assert_allclose(evidence.scores, expected, atol=1e-8)
    assert evidence.numbers == tuple(numbers)
    ranks = np.argsort(-expected)
    assert (evidence.chosen, evidence.runner_up) == tuple(numbers[ranks[:2]])


def test_the_largest_number_is_kept_to(few_subsets):
    views = two_views(3, np.arange(200) % 10, 12.0)
    assert count(views, 4).numbers == (2, 3, 4)
    evidence = count(views, 2)
    assert (evidence.chosen, evidence.runner_up, evidence.share) == (2, None, 1.0)
    assert count(views, 1).chosen == 1


def test_the_share_falls_where_the_number_is_unsure():
    # A fourth group of five samples: many a subset has too few of them.
    clear, vague = (
        two_views(4, np.repeat(np.arange(4), [25, 25, 25, last]), 6.0) for last in (25, 5)
    )
    sure, unsure = count(clear, 8), count(vague, 8)
    assert sure.share > 0.9
    assert sure.share > unsure.share


def test_latents_stand_for_data_that_are_no_vectors():
    generator = np.random.default_rng(5)
    latents, _ = blobs(0, [50, 50, 50], 4, 12.0)
    cloud = generator.normal(size=(150, 4))
    assert count_clusters(None, sources_of(None, [latents, latents]), 8, 0).chosen == 3
    assert count_clusters(None, sources_of(None, [cloud]), 8, 0).chosen == 1


def test_structure_is_measured_against_clouds_of_the_same_covariance():
    # Long in one direction: against round clouds it would have structure.
    generator = np.random.default_rng(6)
    long = generator.normal(size=(200, 6)) * [9, 1, 1, 1, 1, 1]
    views = views_of(long)
    views = type(views)([long], [long], views.observed)
    assert structure(views, [], 0) <= 0
    grouped, _ = blobs(0, [100, 100], 6, 12.0)
    assert structure(views_of(grouped), [], 0) > 0.02


def test_clouds_have_mean_and_covariance_of_what_is_observed():
    generator = np.random.default_rng(7)
    view, seen = 3 + generator.normal(size=(80, 2)) * [1, 4], np.arange(80) < 30
    view[~seen] = 0
    draws = [
        number._cloud(view, seen, generator.normal(size=(80, 80)) / np.sqrt(80)) for _ in range(200)
    ]
    drawn = np.concatenate(draws)
    np.testing.assert_allclose(drawn.mean(0), view[seen].mean(0), atol=0.15)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(view[seen].T, bias=True), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("width", [2, 3, 4])
def test_groups_in_few_columns_are_counted(few_subsets, width):
    for seed in range(3):
        points, _ = blobs(seed, [60, 60, 60], width, 12.0)
        assert count(views_of(points)).chosen == 3


def test_what_is_filled_in_has_no_density():
    points, _ = blobs(0, [60, 60, 60], 2, 12.0)
    observed = np.ones((2, 180), dtype=bool)
    observed[1, ::3] = False
    views = Views([points, points[:, :1]], [points, points[:, :1]], observed)
    assert not any(source.has_density for source in all_sources(views))
