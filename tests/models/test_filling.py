import pytest
import torch

from cmvae import CMVAE, CMVAEConfig, IncompleteDataset
from cmvae.models.filling import filled

COUNTS = torch.tensor([[4.0, 0.0, 6.0, 2.0, 0.0], [0.0, 1.0, 1.0, 0.0, 0.0]])
CELLS = torch.tensor([[True, True, True, False, False], [True] * 5])


def make(**changes):
    torch.manual_seed(0)
    settings = {
        "n_modalities": 1,
        "input_dims": {"a": (5,)},
        "decoders_dist": {"a": "poisson"},
        "decoder_dist_params": {"a": {"library_size": True, "size": 50}},
        "latent_dim": 3,
        "modalities_specific_dim": 2,
        "number_of_clusters": 2,
        "hidden_dims": (8,),
    }
    return CMVAE(CMVAEConfig(**settings | changes)).eval()


@torch.no_grad()
def usual(model, *codes):
    """Return the shares that the model expects of any sample, (5,)."""
    latents = [torch.cat([mu, torch.zeros(2), *codes]) for mu in model.cluster_centers]
    outputs = [model.decoders["a"](own[None]).reconstruction[0] for own in latents]
    return sum(pi * o.softmax(-1) for pi, o in zip(model.pc_params, outputs, strict=True))


@pytest.mark.parametrize("covariates", [{}, {"batch": 2}])
def test_lacking_genes_hold_what_is_usual_at_the_total_of_the_others(covariates):
    model = make(covariates=covariates)
    codes = []
    if covariates:
        model.covariates.fit([torch.tensor([[1.0], [1.0], [0.0]])])
        codes = [torch.tensor([0.0, 1.0])]
    shares = usual(model, *codes)
    seen = filled(model, "a", COUNTS, CELLS)
    assert torch.equal(seen[CELLS], COUNTS[CELLS])
    torch.testing.assert_close(seen[0, 3:], 10 * shares[3:] / shares[:3].sum())
    assert torch.isfinite(filled(model, "a", torch.zeros(2, 5), CELLS)).all()


def test_what_a_missing_cell_holds_changes_nothing():
    model, found = make(), []
    for held in (0.0, 7.0, torch.nan):
        data = IncompleteDataset({"a": COUNTS.where(CELLS, held)}, {}, cells={"a": CELLS})
        found.append(model.encode(data, return_mean=True).z)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    "changes",
    [
        {"missing_cells": ["a"]},  # the encoder sees which cells are there, and has learned of it
        {"decoder_dist_params": {}},
    ],
)
def test_other_encoders_see_the_filling_of_the_likelihood(changes):
    seen = filled(make(**changes), "a", COUNTS, CELLS)
    assert torch.equal(seen, COUNTS.where(CELLS, 0))
