"""Learned scales follow their residuals."""

import pytest
import torch

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset
from training.cases import train

LEARNED = {"scale": "learned"}


def noisy(noise, n=640):
    """Two tables of two factors and noise of this deviation; a quarter lacks the second."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(n, 2, generator=generator)
    tables = {}
    for name, size in (("a", 12), ("b", 6)):
        signal = factors @ torch.randn(2, size, generator=generator)
        tables[name] = signal / signal.std() + noise * torch.randn(n, size, generator=generator)
    tables["c"] = torch.cat([tables["b"], (factors[:, :1] > 0).float()], 1)
    some = torch.arange(n) % 4 != 0
    return IncompleteDataset(tables, {"b": some, "c": some})


def trained(samples, **changes):
    fields = {
        "n_modalities": 3,
        "input_dims": {"a": 12, "b": 6, "c": 7},
        "latent_dim": 3,
        "modalities_specific_dim": 2,
        "number_of_clusters": 1,
        "hidden_dims": (64,),
        "prior_and_posterior_dist": "normal_with_softplus",
        "K": 1,
        "decoders_dist": {"b": "laplace", "c": "mixed"},
        "decoder_dist_params": {
            "a": LEARNED,
            "b": LEARNED,
            "c": {"columns": [["normal", 6, LEARNED], ["bernoulli", 1]]},
        },
    }
    torch.manual_seed(0)
    model = CMVAE(CMVAEConfig(**{**fields, **changes}))
    train(model, samples, batch_size=64, max_epochs=30, learning_rate=3e-3, seed=0)
    return model.eval()


@torch.no_grad()
def residuals(model, samples):
    """Return x minus its reconstruction from draws of the posterior, of observed samples."""
    torch.manual_seed(0)
    decoded = model.decode(model.encode(samples))
    masks = {"a": slice(None), "b": samples.masks["b"], "c": samples.masks["b"]}
    found = {}
    for name, rows in masks.items():
        found[name] = (decoded[name][:, 0] - samples.data[name])[rows]
    return found


@pytest.mark.parametrize("noise", [0.05, 0.9])
def test_scales_reach_their_best_value_in_300_steps(noise):
    samples = noisy(noise)
    model = trained(samples)
    left = residuals(model, samples)
    a, b = model.likelihoods["a"].scale, model.likelihoods["b"].scale
    c = model.likelihoods["c"].blocks[0].scale
    assert a == pytest.approx(float(left["a"].square().mean().sqrt()), rel=0.2)
    assert b == pytest.approx(float(left["b"].abs().mean()), rel=0.2)
    assert c == pytest.approx(float(left["c"][:, :6].square().mean().sqrt()), rel=0.2)
    assert a < max(0.1, 1.25 * noise)
