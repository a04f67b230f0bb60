import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cmvae.spectral import count_groups, group_stability, spectral_groups


def blobs(seed, sizes, dim, separation):
    generator = np.random.default_rng(seed)
    centers = separation * np.eye(len(sizes), dim)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return centers[labels] + generator.normal(size=(len(labels), dim)), labels


def rings(seed, n=300):
    generator = np.random.default_rng(seed)
    angle = generator.uniform(0, 2 * np.pi, n)
    radius = np.where(np.arange(n) % 2, 1.0, 3.0) + 0.1 * generator.normal(size=n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1), np.arange(n) % 2


@pytest.mark.parametrize("sizes", [[60, 60, 60], [200, 30, 60, 90], [400, 300]])
def test_separate_blobs_are_found_and_counted(sizes):
    points, labels = blobs(0, sizes, 6, 9.0)
    assert adjusted_rand_score(labels, spectral_groups(points, len(sizes))) > 0.99
    assert count_groups(points, 12) == len(sizes)


def test_groups_need_not_be_convex():
    points, labels = rings(1)
    assert adjusted_rand_score(labels, spectral_groups(points, 2)) == 1.0


@pytest.mark.parametrize("dim", [2, 10])
def test_one_blob_is_one_group(dim):
    points = np.random.default_rng(2).normal(size=(400, dim))
    assert count_groups(points, 10) == 1


@pytest.mark.parametrize("seed", range(3))
def test_a_stretched_cloud_is_one_group_though_its_parts_are_stable(seed):
    points = np.random.default_rng(seed).normal(size=(600, 5)) * [4, 1, 1, 1, 1]
    assert count_groups(points, 10) == 1


def test_groups_count_from_the_jaccard_index_at_which_hennig_calls_them_valid(monkeypatch):
    points, _ = blobs(0, [20, 20], 2, 4.0)
    monkeypatch.setattr("cmvae.spectral.group_stability", lambda *_: np.array([1.0, 0.76, 0.74, 0.7]))
    monkeypatch.setattr("cmvae.spectral._information_criterion", lambda points, groups: -groups.max())
    assert count_groups(points, 4) == 2


@pytest.mark.parametrize("seed", range(2))
def test_few_samples_of_many_dimensions_are_divided_where_they_lie_apart(seed):
    points, _ = blobs(seed, [20, 20, 20], 12, 4.0)
    assert count_groups(points, 6) == 3


def test_the_scale_of_the_points_does_not_matter():
    points, _ = blobs(3, [50, 50, 50], 4, 4.0)
    assert np.array_equal(spectral_groups(points, 3), spectral_groups(1e3 * points + 7, 3))


def test_dense_and_sparse_solvers_agree(monkeypatch):
    points, _ = blobs(4, [70, 80, 90], 4, 6.0)
    dense = spectral_groups(points, 3)
    monkeypatch.setattr("cmvae.spectral.DENSE_BELOW", 0)
    assert adjusted_rand_score(dense, spectral_groups(points, 3)) == 1.0


def test_stability_is_one_for_one_group_and_falls_beyond_the_truth():
    points, _ = blobs(5, [100, 100, 100], 5, 9.0)
    stability = group_stability(points, 6, seed=0)
    assert stability[0] == 1.0
    assert stability[2] > 0.95
    assert stability[3:].max() < 0.8


def test_stability_is_repeatable_and_depends_on_the_seed():
    points, _ = blobs(6, [40, 40], 3, 3.0)
    first, again, other = (group_stability(points, 5, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_stability_follows_its_definition():
    points, _ = blobs(7, [30, 50], 3, 2.0)
    subset = np.random.default_rng(3).permutation(80)[:50]  # 63.2 %
    whole, part = spectral_groups(points, 2)[subset], spectral_groups(points[subset], 2)
    best = [
        max(np.sum((whole == i) & (part == j)) / np.sum((whole == i) | (part == j)) for j in (0, 1)) for i in (0, 1)
    ]
    assert group_stability(points, 2, seed=3, n_subsets=1)[1] == pytest.approx(min(best))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_few_points(n):
    points = np.random.default_rng(n).normal(size=(n, 3))
    assert len(np.unique(spectral_groups(points, n))) <= n
    assert 1 <= count_groups(points, 10) <= max(1, n // 4)


def test_copies_of_one_point_are_one_group():
    assert count_groups(np.ones((40, 3)), 5) == 1
    copies = np.repeat(np.array([[0.0, 0.0], [5.0, 5.0]]), 30, axis=0)
    assert adjusted_rand_score(np.repeat([0, 1], 30), spectral_groups(copies, 2)) == 1.0
