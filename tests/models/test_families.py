import math

import pytest
import torch
from torch import distributions
from torch.nn import functional

from cmvae.models.families import FAMILIES, log_prob_each

pytestmark = pytest.mark.usefixtures("float64")
REFERENCES = {
    "laplace_with_softmax": distributions.Laplace,
    "normal_with_softplus": distributions.Normal,
    "normal": distributions.Normal,
}
SCALES = {
    "laplace_with_softmax": lambda s: s.softmax(-1) * s.shape[-1] + 1e-6,
    "normal_with_softplus": lambda s: functional.softplus(s) + 1e-6,
    "normal": lambda s: (s / 2).exp(),
}


def test_the_families_are_those_three():
    assert set(FAMILIES) == set(REFERENCES)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dim", [1, 2, 7])
def test_scales(name, dim):
    raw = 3 * torch.randn(5, 2, dim)
    torch.testing.assert_close(FAMILIES[name].scale(raw), SCALES[name](raw), rtol=1e-14, atol=0)


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_laplace_scales_sum_to_their_number(dim):
    scales = FAMILIES["laplace_with_softmax"].scale(3 * torch.randn(5, dim))
    torch.testing.assert_close(scales.sum(-1), torch.full((5,), float(dim)), rtol=2e-6, atol=0)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("dim", [1, 4])
def test_unit_raw_is_scale_one(name, dim):
    family = FAMILIES[name]
    scale = family.scale(torch.full((dim,), family.unit_raw))
    torch.testing.assert_close(scale, torch.ones(dim), rtol=0, atol=1.1e-6)


@pytest.mark.parametrize("name", ["laplace_with_softmax", "normal_with_softplus"])
def test_scales_stay_positive(name):
    assert (FAMILIES[name].scale(torch.tensor([-1e4, 0.0, 1e4])) > 0).all()


@pytest.mark.parametrize("name", FAMILIES)
def test_log_density_is_that_of_torch(name):
    family, reference = FAMILIES[name], REFERENCES[name]
    x, loc, scale = torch.randn(6, 5, 3), torch.randn(5, 3), torch.rand(6, 1, 3) + 0.1
    expected = reference(loc, scale).log_prob(x).sum(-1)
    torch.testing.assert_close(family.log_prob(x, loc, scale), expected)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_of_the_log_density(name):
    family = FAMILIES[name]
    x, loc, raw = (torch.randn(4, 3, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(
        lambda x, loc, raw: family.log_prob(x, loc, family.scale(raw)), (x, loc, raw)
    )


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_has_location_zero_scale_one_and_the_right_shape_of_tails(name):
    family, n = FAMILIES[name], 200_000
    noise = family.noise((n, 2), torch.zeros(1, dtype=torch.float64), None)
    assert noise.shape == (n, 2)
    variance, kurtosis = (1, 3) if family.is_normal else (2, 6)
    assert noise.mean().abs() < 4 * math.sqrt(variance / (2 * n))
    assert (noise.var() - variance).abs() < 4 * variance * math.sqrt((kurtosis - 1) / (2 * n))
    assert (noise.pow(4).mean() / noise.var() ** 2 - kurtosis).abs() < 0.3
    assert (noise[:, 0] * noise[:, 1]).mean().abs() < 4 * variance / math.sqrt(n)


@pytest.mark.parametrize("name", FAMILIES)
def test_noise_follows_generator_and_dtype(name):
    family, generator = FAMILIES[name], torch.Generator()
    like = torch.zeros(1, dtype=torch.float32)
    first = family.noise((4, 3), like, generator)
    state = torch.get_rng_state()
    second = family.noise((4, 3), like, generator)
    generator.manual_seed(generator.initial_seed())
    assert torch.equal(torch.get_rng_state(), state)
    assert first.dtype == torch.float32
    assert not torch.equal(first, second)
    generator = torch.Generator()
    assert torch.equal(family.noise((4, 3), like, generator), first)


# Several variables at once
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("sizes", [(3,), (2, 2), (1, 4, 3)])
@pytest.mark.parametrize("standard", [False, True])
def test_log_densities_of_several_variables_are_those_of_torch(name, sizes, standard):
    reference = REFERENCES[name]
    xs = [torch.randn(5, 6, size, requires_grad=True) for size in sizes]
    locs = [torch.randn(5, 1, size, requires_grad=True) for size in sizes]
    scales = [(torch.rand(5, 1, size) + 0.1).requires_grad_() for size in sizes]
    factors = torch.randn(len(sizes), 5, 6)
    if standard:
        got = log_prob_each(FAMILIES[name], xs)
        expected = torch.stack([reference(0.0, 1.0).log_prob(x).sum(-1) for x in xs])
        parameters = xs
    else:
        got = log_prob_each(FAMILIES[name], xs, locs, scales)
        parts = zip(xs, locs, scales, strict=True)
        expected = torch.stack(
            [reference(loc, scale).log_prob(x).sum(-1) for x, loc, scale in parts]
        )
        parameters = [*xs, *locs, *scales]
    assert got.shape == (len(sizes), 5, 6)
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    one, other = (
        torch.autograd.grad((value * factors).sum(), parameters) for value in (got, expected)
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


# Laplace noise from uniform draws
# --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_laplace_noise_has_the_moments_and_tails(dtype):
    n = 2_000_000
    generator = torch.Generator().manual_seed(0)
    like = torch.zeros(1, dtype=dtype)
    noise = FAMILIES["laplace_with_softmax"].noise((n,), like, generator)
    assert noise.dtype == dtype
    assert noise.isfinite().all()
    noise = noise.double()
    # E x^p = p! for even p, so the variance of x^p is (2p)! − (p!)² there.
    for power, expected in ((1, 0), (2, 2), (3, 0), (4, 24)):
        error = math.sqrt((math.factorial(2 * power) - expected**2) / n)
        assert abs(float(noise.pow(power).mean()) - expected) < 4.5 * error, power
    for edge in (
        1 + 2**-8,
        5 + 2**-6,
        9 + 2**-5,
    ):  # halfway between two numbers of bfloat16: rounding is no bias
        share = math.exp(-edge) / 2
        for beyond in (noise > edge, noise < -edge):
            error = math.sqrt(share * (1 - share) / n)
            assert abs(float(beyond.double().mean()) - share) < 4.5 * error, edge


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_extreme_uniform_draws_give_finite_laplace_noise(dtype, monkeypatch):
    fine = torch.promote_types(dtype, torch.float32)
    gap = torch.finfo(fine).eps  # between 1 and the second number below it
    draws = torch.tensor([-1.0, gap - 1, 0.0, 1 - gap], dtype=fine)
    monkeypatch.setattr(
        torch.Tensor, "uniform_", lambda tensor, *bounds, **settings: tensor.copy_(draws)
    )
    noise = FAMILIES["laplace_with_softmax"].noise((4,), torch.zeros(1, dtype=dtype), None)
    expected = torch.tensor([math.log(gap / 2), math.log(gap), 0.0, -math.log(gap)])
    torch.testing.assert_close(noise, expected.to(dtype))
