"""What decoders leave of real numbers, as a few factors that columns share: for imputation."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

MOST_FACTORS = 64
SAMPLES_EACH = 8  # so many samples for each factor
MOST_ENTRIES = 2**24  # of a matrix of factors by factors for each column
ROUNDS = 8
SHRINKAGE = 1e-2  # of loadings, in samples for each sample
LEAST_NOISE = 1e-3  # as a share of a column's mean square


def number_of_factors(n_samples: int, n_columns: int) -> int:
    """Return how many factors so much data can show; 0: none."""
    room = math.isqrt(MOST_ENTRIES // max(1, n_columns))
    return min(MOST_FACTORS, n_samples // SAMPLES_EACH, n_columns // 2, room)


class _Posterior(NamedTuple):
    """Of the factors of n samples: means (n, r) and second moments (n, r · r)."""

    mean: Tensor
    moments: Tensor


class ResidualFactors(nn.Module):
    r"""Factor analysis of residuals: e = L u + ε, u ~ N(0, I), ε_j ~ N(0, ψ_j).

    A decoder has a few latents for each modality, and what it leaves of one column often tells what
    it leaves of another. Missing cells add nothing: the posterior of u is that given the cells that
    are there (Rubin and Thayer, "EM algorithms for ML factor analysis", Psychometrika 1982).

    Args:
        n_columns: D, the number of columns.
        n_factors: r, the number of factors.

    Attributes:
        loadings: L, (D, r); 0 until :meth:`fit`.
        noise: ψ, (D,).
    """

    loadings: Tensor
    noise: Tensor

    def __init__(self, n_columns: int, n_factors: int) -> None:
        super().__init__()
        self.register_buffer("loadings", torch.zeros(n_columns, n_factors))
        self.register_buffer("noise", torch.ones(n_columns))

    def forward(self, residuals: Tensor, there: Tensor) -> Tensor:
        """Return E[L u] given residuals (n, D) of the cells that are ``there``, boolean: (n, D)."""
        loadings, noise = self.loadings.double(), self.noise.double()
        kept = torch.where(there, residuals.double(), 0.0)
        found = _posterior(kept, there.double(), loadings, noise)
        return (found.mean @ loadings.T).to(residuals.dtype)

    @torch.no_grad()
    def fit(self, residuals: Tensor, there: Tensor) -> None:
        """Learn from residuals (n, D), of which the cells ``there``, boolean, count, by EM."""
        kept, weight = torch.where(there, residuals.double(), 0.0), there.double()
        number = weight.sum(0).clamp_min(1)
        squares = kept.square().sum(0)
        power = squares / number + 1e-6
        _, values, axes = torch.linalg.svd(kept / power.sqrt(), full_matrices=False)
        rank = self.loadings.shape[1]
        excess = values[:rank].square() / len(kept) / weight.mean().square() - 1
        loadings = torch.zeros_like(self.loadings, dtype=kept.dtype)
        loadings[:, : len(excess)] = axes[:rank].T * excess.clamp_min(0.05).sqrt()
        loadings = loadings * power.sqrt().unsqueeze(1)
        noise = (power - loadings.square().sum(1)).maximum(0.1 * power)
        ridge = SHRINKAGE * len(kept) * torch.eye(rank, dtype=kept.dtype, device=kept.device)
        for _ in range(ROUNDS):
            found = _posterior(kept, weight, loadings, noise)
            second = (weight.T @ found.moments).unflatten(1, (rank, rank))
            first = kept.T @ found.mean
            loadings = torch.linalg.solve(second + ridge, first)
            explained = 2 * (first * loadings).sum(1)
            explained = explained - torch.einsum("dij,di,dj->d", second, loadings, loadings)
            noise = ((squares - explained) / number).maximum(LEAST_NOISE * power)
        self.loadings.copy_(loadings)
        self.noise.copy_(noise)


def _posterior(kept: Tensor, weight: Tensor, loadings: Tensor, noise: Tensor) -> _Posterior:
    """Return the posterior of the factors of residuals (n, D), 0 where ``weight`` is 0, else 1."""
    rank = loadings.shape[1]
    scaled = loadings / noise.unsqueeze(1)
    products = (scaled.unsqueeze(2) * loadings.unsqueeze(1)).flatten(1)
    precision = (weight @ products).unflatten(1, (rank, rank))
    covariance = torch.linalg.inv(precision + torch.eye(rank, dtype=kept.dtype).to(kept.device))
    mean = (covariance @ (kept @ scaled).unsqueeze(2)).squeeze(2)
    second = covariance + mean.unsqueeze(2) * mean.unsqueeze(1)
    return _Posterior(mean, second.flatten(1))
