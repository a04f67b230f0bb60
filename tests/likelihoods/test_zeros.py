import math

import pytest
import torch

from cmvae.likelihoods import build_likelihood
from cmvae.likelihoods.zeros import rare_counts

F64 = torch.float64
ROWS, D = 70, 16384  # more than a block of rows, and values enough for the fast path
LIKELIHOODS = [
    ("poisson", {"library_size": True}),
    ("poisson", {"means": [0.01] * D}),
    ("negative_binomial", {"library_size": True}),
    ("negative_binomial", {"inverse_dispersion": "modality", "library_size": True}),
    ("negative_binomial", {"inverse_dispersion": 2.0, "means": [0.02] * D}),
]


def rare(*shape, seed=0, most=3000):
    """Return counts of which one in a hundred is above zero."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.rand(shape, generator=generator) < 0.01
    return chosen * torch.randint(1, most, shape, generator=generator).double()


def sums_and_gradients(likelihood, output, target, score, weight):
    output = output.clone().requires_grad_()
    sums = score(likelihood, output, target)
    inputs = [output, *likelihood.parameters()]
    return [sums, *torch.autograd.grad((sums * weight).sum(), inputs)]


def plain(likelihood, output, target):
    return likelihood.log_prob(output, target).flatten(output.dim() - 1).sum(-1)


def fast(likelihood, output, target):
    likelihood.log_prob = None  # all values at once are not asked for
    try:
        return likelihood.log_prob_of_samples(output, target, output.dim() - 1)
    finally:
        del likelihood.log_prob


@pytest.mark.parametrize(("name", "params"), LIKELIHOODS)
def test_sums_and_gradients_are_those_of_all_values(name, params):
    torch.manual_seed(0)
    likelihood = build_likelihood(name, params, "m", (D,)).double()
    for parameter in likelihood.parameters():
        torch.nn.init.normal_(parameter)
    output, target, weight = torch.randn(ROWS, D, dtype=F64), rare(ROWS, D), torch.randn(ROWS)
    target[3] = 0
    every = [
        sums_and_gradients(likelihood, output, target, score, weight) for score in (fast, plain)
    ]
    for one, other in zip(*every, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("name", "params"), [LIKELIHOODS[0], LIKELIHOODS[2]])
def test_single_precision_and_draws_of_the_same_sample(name, params):
    torch.manual_seed(0)
    likelihood, target = build_likelihood(name, params, "m", (2, D // 2)), rare(20, D, most=9)
    repeated = target.reshape(1, 20, 1, 2, D // 2).expand(2, -1, 3, -1, -1)
    output, weight = torch.randn(2, 20, 3, 2, D // 2), torch.rand(2, 20, 3)
    output.requires_grad_()
    got = likelihood.log_prob_of_samples(output, repeated, 3)
    want = likelihood.log_prob(output, repeated).sum((-1, -2))
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    inputs = [output, *likelihood.parameters()]
    for one, other in zip(
        *(torch.autograd.grad((sums * weight).sum(), inputs) for sums in (got, want)), strict=True
    ):
        assert float((one - other).abs().max()) <= 1e-5 * float(other.abs().max())


@pytest.mark.parametrize(("name", "params"), LIKELIHOODS)
def test_extremes_have_finite_values_and_gradients(name, params):
    output = torch.tensor([-1e4, -200.0, 0.0, 30.0, 200.0, 1e4]).repeat(ROWS, D // 6 + 1)[:, :D]
    for extreme in (-1e3, 20.0, 1e3):
        likelihood = build_likelihood(name, params, "m", (D,))
        for parameter in likelihood.parameters():
            torch.nn.init.constant_(parameter, extreme)
        target = rare(ROWS, D).float()
        for found in sums_and_gradients(likelihood, output, target, fast, torch.ones(ROWS)):
            assert found.isfinite().all()


@pytest.mark.parametrize(("name", "params"), LIKELIHOODS)
def test_a_batch_without_any_count(name, params):
    likelihood = build_likelihood(name, params, "m", (D,))
    output, target, weight = torch.randn(ROWS, D), torch.zeros(ROWS, D), torch.ones(ROWS)
    every = [
        sums_and_gradients(likelihood, output, target, score, weight) for score in (fast, plain)
    ]
    for one, other in zip(*every, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    if "library_size" in params:
        assert all(bool((found == 0).all()) for found in every[0])


@pytest.mark.parametrize(("name", "params"), LIKELIHOODS)
def test_rows_of_rare_counts_are_scored_as_if_they_were_gathered(name, params):
    torch.manual_seed(0)
    likelihood, data = build_likelihood(name, params, "m", (D,)).double(), rare(ROWS, D)
    rows = torch.tensor([5, 69, 5, 0]).repeat(9)
    output, weight = torch.randn(36, 2, D, dtype=F64, requires_grad=True), torch.randn(36, 2)
    inputs = [output, *likelihood.parameters()]
    want = plain(likelihood, output, data[rows].unsqueeze(1).expand(-1, 2, -1))
    data[[7, 8, 9, *range(20, 60)]] = math.nan  # of samples that lack the modality
    likelihood.log_prob = None
    got = likelihood.log_prob_of_rows(output, data, rows)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    for one, other in zip(
        *(torch.autograd.grad((sums * weight).sum(), inputs) for sums in (got, want)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_only_many_values_that_are_mostly_zero_are_summed_so():
    every = torch.arange(ROWS)
    assert rare_counts(rare(ROWS, D), every) is not None
    assert rare_counts(rare(ROWS, D), every[:60]) is None
    assert rare_counts(rare(ROWS, D) + 1, every) is None


def test_rows_that_are_not_asked_for_decide_nothing():
    sparse, dense = rare(ROWS, D), rare(ROWS, D) + 1
    rows = torch.arange(5).repeat(14)
    for filling in (dense, torch.full_like(dense, math.nan)):
        assert rare_counts(torch.cat([sparse[:5], filling]), rows) is not None
    assert rare_counts(torch.cat([dense[:5], 0 * dense]), rows) is None


def test_rare_counts_are_found_row_by_row():
    target = rare(8, 2, D)
    found = rare_counts(target, torch.arange(8).repeat_interleave(9))
    dense = torch.zeros(72, 2 * D, dtype=F64)
    dense[found.rows, found.columns] = found.counts
    assert found.bounds[-1] == 9 * target.count_nonzero()
    assert torch.equal(dense.reshape(8, 9, 2 * D)[:, 4], target.reshape(8, 2 * D))


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_mixed_precision_sums_in_single_precision(half):
    likelihood = build_likelihood("negative_binomial", {"library_size": True}, "m", (D,))
    torch.nn.init.constant_(likelihood.log_inverse_dispersion, 14.0)
    torch.manual_seed(0)
    output, target = torch.randn(ROWS, D), rare(ROWS, D, most=9).float()
    weight = torch.ones(ROWS)
    plainly = sums_and_gradients(likelihood, output, target, fast, weight)
    with torch.autocast("cpu", half):
        mixed = sums_and_gradients(likelihood, output, target, fast, weight)
    for one, other in zip(mixed, plainly, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_dispersion_alone_may_learn_and_outputs_may_lie_column_by_column():
    likelihood = build_likelihood("negative_binomial", {"library_size": True}, "m", (D,))
    target, output = rare(ROWS, D), torch.randn(D, ROWS).T
    likelihood.log_prob = None
    (alone,) = torch.autograd.grad(
        likelihood.log_prob_of_samples(output, target, 1).sum(), likelihood.parameters()
    )
    learned = output.contiguous().requires_grad_()
    both = likelihood.log_prob_of_samples(learned, target, 1).sum()
    torch.testing.assert_close(alone, torch.autograd.grad(both, likelihood.parameters())[0])


def test_targets_may_repeat_along_any_axis():
    likelihood = build_likelihood("poisson", {}, "m", (2, D)).double()
    output, once = torch.randn(ROWS, 2, D, dtype=F64), rare(ROWS, 1, D)
    got = likelihood.log_prob_of_samples(output, once.expand(-1, 2, -1), 1)
    want = likelihood.log_prob(output, once.expand(-1, 2, -1)).sum((1, 2))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
    whole = likelihood.log_prob_of_samples(output[0], once[0].expand(2, -1), 0)
    torch.testing.assert_close(whole, want[0], rtol=1e-9, atol=1e-9)
    wide = build_likelihood("poisson", {}, "m", (64 * D,)).double()
    values = wide.log_prob_of_samples(output[:32].reshape(-1), rare(64 * D), 0)
    torch.testing.assert_close(values, wide.log_prob(output[:32].reshape(-1), rare(64 * D)).sum())


def test_reconstructions_of_another_width_are_refused():
    likelihood = build_likelihood("poisson", {}, "m", (D,))
    with pytest.raises(ValueError, match="for a reconstruction"):
        likelihood.log_prob_of_rows(torch.zeros(ROWS, 1, D + 7), rare(ROWS, D), torch.arange(ROWS))


@pytest.mark.parametrize("bad", [-1.0, 0.5, math.inf, math.nan])
def test_odd_values_among_many_are_refused(bad):
    likelihood, target = build_likelihood("poisson", {}, "m", (D,)), rare(ROWS, D)
    likelihood.check(target, "m")
    target[65, 7] = target[2, 8] = bad
    with pytest.raises(ValueError, match=rf"at least 0; got {bad:.6g} and 1 other values"):
        likelihood.check(target, "m")


def test_second_derivatives_of_rare_counts_are_refused():
    likelihood = build_likelihood("poisson", {"library_size": True}, "m", (D,))
    output = torch.zeros(ROWS, D, requires_grad=True)
    sums = fast(likelihood, output, rare(ROWS, D))
    with pytest.raises(RuntimeError, match="have no second derivatives"):
        torch.autograd.grad(sums.sum(), output, create_graph=True)
