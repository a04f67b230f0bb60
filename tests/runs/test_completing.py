"""Figures of samples are the same however many are looked at together."""

import numpy as np
import pytest
import torch

from cmvae.models.objectives import active_units
from cmvae.runs.completing import Findings


@pytest.mark.parametrize("sizes", [[100], [1, 99], [30, 30, 40]])
def test_figures_of_parts_are_those_of_all(sizes):
    rng = np.random.default_rng(0)
    clusters, certainty = rng.integers(3, size=100), rng.random(100)
    # Parts differ in their means; one unit varies between them alone, one hardly at all.
    latents = rng.normal(5, [1, 0.05, 1e-3, 0.09], (100, 4)).astype(np.float32)
    latents[:, 1] += np.linspace(0, 3, 100, dtype=np.float32)
    found = Findings(4)
    for part in np.split(np.arange(100), np.cumsum(sizes)[:-1]):
        found.add(clusters[part], certainty[part], latents[part])
    assert found.sizes.tolist() == [*np.bincount(clusters), 0]
    assert found.certainty == pytest.approx(certainty.sum())
    np.testing.assert_allclose(found.mean, latents.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_allclose(found.squares / 100, latents.var(0, dtype=float), rtol=1e-3)
    assert found.active_units == int(active_units(torch.from_numpy(latents))) == 2
