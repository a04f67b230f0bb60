"""Decoders read covariates, encoders do not; missing ones are drawn as they occurred."""

import math

import pytest
import torch

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, MultimodalBaseDataset
from cmvae.models.covariates import Covariates

SIZES = {"batch": 3, "age": 1}
N = 30


@pytest.fixture
def model():
    torch.manual_seed(0)
    dims = {"a": 4, "b": 3}
    made = CMVAE(
        CMVAEConfig(
            n_modalities=2,
            input_dims=dims,
            modalities_specific_dim=2,
            hidden_dims=(8,),
            covariates=SIZES,
            prior_and_posterior_dist="normal",
        )
    )
    for own in made.decoders.values():
        torch.nn.init.normal_(own.shift)
    return made


@pytest.fixture
def data():
    torch.manual_seed(1)
    return {"a": torch.randn(N, 4), "b": torch.randn(N, 3)}


@pytest.fixture
def known():
    torch.manual_seed(2)
    return {"batch": torch.arange(N) % 3, "age": torch.randn(N)}


def test_encoders_and_mixture_do_not_read_them(model, data, known):
    told, untold = MultimodalBaseDataset(data, covariates=known), MultimodalBaseDataset(data)
    mean = {"return_mean": True}
    assert torch.equal(model.encode(told, **mean).z, model.encode(untold, **mean).z)
    found = [model.predict_clusters(own).probabilities for own in (told, untold)]
    assert torch.equal(*found)


def test_decoders_read_them(model, data, known):
    made = [
        model.predict(data, return_mean=True, covariates={"batch": batch, "age": 0.0})["a"]
        for batch in range(3)
    ]
    assert (made[0] - made[1]).abs().min() > 1e-3
    own = MultimodalBaseDataset(data, covariates={**known, "age": torch.zeros(N)})
    by_own = model.predict(own, return_mean=True)["a"]
    rows = torch.arange(N)
    assert torch.allclose(by_own, torch.stack(made)[rows % 3, rows])


def test_the_likelihood_is_that_of_the_mean_over_a_missing_one(model, data):
    """The bound of a sample without a batch lies within those of all batches."""
    one = {name: own[:1] for name, own in data.items()}
    each = []
    for batch in range(3):
        told = MultimodalBaseDataset(one, covariates={"batch": [batch], "age": [0.0]})
        each.append(float(model.compute_joint_nll(told, K=20, seed=0)))
    missing = MultimodalBaseDataset(one, covariates={"batch": [math.nan], "age": [0.0]})
    found = float(model.compute_joint_nll(missing, K=20, seed=0))
    assert min(abs(found - own) for own in each) < 1e-4
    assert max(each) - min(each) > 0.1


def test_draws_with_a_seed_do_not_depend_on_other_samples(model, data):
    whole = model.compute_joint_nll(data, K=6, seed=3, reduction="none")
    part = {name: own[4:7] for name, own in data.items()}
    alone = model.compute_joint_nll(part, K=6, seed=3, reduction="none")
    assert torch.allclose(whole[4:7], alone, rtol=1e-5)


def test_they_are_drawn_as_they_occurred():
    covariates = Covariates(SIZES)
    values = torch.tensor([[0.0, 1.0], [0.0, 3.0], [2.0, 2.0], [math.nan, math.nan]])
    covariates.fit([values[:2], values[2:]])
    torch.manual_seed(0)
    drawn = covariates.draw(4000)
    shares = torch.bincount(drawn[:, 0].long(), minlength=3) / 4000
    assert torch.allclose(shares, torch.tensor([2 / 3, 0.0, 1 / 3]), atol=0.03)
    assert drawn[:, 1].min() >= 1
    assert drawn[:, 1].max() <= 3
    assert abs(float(drawn[:, 1].mean()) - 2) < 0.05
    assert covariates.usual(values[3:]).tolist() == [[0.0, 2.0]]
    filled = covariates.filled(values)
    assert torch.equal(filled[:3], values[:3])
    assert not filled.isnan().any()


def test_what_nobody_had_keeps_its_start():
    covariates = Covariates(SIZES)
    covariates.fit([torch.full((5, 2), math.nan)])
    assert covariates.shares.tolist() == pytest.approx([1 / 3] * 3)


def test_generation_takes_them(model, known):
    drawn = model.generate_from_prior(6, covariates={"batch": 2})
    assert drawn.covariates["batch"].tolist() == [2.0] * 6
    again = {**drawn, "covariates": {**drawn.covariates, "batch": torch.zeros(6)}}
    changed = model.decode(again)["a"] - model.decode(drawn)["a"]
    assert changed.abs().min() > 1e-3
    # Without hidden layers' part it is what the two batches add.
    shift = model.decoders["a"].shift
    for layer in model.decoders["a"].decoder.parameters():
        torch.nn.init.zeros_(layer)
    changed = model.decode(again)["a"] - model.decode(drawn)["a"]
    assert torch.allclose(changed, (shift[0] - shift[2]).expand(6, 4), atol=1e-6)


def test_what_is_chosen_goes_before_their_own(model, data, known):
    told = MultimodalBaseDataset(data, covariates=known)
    all_of_one = MultimodalBaseDataset(data, covariates={**known, "batch": [1] * N})
    chosen = model.predict(told, return_mean=True, covariates={"batch": 1})
    assert torch.equal(chosen["b"], model.predict(all_of_one, return_mean=True)["b"])


def test_draws_of_encode_carry_them(model, data, known):
    told = MultimodalBaseDataset(data, covariates=known)
    drawn = model.encode(told, N=2, flatten=True)
    assert drawn.covariates["batch"].tolist() == [float(i % 3) for i in range(N) for _ in "12"]
    assert model.decode(drawn)["b"].shape == (2 * N, 3)
    assert "covariates" not in CMVAE(
        CMVAEConfig(n_modalities=2, input_dims={"a": 4, "b": 3}, modalities_specific_dim=2)
    ).encode(data)


@pytest.mark.parametrize("loss", ["iwae_looser", "dreg_looser"])
def test_missing_modalities_and_targets_are_scored_under_their_own(model, data, known, loss):
    """Rows that are picked out, for what lacks a modality, take their covariates along."""
    config = model.model_config.replace(loss=loss, K=1)
    again = CMVAE(config)
    again.load_state_dict(model.state_dict())
    masks = {"b": torch.arange(N) > 9}
    whole = IncompleteDataset(data, masks, covariates=known)
    mixed = IncompleteDataset(data, masks, covariates={**known, "batch": known["batch"].roll(1)})
    losses = [
        float(again(own, generator=torch.Generator().manual_seed(0)).loss.detach())
        for own in (whole, mixed)
    ]
    assert abs(losses[0] - losses[1]) > 1e-3
    # As one batch of samples that have all, and one of those that have not.
    parts = [
        again.compute_joint_nll(whole[rows], K=4, seed=1) for rows in (range(10), range(10, N))
    ]
    together = again.compute_joint_nll(whole, K=4, seed=1)
    assert float(together) == pytest.approx(float(sum(parts)), rel=1e-5)


def test_imputation_is_under_their_own_and_draws_nothing(model, data, known):
    masks = {"b": torch.arange(N) > 9}
    told = IncompleteDataset(data, masks, covariates=known)
    once, twice = (model.impute(told, steps=2)["b"] for _ in range(2))
    assert torch.equal(once, twice)
    untold = IncompleteDataset(data, masks)
    once, twice = (model.impute(untold, steps=0)["b"] for _ in range(2))
    assert torch.equal(once, twice)
    once = model.impute(told, steps=2)["b"]
    other = {**known, "batch": (known["batch"] + 1) % 3}
    moved = model.impute(IncompleteDataset(data, masks, covariates=other), steps=2)["b"]
    assert (moved[:10] - once[:10]).abs().max() > 1e-2
    assert torch.equal(moved[10:], once[10:])


def test_a_saved_model_draws_the_same(model, data, known, tmp_path):
    model.fit_covariates(MultimodalBaseDataset(data, covariates=known))
    model.save_pretrained(tmp_path)
    again = CMVAE.from_pretrained(tmp_path)
    assert torch.equal(again.covariates.levels, model.covariates.levels)
    assert again.model_config.covariates == SIZES


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"batch": [3] * N}, ValueError, "'batch': expected a category from 0 to 2"),
        ({"batch": [0.5] * N}, ValueError, "got 0.5"),
        ({"batch": [-1] * N}, ValueError, "got -1"),
        ({"site": [0] * N}, KeyError, r"unknown covariates \['site'\].*\['batch', 'age'\]"),
    ],
)
def test_what_is_unknown_is_refused(model, data, given, error, words):
    with pytest.raises(error, match=words):
        model(MultimodalBaseDataset(data, covariates=given))


def test_a_model_without_refuses_them(data, known):
    config = CMVAEConfig(n_modalities=2, input_dims={"a": 4, "b": 3}, modalities_specific_dim=2)
    model = CMVAE(config)
    assert model.covariates is None
    with pytest.raises(KeyError, match="unknown covariates"):
        model(MultimodalBaseDataset(data, covariates=known))
    with pytest.raises(KeyError, match="built without covariates"):
        model.generate_from_prior(2, covariates={"batch": 0})
    with pytest.raises(ValueError, match="the model has no covariates"):
        model.fit_covariates(data)


@pytest.mark.parametrize("chosen", [{"batch": "two"}, [1]])
def test_values_to_generate_under_are_numbers(model, chosen):
    with pytest.raises(TypeError, match="covariate"):
        model.generate_from_prior(2, covariates=chosen)


def test_counts_keep_their_library_size():
    torch.manual_seed(0)
    params = {"decoder_dist_params": {"a": {"library_size": True, "size": 50}}}
    config = CMVAEConfig(
        n_modalities=1,
        input_dims={"a": 5},
        modalities_specific_dim=2,
        decoders_dist={"a": "poisson"},
        covariates={"batch": 2},
        **params,
    )
    model = CMVAE(config)
    torch.nn.init.normal_(model.decoders["a"].shift)
    drawn = model.generate_from_prior(4, covariates={"batch": 1})
    rates = model.to_data(model.decode(drawn))["a"]
    assert torch.allclose(rates.sum(-1), torch.full((4,), 50.0))


def test_one_sample_is_a_batch_of_one(model, data, known):
    samples = MultimodalBaseDataset(data, covariates=known)
    found, wanted = (model.encode(own, return_mean=True) for own in (samples[4], samples[4:5]))
    for name, values in wanted.covariates.items():
        assert torch.equal(found.covariates[name], values)
    one, batch = (model.predict(own, return_mean=True)["b"] for own in (samples[4], samples[4:5]))
    torch.testing.assert_close(one, batch)


def test_data_sets_that_set_their_own_data_may_have_them(model, data, known):
    class Own(MultimodalBaseDataset):
        def __init__(self):
            self.data, self.covariates = data, known

    wanted = MultimodalBaseDataset(data, covariates=known)
    for name in known:
        one, other = (model.encode(own, return_mean=True) for own in (Own(), wanted))
        assert torch.equal(one.covariates[name], other.covariates[name])


def test_what_has_bounds_is_not_shifted_beyond_them(data, known):
    fields = {"n_modalities": 2, "input_dims": {"a": 4, "b": 3}, "modalities_specific_dim": 2}
    model = CMVAE(CMVAEConfig(**fields, covariates=SIZES, networks={"a": "mlp_sigmoid"}))
    assert not hasattr(model.decoders["a"], "shift")
    assert hasattr(model.decoders["b"], "shift")
    made = [
        model.predict(data, return_mean=True, covariates={"batch": batch, "age": 0})["a"]
        for batch in range(2)
    ]
    assert all(((own > 0) & (own < 1)).all() for own in made)
    assert not torch.equal(*made)


@pytest.mark.parametrize("sizes", [{"batch": 3}, {"age": 1}, {"age": 1, "batch": 2}])
def test_what_is_usual_can_be_exported(sizes, tmp_path):
    class Usual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.own = Covariates(sizes)

        def forward(self, values):
            return self.own.usual(values)

    module, values = Usual(), torch.full((2, len(sizes)), torch.nan)
    module.own.levels += 0.5
    torch.export.save(torch.export.export(module, (values,)), tmp_path / "usual.pt2")
    found = torch.export.load(tmp_path / "usual.pt2").module()(values)
    expected = [0.0 if size > 1 else 0.5 for size in sizes.values()]
    assert found.tolist() == [expected, expected]
