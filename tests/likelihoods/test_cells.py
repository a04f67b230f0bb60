"""Log-probabilities of samples of which cells are missing."""

import pytest
import torch

from cmvae.likelihoods import Mixed, Poisson, build_likelihood

N, D = 7, 4


def drawn(kind):
    torch.manual_seed(0)
    target = torch.rand(N, D).round() if kind == "bernoulli" else torch.randint(0, 9, (N, D))
    return torch.randn(N, D), target.float(), torch.rand(N, D) > 0.4


@pytest.mark.parametrize("kind", ["normal", "laplace", "bernoulli", "poisson", "negative_binomial"])
def test_only_cells_that_are_there_count(kind):
    likelihood = build_likelihood(kind, {}, "a", (D,))
    output, target, cells = drawn(kind)
    got = likelihood.log_prob_of_samples(output, target, 1, cells)
    each = likelihood.log_prob(output, target)
    expected = torch.stack([row[seen].sum() for row, seen in zip(each, cells, strict=True)])
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("kind", ["normal", "bernoulli", "poisson"])
@pytest.mark.parametrize("lacking", [True, False])
def test_rows_of_data_are_scored_with_their_cells(kind, lacking):
    likelihood, rows = build_likelihood(kind, {}, "a", (D,)), torch.tensor([6, 0, 6])
    _, data, cells = drawn(kind)
    output = torch.randn(3, 2, D)
    there = (cells,) if lacking else ()
    got = likelihood.log_prob_of_rows(output, data, rows, *there)
    repeated = [own[rows].unsqueeze(1).expand(-1, 2, -1) for own in (data, *there)]
    torch.testing.assert_close(
        got, likelihood.log_prob_of_samples(output, repeated[0], 2, *repeated[1:])
    )


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
def test_shares_of_counts_are_among_those_that_are_there(kind):
    """As for a sample that never had the other columns, with a total of what is there."""
    likelihood = build_likelihood(
        kind, {"library_size": True} | ({"inverse_dispersion": 2.0} if kind[0] == "n" else {}),
        "a", (D,),
    )  # fmt: skip
    output, target, cells = drawn(kind)
    cells[0] = False
    output.requires_grad_()
    got = likelihood.log_prob_of_samples(output, target, 1, cells)
    assert got[0] == 0
    for row in range(1, N):
        seen = cells[row]
        if seen.sum() > 1:
            params = {"library_size": True} | (
                {"inverse_dispersion": 2.0} if kind[0] == "n" else {}
            )
            own = build_likelihood(kind, params, "a", (int(seen.sum()),))
            expected = own.log_prob(output[row, seen][None], target[row, seen][None]).sum()
            torch.testing.assert_close(got[row], expected)
    got.sum().backward()
    assert bool(output.grad.isfinite().all())
    assert bool((output.grad[~cells] == 0).all())


def test_a_category_is_one_cell_of_a_mixed_table():
    table = Mixed([["normal", 1], ["categorical", [3]]])
    output = torch.randn(2, 4)
    target = torch.tensor([[0.5, 0, 1, 0], [1.0, 0, 0, 0]])
    cells = torch.tensor([[True] * 4, [True, False, False, False]])
    got = table.log_prob_of_samples(output, target, 1, cells)
    each = table.log_prob(output, target)
    torch.testing.assert_close(got, torch.stack([each[0].sum(), each[1, 0]]))
    table.check(target, "a", None, cells)
    with pytest.raises(ValueError, match="must be nonnegative and sum to 1"):
        table.check(target, "a")


def test_what_an_encoder_sees_in_place_of_a_missing_cell():
    columns = [["normal", 1], ["bernoulli", 1], ["poisson", 2, {"means": [3, 0.5]}]]
    filling = Mixed([*columns, ["categorical", [2]]]).filling
    torch.testing.assert_close(filling, torch.tensor([0, 0.5, 3, 0.5, 0, 0]))
    assert Poisson(library_size=True, shape=(3,)).filling == 0
