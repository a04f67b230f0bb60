"""Samples completed: what is there stays, the rest is generated from it."""

import pytest
import torch

from cmvae import CMVAE, IncompleteDataset
from helpers import SHAPES, make_config, make_data, make_model
from models.test_missing_cells import DIMS, model_and_data


def test_what_is_there_stays_and_nothing_is_missing():
    model, data, masks, cells = model_and_data()
    made = model.impute(IncompleteDataset(data, masks, cells=cells))
    assert list(made) == list(DIMS)
    for m, x in data.items():
        there = cells[m].clone()
        if m in masks:
            there &= masks[m][:, None]
        assert made[m].shape == x.shape
        assert bool(made[m].isfinite().all())
        torch.testing.assert_close(made[m][there], x[there], rtol=0, atol=0)
    classes = made["mixed"][:, 5:]
    torch.testing.assert_close(classes.sum(1), torch.ones(12))
    assert bool(((made["mixed"][:, 2] >= 0) & (made["mixed"][:, 2] <= 1)).all())


def test_it_is_the_same_again_and_for_a_sample_alone_and_changes_no_model():
    model, data, masks, cells = model_and_data()
    dataset = IncompleteDataset(data, masks, cells=cells)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first, second = model.impute(dataset), model.impute(dataset, batch_size=1)
    for m, own in first.items():
        torch.testing.assert_close(second[m], own, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.impute(dataset)[m], own, rtol=0, atol=0)
    assert all(bool((model.state_dict()[name] == value).all()) for name, value in before.items())
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_inference_mode_changes_nothing():
    model, data, masks, cells = model_and_data()
    expected = model.impute(IncompleteDataset(data, masks, cells=cells))
    with torch.inference_mode():
        copies = {m: x.clone() for m, x in data.items()}
        made = [model.impute(IncompleteDataset(own, masks, cells=cells)) for own in (data, copies)]
    made.append(model.impute(IncompleteDataset(copies, masks, cells=cells)))
    for own in made:
        for m, values in expected.items():
            torch.testing.assert_close(own[m], values, rtol=0, atol=0)


@pytest.mark.usefixtures("float64")
def test_of_a_linear_gaussian_model_it_is_the_conditional_mean():
    """The most probable latents of a Gaussian are their mean, whatever the encoders say."""
    shapes = {"a": (5,), "b": (4,)}
    torch.manual_seed(1)
    settings = make_config(
        shapes, latent_dim=2, modalities_specific_dim=1, number_of_clusters=1, hidden_dims=(),
        prior_and_posterior_dist="normal", missing_cells=["a", "b"],
    )  # fmt: skip
    model = CMVAE(settings)
    x = torch.randn(6, 9)
    there = torch.rand(6, 9) > 0.4
    there[:, 0] = True
    parts, masks = x.split([5, 4], 1), there.split([5, 4], 1)
    dataset = IncompleteDataset(
        dict(zip("ab", parts, strict=True)), {}, cells=dict(zip("ab", masks, strict=True))
    )
    a, b = (model.decoders[m].head for m in "ab")
    shared = torch.cat([a.weight[:, :2], b.weight[:, :2]])
    own = torch.block_diag(a.weight[:, 2:], b.weight[:, 2:])
    mean = torch.cat([a.bias, b.bias]) + shared @ model.cluster_centers[0]
    covariance = shared @ shared.T + own @ own.T
    got = torch.cat(list(model.impute(dataset, steps=400).values()), 1).detach()
    for i, seen in enumerate(there):
        noisy = covariance[seen][:, seen] + torch.eye(int(seen.sum()))
        gain = covariance[~seen][:, seen] @ torch.linalg.inv(noisy)
        expected = mean[~seen] + gain @ (x[i, seen] - mean[seen])
        torch.testing.assert_close(got[i, ~seen], expected.detach(), rtol=0, atol=1e-3)


def test_complete_samples_and_absent_modalities():
    model, data = make_model(), make_data(SHAPES, n=4)
    for m, own in model.impute(data).items():
        torch.testing.assert_close(own, data[m], rtol=0, atol=0)
    made = model.impute({"a": data["a"]}, steps=2)
    assert {m: own.shape for m, own in made.items()} == {m: (4, *s) for m, s in SHAPES.items()}
    torch.testing.assert_close(made["a"], data["a"], rtol=0, atol=0)


def test_class_indices_come_back_as_one_hot_vectors():
    settings = make_config({"a": (3,), "b": (4,)}, decoders_dist={"a": "categorical"})
    classes = torch.tensor([2, 0, 7])
    dataset = IncompleteDataset({"a": classes, "b": torch.zeros(3, 4)}, {"a": [True, True, False]})
    made = CMVAE(settings).impute(dataset)["a"]
    assert made[:2].tolist() == [[0, 0, 1], [1, 0, 0]]
    torch.testing.assert_close(made[2].sum(), torch.ones(()))


@pytest.mark.parametrize("steps", [-1, 1.5, True])
def test_steps_are_a_number_from_zero(steps):
    with pytest.raises(ValueError, match="steps must be an integer from 0"):
        make_model().impute(make_data(SHAPES, n=2), steps=steps)


def test_residual_factors_are_the_conditional_mean_of_a_gaussian():
    """Of residuals alone: with a decoder of zeros, columns that share factors tell each other."""
    torch.manual_seed(0)
    factors, loadings = torch.randn(600, 2), torch.randn(6, 2)
    x = factors @ loadings.T + 0.1 * torch.randn(600, 6)
    there = torch.rand(600, 6) > 0.25
    settings = make_config({"a": (6,)}, residual_factors=2, missing_cells=["a"])
    model = CMVAE(settings)
    for parameter in model.decoders.parameters():
        parameter.data.zero_()
    dataset = IncompleteDataset({"a": x}, {}, cells={"a": there})
    rows = dataset.masks["a"]
    before = model.impute(dataset)["a"]
    assert bool((before[~there & rows[:, None]] == 0).all())
    model.fit_residuals(dataset)
    errors = (model.impute(dataset)["a"] - x)[~there & rows[:, None]]
    many = (there.sum(1) >= 4)[:, None] & ~there
    assert float((model.impute(dataset)["a"] - x)[many].square().mean()) < 0.05
    assert float(errors.square().mean()) < 0.3 * float(x.square().mean())


def test_residual_factors_are_for_real_numbers_and_observed_modalities_alone():
    model, data, masks, cells = model_and_data()
    settings = model.model_config.replace(residual_factors=2)
    other = CMVAE(settings)
    other.load_state_dict({**other.state_dict(), **model.state_dict()})
    dataset = IncompleteDataset(data, masks, cells=cells)
    before = other.impute(dataset)
    other.fit_residuals(dataset)
    after = other.impute(dataset)
    assert other.residuals.loadings.shape == (4, 2)  # two of mixed, two of laplace
    changed = [m for m in DIMS if not torch.equal(before[m], after[m])]
    assert changed == ["mixed", "laplace"]
    torch.testing.assert_close(after["mixed"][:, 2:], before["mixed"][:, 2:], rtol=0, atol=0)
    torch.testing.assert_close(after["laplace"][4], before["laplace"][4], rtol=0, atol=0)
    with pytest.raises(ValueError, match="residual_factors is 0"):
        model.fit_residuals(dataset)
