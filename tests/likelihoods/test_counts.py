import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy import stats
from torch import distributions

from cmvae.likelihoods import CountBlock, NegativeBinomial, Poisson, build_likelihood

F64 = torch.float64
COUNTS = [0, 1, 2, 15, 16, 17, 300, 65_535, 1_000_000]
LOG_RATES = [-25.0, -3.0, 0.0, 2.7, 5.7, 11.0, math.log(1e6), 16.0]
DISPERSIONS = [
    1e-6,
    1e-2,
    1.0,
    7.3,
    60.0,
]  # scipy's own densities lose digits where p = r/(r + μ) is near 1
SIZED = {"library_size": True, "size": 50}


def grid(dtype):
    log_rate = torch.tensor(LOG_RATES, dtype=F64).to(dtype)
    counts = torch.tensor(COUNTS, dtype=dtype)
    return [part.contiguous() for part in torch.broadcast_tensors(log_rate, counts[:, None])]


def counts_like(*shape, rate=3.0):
    return torch.poisson(torch.full(shape, rate, dtype=F64))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_poisson_density_is_scipys(dtype):
    log_rate, counts = grid(dtype)
    got = Poisson().log_prob(log_rate, counts)
    want = stats.poisson.logpmf(counts.double().numpy(), np.exp(log_rate.double().numpy()))
    assert got.dtype == dtype
    rtol, atol = (1e-5, 1e-3) if dtype == torch.float32 else (1e-8, 1e-8)
    np.testing.assert_allclose(got.double().numpy(), want, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("r", DISPERSIONS)
def test_negative_binomial_density_is_scipys(r, dtype):
    log_rate, counts = grid(dtype)
    got = NegativeBinomial(r).log_prob(log_rate, counts)
    mean = np.exp(log_rate.double().numpy())
    want = stats.nbinom.logpmf(counts.double().numpy(), r, r / (r + mean))
    np.testing.assert_allclose(got.double().numpy(), want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("r", [3e3, 2e5, 1e7, 1e9])
def test_large_counts_near_their_rate_are_exact_in_float32(r):
    log_rate = torch.linspace(9, math.log(1e6), 500, dtype=torch.float32)
    rate = log_rate.double().exp()
    deviations = torch.linspace(-5, 5, 11, dtype=F64)[:, None] * (rate + rate.square() / r).sqrt()
    counts = (rate + deviations).round().clamp(0, 1e6)
    log_rate = log_rate.expand(counts.shape)
    got, want = (
        NegativeBinomial(r).log_prob(log_rate.to(d), counts.to(d)) for d in (log_rate.dtype, F64)
    )
    assert float((got - want).abs().max()) < 1.2e-3


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.parametrize("r", [*DISPERSIONS, 1e3, 1e5])
def test_negative_binomial_density_is_pytorchs_for_any_dispersion(r, dtype):
    log_rate, counts = grid(dtype)
    got = NegativeBinomial(r).log_prob(log_rate, counts)
    want = distributions.NegativeBinomial(r, logits=log_rate.double() - math.log(r)).log_prob(
        counts.double()
    )
    rtol, atol = (1e-5, 1e-3) if dtype == torch.float32 else (1e-8, 1e-7)
    torch.testing.assert_close(got.double(), want, rtol=rtol, atol=atol)


def test_negative_binomial_density_is_pytorchs():
    log_rate, log_r = torch.randn(40, 3, dtype=F64), torch.randn(3, dtype=F64)
    likelihood = NegativeBinomial(shape=(3,)).double()
    with torch.no_grad():
        likelihood.log_inverse_dispersion.copy_(log_r)
    counts = counts_like(40, 3)
    reference = distributions.NegativeBinomial(log_r.exp(), logits=log_rate - log_r)
    torch.testing.assert_close(likelihood.log_prob(log_rate, counts), reference.log_prob(counts))
    torch.testing.assert_close(reference.mean, likelihood.mean(log_rate))
    torch.testing.assert_close(likelihood.inverse_dispersion, log_r.exp())


def test_gradients_of_dispersion_and_output_are_pytorchs():
    log_rate, log_r = (
        torch.randn(40, 3, dtype=F64, requires_grad=True),
        torch.randn(3, dtype=F64, requires_grad=True),
    )
    likelihood, counts = NegativeBinomial(shape=(3,)).double(), counts_like(40, 3, rate=20.0)
    with torch.no_grad():
        likelihood.log_inverse_dispersion.copy_(log_r)
    want = (
        distributions.NegativeBinomial(log_r.exp(), logits=log_rate - log_r).log_prob(counts).sum()
    )
    got = likelihood.log_prob(log_rate, counts).sum()
    for one, other in zip(
        torch.autograd.grad(got, [log_rate, likelihood.log_inverse_dispersion]),
        torch.autograd.grad(want, [log_rate, log_r]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("log_r", [-6.0, 0.0, 2.5, 6.0])
def test_gradients_are_those_of_the_values(log_r):
    counts = torch.tensor([0.0, 1, 2, 5, 16, 40, 300], dtype=F64)
    log_rates = torch.linspace(-4, 9, 27, dtype=F64)[:, None].repeat(1, 7).requires_grad_()
    likelihood = NegativeBinomial(shape=(7,)).double()
    raw = torch.full((7,), log_r, dtype=F64, requires_grad=True)
    torch.autograd.gradcheck(
        lambda rate, own: likelihood._log_mass(rate, counts, own), (log_rates, raw), rtol=1e-4
    )
    torch.autograd.gradcheck(
        lambda rate: Poisson().log_prob(rate, counts.expand_as(rate)), log_rates, rtol=1e-4
    )


@pytest.mark.parametrize("likelihood", [Poisson(), NegativeBinomial(inverse_dispersion=2.5)])
def test_second_derivatives_and_gradients_by_sample(likelihood):
    counts = torch.tensor([[0.0, 1, 2], [3, 0, 40]], dtype=F64)
    output = torch.linspace(-1, 2, 6, dtype=F64).reshape(2, 3).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda own: likelihood.log_prob(own, counts), output)
    each = torch.func.vmap(torch.func.grad(lambda own, x: likelihood.log_prob(own, x).sum()))
    (every,) = torch.autograd.grad(likelihood.log_prob(output, counts).sum(), output)
    torch.testing.assert_close(each(output.detach(), counts), every)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_they_compile_whole(name):
    likelihood = build_likelihood(name, {"library_size": True}, "m", (3,))
    output, counts = torch.randn(4, 3), torch.tensor([0.0, 2, 7]).expand(4, 3)
    score = partial(likelihood.log_prob_of_samples, target=counts, axes=1)
    compiled = torch.compile(score, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(output), score(output))


def test_second_derivatives_where_a_count_is_its_rate():
    log_rate = torch.tensor([0.0, 0.5], dtype=F64).log1p().requires_grad_()
    log_r = torch.tensor([0.3, -1.0], dtype=F64, requires_grad=True)
    counts = torch.ones(2, dtype=F64)
    likelihood = NegativeBinomial(shape=(2,)).double()
    naive = distributions.NegativeBinomial(log_r.exp(), logits=log_rate - log_r).log_prob(counts)
    found = []
    for mass in (likelihood._log_mass(log_rate, counts, log_r), naive):
        slopes = torch.autograd.grad(mass.sum(), (log_rate, log_r), create_graph=True)
        found.append(torch.autograd.grad(sum(s.sum() for s in slopes), (log_rate, log_r)))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_an_infinite_inverse_dispersion_is_poisson(dtype):
    log_rate = torch.linspace(-8, 4, 30, dtype=dtype).expand(3, 30).contiguous()
    counts = torch.tensor([0, 3, 40], dtype=dtype)[:, None].expand(3, 30)
    got = NegativeBinomial(1e9).log_prob(log_rate, counts)
    torch.testing.assert_close(got, Poisson().log_prob(log_rate, counts), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_masses_sum_to_one(name):
    counts = torch.arange(4000, dtype=F64)
    for log_rate in (-9.0, 0.0, 3.0):
        mass = build_likelihood(name, {}, "m", (4000,)).log_prob(
            torch.full_like(counts, log_rate), counts
        )
        assert float(mass.detach().exp().sum()) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("params", [{}, {"library_size": True}])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_extremes_have_finite_values_and_gradients(name, params, dtype):
    outputs = torch.tensor([-1e4, -200.0, -30.0, 0.0, 30.0, 200.0, 1e4], dtype=dtype)
    output, counts = (
        part.clone() for part in torch.broadcast_tensors(outputs, torch.tensor(COUNTS)[:, None])
    )
    output.requires_grad_()
    for extreme in (-1e3, -20.0, 0.0, 20.0, 1e3) if name == "negative_binomial" else (0.0,):
        likelihood = build_likelihood(name, params, "m", (7,)).to(dtype)
        with torch.no_grad():
            for parameter in likelihood.parameters():
                parameter.fill_(extreme)
        value = likelihood.log_prob(output, counts)
        assert value.isfinite().all()
        assert (value <= 1e-3).all()
        for gradient in torch.autograd.grad(value.sum(), [output, *likelihood.parameters()]):
            assert gradient.isfinite().all()


def test_outputs_and_dispersions_beyond_the_limits_can_return():
    output = torch.tensor([500.0], requires_grad=True)
    value = Poisson().log_prob(output, torch.ones(1))
    torch.testing.assert_close(value, Poisson().log_prob(torch.tensor([30.0]), torch.ones(1)))
    value.sum().backward()
    assert output.grad < 0
    likelihood = NegativeBinomial("modality")
    with torch.no_grad():
        likelihood.log_inverse_dispersion.fill_(-50)
    assert float(likelihood.inverse_dispersion) == pytest.approx(1e-6)
    likelihood.log_prob(torch.zeros(1, 4), torch.tensor([[0, 1, 1, 2]])).sum().backward()
    assert likelihood.log_inverse_dispersion.grad > 0


@pytest.mark.parametrize("shape", [(5,), (2, 3)])
def test_library_size_shares_a_samples_total(shape):
    torch.manual_seed(0)
    output, counts = torch.randn(2, 4, *shape, dtype=F64), counts_like(2, 4, *shape)
    rate = counts.flatten(2).sum(-1, keepdim=True) * output.flatten(2).softmax(-1)
    likelihood = Poisson(library_size=True, size=50, shape=shape)
    want = distributions.Poisson(rate.reshape(counts.shape)).log_prob(counts)
    torch.testing.assert_close(likelihood.log_prob(output, counts), want)
    torch.testing.assert_close(
        likelihood.mean(output).flatten(2), 50 * output.flatten(2).softmax(-1)
    )
    r = torch.linspace(0.3, 4, math.prod(shape), dtype=F64).reshape(shape)
    likelihood = NegativeBinomial(library_size=True, shape=shape).double()
    with torch.no_grad():
        likelihood.log_inverse_dispersion.copy_(r.log())
    want = distributions.NegativeBinomial(
        r, logits=rate.reshape(counts.shape).log() - r.log()
    ).log_prob(counts)
    torch.testing.assert_close(likelihood.log_prob(output, counts), want)
    assert likelihood.mean(output).flatten(2).sum(-1) == pytest.approx(1e4)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_a_sample_without_counts_is_certain_given_its_total(name):
    likelihood = build_likelihood(name, {"library_size": True}, "m", (3,))
    output = torch.tensor([[0.0, 5.0, -math.inf]], requires_grad=True)
    value = likelihood.log_prob(output, torch.zeros(1, 3))
    assert torch.equal(value, torch.zeros(1, 3))
    assert torch.autograd.grad(value.sum(), output)[0].isfinite().all()


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("params", [{}, SIZED])
def test_samples_have_the_mean_and_the_variance(name, params):
    torch.manual_seed(0)
    n, likelihood = 40_000, build_likelihood(name, params, "m", (4,))
    output = torch.tensor([-2.0, 0.0, 1.0, 2.0])
    r = torch.full((4,), math.inf)
    if name == "negative_binomial":
        r = torch.tensor([0.4, 1.0, 3.0, 30.0])
        with torch.no_grad():
            likelihood.log_inverse_dispersion.copy_(r.log())
    sample = likelihood.sample(output.expand(n, 4)).double()
    mean = likelihood.mean(output).double()
    variance = mean + mean.square() / r
    assert torch.equal(sample, sample.round())
    assert ((sample.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    squares = (sample - mean).square()
    assert ((squares.mean(0) - variance).abs() < 5 * squares.std(0) / n**0.5).all()
    # E[-log p] over samples is the entropy: what is drawn is what is scored.
    if not params:
        grid = torch.arange(2000.0, dtype=F64)[:, None].expand(-1, 4)
        log_mass = likelihood.double().log_prob(output.double().expand(2000, 4), grid)
        scored = likelihood.log_prob(output.double().expand(n, 4), sample)
        entropy = -(log_mass.exp() * log_mass).sum(0)
        assert ((-scored.mean(0) - entropy).abs() < 5 * scored.std(0) / n**0.5).all()


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_samples_repeat_with_a_generator(name):
    likelihood, output = build_likelihood(name, {}, "m", (4,)), torch.randn(20, 4)
    first, second, third = (
        likelihood.sample(output, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("params", [{}, SIZED])
@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("axes", [1, 2])
def test_sums_over_samples_and_repeated_targets(name, params, axes):
    likelihood = build_likelihood(name, params, "m", (5,)).double()
    output, counts = torch.randn(2, 3, 5, dtype=F64), counts_like(3, 5)
    target = counts.expand(2, 3, 5)  # as a model repeats a target for its draws, without a copy
    whole = likelihood.log_prob(output, target.clone())
    assert torch.equal(whole, likelihood.log_prob(output, target))
    summed = likelihood.log_prob_of_samples(output, target, axes)
    torch.testing.assert_close(summed, whole.flatten(axes).sum(-1))


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_dtypes_and_shapes(name):
    likelihood, counts = build_likelihood(name, {}, "m", (4,)), torch.tensor([[0, 1, 2, 30]])
    want = likelihood.log_prob(torch.ones(1, 4), counts.float())
    for dtype in (torch.uint8, torch.int64, torch.float64):
        torch.testing.assert_close(likelihood.log_prob(torch.ones(1, 4), counts.to(dtype)), want)
    half = torch.ones(1, 4, dtype=torch.float16)
    assert likelihood.log_prob(half, counts.half()).dtype == torch.float32
    assert likelihood.mean(half).dtype == likelihood.sample(half).dtype == torch.float32
    with pytest.raises(ValueError, match=r"target of shape \(4,\).*\(1, 4\)"):
        likelihood.log_prob(torch.ones(1, 4), counts[0])


def test_dispersion_is_learned():
    torch.manual_seed(0)
    likelihood = NegativeBinomial(shape=(2,))
    truth = torch.tensor([0.5, 5.0])
    counts = distributions.NegativeBinomial(truth, logits=math.log(20.0) - truth.log()).sample(
        (4000,)
    )
    optimiser = torch.optim.Adam(likelihood.parameters(), lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        (-likelihood.log_prob(torch.full((4000, 2), math.log(20.0)), counts).mean()).backward()
        optimiser.step()
    torch.testing.assert_close(likelihood.inverse_dispersion, truth, rtol=0.1, atol=0)


@pytest.mark.parametrize("bad", [-1.0, 0.5, 1e9 + 0.5, math.nan, math.inf])
@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_other_values_than_counts_are_refused(name, bad):
    likelihood = build_likelihood(name, {}, "rna", (3,))
    for good in (torch.tensor([[0, 3, 2**24]]), torch.tensor([[0.0, 3.0, 1e6]]), torch.zeros(0, 3)):
        likelihood.check(good, "rna", (3,))
    with pytest.raises(ValueError, match=r"'rna'.*integers of at least 0; got .* and 0 other"):
        likelihood.check(torch.tensor([[0.0, 1.0, bad]], dtype=F64), "rna", (3,))
    with pytest.raises(ValueError, match=r"'rna'.*\(2,\), expected \(3,\)"):
        likelihood.check(torch.zeros(1, 2), "rna", (3,))


@pytest.mark.parametrize(
    ("name", "params", "shape", "message"),
    [
        ("poisson", {"library_size": 1}, (3,), "library_size must be True or False; got 1"),
        ("poisson", {"size": 10}, (3,), "library_size is False"),
        ("poisson", {"library_size": True, "size": 0}, (3,), "size must be a positive"),
        ("poisson", {"library_size": True, "size": True}, (3,), "size must be a positive"),
        ("poisson", {"library_size": True}, (1,), r"two values a sample; got the shape \(1,\)"),
        (
            "poisson",
            {"inverse_dispersion": 1},
            (3,),
            r"\['inverse_dispersion'\]; allowed: 'library_size', 'size'",
        ),
        ("negative_binomial", {}, None, "'feature' needs .*input_dims"),
        (
            "negative_binomial",
            {"inverse_dispersion": "cell"},
            (3,),
            "inverse_dispersion must be .*'cell'",
        ),
        ("negative_binomial", {"inverse_dispersion": -1}, (3,), "inverse_dispersion must be .*-1"),
        (
            "negative_binomial",
            {"inverse_dispersion": 9e-7},
            (3,),
            r"a number from 1e-06 to 1e\+09; got 9e-07",
        ),
        (
            "negative_binomial",
            {"inverse_dispersion": 1e10},
            (3,),
            "a number from .*; got 10000000000",
        ),
        (
            "negative_binomial",
            {"inverse_dispersion": torch.ones(3)},
            (3,),
            "inverse_dispersion must be .*tensor",
        ),
    ],
)
def test_bad_options_are_refused(name, params, shape, message):
    with pytest.raises(ValueError, match=f"'rna'.*{name}.*{message}"):
        build_likelihood(name, params, "rna", shape)


def test_counts_tell_the_encoder_what_they_are():
    assert build_likelihood("normal", {}, "m", (3,)).counts == []
    assert Poisson(shape=(2, 3)).counts == [CountBlock(0, 6, None)]
    assert NegativeBinomial(library_size=True, size=70, shape=(4,)).counts == [
        CountBlock(0, 4, 70.0)
    ]
    with pytest.raises(ValueError, match="without the modality's shape"):
        _ = Poisson().counts


def test_dispersion_by_modality_and_fixed():
    assert {n: p.shape for n, p in NegativeBinomial("modality").named_parameters()} == {
        "log_inverse_dispersion": ()
    }
    assert not list(NegativeBinomial(3).parameters())
    assert NegativeBinomial(shape=(2, 3)).log_inverse_dispersion.shape == (2, 3)


@pytest.mark.parametrize("kind", [Poisson, NegativeBinomial])
def test_means_are_the_rates_at_zero(kind):
    means = [0.01, 3.0, 5e7]
    own, plain = kind(means=means, shape=(3,)), kind(shape=(3,))
    output = torch.randn(4, 2, 3)
    counts = torch.tensor([0.0, 4.0, 4.9e7]).expand(4, 2, 3)
    shifted = output + torch.tensor(means).log()
    torch.testing.assert_close(own.log_prob(output, counts), plain.log_prob(shifted, counts))
    torch.testing.assert_close(own.mean(torch.zeros(3)), torch.tensor(means))
    drawn = own.sample(torch.zeros(2000, 3), torch.Generator().manual_seed(0)).mean(0)
    torch.testing.assert_close(drawn[1:], torch.tensor(means)[1:], rtol=0.1, atol=0)
    assert own.counts == [CountBlock(0, 3, None, tuple(means))]
    assert own.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"means": [1.0]}, "means must be 2"),
        ({"means": [1.0, 0.0]}, "means must be a list of positive"),
        ({"means": 3.0}, "means must be a list of positive"),
        ({"means": [1.0, 2.0], "library_size": True}, "library_size is True"),
    ],
)
def test_odd_means_are_refused(params, message):
    with pytest.raises(ValueError, match=message):
        Poisson.build(params, (2,))
