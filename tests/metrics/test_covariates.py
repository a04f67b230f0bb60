import numpy as np
import pytest
from sklearn.metrics import adjusted_mutual_info_score

from cmvae.metrics.covariates import (
    MOST_SAMPLES,
    covariate_scores,
    drawn_samples,
    is_known,
)

N = 200


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_latents_that_tell_nothing_are_at_chance(rng):
    batch, clusters = rng.integers(0, 2, N), rng.integers(0, 4, N)
    scores = covariate_scores(batch, clusters, rng.normal(size=(N, 5)))
    assert scores["AMI"] == pytest.approx(adjusted_mutual_info_score(batch, clusters))
    assert scores["chance"] == 0.5
    assert scores["accuracy"] < 0.62
    assert is_known(scores) == (False, False)


def test_latents_and_clusters_that_tell_all_are_known(rng):
    batch = rng.integers(0, 3, N)
    latents = rng.normal(size=(N, 5)) + 9 * np.eye(5)[batch]
    scores = covariate_scores(batch, batch, latents)
    assert scores["NMI"] == pytest.approx(1)
    assert scores["accuracy"] > 0.99
    assert is_known(scores) == (True, True)


def test_what_no_line_parts_is_told_by_neighbours(rng):
    signs = np.sign(rng.normal(size=(N, 2)))
    latents = 3 * signs + 0.3 * rng.normal(size=(N, 2))
    scores = covariate_scores((signs.prod(1) > 0).astype(int), np.zeros(N, int), latents)
    assert scores["accuracy"] > 0.95


def test_a_category_of_one_sample_is_not_told(rng):
    batch = np.zeros(N, int)
    batch[0] = 1
    scores = covariate_scores(batch, np.zeros(N, int), rng.normal(size=(N, 2)))
    assert scores["accuracy"] == scores["chance"] == 0.5


def test_categories_of_few_samples_hide_nothing_of_the_others(rng):
    batch = rng.integers(0, 2, N)
    latents = rng.normal(size=(N, 2)) + 9 * np.eye(2)[batch]
    batch[:3] = [2, 3, 3]
    scores = covariate_scores(batch, batch, latents)
    assert scores["accuracy"] > 0.95
    assert scores["chance"] == 0.5
    assert scores["NMI"] == pytest.approx(1)


def test_a_category_that_is_not_among_those_drawn_is_not_known(rng):
    batch = np.zeros(MOST_SAMPLES + 1, int)
    batch[np.setdiff1d(np.arange(len(batch)), drawn_samples(len(batch)))] = 1
    scores = covariate_scores(batch, np.zeros(len(batch), int), rng.normal(size=(len(batch), 2)))
    assert scores["AMI"] == scores["NMI"] == 0
    assert is_known(scores) == (False, False)


def test_of_a_number_the_variance_explained_counts(rng):
    latents, clusters = rng.normal(size=(N, 3)), rng.integers(0, 3, N)
    known = covariate_scores(latents[:, 0] + 0.1 * rng.normal(size=N), clusters, latents)
    assert known["R2"] > 0.9
    assert known["R2 clusters"] < 0.05
    assert is_known(known) == (False, True)
    by_cluster = covariate_scores(clusters + 0.1 * rng.normal(size=N), clusters, latents)
    assert by_cluster["R2 clusters"] > 0.9
    assert is_known(by_cluster) == (True, False)
