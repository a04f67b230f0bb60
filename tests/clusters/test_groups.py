import numpy as np
import pytest

from cmvae.clusters.groups import find_groups, gaussian_groups, maximise


def blobs(seed=0, sizes=(60, 25, 40), spread=0.4):
    generator = np.random.default_rng(seed)
    centres = np.array([[0.0, 6.0], [6.0, 0.0], [-6.0, -3.0]])
    groups = np.repeat(np.arange(3), sizes)
    return centres[groups] + spread * generator.normal(size=(len(groups), 2)), groups


def same_partition(one, other):
    pairs = set(zip(one.tolist(), other.tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


@pytest.mark.parametrize("method", ["spectral", "shared", "gmm"])
@pytest.mark.parametrize("wanted", ["auto", 3])
def test_each_method_finds_what_is_there(method, wanted):
    (one, groups), (other, _) = blobs(0), blobs(1)
    views, points = np.stack([one, other]), (one + other) / 2
    observed = np.ones((2, len(points)), dtype=bool)
    found = find_groups(points, views, observed, wanted, 8, method, 0)
    assert same_partition(found, groups)


def test_a_gaussian_mixture_depends_on_its_seed_alone():
    points, _ = blobs(spread=3.0)
    found = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002  what others draw from the global generator
        found.append(gaussian_groups(points, [7], seed=4))
    assert (found[0] == found[1]).all()


@pytest.mark.filterwarnings("error")
def test_no_more_groups_are_tried_than_there_are_different_points():
    points = np.repeat([[0.0, 0.0], [4.0, 4.0]], 15, axis=0)
    observed = np.ones((1, 30), dtype=bool)
    found = find_groups(points, points[None], observed, "auto", 8, "gmm", 0)
    assert same_partition(found, np.repeat([0, 1], 15))


def test_components_of_sure_memberships_are_the_moments_of_their_groups():
    points, groups = blobs(sizes=(400, 400, 800))
    weights, means, covariances = maximise(points, np.eye(3)[groups])
    np.testing.assert_allclose(weights, [0.25, 0.25, 0.5], atol=1e-12)
    for k in range(3):
        np.testing.assert_allclose(means[k], points[groups == k].mean(0))
        np.testing.assert_allclose(covariances[k], np.cov(points[groups == k].T), atol=0.05)


def test_a_component_of_one_point_has_the_covariance_of_all():
    points, groups = blobs()
    members = np.eye(4)[groups]
    members[0] = [0, 0, 0, 1]
    covariances = maximise(points, members)[2]
    within = np.concatenate([points[groups == k] - points[groups == k].mean(0) for k in range(3)])
    # Four degrees of the prior against one sample without scatter.
    expected = 4 / 5 * within.T @ within / len(points)
    np.testing.assert_allclose(covariances[3], expected, atol=0.05)
