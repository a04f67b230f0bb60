import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from clusters.cases import blobs, same_partition
from cmvae.clusters import graphs
from cmvae.clusters.graphs import (
    fused,
    leading_vectors,
    modularity,
    neighbour_graph,
    normalised,
    pieces_of,
)


def plain_affinity(points):
    """Return the self-tuning affinities of the ten nearest neighbours, by loops."""
    n = len(points)
    affinity = np.zeros((n, n))
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    near = [[j for j in np.argsort(row) if j != i][:10] for i, row in enumerate(distances)]
    scale = [distances[i, near[i][6]] for i in range(n)]
    for i in range(n):
        for j in near[i]:
            value = np.exp(-(distances[i, j] ** 2) / (scale[i] * scale[j]))
            affinity[i, j] += value
            affinity[j, i] += value
    return affinity


def plain_modularity(affinity, groups):
    """Newman (2006), over all pairs of samples."""
    degrees, total = affinity.sum(1), affinity.sum()
    chance = np.outer(degrees, degrees) / total
    return ((affinity - chance) * (groups[:, None] == groups)).sum() / total


def test_affinities_follow_their_definition():
    points = np.random.default_rng(0).normal(size=(60, 3))
    affinity = plain_affinity(points)
    root = np.sqrt(affinity.sum(1))
    expected = affinity / root[:, None] / root
    np.testing.assert_allclose(neighbour_graph(points).toarray(), expected, atol=1e-12)


def test_neither_scale_nor_place_of_the_points_matters():
    points = np.random.default_rng(1).normal(size=(80, 3))
    moved = neighbour_graph(1e3 * points + 7).toarray()
    np.testing.assert_allclose(neighbour_graph(points).toarray(), moved, atol=1e-9)


def test_a_point_far_away_is_bound_to_nothing():
    points = np.concatenate([np.random.default_rng(2).normal(size=(50, 2)), [[1e7, 0.0]]])
    graph = neighbour_graph(points)
    assert graph[[50]].sum() == 0
    assert np.isfinite(graph.data).all()
    assert graph[[0]].sum() > 0


@pytest.mark.parametrize("n", [0, 1, 2, 3, 8])
def test_few_points_have_a_graph(n):
    graph = neighbour_graph(np.random.default_rng(n).normal(size=(n, 2)))
    assert graph.shape == (n, n)
    assert np.isfinite(graph.data).all()


def test_copies_of_a_point_are_bound_fully():
    graph = neighbour_graph(np.repeat([[0.0, 0.0], [5.0, 5.0]], 30, axis=0))
    number, pieces = connected_components(graph, directed=False)
    assert np.isfinite(graph.data).all()
    # Thirty copies may fall into pieces, as each has ten neighbours, but never join others.
    assert set(pieces[:30]).isdisjoint(pieces[30:])
    assert number >= 2


def test_others_are_not_bound_to_copies_of_a_point():
    # Eight copies fill the scale of each, but not its neighbours.
    points = np.concatenate([np.zeros((8, 2)), [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
    graph = neighbour_graph(points).toarray()
    assert (graph[:8, 8:] == 0).all()
    assert (graph[:8, :8] + np.eye(8) > 0).all()


# Eigenvectors
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [300, 900, 1500])
@pytest.mark.parametrize("separation", [0.0, 3.0])
def test_leading_vectors_are_those_of_a_dense_solver(n, separation):
    points, _ = blobs(0, [n // 3] * 3, 4, separation)
    graph = neighbour_graph(points)
    values, vectors = leading_vectors(graph, 9)
    expected = np.linalg.eigvalsh(graph.toarray())[::-1][:9]
    np.testing.assert_allclose(values, expected, atol=1e-9)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(9), atol=1e-9)
    np.testing.assert_allclose(graph @ vectors, vectors * values, atol=1e-7)


def random_pieces(seed, n, number, singletons):
    """Return a graph of that many connected pieces of random sizes, shuffled, and the pieces."""
    generator = np.random.default_rng(seed)
    large = number - singletons
    sizes = 3 + generator.multinomial(n - singletons - 3 * large, np.full(large, 1 / large))
    labels = np.concatenate([np.repeat(np.arange(large), sizes), np.arange(large, number)])
    generator.shuffle(labels)
    rows, cols = [], []
    for piece in range(large):
        own = np.flatnonzero(labels == piece)
        rows += [own, generator.choice(own, 3 * len(own))]
        cols += [np.roll(own, 1), generator.choice(own, 3 * len(own))]
    rows, cols = np.concatenate(rows), np.concatenate(cols)
    weights = generator.uniform(0.2, 1, len(rows)) * (rows != cols)
    affinity = csr_array((weights, (rows, cols)), shape=(n, n))
    affinity.eliminate_zeros()
    return normalised(affinity + affinity.T), labels


@pytest.mark.parametrize(
    ("n", "number", "singletons"),
    [(600, 2, 0), (601, 2, 1), (900, 5, 2), (2000, 40, 0), (2000, 40, 20), (5000, 12, 3)],
)
def test_each_piece_has_the_eigenvalue_one_exactly_once(n, number, singletons):
    graph, labels = random_pieces(0, n, number, singletons)
    values, vectors = leading_vectors(graph, number + 3)
    np.testing.assert_allclose(values[:number], 1, atol=1e-9)
    assert values[number] < 1 - 1e-6
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(number + 3), atol=1e-8)
    # Within the span of the first vectors lies the indicator of every piece, by roots of degrees.
    degrees = np.asarray(graph.sum(1))
    own = [labels == piece for piece in range(number)]
    projection = vectors[:, :number] @ vectors[:, :number].T
    for piece in own:
        inside = projection[np.ix_(piece, piece)]
        np.testing.assert_allclose(np.trace(inside), 1, atol=1e-8)
        np.testing.assert_allclose(projection[np.ix_(piece, ~piece)], 0, atol=1e-8)
    assert (degrees >= 0).all()


def test_larger_pieces_come_first_where_there_are_too_many():
    graph, labels = random_pieces(1, 700, 9, 3)
    vectors = leading_vectors(graph, 4)[1]
    held = {int(labels[np.flatnonzero(vector)[0]]) for vector in vectors.T}
    assert held == set(np.argsort(-np.bincount(labels), kind="stable")[:4].tolist())
    assert all(len(set(labels[vector != 0])) == 1 for vector in vectors.T)


def test_dense_and_sparse_solvers_agree(monkeypatch):
    graph, _ = random_pieces(2, 500, 3, 0)
    dense = leading_vectors(graph, 7)
    monkeypatch.setattr(graphs, "DENSE_BELOW", 0)
    sparse = leading_vectors(graph, 7)
    np.testing.assert_allclose(dense[0], sparse[0], atol=1e-9)
    np.testing.assert_allclose(dense[1] @ dense[1].T, sparse[1] @ sparse[1].T, atol=1e-6)


# Pieces, fusion, modularity
# --------------------------------------------------------------------------------------------------


def test_the_smallest_pieces_join_the_nearest():
    sizes, places = [50, 40, 3, 1], np.array([[0.0, 0.0], [100.0, 0.0], [10.0, 0.0], [80.0, 0.0]])
    labels = np.repeat(np.arange(4), sizes)
    points = places[labels] + 0.01 * np.random.default_rng(0).normal(size=(94, 2))
    n = len(labels)
    graph = csr_array((labels[:, None] == labels).astype(float) - np.eye(n))
    assert same_partition(pieces_of(graph, points, 4), labels)
    assert same_partition(pieces_of(graph, points, 3), np.array([0, 1, 2, 1])[labels])
    assert same_partition(pieces_of(graph, points, 2), np.array([0, 1, 0, 1])[labels])
    assert same_partition(pieces_of(graph, points, 1), np.zeros(n))


@pytest.mark.parametrize(("place", "joins"), [(2.9, 1), (2.7, 0)])
def test_merged_pieces_lie_at_the_mean_of_all_their_points(place, joins):
    # The third joins the second, at 5 2/3 together; the fourth then joins whichever is nearer.
    labels = np.repeat(np.arange(4), [9, 4, 2, 5])
    places = np.array([[0.0], [6.0], [5.0], [place]])
    graph = csr_array((labels[:, None] == labels).astype(float) - np.eye(len(labels)))
    found = pieces_of(graph, places[labels], 2)
    assert same_partition(found, np.array([0, 1, 1, joins])[labels])


def test_modularity_follows_its_definition():
    points = np.random.default_rng(3).normal(size=(70, 2))
    graph = neighbour_graph(points)
    groups = np.random.default_rng(4).integers(4, size=70)
    expected = plain_modularity(graph.toarray(), groups)
    assert modularity(graph, groups) == pytest.approx(expected, abs=1e-12)


def test_modularity_is_largest_for_the_pieces_and_zero_for_one_group():
    graph, labels = random_pieces(5, 120, 4, 0)
    assert modularity(graph, np.zeros(120, dtype=int)) == pytest.approx(0, abs=1e-12)
    shifted = np.roll(labels, 7)
    assert modularity(graph, labels) > 0.5 > 0.3 > modularity(graph, shifted)
    assert modularity(csr_array((5, 5)), np.arange(5)) == 0


def test_a_view_says_nothing_of_what_it_has_not_observed():
    generator = np.random.default_rng(6)
    first, second = generator.normal(size=(2, 60, 3))
    observed = np.ones((2, 60), dtype=bool)
    observed[1, 40:] = False
    whole, part = neighbour_graph(first).toarray(), neighbour_graph(second[:40]).toarray()
    whole[:40, :40] += part
    root = np.sqrt(whole.sum(1))
    found = fused([first, second], observed)
    np.testing.assert_allclose(found.toarray(), whole / root[:, None] / root, atol=1e-12)
    second[40:] = np.nan
    assert (fused([first, second], observed) != found).nnz == 0


def test_views_of_two_samples_and_of_none_are_fused():
    first = np.random.default_rng(7).normal(size=(30, 2))
    for seen in (0, 1, 2):
        observed = np.ones((2, 30), dtype=bool)
        observed[1, seen:] = False
        graph = fused([first, first], observed)
        assert np.isfinite(graph.data).all()
        assert connected_components(graph, directed=False)[0] == 1
