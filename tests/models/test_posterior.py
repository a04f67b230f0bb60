import math

import pytest
import torch
from torch import distributions

from cmvae.models.families import FAMILIES
from cmvae.models.posterior import Experts

pytestmark = pytest.mark.usefixtures("float64")
M, B, D = 3, 4, 2
OBSERVED = torch.tensor(
    [[True, True, False, True], [False, True, True, True], [False, False, True, True]]
)


def make(family="normal", observed=OBSERVED, batch=B):
    torch.manual_seed(0)
    styles = tuple(torch.randn(batch, m + 1) for m in range(M))
    style_scales = tuple(torch.rand(batch, m + 1) + 0.2 for m in range(M))
    scale = torch.rand(M, batch, D) + 0.2
    return Experts(
        FAMILIES[family], 2 * torch.randn(M, batch, D), scale, styles, style_scales, observed
    )


def reference(experts, m, b):
    base = distributions.Normal if experts.family.is_normal else distributions.Laplace
    return distributions.Independent(base(experts.loc[m, b], experts.scale[m, b]), 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_of_the_mixture_of_observed_experts(family):
    experts = make(family)
    z = torch.randn(5, B, 6, D)
    assert experts.log_prob_experts(z).shape == (M, 5, B, 6)
    for b in range(B):
        seen = OBSERVED[:, b].nonzero().flatten().tolist()
        each = torch.stack([reference(experts, m, b).log_prob(z[:, b]) for m in seen])
        torch.testing.assert_close(
            experts.log_prob(z)[:, b], each.logsumexp(0) - math.log(len(seen))
        )
        torch.testing.assert_close(experts.log_prob_experts(z)[seen, :, b], each)
    unseen = experts.log_prob_experts(z).movedim(2, 1)[~OBSERVED]
    assert unseen.isneginf().all()
    one = z[0]
    torch.testing.assert_close(experts.log_prob(one), experts.log_prob(z)[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_densities_of_the_private_latents(family):
    experts = make(family)
    base = distributions.Normal if experts.family.is_normal else distributions.Laplace
    for m in range(M):
        w = torch.randn(B, 6, m + 1)
        q = base(experts.private_loc[m][:, None], experts.private_scale[m][:, None])
        torch.testing.assert_close(experts.log_prob_private(m, w), q.log_prob(w).sum(-1))


def test_the_mean_is_the_average_of_what_is_observed():
    experts = make()
    for b in range(B):
        torch.testing.assert_close(experts.mean[b], experts.loc[OBSERVED[:, b], b].mean(0))
    assert experts.n_observed.tolist() == [1, 2, 2, 3]


def test_what_is_unobserved_has_no_part():
    experts, z = make(), torch.randn(B, 6, D)
    other = make()
    other.loc[~OBSERVED] = 1e30
    other.scale[~OBSERVED] = 1e-30
    assert torch.equal(experts.mean, other.mean)
    assert torch.equal(experts.log_prob(z), other.log_prob(z))
    parts = [
        e.sample(e.choose(50, torch.Generator().manual_seed(1)), torch.Generator().manual_seed(2))
        for e in (experts, other)
    ]
    assert torch.equal(*parts)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_expert_is_drawn_from(family):
    experts, n = make(family), 40_000
    drawn = experts.sample_each(n)
    assert drawn.shape == (M, B, n, D)
    variance = experts.scale.square() * (1 if experts.family.is_normal else 2)
    assert ((drawn.mean(2) - experts.loc) / (variance / n).sqrt()).abs().max() < 4.5
    kurtosis = 3 if experts.family.is_normal else 6
    assert (drawn.var(2) / variance - 1).abs().max() < 4.5 * math.sqrt((kurtosis - 1) / n)
    for m in range(M):
        w = experts.sample_private(m, n)
        assert w.shape == (B, n, m + 1)
        deviation = (w.mean(1) - experts.private_loc[m]) / (
            experts.private_scale[m] * math.sqrt(2 / n)
        )
        assert deviation.abs().max() < 4.5


def test_experts_are_chosen_per_sample_and_per_draw():
    experts, n = make(), 20_000
    choice = experts.choose(n, torch.Generator().manual_seed(0))
    assert choice.shape == (B, n)
    for b in range(B):
        seen = OBSERVED[:, b].nonzero().flatten()
        shares = torch.bincount(choice[b], minlength=M) / n
        assert (shares[~OBSERVED[:, b]] == 0).all()
        expected = 1 / len(seen)
        assert (shares[seen] - expected).abs().max() <= 4.5 * math.sqrt(
            expected * (1 - expected) / n
        )
    both = choice[1] == choice[3]  # of two and of three experts: equal by chance only
    assert both.double().mean() == pytest.approx(1 / 3, abs=0.02)


def test_draws_come_from_the_chosen_expert():
    experts = make()
    experts.scale.fill_(1e-9)
    choice = experts.choose(30)
    z = experts.sample(choice)
    expected = experts.loc[choice, torch.arange(B)[:, None]]
    torch.testing.assert_close(z, expected, rtol=0, atol=1e-7)


def test_restrict_intersects_with_what_is_observed():
    experts = make().restrict(torch.tensor([True, False, True]))
    assert torch.equal(experts.observed, OBSERVED & torch.tensor([[True], [False], [True]]))
    assert experts.n_observed.tolist() == [1, 1, 1, 2]


def test_samples_carry_gradients_and_detach_holds_constant():
    experts = make()
    for tensor in (experts.loc, experts.scale, *experts.private_loc, *experts.private_scale):
        tensor.requires_grad_()
    noise = (
        experts.sample_each(2, torch.Generator().manual_seed(3)) - experts.loc[:, :, None]
    ) / experts.scale[:, :, None]
    experts.sample_each(2, torch.Generator().manual_seed(3)).sum().backward()
    torch.testing.assert_close(experts.loc.grad, torch.full_like(experts.loc, 2.0))
    torch.testing.assert_close(experts.scale.grad, noise.detach().sum(2))
    constant = experts.detach()
    z = torch.randn(B, 1, D)
    assert not constant.log_prob(z).requires_grad
    assert experts.log_prob(z).requires_grad
    assert not any(
        constant.log_prob_private(m, torch.zeros(B, 1, m + 1)).requires_grad for m in range(M)
    )
