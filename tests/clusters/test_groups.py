from dataclasses import replace

import numpy as np
import pytest

from clusters.cases import moons, rings, same_partition, views_of
from cmvae.clusters.consensus import Consensus
from cmvae.clusters.groups import METHODS, Groups, Known, find_groups


def blobs(seed=0, sizes=(60, 25, 40), spread=0.4, dim=2):
    generator = np.random.default_rng(seed)
    centres = np.zeros((3, dim))
    centres[:, :2] = [[0.0, 6.0], [6.0, 0.0], [-6.0, -3.0]]
    groups = np.repeat(np.arange(3), sizes)
    return centres[groups] + spread * generator.normal(size=(len(groups), dim)), groups


def known_of(*experts, observed=None, views=True):
    """Return what is known of samples whose latents are the means of two experts."""
    if observed is None:
        observed = np.ones((len(experts), len(experts[0])), dtype=bool)
    points = np.mean(experts, 0)
    own = views_of(*experts, observed=observed) if views else None
    return Known(np.arange(len(points)), (points,), np.stack(experts), observed, own)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wanted", ["auto", 3])
@pytest.mark.parametrize("views", [True, False])
def test_each_method_finds_what_is_there(method, wanted, views):
    # In six dimensions: of two, the neighbour graph of each group has structure of its own.
    (one, groups), (other, _) = blobs(0, dim=6), blobs(1, dim=6)
    found = find_groups(known_of(one, other, views=views), wanted, 8, method, 0)
    assert same_partition(found.labels, groups)
    assert (found.evidence is not None) == (wanted == "auto" and method in METHODS[:2])
    assert (found.consensus is not None) == (method == "consensus")


@pytest.mark.parametrize("shapes", [rings, moons])
def test_the_graph_alone_finds_groups_of_any_shape(shapes):
    points, groups = shapes(0)
    assert same_partition(find_groups(known_of(points), 2, 8, "spectral", 0).labels, groups)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
def test_no_more_groups_are_tried_than_there_are_different_points(method):
    points = np.repeat([[0.0, 0.0], [4.0, 4.0]], 15, axis=0)
    found = find_groups(known_of(points, points), "auto", 8, method, 0)
    assert same_partition(found.labels, np.repeat([0, 1], 15))
    with pytest.raises(ValueError, match="3 clusters cannot start from 2 different samples"):
        find_groups(known_of(points, points), 3, 8, method, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("n", [1, 2, 3, 10])
@pytest.mark.parametrize("equal", [True, False])
def test_few_samples_and_equal_ones_are_one_group(method, n, equal):
    points = np.ones((n, 2)) if equal else np.random.default_rng(n).normal(size=(n, 2))
    known = known_of(points, points)
    # Criteria that are not judged against chance divide few samples as they like.
    wanted = "auto" if equal or method in METHODS[:2] else 1
    found = find_groups(known, wanted, 8, method, 0)
    assert set(found.labels) == {0}
    assert len(found.labels) == n


def test_memberships_are_in_the_order_of_clusters():
    known = replace(known_of(blobs(sizes=(2, 1, 1))[0]), rows=np.array([5, 1, 4, 0]))
    votes = np.array([[0.6, 0.4, 0, 0], [0.9, 0, 0.1, 0], [0, 0.2, 0.2, 0.6], [0, 0, 0, 1]])
    groups = Groups(known, votes.argmax(1), Consensus(votes.argmax(1), votes, np.ones(4)))
    found = groups.memberships_of(6)
    assert (found.shape, found.dtype) == ((4, 6), np.float32)
    # Groups 0 and 3 have samples, and are clusters 0 and 1.
    expected = np.zeros((4, 6))
    expected[:, :2] = [[1, 0], [1, 0], [0, 1], [0, 1]]
    np.testing.assert_allclose(found, expected)
    assert replace(groups, consensus=None).memberships_of(6) is None


def test_latents_of_companions_take_part():
    points, groups = blobs()
    noise = np.random.default_rng(2).normal(size=points.shape)
    known = replace(known_of(noise, views=False), latents=(noise, points, points))
    assert same_partition(find_groups(known, 3, 8, "consensus", 0).labels, groups)


def test_shared_groups_cannot_be_counted_where_no_sample_has_two_modalities():
    points, _ = blobs()
    observed = np.arange(len(points)) % 2 == np.array([[0], [1]])
    known = known_of(points, points, observed=observed)
    with pytest.raises(ValueError, match="no sample has two modalities"):
        find_groups(known, "auto", 8, "shared", 0)


def test_shared_groups_are_counted_among_the_samples_that_are_named():
    """Of pairs that encoders have learned by heart every part looks like a group."""
    sizes = (180, 150, 210)
    (one, _), (other, _) = blobs(0, sizes, dim=6), blobs(1, sizes, dim=6)
    by_heart = np.arange(540) % 3 > 0
    for points in (one, other):
        points[by_heart, 3] += 8 * (np.arange(540) % 3 - 1.5)[by_heart]
    known = known_of(one, other, views=False)
    assert len(set(find_groups(known, "auto", 20, "shared", 0).labels)) > 3
    counted = find_groups(replace(known, counted=~by_heart), "auto", 20, "shared", 0)
    assert len(set(counted.labels)) == 3
    alone = replace(known, counted=np.zeros(540, dtype=bool))  # nobody to ask: all are
    assert len(set(find_groups(alone, "auto", 20, "shared", 0).labels)) > 3
