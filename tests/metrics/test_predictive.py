"""Posterior predictive checks: of the model that made the data, and of one that is wrong."""

import numpy as np
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset
from cmvae.metrics.predictive import MOST_CORRELATED, predictive_check
from helpers import assert_same_snapshot, snapshot

N, WIDTH = 500, 6
SHARES = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])


def model_of(dist, shares=SHARES, **params):
    """Return a model whose decoder knows the shares of counts, whatever the latents."""
    torch.manual_seed(0)
    own = {"library_size": True, "size": 50.0, **params}
    config = CMVAEConfig(
        n_modalities=1,
        input_dims={"rna": (WIDTH,)},
        modalities_specific_dim=2,
        decoders_dist={"rna": dist},
        decoder_dist_params={"rna": own},
    )
    model = CMVAE(config)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear) and layer.out_features == WIDTH:
            torch.nn.init.zeros_(layer.weight)
            layer.bias.data = torch.as_tensor(np.log(shares), dtype=torch.float32)
    return model


def data_of(dispersion=None):
    rng = np.random.default_rng(0)
    rates = rng.lognormal(4, 1, (N, 1)) * SHARES
    if dispersion is not None:
        rates = rates * rng.gamma(dispersion, 1 / dispersion, rates.shape)
    counts = rng.poisson(rates).astype(np.float32)
    counts[:, 0] += counts.sum(1) == 0
    return IncompleteDataset({"rna": torch.as_tensor(counts)}, {})


def test_the_right_model_makes_data_like_those_it_was_given():
    check = predictive_check(model_of("poisson"), data_of(), "rna", replicates=19)
    found = check.summary()
    assert check.n_samples == N
    for name, error in (("means", 0.05), ("zeros", 0.03), ("spreads", 0.05), ("correlations", 0.1)):
        assert found[name]["error"] < error, (name, found)
        assert found[name]["data"] == pytest.approx(found[name]["replicated"], rel=0.1), name
        assert found[name]["expected"] == 0.1
    assert found["zeros"]["outside"] <= 0.5
    # Totals, and what they correlate, are the samples' own.
    assert found["correlations"]["replicated"] > 0.5


def test_a_model_without_overdispersion_shows_in_zeros_and_spreads():
    found = predictive_check(model_of("poisson"), data_of(0.5), "rna").summary()
    assert found["zeros"]["data"] > 1.5 * found["zeros"]["replicated"]
    assert found["zeros"]["outside"] > 0.8
    assert found["spreads"]["outside"] > 0.8
    own = model_of("negative_binomial", inverse_dispersion=0.5)
    better = predictive_check(own, data_of(0.5), "rna").summary()
    assert better["zeros"]["error"] < 0.5 * found["zeros"]["error"]


def test_wrong_shares_show_in_means():
    found = predictive_check(model_of("poisson", SHARES[::-1]), data_of(), "rna").summary()
    assert found["means"]["error"] > 0.5


def test_nothing_is_changed_and_samples_are_drawn_where_they_are_many():
    model, data = model_of("negative_binomial"), data_of()
    before = snapshot(model)
    one, other = (
        predictive_check(model, data, "rna", replicates=2, most_samples=60, seed=3)
        for _ in range(2)
    )
    assert_same_snapshot(snapshot(model), before)
    assert one.n_samples == 60
    assert np.array_equal(one.means[1], other.means[1])
    assert len(one.correlations[0]) == WIDTH * (WIDTH - 1) // 2
    assert len(one.correlated) <= MOST_CORRELATED


def test_what_is_no_counts_is_refused():
    model = CMVAE(
        CMVAEConfig(n_modalities=1, input_dims={"rna": (WIDTH,)}, modalities_specific_dim=2)
    )
    with pytest.raises(ValueError, match="'rna' is not counts"):
        predictive_check(model, data_of(), "rna")
    with pytest.raises(TypeError, match=r"such as cells\.dataset, got dict"):
        predictive_check(model, {"rna": torch.zeros(3, WIDTH)}, "rna")
    with pytest.raises(KeyError, match="unknown 'x'"):
        predictive_check(model, data_of(), "x")
