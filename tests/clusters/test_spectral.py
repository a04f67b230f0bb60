import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from clusters.cases import blobs, moons, rings, same_partition
from cmvae.clusters.graphs import leading_vectors, neighbour_graph
from cmvae.clusters.spectral import count_shared_groups, cut, group_agreement, spectral_groups


@pytest.mark.parametrize("sizes", [[60, 60, 60], [200, 30, 60, 90], [400, 300], [250] * 8])
def test_separate_blobs_are_found(sizes):
    points, labels = blobs(0, sizes, 8, 12.0)
    assert same_partition(labels, spectral_groups(points, len(sizes)))


@pytest.mark.parametrize("shapes", [rings, moons])
def test_groups_need_not_be_convex(shapes):
    points, labels = shapes(1)
    assert same_partition(labels, spectral_groups(points, 2))


def far_groups(seed, n, number, singletons):
    """Groups so far from each other that their affinities underflow; beside some, a point alone."""
    generator = np.random.default_rng(seed)
    large = number - singletons
    labels = np.concatenate([np.arange(n - singletons) % large, np.arange(large, number)])
    centers = 1e7 * np.arange(large)[:, None] * np.ones(3)
    centers = np.concatenate([centers, centers[:singletons] + np.array([1e6, 0, 0])])
    points = centers[labels] + generator.normal(size=(n, 3))
    order = generator.permutation(n)
    return points[order], labels[order]


@pytest.mark.parametrize(
    ("n", "number", "singletons"),
    [(600, 2, 0), (601, 2, 1), (1000, 7, 3), (2000, 40, 0), (2000, 25, 10), (5000, 4, 1)],
)
def test_pieces_are_found_exactly(n, number, singletons):
    points, labels = far_groups(0, n, number, singletons)
    assert same_partition(labels, spectral_groups(points, number))


@pytest.mark.parametrize(("n", "number", "singletons"), [(700, 5, 2), (2000, 30, 6)])
def test_pieces_are_merged_whole_and_cut_within(n, number, singletons):
    points, labels = far_groups(1, n, number, singletons)
    fewer = spectral_groups(points, number - 2)
    assert len(np.unique(fewer)) == number - 2
    assert all(len(np.unique(fewer[labels == piece])) == 1 for piece in range(number))
    # Points alone join the groups that they lie beside.
    large = number - singletons
    joined = np.where(labels < large, labels, labels - large)
    assert same_partition(spectral_groups(points, large), joined)
    more = spectral_groups(points, number + 2)
    assert all(len(np.unique(labels[more == group])) == 1 for group in np.unique(more))
    assert number < len(np.unique(more)) <= number + 2


@pytest.mark.parametrize("case", ["pieces", "blobs"])
def test_neither_rounding_nor_the_order_of_samples_matters(case):
    points, _ = far_groups(2, 900, 6, 2) if case == "pieces" else blobs(2, [300] * 3, 4, 6.0)
    generator = np.random.default_rng(0)
    found = spectral_groups(points, 6 if case == "pieces" else 3)
    number = len(np.unique(found))
    moved = spectral_groups(points + 1e-12 * generator.normal(size=points.shape), number)
    assert same_partition(found, moved)
    order = generator.permutation(len(points))
    assert same_partition(found[order], spectral_groups(points[order], number))


def test_the_scale_of_the_points_does_not_matter():
    points, _ = blobs(3, [50, 50, 50], 4, 4.0)
    assert np.array_equal(spectral_groups(points, 3), spectral_groups(1e3 * points + 7, 3))


def test_cuts_by_kmeans_are_of_rows_of_length_one():
    points, _ = blobs(4, [80, 40, 20], 4, 2.5)
    graph = neighbour_graph(points)
    vectors = leading_vectors(graph, 5)[1]
    rows = vectors[:, :4] / np.linalg.norm(vectors[:, :4], axis=1, keepdims=True)
    expected = KMeans(4, n_init=10, random_state=3).fit_predict(rows)
    assert same_partition(cut(graph, vectors, points, 4, seed=3), expected)


def test_cuts_by_kmeans_depend_on_their_seed_alone():
    points, labels = blobs(4, [80, 80, 80], 4, 7.0)
    graph = neighbour_graph(points)
    vectors = leading_vectors(graph, 6)[1]
    found = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002  what others draw from the global generator
        found.append(cut(graph, vectors, points, 6, seed=3))
    assert np.array_equal(*found)
    assert adjusted_rand_score(labels, cut(graph, vectors, points, 3, seed=3)) > 0.95


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_few_points(n):
    points = np.random.default_rng(n).normal(size=(n, 3))
    for number in range(1, n + 1):
        assert 1 <= len(np.unique(spectral_groups(points, number))) <= number


def test_copies_of_two_points_are_two_groups():
    copies = np.repeat(np.array([[0.0, 0.0], [5.0, 5.0]]), 30, axis=0)
    assert same_partition(np.repeat([0, 1], 30), spectral_groups(copies, 2))


# Groups that modalities share
# --------------------------------------------------------------------------------------------------


def views_of(seed=0, n=600, groups=3, private=0.0, offset=0.0):
    """Two views of the same groups; a share of the first view's samples is moved apart in them."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % groups
    centers = 12 * np.eye(groups, 6)
    views = np.stack([centers[labels] + generator.normal(size=(n, 6)) for _ in range(2)])
    views[0] += 5 * np.eye(6)[5] * (generator.random(n) < private)[:, None]
    views[1] += offset
    return views, labels, np.ones((2, n), dtype=bool)


@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_groups_that_one_modality_makes_up_do_not_count(offset):
    views, labels, observed = views_of(private=0.5, offset=offset)
    points = views.mean(0)
    assert count_shared_groups(points, views, observed, 12) == 3
    agreement = group_agreement(points, views, observed, 12)
    assert agreement[2] > 0.99
    assert agreement[5] < 0.4
    assert adjusted_rand_score(labels, spectral_groups(points, 3)) == 1


def test_the_agreement_is_the_jaccard_index_of_what_two_modalities_see():
    views, labels, observed = views_of(groups=2)
    order = np.random.default_rng(2).permutation(len(labels))
    views, labels = views[:, order], labels[order]
    wrong = np.flatnonzero(labels == 0)[:60]
    views[1, wrong] = views[1, labels == 1][:60]
    sizes = np.bincount(labels)
    points = 12 * np.eye(2, 6)[labels] + 1e-3 * views[0]
    # The second modality sees 60 of the one group in the other.
    expected = min((sizes[0] - 60) / sizes[0], sizes[1] / (sizes[1] + 60))
    assert group_agreement(points, views, observed, 2)[1] == pytest.approx(expected)


def test_only_samples_that_have_both_count():
    views, labels, observed = views_of(groups=2)
    observed[0, :200], observed[1, 200:400] = False, False
    complete = group_agreement(views[:, 400:].mean(0), views[:, 400:], observed[:, 400:], 2)
    views[0, :200], views[1, 200:400] = 1e9, -1e9  # what is not observed changes nothing
    points = 12 * np.eye(2, 6)[labels] + np.random.default_rng(1).normal(size=(600, 6))
    assert group_agreement(points, views, observed, 2)[1] == complete[1] == 1


def test_a_modality_sees_groups_where_its_own_means_lie():
    views, labels, observed = views_of(groups=4)
    order = np.random.default_rng(2).permutation(len(labels))
    views[1] = views[1, :, ::-1]  # the same groups, elsewhere
    points = np.concatenate([views[0], views[1]], 1)[order]
    np.testing.assert_allclose(group_agreement(points, views[:, order], observed, 4)[[1, 2, 3]], 1)


def test_independent_modalities_agree_on_one_group():
    generator = np.random.default_rng(0)
    views = np.stack([12 * np.eye(2, 3)[generator.integers(2, size=500)] for _ in range(2)])
    views += generator.normal(size=views.shape)
    assert count_shared_groups(views.mean(0), views, np.ones((2, 500), dtype=bool), 8) == 1
