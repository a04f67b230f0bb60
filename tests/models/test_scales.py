"""Learned scales in closed form."""

import copy

import pytest
import torch

from cmvae import CMVAE, IncompleteDataset
from helpers import make_config

LEARNED = {"scale": "learned"}
SHAPES = {"a": (3, 8, 8), "b": (5,), "c": (4,)}
DISTS = {"a": "laplace", "b": "normal", "c": "mixed"}
MIXED = {"columns": [["normal", 2, LEARNED], ["bernoulli", 1], ["laplace", 1, {"scale": 0.5}]]}


def model_and_samples():
    torch.manual_seed(0)
    config = make_config(
        SHAPES,
        decoders_dist=DISTS,
        decoder_dist_params={"a": LEARNED, "b": LEARNED, "c": MIXED},
        prior_and_posterior_dist="normal_with_softplus",
        missing_cells=["b"],
    )
    data = {m: torch.rand(40, *shape) for m, shape in SHAPES.items()}
    data["c"][:, 2] = (data["c"][:, 2] > 0.5).float()
    masks = {m: torch.arange(40) % 4 != i for i, m in enumerate(SHAPES)}
    cells = {"b": torch.rand(40, 5) < 0.8}
    return CMVAE(config), IncompleteDataset(data, masks, cells=cells)


def normal_scales(model):
    return model.likelihoods["b"], model.likelihoods["c"].blocks[0]


def test_scales_are_those_of_what_decoders_leave():
    model, samples = model_and_samples()
    model.fit_scales(samples)
    decoded = model.decode(model.encode(samples, generator=torch.Generator().manual_seed(1)))
    left = {m: (made[:, 0] - samples.data[m])[samples.masks[m]] for m, made in decoded.items()}
    cells = samples.cells["b"][samples.masks["b"]]
    wanted = {
        "a": left["a"].abs().mean(),
        "b": left["b"][cells].square().mean().sqrt(),
        "c": left["c"][:, :2].square().mean().sqrt(),
    }
    found = {"a": model.likelihoods["a"], **dict(zip("bc", normal_scales(model), strict=True))}
    for name, own in found.items():
        assert own.scale == pytest.approx(float(wanted[name].detach()), rel=0.1), name


def test_nothing_else_changes_and_the_draws_are_always_the_same():
    model, samples = model_and_samples()
    before, drawn = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    model.train().fit_scales(samples)
    first = copy.deepcopy(model.state_dict())
    assert torch.equal(drawn, torch.get_rng_state())
    assert model.training
    changed = {name for name in before if not torch.equal(before[name], first[name])}
    assert changed == {name for name in before if name.endswith("log_scale")}
    assert len(changed) == 3
    model.fit_scales(samples, batch_size=40)
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name])


def test_batches_and_what_is_not_observed_do_not_matter():
    model, samples = model_and_samples()
    model.fit_scales(samples)
    whole = [own.scale for own in normal_scales(model)]
    for m, seen in samples.masks.items():
        samples.data[m][~seen] = 9.0
    samples.data["b"][~samples.cells["b"]] = 9.0
    model.fit_scales(samples)
    assert [own.scale for own in normal_scales(model)] == whole
    model.fit_scales(samples, batch_size=7)
    assert [own.scale for own in normal_scales(model)] == pytest.approx(whole, rel=0.1)


def test_data_that_a_decoder_repeats_leave_the_least_scale():
    own = model_and_samples()[0].likelihoods["a"]
    own.set_scale(torch.tensor(0.0))
    assert own.scale == pytest.approx(1e-3)
    assert own.log_scale.requires_grad
