"""The aggregate posteriors of private latents."""

import copy

import pytest
import torch

from cmvae import CMVAE, IncompleteDataset
from cmvae.multivae.lenient import encode_or_draw
from helpers import make_config

SHAPES = {"a": (6,), "b": (5,)}


def model_and_samples(n=600, **settings):
    torch.manual_seed(0)
    model = CMVAE(make_config(SHAPES, reconstruction_option="aggregate", **settings))
    for encoder in model.encoders.values():  # q(w|x) far from p(w)
        for value in encoder.parameters():
            value.data.mul_(3)
    data = {m: torch.randn(n, *shape) + 1 for m, shape in SHAPES.items()}
    masks = {m: torch.arange(n) % 3 != i for i, m in enumerate(SHAPES)}
    return model, IncompleteDataset(data, masks)


@pytest.mark.parametrize("family", ["normal_with_softplus", "laplace_with_softmax"])
def test_what_is_generated_varies_as_the_posteriors_of_the_data_do(family):
    model, samples = model_and_samples(prior_and_posterior_dist=family)
    model.fit_private_priors(samples)
    n = 40_000
    generated = model.generate_from_prior(n).modalities_z
    translated = model.encode({"a": samples.data["a"][:2]}, N=n).modalities_z["b"][1]
    for m, drawn in (*generated.items(), ("b", translated)):
        rows = samples[samples.masks[m].nonzero().squeeze(-1).tolist()]
        own = model.encode(rows, m, N=100, flatten=True).modalities_z[m].detach()
        spread = own.std(0)
        assert ((drawn.mean(0) - own.mean(0)) / spread).abs().max() < 0.15, m
        torch.testing.assert_close(drawn.detach().std(0), spread, rtol=0.1, atol=0)
        torch.testing.assert_close(
            torch.corrcoef(drawn.detach().T), torch.corrcoef(own.T), rtol=0, atol=0.15
        )
        assert own.mean(0).abs().max() > 0.3  # p(w) would not do


def test_means_of_what_is_not_observed_are_those_of_the_data():
    model, samples = model_and_samples()
    model.fit_private_priors(samples)
    means = model.encode({"a": samples.data["a"]}, return_mean=True).modalities_z["b"][:, 0]
    assert torch.equal(means[0], model.private_priors["b"].location)
    assert means[0].abs().max() > 0.3
    nothing = IncompleteDataset(
        {m: own[:2] for m, own in samples.data.items()}, {"b": torch.tensor([True, False])}
    )
    lenient = encode_or_draw(model, nothing, "b", return_mean=True).modalities_z
    for m in SHAPES:
        assert torch.equal(lenient[m][1, 0], model.private_priors[m].location)


def test_nothing_else_changes_and_the_draws_are_always_the_same():
    model, samples = model_and_samples(n=90)
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.train().fit_private_priors(samples)
    first = copy.deepcopy(model.state_dict())
    assert torch.equal(drawn, torch.get_rng_state())
    assert model.training
    changed = {name for name in before if not torch.equal(before[name], first[name])}
    assert changed == {
        f"private_priors.{m}.{part}" for m in SHAPES for part in ("location", "factor")
    }
    model.fit_private_priors(samples)
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name])


def test_until_it_is_fitted_and_without_samples_it_is_the_standard_normal():
    model, samples = model_and_samples(n=90, prior_and_posterior_dist="normal_with_softplus")
    lonely = {"a": samples.data["a"], "b": samples.data["b"]}
    one = torch.arange(90) == 4
    model.fit_private_priors(IncompleteDataset(lonely, {"a": torch.ones(90).bool(), "b": one}))
    drawn = model.generate_from_prior(40_000).modalities_z["b"].detach()
    assert drawn.mean(0).abs().max() < 0.03
    torch.testing.assert_close(torch.cov(drawn.T), torch.eye(drawn.shape[1]), rtol=0, atol=0.03)


def test_other_settings_refuse_it():
    model = CMVAE(make_config(SHAPES))
    with pytest.raises(ValueError, match="reconstruction_option is not 'aggregate'"):
        model.fit_private_priors({m: torch.randn(3, *shape) for m, shape in SHAPES.items()})


def test_it_is_saved(tmp_path):
    model, samples = model_and_samples(n=90)
    model.fit_private_priors(samples)
    model.save_pretrained(tmp_path)
    loaded = CMVAE.from_pretrained(tmp_path)
    for m in SHAPES:
        assert torch.equal(loaded.private_priors[m].factor, model.private_priors[m].factor)
