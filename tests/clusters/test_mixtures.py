import numpy as np
import pytest
from scipy.stats import multivariate_normal

from clusters.cases import same_partition
from cmvae.clusters.mixtures import (
    best_of_kmeans,
    gaussian_groups,
    maximise,
    mixture_groups,
    mixture_likelihood,
)


def blobs(seed=0, sizes=(60, 25, 40), spread=0.4):
    generator = np.random.default_rng(seed)
    centres = np.array([[0.0, 6.0], [6.0, 0.0], [-6.0, -3.0]])
    groups = np.repeat(np.arange(3), sizes)
    return centres[groups] + spread * generator.normal(size=(len(groups), 2)), groups


@pytest.mark.parametrize("numbers", [[3], range(1, 8)])
def test_the_smallest_criterion_finds_the_groups_and_their_number(numbers):
    points, groups = blobs()
    assert same_partition(gaussian_groups(points, numbers, 0), groups)


def test_a_gaussian_mixture_depends_on_its_seed_alone():
    points, _ = blobs(spread=3.0)
    found = []
    for state in (1, 2):
        np.random.seed(state)  # noqa: NPY002  what others draw from the global generator
        found.append(gaussian_groups(points, [7], seed=4))
    assert (found[0] == found[1]).all()


def test_full_covariances_tell_apart_what_a_common_one_does_not():
    generator = np.random.default_rng(1)
    groups = np.repeat([0, 1], 300)
    # A thin and a round group around the same place along the long axis.
    points = generator.normal(size=(600, 2)) * np.where(groups[:, None], [0.1, 6], [1, 1])
    points[:, 0] += 1.5 * groups
    start = (points[:, 0] > 0.75).astype(int)
    wrong = {form: (mixture_groups(points, start, form) != groups).sum() for form in FORMS}
    assert wrong["full"] < 60 < wrong["tied"]


FORMS = ("tied", "full")


@pytest.mark.parametrize("dim", [1, 3])
def test_the_likelihood_is_that_of_multivariate_normals(dim):
    generator = np.random.default_rng(2)
    points, groups = generator.normal(size=(90, dim)), generator.integers(3, size=90)
    weights, means, covariances = maximise(points, np.eye(3)[groups])
    joint = [
        weight * multivariate_normal(mean, covariance).pdf(points)
        for weight, mean, covariance in zip(weights, means, covariances, strict=True)
    ]
    expected = np.log(np.sum(joint, 0)).mean() + dim / 2 * np.log(2 * np.pi)
    assert mixture_likelihood(points, groups, 3) == pytest.approx(expected)


def test_the_likelihood_prefers_groups_that_are_there():
    points, groups = blobs()
    other = np.random.default_rng(3).permutation(groups)
    assert mixture_likelihood(points, groups, 3) > mixture_likelihood(points, other, 3) + 1


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


def test_no_component_gets_thinner_than_a_share_of_the_points_spread():
    points = np.repeat([[0.0, 0.0], [4.0, 4.0]], 15, axis=0)
    covariances = maximise(points, np.eye(2)[np.repeat([0, 1], 15)])[2]
    assert np.linalg.eigvalsh(covariances).min() >= 1e-3 * points.var(0).mean()
    assert np.isfinite(mixture_likelihood(points, np.repeat([0, 1], 15), 2))
    assert np.isfinite(mixture_likelihood(np.ones((9, 2)), np.zeros(9, dtype=int), 1))


def test_empty_groups_do_no_harm():
    points, groups = blobs()
    spaced = np.array([0, 2, 5])[groups]
    assert same_partition(mixture_groups(points, spaced, "tied"), groups)
    assert np.isfinite(mixture_likelihood(points, spaced, 7))


def test_the_best_of_several_kmeans_is_taken():
    generator = np.random.default_rng(4)
    centres = 20 * generator.normal(size=(25, 2))
    groups = np.repeat(np.arange(25), 12)
    points = centres[groups] + 0.05 * generator.normal(size=(300, 2))
    scatter = [
        sum(((points[own == k] - points[own == k].mean(0)) ** 2).sum() for k in range(25))
        for own in (best_of_kmeans(points, 25, 0), groups)
    ]
    assert scatter[0] < 1.5 * scatter[1]
