"""What covariates add is taken from points; what groups differ in stays."""

import numpy as np

from cmvae.clusters.covariates import without_covariates

CENTRES = np.array([[8.0, 0, 0], [0, 8, 0], [0, 0, 8]])


def points(seed, shares):
    """Return points of three groups, which batches hold in these shares, with a shift of each."""
    rng = np.random.default_rng(seed)
    batch = np.repeat(np.arange(len(shares)), 120)
    groups = np.concatenate([rng.choice(3, 120, p=own) for own in shares])
    clean = CENTRES[groups] + rng.normal(size=(len(groups), 3))
    shift = rng.normal(0, 3, (len(shares), 3))[batch]
    return clean, clean + shift, groups, np.eye(len(shares))[batch]


def between(points, groups, codes):
    """Return the largest distance between the batches' means of a group."""
    batch, found = codes.argmax(1), []
    for group in range(3):
        means = [points[(groups == group) & (batch == b)] for b in range(codes.shape[1])]
        means = [own.mean(0) for own in means if len(own) > 5]
        found += [np.linalg.norm(own - means[0]) for own in means[1:]]
    return max(found)


def test_a_shift_is_gone():
    _, moved, groups, codes = points(0, [[0.3, 0.3, 0.4]] * 2)
    found = without_covariates(moved, codes, seed=0)
    assert between(moved, groups, codes) > 2
    assert between(found, groups, codes) < 0.6
    np.testing.assert_allclose(found.mean(0), moved.mean(0), atol=0.3)


def test_what_batches_hold_more_of_is_no_shift():
    """As it would be if the means of batches were taken away."""
    _, moved, groups, codes = points(1, [[0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])
    found = without_covariates(moved, codes, seed=0)
    assert between(found, groups, codes) < 1.2
    naive = moved.copy()
    for batch in range(2):
        naive[codes[:, batch] > 0] -= moved[codes[:, batch] > 0].mean(0)
    assert between(naive, groups, codes) > 2


def test_a_number_that_points_follow_is_taken_out():
    rng = np.random.default_rng(0)
    groups, age = rng.integers(0, 3, 200), rng.normal(size=(200, 1))
    moved = CENTRES[groups] + rng.normal(size=(200, 3)) + age * np.array([[3.0, -2, 1]])
    found = without_covariates(moved, age, seed=0)
    within = found - np.stack([found[groups == g].mean(0) for g in range(3)])[groups]
    assert abs(np.corrcoef(within[:, 0], age[:, 0])[0, 1]) < 0.15


def test_what_is_added_to_one_group_alone_is_taken_out_too():
    clean, _, groups, codes = points(0, [[0.3, 0.3, 0.4]] * 2)
    moved = clean + 0.8 * (codes[:, :1] * (groups == 1)[:, None])
    found = without_covariates(moved, codes, seed=0)
    assert between(moved, groups, codes) > 1.4
    assert between(found, groups, codes) < 0.9


def test_nothing_changes_without_variation():
    clean = points(2, [[0.3, 0.3, 0.4]] * 2)[0]
    assert without_covariates(clean, np.ones((len(clean), 2)), seed=0) is clean
