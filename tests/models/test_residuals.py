import pytest
import torch

from cmvae.models.residuals import ResidualFactors, number_of_factors

pytestmark = pytest.mark.usefixtures("float64")


def drawn(n=4000, missing=0.0):
    """Return residuals of two factors, which are there, and their loadings and noise."""
    torch.manual_seed(0)
    loadings, noise = torch.randn(6, 2), torch.linspace(0.1, 1.0, 6)
    residuals = torch.randn(n, 2) @ loadings.T + noise.sqrt() * torch.randn(n, 6)
    return residuals, torch.rand(n, 6) >= missing, loadings, noise


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_cells_are_told_almost_as_well_as_by_the_true_loadings(missing):
    residuals, there, loadings, noise = drawn(missing=missing)
    factors, true = ResidualFactors(6, 2), ResidualFactors(6, 2)
    assert bool((factors(residuals, there) == 0).all())  # nothing is learned yet
    factors.fit(torch.where(there, residuals, torch.nan), there)
    true.loadings.copy_(loadings)
    true.noise.copy_(noise)
    seen = torch.rand(4000, 6) > 0.4
    errors, least = (
        (own(residuals, seen) - residuals)[~seen].square().mean() for own in (factors, true)
    )
    assert errors < 1.02 * least


def test_what_is_expected_is_the_conditional_mean():
    residuals, there, loadings, noise = drawn(n=8, missing=0.4)
    factors = ResidualFactors(6, 2)
    factors.loadings.copy_(loadings)
    factors.noise.copy_(noise)
    got = factors(torch.where(there, residuals, torch.nan), there)
    common = loadings @ loadings.T
    for row, seen, expected in zip(residuals, there, got, strict=True):
        covariance = (common + noise.diag())[seen][:, seen]
        mean = common[:, seen] @ torch.linalg.solve(covariance, row[seen])
        torch.testing.assert_close(expected, mean)


def test_there_are_as_many_factors_as_data_can_show_and_memory_can_hold():
    assert number_of_factors(2000, 649) == 64
    assert number_of_factors(80, 649) == 10
    assert number_of_factors(2000, 7) == 3
    assert number_of_factors(2000, 1) == 0
    assert number_of_factors(100_000, 20_000) ** 2 * 20_000 <= 2**24


def test_fewer_samples_than_factors_will_do():
    residuals, there, _, _ = drawn(n=3)
    factors = ResidualFactors(6, 5)
    factors.fit(residuals, there)
    assert bool(factors.loadings.isfinite().all() & (factors.noise > 0).all())
