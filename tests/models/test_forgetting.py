"""Encoders are asked to see the same z in what decoders make of a sample in another batch."""

import pytest
import torch
from torch import nn

from cmvae import CMVAE, CMVAEConfig, ModelOutput, MultimodalBaseDataset
from cmvae.models.forgetting import forgetting_loss
from cmvae.models.inference import covariate_codes, experts_of, read_batch

EFFECT = torch.tensor([[0.0, 0.0], [4.0, 0.0]])


class Reader(nn.Module):
    """Takes one of two columns for z; the first is what a batch adds to."""

    def __init__(self, column):
        super().__init__()
        self.column, self.scale = column, nn.Parameter(torch.zeros(1))

    def forward(self, x):
        z = x[:, self.column : self.column + 1]
        raw = self.scale.expand(len(x), 1)
        own = {"style_embedding": 0 * z, "style_log_covariance": raw}
        return ModelOutput(embedding=z * (1 + self.scale), log_covariance=raw, **own)


class Adder(nn.Module):
    """Makes z in both columns, and what the batch adds; z, w, and two indicators come in."""

    def forward(self, latents):
        return ModelOutput(reconstruction=latents[:, :1] + latents[:, 2:] @ EFFECT)


def loss_of(column, counts=False, size=None):
    config = CMVAEConfig(
        n_modalities=1,
        latent_dim=1,
        input_dims={"a": 2},
        modalities_specific_dim=1,
        covariates={"batch": 2},
        prior_and_posterior_dist="normal",
        decoders_dist={"a": "poisson"} if counts else None,
        decoder_dist_params={"a": {"library_size": True, "size": size}} if size else None,
    )
    model = CMVAE(config, encoders={"a": Reader(column)}, decoders={"a": Adder()})
    torch.manual_seed(0)
    batch = torch.arange(64) % 2
    x = torch.randn(64, 2) + EFFECT[batch]
    x = torch.poisson(x.exp()) if counts else x
    read = read_batch(model, MultimodalBaseDataset({"a": x}, covariates={"batch": batch}))
    experts = experts_of(model, read)
    loss = forgetting_loss(model, read, experts, covariate_codes(model, read))
    return model, loss


def test_it_is_nothing_where_z_is_read_from_what_no_batch_changes():
    assert float(loss_of(1)[1].detach()) == pytest.approx(0, abs=1e-10)


def test_it_is_the_square_of_the_effect_where_z_is_read_from_it():
    """Half of the samples are swapped with one of the other batch, and move by 4."""
    model, loss = loss_of(0)
    assert float(loss.detach()) == pytest.approx(0.5 * 16 / (1 + 4), rel=0.3)
    loss.backward()
    assert model.encoders["a"].scale.grad.abs() > 0


def test_of_counts_the_rates_are_swapped():
    assert float(loss_of(1, counts=True)[1].detach()) == pytest.approx(0, abs=1e-6)
    assert float(loss_of(0, counts=True)[1].detach()) > 0.1


def test_of_counts_with_a_library_size_the_shares_are_swapped():
    """How large generated samples are does not matter."""
    losses = [float(loss_of(0, True, size)[1].detach()) for size in (1.0, 100.0)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0] > 0


def test_the_objective_has_it_in_training_alone():
    plain = CMVAEConfig(
        n_modalities=1, input_dims={"a": 2}, modalities_specific_dim=1, covariates={"batch": 2}
    )
    torch.manual_seed(0)
    data = MultimodalBaseDataset({"a": torch.randn(8, 2)}, covariates={"batch": [0, 1] * 4})
    model = CMVAE(plain.replace(forgetting=10.0))
    output = model.train()(data)
    assert output.metrics["forgetting"] > 0
    assert "forgetting" not in model.eval()(data).metrics
    assert "forgetting" not in CMVAE(plain).train()(data).metrics


def test_without_covariates_there_is_nothing_to_forget():
    with pytest.raises(ValueError, match="no covariates to forget"):
        CMVAEConfig(n_modalities=1, modalities_specific_dim=1, forgetting=1.0)
