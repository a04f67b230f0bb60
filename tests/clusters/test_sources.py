import numpy as np
import pytest
from scipy.spatial.distance import pdist

from clusters.cases import views_of
from cmvae.clusters.graphs import neighbour_graph, normalised
from cmvae.clusters.sources import coordinates, families, mean_graph, sources_of, unit


def pair(seed=0, n=40):
    generator = np.random.default_rng(seed)
    observed = np.ones((2, n), dtype=bool)
    observed[0, :5], observed[1, 5:12] = False, False
    return [generator.normal(size=(n, 3)), 2 + generator.normal(size=(n, 4))], observed


def test_columns_side_by_side_weigh_views_alike_and_absent_ones_lie_at_the_mean():
    arrays, observed = pair()
    views = views_of(*arrays, observed=observed)
    joined = views.joined
    assert joined.shape == (40, 7)
    assert (joined[:5, :3] == 0).all()
    assert (joined[5:12, 3:] == 0).all()
    assert np.square(joined[5:, :3]).sum(1).mean() == pytest.approx(1)
    seen = observed[1]
    assert np.square(joined[seen][:, 3:]).sum(1).mean() == pytest.approx(1)


def test_nothing_unobserved_changes_anything():
    arrays, observed = pair()
    views = views_of(*arrays, observed=observed)
    latents = [views.joined[:, :2]]
    before = sources_of(views, latents)
    for values in (views.values, views.raw):
        for value, seen in zip(values, observed, strict=True):
            value[~seen] = np.nan
    for one, other in zip(before, sources_of(views, latents), strict=True):
        assert np.array_equal(one.graph.toarray(), other.graph.toarray())
        assert np.array_equal(one.points, other.points)


def test_views_are_seen_by_columns_directions_and_side_by_side_latents_by_themselves():
    arrays, observed = pair()
    views = views_of(*arrays, observed=observed)
    named = [s.family for s in sources_of(views, [views.joined, views.joined])]
    assert named == ["latents", "latents", "columns", "directions", "joined"]
    alone = views_of(arrays[0])
    assert [s.family for s in sources_of(alone, [])] == ["directions", "joined"]
    assert [s.family for s in sources_of(None, [arrays[0]])] == ["latents"]


def test_directions_are_those_of_values_as_measured():
    arrays, _ = pair()
    lengths = np.random.default_rng(1).uniform(0.1, 9, size=(40, 1))
    plain, scaled = (sources_of(views_of(arrays[1] * by), []) for by in (1, lengths))
    np.testing.assert_allclose(plain[0].graph.toarray(), scaled[0].graph.toarray(), atol=1e-9)
    assert abs(plain[1].graph - scaled[1].graph).max() > 0.01
    assert np.linalg.norm(unit(arrays[0]), axis=1) == pytest.approx(1)
    assert (unit(np.zeros((2, 3))) == 0).all()


def test_families_count_alike_however_many_sources_they_have():
    arrays, observed = pair()
    points = arrays[1]
    views = views_of(*arrays, observed=observed)
    few, many = sources_of(views, [points]), sources_of(views, [points] * 5)
    assert list(families(few)) == ["latents", "columns", "directions", "joined"]
    np.testing.assert_allclose(mean_graph(few).toarray(), mean_graph(many).toarray(), atol=1e-12)
    expected = normalised(sum(source.graph for source in few[1:]) + few[0].graph)
    np.testing.assert_allclose(mean_graph(few).toarray(), expected.toarray(), atol=1e-12)


def test_coordinates_keep_distances_and_directions():
    points = 3 + np.random.default_rng(2).normal(size=(20, 500))
    short = coordinates(points)
    assert short.shape == (20, 20)
    np.testing.assert_allclose(pdist(short), pdist(points))
    np.testing.assert_allclose(pdist(short, "cosine"), pdist(points, "cosine"), atol=1e-12)
    graphs = neighbour_graph(short).toarray(), neighbour_graph(points).toarray()
    np.testing.assert_allclose(*graphs, atol=1e-9)
