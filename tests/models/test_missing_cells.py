"""Single missing cells: what they hold changes nothing, and they add nothing."""

import copy

import pytest
import torch
from torch import distributions

from cmvae import CMVAE, IncompleteDataset
from cmvae.models.inference import experts_of, read_batch
from helpers import assert_same, loss_and_gradients, make_config, make_data
from models.test_marginal import SHAPES, D, linear_gaussian

MIXED = [
    ["normal", 2, {"scale": "learned"}],
    ["bernoulli", 1],
    ["poisson", 2],
    ["categorical", [3]],
]
DIMS = {"mixed": 8, "counts": 4, "laplace": 2, "own": 3}
VALUES = [float("nan"), float("inf"), -float("inf"), 1e30, -0.0]


def own_density(reconstruction, target):
    """Return a Gamma log-density up to a constant: minus infinity at 0."""
    shape = reconstruction.exp()
    return (shape - 1) * target.log() - target - torch.lgamma(shape)


def model_and_data(n=12):
    """Return a model of every kind of likelihood, its data, and masks of modalities and cells."""
    torch.manual_seed(0)
    settings = make_config(
        {m: (size,) for m, size in DIMS.items()},
        decoders_dist={
            "mixed": "mixed",
            "counts": "negative_binomial",
            "laplace": "laplace",
            "own": own_density,
        },
        decoder_dist_params={"mixed": {"columns": MIXED}, "counts": {"library_size": True}},
        missing_cells=["mixed", "counts"],
        hidden_dims=(6,),
    )
    group = torch.nn.functional.one_hot(torch.randint(3, (n,)), 3)
    counts = torch.poisson(torch.full((n, 2), 3.0))
    mixed = torch.cat([torch.randn(n, 2), (torch.rand(n, 1) > 0.5), counts, group], 1)
    data = {
        "mixed": mixed.float(),
        "counts": torch.poisson(torch.full((n, 4), 5.0)),
        "laplace": torch.randn(n, 2),
        "own": torch.rand(n, 3) + 0.5,
    }
    cells = {m: torch.rand(x.shape) > 0.3 for m, x in data.items()}
    cells["mixed"][:, 5:] = cells["mixed"][:, 5:6]
    cells["counts"][3] = False  # the row lacks the modality then
    for own in cells.values():
        own[0] = True
    masks = {"laplace": torch.arange(n) != 4}
    return CMVAE(settings), data, masks, cells


def everything(model, data, masks, cells):
    """Return all that a model computes of the data, gradients included."""
    model = copy.deepcopy(model)
    dataset = IncompleteDataset(data, masks, cells=cells)
    results = dict(enumerate(loss_and_gradients(model, dataset)))
    results["loss"] = {"loss": results.pop(0).loss.detach()}
    generator = torch.Generator().manual_seed(1)
    nll = model.compute_joint_nll(dataset, K=9, reduction="none", generator=generator)
    results["nll"] = {"nll": nll}
    results["mean"] = dict(model.encode(dataset, return_mean=True).modalities_z)
    results["clusters"] = dict(model.predict_clusters(dataset).pc_zs)
    results["imputed"] = dict(model.impute(dataset, steps=3))
    return results


@pytest.mark.parametrize("value", VALUES)
def test_what_missing_cells_hold_changes_nothing(value):
    model, data, masks, cells = model_and_data()
    expected = everything(model, data, masks, cells)
    for part in expected.values():
        for name, result in part.items():
            assert bool(result.isfinite().all() | result.isnan().all(-1).any()), name
    poisoned = {m: torch.where(cells[m], x, value) for m, x in data.items()}
    got = everything(model, poisoned, masks, cells)
    for name, part in expected.items():
        for field, result in part.items():
            torch.testing.assert_close(got[name][field], result, rtol=0, atol=0, equal_nan=True)


def test_gradients_stay_finite_where_cells_are_missing():
    model, data, masks, cells = model_and_data()
    data = {m: torch.where(cells[m], x, float("nan")) for m, x in data.items()}
    _, gradients = loss_and_gradients(model, IncompleteDataset(data, masks, cells=cells))
    assert all(bool(own.isfinite().all()) for own in gradients.values())


def test_a_mask_without_a_missing_cell_is_none_at_all():
    model, data, _, _ = model_and_data()
    whole = {m: torch.ones_like(x, dtype=torch.bool) for m, x in data.items()}
    first, second = everything(model, data, {}, {}), everything(model, data, {}, whole)
    for name, part in first.items():
        for field, result in part.items():
            torch.testing.assert_close(second[name][field], result, rtol=1e-5, atol=1e-6)


def test_forms_of_inputs_agree():
    model, data, masks, cells = model_and_data()
    dataset = IncompleteDataset(data, masks, cells=cells)
    loader = torch.utils.data.DataLoader(dataset, len(dataset))
    forms = [
        dataset,
        dataset[:],
        next(iter(loader)),
        {"data": data, "masks": masks, "cells": cells},
        torch.utils.data.Subset(dataset, range(len(dataset))),
    ]
    expected = model.encode(dataset, return_mean=True, batch_size=5).z
    for form in forms:
        torch.testing.assert_close(model.encode(form, return_mean=True).z, expected)
    blind = model.encode({"data": data, "masks": masks}, return_mean=True).z
    assert not torch.allclose(blind, expected)


@pytest.mark.usefixtures("float64")
def test_the_joint_likelihood_is_that_of_the_observed_cells():
    model, data = linear_gaussian(wide=0.6), make_data(SHAPES, n=5)
    torch.manual_seed(3)
    cells = {m: torch.rand(x.shape) > 0.4 for m, x in data.items() if m != "c"}
    cells["b"][2] = False
    expected = []
    for i in range(5):
        seen = {m: cells.get(m, torch.ones_like(data[m]) > 0)[i] for m in SHAPES}
        layers = {m: model.decoders[m].layers[0] for m in SHAPES}
        shared = torch.cat([layers[m].weight[seen[m], :D] for m in SHAPES])
        own = torch.block_diag(*(layers[m].weight[seen[m], D:] for m in SHAPES if seen[m].any()))
        mean = torch.cat([layers[m].bias[seen[m]] for m in SHAPES])
        mean = mean + shared @ model.cluster_centers[0]
        covariance = shared @ shared.T + own @ own.T + torch.eye(len(mean))
        x = torch.cat([data[m][i][seen[m]] for m in SHAPES])
        expected.append(distributions.MultivariateNormal(mean, covariance).log_prob(x))
    torch.manual_seed(0)
    dataset = IncompleteDataset(data, {}, cells=cells)
    got = -model.compute_joint_nll(dataset, K=60_000, reduction="none")
    torch.testing.assert_close(got, torch.stack(expected).detach(), rtol=0, atol=0.05)


def test_encoders_named_see_which_cells_are_there_others_do_not():
    model, data, masks, cells = model_and_data()
    zero = dict(data, counts=torch.zeros(12, 4), laplace=torch.zeros(12, 2))
    there = IncompleteDataset(zero, masks, cells={})
    gone = IncompleteDataset(zero, masks, cells={m: cells[m] for m in ("counts", "laplace")})
    first, second = (experts_of(model, read_batch(model, own)) for own in (there, gone))
    rows = ~cells["counts"].all(1) & cells["counts"].any(1)
    index = model.modalities.index("counts")
    assert not torch.isclose(first.loc[index][rows], second.loc[index][rows]).all(-1).any()
    index = model.modalities.index("laplace")
    rows = second.observed[index]
    assert_same(first.loc[index][rows], second.loc[index][rows])


def test_a_saved_model_sees_the_same_cells(tmp_path):
    model, data, masks, cells = model_and_data()
    model.save_pretrained(tmp_path)
    again = CMVAE.from_pretrained(tmp_path, decoders_dist={"own": own_density})
    assert again.model_config.missing_cells == ["mixed", "counts"]
    dataset = IncompleteDataset(data, masks, cells=cells)
    assert_same(again.impute(dataset)["mixed"], model.impute(dataset)["mixed"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"missing_cells": ["x"]}, r"missing_cells names unknown modalities \['x'\]"),
        ({"missing_cells": ["b"], "input_dims": {"a": 3, "b": (3, 8, 8)}}, "not images, sequences"),
        ({"missing_cells": ["b"], "decoders_dist": {"b": "categorical"}}, "a class"),
    ],
)
def test_settings_that_cannot_be_are_refused(fields, message):
    given = {"input_dims": {"a": 3, "b": 4}, **fields}
    dims = given.pop("input_dims")
    with pytest.raises(ValueError, match=message):
        CMVAE(make_config(dims, **given))


def test_an_encoder_of_ones_own_sees_cells_where_it_says_so():
    class Seeing(torch.nn.Module):
        sees_cells = True

        def forward(self, x, cells):
            z = cells.sum(1, keepdim=True).to(x.dtype).expand(-1, 3)
            w = z[:, :2]
            return {
                "embedding": z,
                "log_covariance": 0 * z,
                "style_embedding": w,
                "style_log_covariance": 0 * w,
            }

    class Blind(Seeing):
        sees_cells = False

    settings = make_config({"a": (4,)}, missing_cells=["a"])
    with pytest.raises(ValueError, match="'a', whose encoder does not see cells"):
        CMVAE(settings, {"a": Blind()})
    model, x = CMVAE(settings, {"a": Seeing()}), torch.zeros(2, 4)
    cells = torch.tensor([[True, False, True, False], [True] * 4])
    dataset = IncompleteDataset({"a": x}, {}, cells={"a": cells})
    assert model.encode(dataset, return_mean=True).z[:, 0, 0].tolist() == [2, 4]
    assert model.encode({"a": x}, return_mean=True).z[:, 0, 0].tolist() == [4, 4]


def test_half_a_category_and_a_density_that_is_summed_are_refused():
    model, data, _, _ = model_and_data()
    cells = torch.ones(12, 8, dtype=torch.bool)
    cells[2, 6] = False
    with pytest.raises(ValueError, match="'mixed': the values of a category are one cell"):
        model.encode(IncompleteDataset(data, {}, cells={"mixed": cells}))
    settings = make_config({"a": (4,)}, decoders_dist={"a": lambda r, x: -(r - x).square().sum(-1)})
    cells = torch.ones(3, 4, dtype=torch.bool)
    cells[0, 1] = False
    dataset = IncompleteDataset({"a": torch.zeros(3, 4)}, {}, cells={"a": cells})
    with pytest.raises(ValueError, match="one log-probability for each cell"):
        CMVAE(settings)(dataset)
