import math

import numpy as np
import pytest
import torch
from torch import distributions
from torch.nn import functional

from cmvae.likelihoods import LIKELIHOODS, Bernoulli, Categorical, Laplace, Normal, build_likelihood

F64 = torch.float64
LEARNED = {"scale": "learned"}


def _logits(*shape, scale=3.0):
    return scale * torch.randn(*shape, dtype=F64)


@pytest.mark.parametrize("scale", [1.0, 0.75, 3])
@pytest.mark.parametrize(
    ("name", "reference"), [("normal", distributions.Normal), ("laplace", distributions.Laplace)]
)
def test_location_scale_densities(name, reference, scale):
    location, target = _logits(4, 2, 3), _logits(4, 2, 3)
    got = build_likelihood(name, {"scale": scale}, "m").log_prob(location, target)
    torch.testing.assert_close(got, reference(location, scale).log_prob(target))


@pytest.mark.parametrize(
    ("name", "reference"), [("normal", distributions.Normal), ("laplace", distributions.Laplace)]
)
def test_learned_scale_is_a_parameter_with_the_densitys_gradient(name, reference):
    likelihood = build_likelihood(name, LEARNED, "m").double()
    assert likelihood.scale == 1.0
    assert set(likelihood.state_dict()) == {"log_scale"}
    location, target, log_scale = (
        _logits(50),
        _logits(50),
        torch.tensor(0.3, dtype=F64, requires_grad=True),
    )
    with torch.no_grad():
        likelihood.log_scale.copy_(log_scale)
    got, want = (
        likelihood.log_prob(location, target),
        reference(location, log_scale.exp()).log_prob(target),
    )
    torch.testing.assert_close(got, want)
    got.sum().backward()
    want.sum().backward()
    torch.testing.assert_close(likelihood.log_scale.grad, log_scale.grad)


@pytest.mark.parametrize("family", [Normal, Laplace])
def test_learned_scale_has_a_floor_that_it_can_leave(family):
    likelihood = family("learned")
    with torch.no_grad():
        likelihood.log_scale.fill_(-50)
    assert likelihood.scale == pytest.approx(1e-3)
    log_p = likelihood.log_prob(torch.zeros(3), torch.ones(3))
    torch.testing.assert_close(log_p, family(1e-3).log_prob(torch.zeros(3), torch.ones(3)))
    log_p.sum().backward()
    assert likelihood.log_scale.grad > 0  # ascending the likelihood raises the scale again


def test_learned_scale_finds_the_residuals_scale():
    torch.manual_seed(0)
    likelihood, target = Normal("learned"), 0.2 * torch.randn(2000)
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        (-likelihood.log_prob(torch.zeros(2000), target).mean()).backward()
        optimiser.step()
    assert likelihood.scale == pytest.approx(float(target.square().mean().sqrt()), rel=0.01)


def test_bernoulli_densities_and_gradients():
    logits = torch.cat(
        [_logits(50), torch.tensor([-80.0, -1.0, 0.0, 1.0, 80.0], dtype=F64)]
    ).requires_grad_()
    reference = distributions.Bernoulli(logits=logits, validate_args=False)
    for target in (torch.zeros(55), torch.ones(55), torch.rand(55)):
        target = target.to(F64)
        got, want = Bernoulli().log_prob(logits, target), reference.log_prob(target)
        torch.testing.assert_close(got, want)
        gradients = [
            torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (got, want)
        ]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("shape", [(5,), (6, 5), (2, 3, 5)])
def test_categorical_densities_of_indices_and_one_hot(shape):
    logits, indices = _logits(4, *shape), torch.randint(5, (4, *shape[:-1]))
    want = distributions.Categorical(logits=logits).log_prob(indices)
    one_hot = functional.one_hot(indices, 5)
    for target in (indices, indices.to(torch.uint8), one_hot, one_hot.bool(), one_hot.float()):
        got = Categorical().log_prob(logits, target)
        assert got.shape == (4, *shape[:-1])
        torch.testing.assert_close(got, want)


def test_categorical_with_an_impossible_class():
    logits = torch.tensor([[0.0, 1.0, -math.inf]], requires_grad=True)
    for target in (torch.tensor([1]), torch.tensor([[0.0, 1.0, 0.0]])):
        log_p = Categorical().log_prob(logits, target)
        torch.testing.assert_close(log_p, functional.logsigmoid(torch.ones(1)))
        assert torch.autograd.grad(log_p.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize("family", [Normal, Laplace])
def test_scales_whose_squares_no_float_holds_are_refused(family):
    for scale in (1e-200, 1e-19, 1e19, 1e200, 10**400):
        with pytest.raises(
            ValueError, match=r"scale must be a number from 1e-18 to 1e\+18 or 'learned'; got 1"
        ):
            family(scale)
    zeros = torch.zeros(1, 3)
    for scale in (1e-18, 1e18):
        assert family(scale).log_prob_of_samples(zeros, zeros, 1).isfinite().all()


def test_densities_have_unit_mass():
    grid = torch.linspace(-60, 60, 400_001, dtype=F64)
    for likelihood in (Normal(1.7), Laplace(1.7)):
        density = likelihood.log_prob(torch.full_like(grid, 0.4), grid).exp()
        assert torch.trapezoid(density, grid) == pytest.approx(1, abs=1e-6)


CASES = [
    ("normal", {"scale": 0.5}),
    ("normal", LEARNED),
    ("laplace", {"scale": 0.5}),
    ("laplace", LEARNED),
    ("bernoulli", None),
    ("categorical", None),
]


@pytest.mark.parametrize(("name", "params"), CASES)
def test_mean_and_log_prob_agree_with_samples(name, params):
    torch.manual_seed(0)
    likelihood = build_likelihood(name, params, "m")
    reconstruction = _logits(2, 4, scale=1.0).expand(40_000, 2, 4)
    sample = likelihood.sample(reconstruction)
    assert sample.shape == reconstruction.shape
    torch.testing.assert_close(
        sample.mean(0), likelihood.mean(reconstruction)[0], atol=0.03, rtol=0
    )
    if name in ("normal", "laplace"):  # E[-log p] is the entropy: the spread is right too
        entropy = {"normal": 0.5 * math.log(2 * math.pi * math.e), "laplace": 1 + math.log(2)}[name]
        got = -likelihood.log_prob(reconstruction, sample).mean()
        assert float(got.detach()) == pytest.approx(entropy + math.log(likelihood.scale), abs=0.02)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_samples_repeat_with_a_generator(name, params):
    likelihood, reconstruction = build_likelihood(name, params, "m"), torch.randn(20, 4)
    first, second, third = (
        likelihood.sample(reconstruction, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize(("name", "params"), CASES)
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(name, params, half):
    likelihood, reconstruction = build_likelihood(name, params, "m"), torch.randn(5, 4).to(half)
    target = functional.one_hot(torch.arange(5) % 4, 4).to(half)
    got = likelihood.log_prob(reconstruction, target)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, likelihood.log_prob(reconstruction.float(), target.float()))
    assert (
        likelihood.mean(reconstruction).dtype
        == likelihood.sample(reconstruction).dtype
        == torch.float32
    )
    assert likelihood.log_prob(reconstruction.double(), target).dtype == F64


@pytest.mark.parametrize(("name", "params"), CASES)
def test_shapes_are_never_broadcast(name, params):
    likelihood = build_likelihood(name, params, "m")
    for shape in [(5, 1), (1, 4), (4,), (2, 5, 4)]:
        with pytest.raises(ValueError, match=rf"target of shape \({shape[0]},.*\(5, 4\)"):
            likelihood.log_prob(torch.zeros(5, 4), torch.ones(shape))
    with pytest.raises(ValueError, match="target of shape"):
        likelihood.log_prob(
            torch.zeros(5, 4), torch.zeros(5)
        )  # floating values are no class indices


@pytest.mark.parametrize("bad", [-0.01, 1.01, 255.0, math.nan])
def test_bernoulli_targets_outside_the_unit_interval(bad):
    Bernoulli().check(torch.tensor([[0.0, 1.0, 0.3]]), "img", (3,))
    Bernoulli().check(torch.tensor([[True, False]]), "img", (2,))
    with pytest.raises(ValueError, match=r"'img'.*bernoulli"):
        Bernoulli().check(torch.tensor([[0.0, 1.0, bad]]), "img", (3,))


def test_categorical_targets_are_checked():
    check = Categorical().check
    for good in (
        torch.tensor([0, 2]),
        torch.eye(3),
        torch.eye(3, dtype=torch.int64),
        torch.zeros(0, 3),
    ):
        check(good, "text", (3,))
        check(good, "text")
    check(torch.tensor([[0, 2, 1]]), "text", (3, 3))
    for dtype in (torch.uint8, torch.uint16):  # of which uint16 has no comparisons
        check(torch.tensor([0, 2], dtype=dtype), "text", (3,))
        with pytest.raises(ValueError, match="from 0 to 2 are allowed; got values from 0 to 3"):
            check(torch.tensor([0, 3], dtype=dtype), "text", (3,))
    for bad in (torch.tensor([0, 3]), torch.tensor([-1, 0])):
        with pytest.raises(ValueError, match=r"'text'.*from 0 to 2 are allowed"):
            check(bad, "text", (3,))
    for row in (
        [0.0, 0.0, 0.0],
        [0.5, 0.4, 0.0],
        [1.5, -0.5, 0.0],
        [math.nan, 0.0, 1.0],
        [1.0, 1.0, 0.0],
    ):
        with pytest.raises(ValueError, match=r"'text'.*sum to 1"):
            check(torch.tensor([row]), "text", (3,))
    with pytest.raises(ValueError, match=r"'text'.*\(4,\), expected \(3,\)"):
        check(torch.eye(4), "text", (3,))


def test_any_real_number_passes_as_normal():
    Normal().check(torch.tensor([[-1e9, 3.0]]), "x", (2,))
    with pytest.raises(ValueError, match=r"'x'.*\(2,\), expected \(3,\)"):
        Normal().check(torch.zeros(1, 2), "x", (3,))


def test_custom_is_the_function_it_is_given():
    def student(reconstruction, target):
        return distributions.StudentT(3.0, reconstruction).log_prob(target)

    likelihood, location, target = (
        build_likelihood(student, None, "m"),
        torch.randn(4, 3),
        torch.randn(4, 3),
    )
    torch.testing.assert_close(likelihood.log_prob(location, target), student(location, target))
    torch.testing.assert_close(
        likelihood.log_prob(location, target.double()), student(location, target)
    )
    assert torch.equal(likelihood.mean(location), location)
    likelihood.check(torch.full((1, 1), math.nan), "m", (3,))
    with pytest.raises(TypeError, match="callable"):
        likelihood.sample(location)


def test_custom_results_are_checked():
    x = torch.zeros(4, 3)
    with pytest.raises(TypeError, match="tensor; got float"):
        build_likelihood(lambda r, t: 0.0, None, "m").log_prob(x, x)
    for result in (torch.zeros(()), torch.zeros(3)):
        with pytest.raises(ValueError, match=r"\(4, \.\.\.\)"):
            build_likelihood(lambda r, t, result=result: result, {}, "m").log_prob(x, x)
    indices = torch.arange(4)
    got = build_likelihood(lambda r, t: r.gather(1, t[:, None] % 3), None, "m").log_prob(x, indices)
    assert got.shape == (4, 1)


def test_custom_modules_are_trained():
    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(()))

        def forward(self, reconstruction, target):
            return -self.weight * (reconstruction - target).square()

    assert [name for name, _ in build_likelihood(Scaled(), None, "m").named_parameters()] == [
        "function.weight"
    ]


@pytest.mark.parametrize(
    ("dist", "params", "message"),
    [
        (
            "gaussian",
            None,
            "'img'.*'gaussian'.*allowed: 'normal', 'laplace', 'bernoulli', 'categorical'",
        ),
        (3, None, "'img'.*got 3"),
        ("normal", {"sclae": 1}, r"'img'.*\['sclae'\]; allowed: 'scale'"),
        ("bernoulli", {"scale": 1}, r"'img'.*\['scale'\]; allowed: none"),
        (lambda r, t: r, {"scale": 1}, r"'img'.*allowed: none"),
        *[
            ("laplace", {"scale": bad}, "'img'.*scale must be a number from .* or 'learned'; got")
            for bad in (0, -1.0, math.inf, math.nan, True, "learnt", None)
        ],
    ],
)
def test_bad_requests_name_the_modality_and_what_is_allowed(dist, params, message):
    with pytest.raises(ValueError, match=message):
        build_likelihood(dist, params, "img")


def test_registry():
    new = {"poisson", "negative_binomial", "mixed"}
    assert set(LIKELIHOODS) == {"normal", "laplace", "bernoulli", "categorical", *new}
    assert build_likelihood("normal", {"scale": np.float32(0.5)}, "m").scale == pytest.approx(0.5)


# Summed over a sample
# ------------------------------------------------------------------------------------------------


class Scaled(torch.nn.Module):
    """A custom likelihood with a parameter."""

    def __init__(self, summed):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(0.7))
        self.summed = summed

    def forward(self, reconstruction, target):
        values = -self.weight * (reconstruction - target).abs().pow(1.5)
        return values.sum(-1) if self.summed else values


BUILDERS = {
    "normal": lambda: build_likelihood("normal", {}, "m"),
    "normal, scale 0.3": lambda: build_likelihood("normal", {"scale": 0.3}, "m"),
    "normal, learned": lambda: build_likelihood("normal", LEARNED, "m"),
    "normal, at the floor": lambda: build_likelihood("normal", LEARNED, "m"),
    "laplace": lambda: build_likelihood("laplace", {}, "m"),
    "laplace, scale 0.3": lambda: build_likelihood("laplace", {"scale": 0.3}, "m"),
    "laplace, learned": lambda: build_likelihood("laplace", LEARNED, "m"),
    "laplace, at the floor": lambda: build_likelihood("laplace", LEARNED, "m"),
    "bernoulli": lambda: build_likelihood("bernoulli", {}, "m"),
    "categorical": lambda: build_likelihood("categorical", {}, "m"),
    "custom": lambda: build_likelihood(Scaled(summed=False), {}, "m"),
    "custom, summed": lambda: build_likelihood(Scaled(summed=True), {}, "m"),
}


def built(name):
    likelihood = BUILDERS[name]().double()
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter += -50 if "floor" in name else 0.4
    return likelihood


def test_every_likelihood_is_summed_in_a_test():
    elsewhere = {"poisson", "negative_binomial", "mixed"}  # test_counts.py, test_mixed.py
    assert {name.split(",")[0] for name in BUILDERS} == {*LIKELIHOODS, "custom"} - elsewhere


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("axes", [1, 2])
def test_log_prob_of_samples_is_the_sum_over_the_entries(name, axes):
    torch.manual_seed(0)
    likelihood, indices = built(name), torch.randint(5, (2, 3, 4))
    one_hot = functional.one_hot(indices, 5)
    targets = {
        "categorical": [indices, one_hot],
        "bernoulli": [one_hot, one_hot.bool(), torch.rand(2, 3, 4, 5)],
    }
    for target in targets.get(name, [torch.randn(2, 3, 4, 5), _logits(2, 3, 4, 5)]):
        results = []
        for summed in (False, True):
            torch.manual_seed(1)
            reconstruction = _logits(2, 3, 4, 5).requires_grad_()
            if summed:
                value = likelihood.log_prob_of_samples(reconstruction, target, axes)
            else:
                value = likelihood.log_prob(reconstruction, target)
                value = value.sum(tuple(range(axes, value.dim())))
            factors = torch.linspace(-1, 2, value.numel(), dtype=F64).reshape(value.shape)
            parameters = [reconstruction, *likelihood.parameters()]
            results.append((value, *torch.autograd.grad((value * factors).sum(), parameters)))
        assert results[1][0].shape == (2, 3)[:axes]
        for one, other in zip(*results, strict=True):
            assert (one != 0).any()
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_reconstructions_are_summed_in_float32(name, half):
    """Sums beyond the largest float16 and with more digits than either has."""
    torch.manual_seed(0)
    likelihood = built(name).float()
    reconstruction = (4 * torch.randn(3, 16_000, 5)).to(half)
    target = functional.one_hot(torch.randint(5, (3, 16_000)), 5).float()
    got = likelihood.log_prob_of_samples(reconstruction, target, 1)
    expected = (
        likelihood.double().log_prob(reconstruction.double(), target.double()).flatten(1).sum(-1)
    )
    assert got.dtype == torch.float32
    assert (expected < -65504).all()
    torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_shapes_are_never_broadcast_in_sums_either(name, params):
    likelihood = build_likelihood(name, params, "m")
    for shape in [(5, 1), (1, 4), (4,), (2, 5, 4)]:
        with pytest.raises(ValueError, match=rf"target of shape \({shape[0]},.*\(5, 4\)"):
            likelihood.log_prob_of_samples(torch.zeros(5, 4), torch.ones(shape), 1)
