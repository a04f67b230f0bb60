import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from cmvae.clusters.spectral import (
    count_groups,
    count_shared_groups,
    group_agreement,
    group_stability,
    spectral_groups,
)


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
    monkeypatch.setattr(
        "cmvae.clusters.spectral.group_stability", lambda *_: np.array([1.0, 0.76, 0.74, 0.7])
    )
    monkeypatch.setattr(
        "cmvae.clusters.spectral.information_criterion", lambda points, groups: -groups.max()
    )
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
    monkeypatch.setattr("cmvae.clusters.spectral.DENSE_BELOW", 0)
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
        max(np.sum((whole == i) & (part == j)) / np.sum((whole == i) | (part == j)) for j in (0, 1))
        for i in (0, 1)
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
