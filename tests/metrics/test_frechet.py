"""The Fréchet distance: against closed forms, and what must not matter."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from cmvae.metrics import frechet_distance, frechet_interval


def features(mean, covariance, n=200, seed=0):
    """Return n samples whose mean and covariance are exactly those given."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    drawn = np.random.default_rng(seed).normal(size=(n, len(mean)))
    drawn -= drawn.mean(0)
    white = drawn @ np.linalg.inv(np.linalg.cholesky(np.atleast_2d(np.cov(drawn, rowvar=False)))).T
    return white @ sqrtm(covariance).real.T + mean


def random_covariance(d, seed):
    root = np.random.default_rng(seed).normal(size=(d, d))
    return root @ root.T + 0.1 * np.eye(d)


def test_diagonal_covariances_by_hand():
    a = features([0, 0, 0], np.diag([1.0, 4.0, 9.0]))
    b = features([1, 0, 2], np.diag([4.0, 4.0, 1.0]), n=300, seed=1)
    assert frechet_distance(a, b) == pytest.approx(5 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2)


@pytest.mark.parametrize("d", [1, 2, 7])
def test_full_covariances_against_the_matrix_square_root(d):
    cov_a, cov_b = random_covariance(d, 1), random_covariance(d, 2)
    expected = d + np.trace(cov_a + cov_b - 2 * sqrtm(cov_a @ cov_b).real)
    found = frechet_distance(features(np.zeros(d), cov_a), features(np.ones(d), cov_b, seed=1))
    assert found == pytest.approx(expected)


def test_it_is_a_distance_that_rotations_and_shifts_leave_and_scales_square():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 4)), rng.normal(size=(80, 4)) * 2 + 1
    distance = frechet_distance(a, b)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(b, a) == pytest.approx(distance)
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert frechet_distance(a @ turn + 5, b @ turn + 5) == pytest.approx(distance)
    assert frechet_distance(3 * a, 3 * b) == pytest.approx(9 * distance)
    assert frechet_distance(torch.tensor(a), b.tolist()) == pytest.approx(distance)


def test_singular_covariances():
    # All on a line, and constant: the Gaussians differ by the variance along the line, and by the
    # means.
    line = features([0.0], [[4.0]]) * np.array([[1.0, 0.0, 0.0]])
    assert frechet_distance(line, np.zeros((5, 3))) == pytest.approx(4)
    assert frechet_distance(np.ones((4, 3)), np.zeros((5, 3))) == pytest.approx(3)
    few = np.random.default_rng(0).normal(size=(6, 40))
    assert frechet_distance(few, few + 1) == pytest.approx(40)


def test_the_interval_covers_the_true_distance_and_is_repeatable():
    covered = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(150, 5)), rng.normal(size=(150, 5)) + 0.5
        low, high = frechet_interval(a, b, n_resamples=100, level=0.9, seed=seed)
        assert 0 <= low < high
        covered += low <= 5 * 0.25 <= high
    assert covered >= 31  # of 36 expected; fewer than 31 have a probability of 1 %
    assert (
        frechet_interval(a, b, seed=3)
        == frechet_interval(a, b, seed=3)
        != frechet_interval(a, b, seed=4)
    )
    wide, narrow = frechet_interval(a, b, level=0.99), frechet_interval(a, b, level=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "features_a: expected at least two samples, got 1"),
        (np.zeros((5, 3)), np.zeros((5, 2)), "3 and 2 features"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "features_b: NaN or infinity in 5 samples"),
        (np.zeros((5, 3, 1)), np.zeros((5, 3)), "features_a: expected shape"),
        (np.zeros((5, 0)), np.zeros((5, 0)), "features_a: expected shape"),
    ],
)
def test_bad_features_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        frechet_distance(a, b)


def test_bad_settings_of_the_interval_are_refused():
    a = np.random.default_rng(0).normal(size=(5, 2))
    with pytest.raises(ValueError, match="level"):
        frechet_interval(a, a, level=1)
    with pytest.raises(TypeError, match=r"level must be a positive number, got '0\.9'"):
        frechet_interval(a, a, level="0.9")
    with pytest.raises(ValueError, match="n_resamples"):
        frechet_interval(a, a, n_resamples=0)
    with pytest.raises(TypeError):
        frechet_distance(["x", "y"], a)
