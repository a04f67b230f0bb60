"""Effect sizes, against closed forms, and in the cases in which there is none."""

import math

import numpy as np
import pytest

from cmvae.metrics.contrasts import log_fold_change
from cmvae.preprocessing.codec import Entry
from cmvae.report.effects import cohens_d, cohens_h, effect_sizes, kind_of


def test_shares_are_as_far_apart_as_their_angles():
    inside, outside = np.array([0.5, 1.0, 0.3, np.nan]), np.array([0.0, 0.0, 0.3, 0.2])
    expected = [math.pi / 2, math.pi, 0, math.nan]
    assert cohens_h(inside, outside) == pytest.approx(expected, nan_ok=True)
    assert cohens_h(outside, inside) == pytest.approx(-np.array(expected), nan_ok=True)


def test_numbers_are_apart_in_pooled_deviations_and_infinitely_where_nothing_varies():
    found = cohens_d(
        np.array([3.0, 1.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0, 1.0]), np.array([4.0, 0, 0, 0])
    )
    assert found.tolist() == [0.5, 0, -math.inf, math.inf]


def test_counts_are_apart_by_their_ratio_but_not_for_a_few_that_fall_on_one_side():
    fewest = np.array([1e9, 10, 10, 0])
    found = log_fold_change(np.array([8.0, 0, 0, 1]), np.array([2.0, 0, 0.01, 1]), fewest)
    assert found[0] == pytest.approx(2)
    assert found[1] == 0
    assert -0.2 < found[2] < 0
    assert math.isnan(found[3])


def test_each_number_has_the_effect_size_of_its_kind():
    entries = [Entry("a"), Entry("b", "binary", "1"), Entry("c", "count"), Entry("d", "words")]
    by_name = {"Cohen's d": 1.0, "Cohen's h": 2.0, "log2 fold change": 3.0}
    found = effect_sizes(entries, lambda name: np.full(4, by_name[name]))
    assert found.tolist() == [1, 2, 3, 3]
    assert kind_of(Entry("a", transform="log1p")) == "Cohen's d, as logarithms"
    assert kind_of(Entry("c", "count"), 1500.0) == "log2 fold change, per 1500 counts"
    assert kind_of(Entry("b", "binary", "1"), 1500.0) == "Cohen's h"
