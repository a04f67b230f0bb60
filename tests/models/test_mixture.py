import math

import pytest
import torch
from torch import distributions
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cmvae.models.families import FAMILIES
from cmvae.models.mixture import MixturePrior

pytestmark = pytest.mark.usefixtures("float64")
FORMS = [(family, form) for family in FAMILIES for form in ("identity", "diagonal", "full")]
FORMS.remove(("laplace_with_softmax", "full"))


def make(family="normal", covariance="identity", clusters=5, dim=3, seed=0):
    torch.manual_seed(seed)
    mixture = MixturePrior(clusters, dim, FAMILIES[family], covariance)
    with torch.no_grad():
        for p in mixture.parameters():
            p += 0.5 * torch.randn_like(p)
    return mixture


def component(mixture, c):
    """Return p(z|c) as PyTorch's own distribution."""
    center = mixture.centers[c]
    if mixture.covariance == "full":
        log_diagonal = mixture.precision_factors[c].diagonal()
        factor = mixture.precision_factors[c].tril(-1) + torch.diag(log_diagonal.exp())
        return distributions.MultivariateNormal(center, precision_matrix=factor @ factor.T)
    scale = (
        mixture.log_scales[c].exp() if mixture.covariance == "diagonal" else torch.ones_like(center)
    )
    base = distributions.Normal if mixture.family.is_normal else distributions.Laplace
    return distributions.Independent(base(center, scale), 1)


def random_covariances(clusters=5, dim=3):
    factors = torch.randn(clusters, dim, dim)
    return factors @ factors.mT + 0.3 * torch.eye(dim)


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_starts_with_scale_one_centres_in_the_box_and_equal_weights(family, covariance):
    mixture = MixturePrior(50, 4, FAMILIES[family], covariance)
    z = torch.randn(6, 4)
    base = distributions.Normal if FAMILIES[family].is_normal else distributions.Laplace
    expected = base(mixture.centers, 1.0).log_prob(z[:, None]).sum(-1)
    torch.testing.assert_close(mixture.log_prob_clusters(z), expected)
    torch.testing.assert_close(mixture.log_weights, torch.full((50,), -math.log(50)))
    assert mixture.centers.abs().max() <= 1
    assert mixture.centers.detach().std() == pytest.approx(1 / math.sqrt(3), rel=0.15)
    assert mixture.active.all()
    assert "active" not in dict(mixture.named_parameters())
    assert mixture.active.dtype == torch.bool
    learned = {"logits", "centers"} | {
        "diagonal": {"log_scales"},
        "full": {"precision_factors"},
    }.get(covariance, set())
    assert set(dict(mixture.named_parameters())) == learned


@pytest.mark.parametrize(("family", "covariance"), FORMS)
@pytest.mark.parametrize("seed", range(2))
def test_densities_are_those_of_torch(family, covariance, seed):
    mixture, z = make(family, covariance, seed=seed), torch.randn(2, 4, 3)
    each = torch.stack([component(mixture, c).log_prob(z) for c in range(5)], -1)
    torch.testing.assert_close(mixture.log_prob_clusters(z), each)
    joint = each + mixture.logits.log_softmax(-1)
    torch.testing.assert_close(mixture.log_joint(z), joint)
    torch.testing.assert_close(mixture.log_prob(z), joint.logsumexp(-1))
    torch.testing.assert_close(mixture.posterior(z), joint.softmax(-1))


@pytest.mark.parametrize(("family", "covariance"), FORMS)
@pytest.mark.parametrize("pruned", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_summing_out_the_cluster_is_exact(family, covariance, pruned, seed):
    """E_q(c|z)[log p(c) p(z|c) − log q(c|z)] = log p(z), values and gradients."""
    mixture = make(family, covariance, seed=seed)
    if pruned:
        mixture.keep(torch.tensor([True, False, True, True, False]))
    z = torch.randn(4, 3, requires_grad=True)
    members = mixture.active
    q, joint = mixture.posterior(z)[..., members], mixture.log_joint(z)[..., members]
    expectation = (q * (joint - q.log())).sum(-1)
    torch.testing.assert_close(mixture.log_prob(z), expectation, rtol=1e-12, atol=1e-12)
    inputs = [z, *mixture.parameters()]
    direct = torch.autograd.grad(mixture.log_prob(z).sum(), inputs)
    summed = torch.autograd.grad(expectation.sum(), inputs)
    for one, other in zip(direct, summed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_gradients(family, covariance):
    mixture, z = make(family, covariance), torch.randn(4, 3, requires_grad=True)
    names, values = zip(*mixture.named_parameters(), strict=True)

    def log_prob(z, *values):
        return torch.func.functional_call(mixture, dict(zip(names, values, strict=True)), z)

    mixture.forward = mixture.log_prob
    assert torch.autograd.gradcheck(log_prob, (z, *values))


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_samples_have_the_moments_of_their_cluster(family, covariance):
    mixture, n = make(family, covariance), 60_000
    clusters = torch.arange(5).repeat(n)
    with torch.no_grad():
        z = mixture.sample(clusters)
    for c in range(5):
        drawn, reference = z[clusters == c], component(mixture, c)
        expected = getattr(reference, "covariance_matrix", None)
        expected = torch.diag(reference.variance) if expected is None else expected
        deviation = (drawn.mean(0) - mixture.centers[c]) / (expected.diagonal() / n).sqrt()
        assert deviation.abs().max() < 4.5
        scale = expected.diagonal().sqrt()
        error = (drawn.T.cov() - expected) / (scale[:, None] * scale)
        assert error.abs().max() < 4.5 * math.sqrt((2 if FAMILIES[family].is_normal else 5) / n)


def test_samples_follow_the_generator():
    mixture, clusters = make(covariance="full"), torch.tensor([0, 3, 3])
    draws = [mixture.sample(clusters, torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_set_components(family, covariance):
    mixture = make(family, covariance)
    mixture.keep(torch.tensor([True, False, True, True, False]))
    weights, centers = torch.rand(5).softmax(0), torch.randn(5, 3)
    covariances = random_covariances()
    mixture.set_components(weights, centers, covariances)
    assert mixture.active.all()
    torch.testing.assert_close(mixture.log_weights.exp(), weights)
    torch.testing.assert_close(mixture.centers, centers, rtol=0, atol=0)
    for c in range(5):
        reference = component(mixture, c)
        if covariance == "full":
            torch.testing.assert_close(reference.covariance_matrix, covariances[c])
        elif covariance == "diagonal":
            torch.testing.assert_close(reference.variance, covariances[c].diagonal())
    assert all(p.requires_grad and p.is_leaf for p in mixture.parameters())


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_components_without_covariances_have_scale_one(family, covariance):
    mixture, z = make(family, covariance), torch.randn(4, 3)
    mixture.set_components(torch.full((5,), 0.2), torch.randn(5, 3))
    base = distributions.Normal if FAMILIES[family].is_normal else distributions.Laplace
    expected = base(mixture.centers, 1.0).log_prob(z[:, None]).sum(-1)
    torch.testing.assert_close(mixture.log_prob_clusters(z), expected)


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_pruned_clusters_have_no_weight_and_finite_parameters(family, covariance):
    mixture, z = make(family, covariance), torch.randn(4, 3)
    before = mixture.log_joint(z)
    keep = torch.tensor([True, False, True, False, True])
    mixture.keep(keep)
    assert torch.equal(mixture.log_weights.exp() == 0, ~keep)
    assert torch.equal(mixture.masked_logits.isneginf(), ~keep)
    assert torch.equal(mixture.posterior(z) == 0, (~keep).expand(4, 5))
    torch.testing.assert_close(mixture.posterior(z).sum(-1), torch.ones(4))
    torch.testing.assert_close(mixture.log_weights.exp().sum(), torch.tensor(1.0))
    torch.testing.assert_close(mixture.posterior(z)[:, keep], before[:, keep].softmax(-1))
    assert all(p.isfinite().all() for p in mixture.parameters())
    mixture.log_prob(z).sum().backward()
    for p in mixture.parameters():
        assert p.grad.isfinite().all()
        assert (p.grad[~keep] == 0).all()
        assert (p.grad[keep] != 0).any()


def test_keeping_twice_is_keeping_both():
    mixture = make()
    weights = mixture.log_weights.exp().detach()
    mixture.keep(torch.tensor([True, True, True, False, True]))
    mixture.keep(torch.tensor([True, False, True, False, True]))
    expected = weights[[0, 2, 4]] / weights[[0, 2, 4]].sum()
    torch.testing.assert_close(mixture.log_weights.exp()[[0, 2, 4]], expected)


@pytest.mark.parametrize("optimiser", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_weight_decay_makes_no_nan(family, covariance, optimiser):
    mixture, z = make(family, covariance), torch.randn(20, 3)
    mixture.keep(torch.tensor([True, False, True, True, False]))
    steps = optimiser(mixture.parameters(), lr=0.1, weight_decay=0.5)
    average = torch.optim.swa_utils.AveragedModel(mixture)
    for _ in range(20):
        steps.zero_grad()
        (-mixture.log_prob(z).mean()).backward()
        steps.step()
        average.update_parameters(mixture)
    for module in (mixture, average.module):
        assert all(p.isfinite().all() for p in module.parameters())
        assert module.log_prob(z).isfinite().all()
        assert torch.equal(module.log_weights.exp() == 0, ~mixture.active)


def test_one_cluster_left():
    mixture, z = make(), torch.randn(4, 3)
    mixture.keep(torch.tensor([False, False, True, False, False]))
    torch.testing.assert_close(mixture.log_prob(z), component(mixture, 2).log_prob(z))


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_far_away_is_finite(family, covariance):
    mixture = make(family, covariance)
    z = torch.full((1, 3), 1e6, requires_grad=True)
    log_p = mixture.log_prob(z)
    log_p.sum().backward()
    assert log_p.isfinite().all()
    assert z.grad.isfinite().all()
    torch.testing.assert_close(mixture.posterior(z).sum(-1), torch.ones(1))


# Few operations, little memory
# --------------------------------------------------------------------------------------------------

MATRIX_PRODUCTS = [
    ("normal", "identity"),
    ("normal", "diagonal"),
    ("normal_with_softplus", "diagonal"),
]
IN_BLOCKS = [
    ("normal", "full"),
    ("normal_with_softplus", "full"),
    ("laplace_with_softmax", "diagonal"),
]


def narrow_mixture(family, covariance, centers, dim):
    """Return a float32 mixture with these centres; learned scales reach from 1e-3 to 10."""
    mixture = make(family, covariance, clusters=len(centers), dim=dim).float()
    with torch.no_grad():
        mixture.centers.copy_(centers)
        if covariance == "diagonal":
            mixture.log_scales.uniform_(math.log(1e-3), math.log(10))
            mixture.log_scales[0] = math.log(1e-3)
    return mixture


@pytest.mark.parametrize(("family", "covariance"), MATRIX_PRODUCTS)
@pytest.mark.parametrize("offset", [0.0, 1e3, -1e3])
@pytest.mark.parametrize("seed", range(2))
def test_narrow_and_far_clusters_lose_nothing_in_float32(family, covariance, offset, seed):
    """Within the clusters the terms of the square are up to 1e12, and their sum is about d."""
    torch.manual_seed(seed)
    mixture = narrow_mixture(family, covariance, offset + torch.randn(5, 4), dim=4)
    scales = mixture.log_scales.exp() if covariance == "diagonal" else torch.ones(5, 4)
    z = (mixture.centers + scales * torch.randn(6, 5, 4)).detach().float().requires_grad_()
    factors = torch.randn(6, 5, 5)

    exact_z = z.detach().double().requires_grad_()
    exact = {name: p.detach().double().requires_grad_() for name, p in mixture.named_parameters()}
    scale = exact["log_scales"].exp() if covariance == "diagonal" else 1.0
    expected = distributions.Normal(exact["centers"], scale).log_prob(exact_z.unsqueeze(-2)).sum(-1)

    got = mixture.log_prob_clusters(z)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, expected.float(), rtol=1e-6, atol=1e-6)
    names = [name for name in exact if name != "logits"]
    grads = torch.autograd.grad(
        (got * factors.float()).sum(), [z, *(getattr(mixture, name) for name in names)]
    )
    exact_grads = torch.autograd.grad(
        (expected * factors.float()).sum(), [exact_z, *(exact[name] for name in names)]
    )
    for one, other in zip(grads, exact_grads, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(
            one, other.float(), rtol=1e-5, atol=1e-6 * float(other.abs().max())
        )


@pytest.mark.parametrize("covariance", ["identity", "diagonal"])
def test_clusters_far_from_each_other(covariance):
    centers = torch.cat([torch.randn(3, 4), 1e3 + torch.randn(2, 4)])
    mixture = narrow_mixture("normal", covariance, centers, dim=4)
    scales = mixture.log_scales.exp().detach() if covariance == "diagonal" else torch.ones(5, 4)
    z = (mixture.centers.detach() + scales * torch.randn(6, 5, 4)).float()
    scales = mixture.log_scales.double().exp() if covariance == "diagonal" else 1.0
    expected = (
        distributions.Normal(mixture.centers.double(), scales)
        .log_prob(z.double().unsqueeze(-2))
        .sum(-1)
    )
    torch.testing.assert_close(
        mixture.log_prob_clusters(z).double(), expected, rtol=1e-6, atol=1e-3
    )


def values_and_gradients(mixture, z, factors):
    values = mixture.log_prob_clusters(z)
    parameters = [p for name, p in mixture.named_parameters() if name != "logits"]
    return values, *torch.autograd.grad((values * factors).sum(), [z, *parameters])


@pytest.mark.parametrize(("family", "covariance"), IN_BLOCKS)
@pytest.mark.parametrize("entries", [1, 8 * 3 * 2, 8 * 3 * 4])
def test_blocks_of_clusters_give_the_same(family, covariance, entries, monkeypatch):
    mixture, z = make(family, covariance), torch.randn(2, 4, 3, requires_grad=True)
    factors, sizes = torch.randn(2, 4, 5), []
    name = "_log_prob_full" if covariance == "full" else "_log_prob_scaled"
    whole = getattr(mixture, name)

    def counted(points, centers, *rest):
        sizes.append(len(centers))
        return whole(points, centers, *rest)

    monkeypatch.setattr(mixture, name, counted)
    expected = values_and_gradients(mixture, z, factors)
    assert sizes == [5]
    sizes.clear()
    monkeypatch.setattr("cmvae.models.mixture.MOST_ENTRIES", entries)
    got = values_and_gradients(mixture, z, factors)
    block = max(1, entries // 24)
    once = [min(block, 5 - start) for start in range(0, 5, block)]
    assert sizes[: len(once)] == once
    assert sorted(sizes[len(once) :]) == sorted(once)  # each again, on the way back
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


class LargestOutput(TorchDispatchMode):
    """Keeps the number of entries of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


def largest_tensor(mixture, z):
    """Return the entries of the largest tensor made on the way to log p(z) and back."""
    with LargestOutput() as largest:
        mixture.log_prob(z).sum().backward()
    return largest.numel


@pytest.mark.parametrize(
    ("family", "covariance"), [*MATRIX_PRODUCTS, ("laplace_with_softmax", "identity")]
)
def test_nothing_of_points_by_clusters_by_dimensions_is_made(family, covariance):
    points, clusters, dim = 60, 40, 30
    mixture, z = (
        make(family, covariance, clusters, dim),
        torch.randn(points, dim, requires_grad=True),
    )
    assert largest_tensor(mixture, z) <= points * max(clusters, 2 * dim)


@pytest.mark.parametrize(("family", "covariance"), IN_BLOCKS)
def test_blocks_bound_the_largest_tensor(family, covariance, monkeypatch):
    points, clusters, dim = 60, 40, 10
    mixture, z = (
        make(family, covariance, clusters, dim),
        torch.randn(points, dim, requires_grad=True),
    )
    assert largest_tensor(mixture, z) >= points * clusters * dim
    monkeypatch.setattr("cmvae.models.mixture.MOST_ENTRIES", points * dim * 5)
    assert largest_tensor(mixture, z) <= max(points * dim * 5, clusters * dim * dim)


@pytest.mark.parametrize(("family", "covariance"), FORMS)
def test_in_another_order_the_clusters_are_the_same(family, covariance):
    mixture, z = make(family, covariance), torch.randn(6, 3)
    mixture.keep(torch.tensor([True, False, True, True, False]))
    before = {name: value.clone() for name, value in mixture.state_dict().items()}
    posterior, log_prob = mixture.posterior(z), mixture.log_prob(z)
    order = torch.tensor([3, 0, 4, 1, 2])
    mixture.reorder(order)
    torch.testing.assert_close(mixture.posterior(z), posterior[:, order])
    torch.testing.assert_close(mixture.log_prob(z), log_prob)
    assert mixture.active.tolist() == [True, True, False, False, True]
    for name, value in mixture.state_dict().items():  # everything that is learned moves along
        assert torch.equal(value, before[name][order]), name
    mixture.reorder(order.argsort())
    for name, value in mixture.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(value.requires_grad for value in mixture.parameters())
