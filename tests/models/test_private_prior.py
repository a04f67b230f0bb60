"""The priors of private latents, and their scale."""

import math

import pytest
import torch
from torch.distributions import Laplace, Normal

from cmvae import CMVAE, CMVAEConfig
from cmvae.models.families import FAMILIES
from cmvae.models.private_prior import PrivatePrior, log_prior_each

KINDS = {"laplace_with_softmax": Laplace, "normal_with_softplus": Normal, "normal": Normal}


@pytest.mark.parametrize("family", KINDS)
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_the_density_is_pytorch_s_and_draws_have_its_scale(family, scale):
    prior = PrivatePrior(3, FAMILIES[family], learned=True, scale=scale)
    like = KINDS[family](0.0, scale)
    w = torch.randn(5, 3)
    torch.testing.assert_close(prior.log_prob(w), like.log_prob(w).sum(-1))
    both = log_prior_each(FAMILIES[family], [w, w[:, :2]], scale)
    torch.testing.assert_close(both[1], like.log_prob(w[:, :2]).sum(-1))
    torch.manual_seed(0)
    drawn = prior.sample((20000,))
    assert drawn.std().item() == pytest.approx(like.stddev.item(), rel=0.02)
    auxiliary = prior.sample((20000,), auxiliary=True)  # r starts at 1 all the same
    unit = KINDS[family](0.0, 1.0)
    assert auxiliary.std().item() == pytest.approx(unit.stddev.item(), rel=0.02)


def linear_model(**settings):
    return CMVAE(
        CMVAEConfig(
            n_modalities=2,
            input_dims={"a": 4, "b": 3},
            latent_dim=3,
            modalities_specific_dim=2,
            prior_and_posterior_dist="normal",
            hidden_dims=(),
            K=3,
            beta=1.7,
            **settings,
        )
    )


@torch.no_grad()
def in_other_units(model, scale):
    """Return the same model with w measured in another unit, in which p(w) has this scale."""
    other = linear_model(loss=model.model_config.loss, private_scale=scale)
    other.load_state_dict(model.state_dict())
    for m in model.modalities:
        head = other.encoders[m].head.linear  # of z, w, raw scale of z, raw scale of w
        head.weight[3:5] *= scale
        head.bias[3:5] *= scale
        head.bias[8:] += 2 * math.log(scale)
        other.decoders[m].head.weight[:, 3:] /= scale
        other.private_priors[m].raw_scale += 2 * math.log(scale)
    return other


@pytest.mark.parametrize("loss", ["iwae_looser", "dreg_looser"])
def test_the_unit_of_private_latents_changes_nothing(loss):
    torch.manual_seed(0)
    model = linear_model(loss=loss)
    other = in_other_units(model, 0.4)
    data = {"a": torch.randn(6, 4), "b": torch.randn(6, 3)}
    found = []
    for own in (model, other):
        torch.manual_seed(1)
        found.append((own(data).loss, own.compute_joint_nll(data, K=50)))
        own.zero_grad()
        torch.manual_seed(1)
        own(data).loss.backward()
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)
    torch.testing.assert_close(model.mixture.centers.grad, other.mixture.centers.grad)


def test_generation_draws_from_the_scale():
    torch.manual_seed(0)
    model = linear_model(private_scale=0.2)
    drawn = model.generate_from_prior(4000).modalities_z["a"]
    assert drawn.std().item() == pytest.approx(0.2, rel=0.05)
    with pytest.raises(ValueError, match="private_scale must be a positive number"):
        linear_model(private_scale=0)


def test_what_is_generated_is_read_by_names():
    model = linear_model()
    data = {"a": torch.randn(2, 4), "b": torch.randn(2, 3)}
    assert model.predict(data, N=3).a.shape == (2, 3, 4)
    decoded = model.decode(model.generate_from_prior(5))
    assert decoded.b.shape == (5, 3)
    assert torch.equal(model.to_data(decoded).b, decoded["b"])
