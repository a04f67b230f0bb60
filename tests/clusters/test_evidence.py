"""What is said of the evidence for a number of clusters, and how few samples give some."""

import numpy as np
import pytest

from cmvae.clusters import number
from cmvae.clusters.evidence import NumberEvidence
from cmvae.clusters.number import count_clusters
from cmvae.clusters.sources import sources_of


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (((2, 3), (1.0, 0.5), 2, 3, 0.9, 0.1), "next best: 3; the same in 90 % of subsets"),
        (((2,), (0.0,), 2, None, 1.0, 0.1), "the same in 100 % of subsets"),
        (((), (), 1, None, 1.0, -0.1), "no more structure than in a single cloud"),
        (((), (), 1, None, 1.0, 0.0), "none compared"),
    ],
)
def test_how_sure_a_number_is_is_said(evidence, said):
    assert NumberEvidence(*evidence).describe() == said


@pytest.mark.parametrize("n", [8, 10, 12])
def test_a_few_samples_are_compared_in_subsets_too(monkeypatch, n):
    monkeypatch.setattr(number, "structure", lambda *_: 0.1)
    points = np.random.default_rng(0).normal(size=(n, 3))
    found = count_clusters(None, sources_of(None, [points]), 30, 0)
    assert found.numbers[0] == 2
    assert 0 <= found.share <= 1
