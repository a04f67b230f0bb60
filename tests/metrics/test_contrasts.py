"""Tests of means, and their correction, against scipy and closed forms."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from cmvae.metrics.contrasts import adjusted, welch_test
from cmvae.metrics.moments import Moments


def moments_of(values, clusters, step=37):
    found = Moments(int(clusters.max()) + 1, values.shape[1])
    for start in range(0, len(values), step):
        found.add(values[start : start + step], clusters[start : start + step])
    return found


def test_means_are_tested_as_by_scipy_of_values_that_came_in_parts():
    rng = np.random.default_rng(0)
    clusters = rng.integers(3, size=300)
    values = rng.normal(1e4 + (clusters == 1)[:, None] * [0, 0.3, 2], [1, 2, 3], (300, 3))
    values[rng.random(values.shape) < 0.2] = np.nan
    moments = moments_of(values, clusters)
    for cluster in range(3):
        own = clusters == cluster
        expected = ttest_ind(values[own], values[~own], equal_var=False, nan_policy="omit")
        assert welch_test(moments, cluster) == pytest.approx(expected.pvalue, rel=1e-6)


def test_what_does_not_vary_or_is_not_there_is_told_apart():
    values = np.array([[1.0, 2, np.nan, 5], [1, 2, 3, np.nan], [1, 7, 4, 6], [1, 7, 5, 7]])
    found = welch_test(moments_of(values, np.array([0, 0, 1, 1])), 0)
    assert found[:2].tolist() == [1, 0]  # equal, apart
    assert np.isnan(found[2:]).all()  # one value on a side


def test_p_values_are_adjusted_as_by_benjamini_and_hochberg():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    # p · n / rank, made monotone from the largest down.
    assert adjusted(p) == pytest.approx([0.04, np.nan, 0.16 / 3, 0.16 / 3, 0.5], nan_ok=True)
    assert np.isnan(adjusted(np.full(2, np.nan))).all()
