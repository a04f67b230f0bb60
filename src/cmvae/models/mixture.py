"""The mixture prior on the shared latent: p(z) = Σ_c π_c p(z | c)."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmvae.base.words import shown
from cmvae.likelihoods.base import at_least_float32
from cmvae.models.families import Family

LogProb = Callable[..., Tensor]
MOST_ENTRIES = 2**24  # of points × clusters × dimensions held at a time


class MixturePrior(nn.Module):
    r"""Mixture of C clusters with learned weights and centres, of which some may be pruned.

    .. math:: \log p(z) = \log \sum_{c \in A} \pi_c \, p(z \mid c)

    with π the softmax of the logits over A (Palumbo et al., 2024, section 3). Which clusters are
    active, A, is a boolean buffer: a pruned cluster's parameters stay finite, get no gradient, and
    have no weight. p(z | c) is of the latent family, its covariance ``'identity'``: scale 1;
    ``'diagonal'``: a learned scale per cluster and dimension; ``'full'`` (Normal families): held as
    the Cholesky factor P of the precision, Σ_c⁻¹ = P_c P_cᵀ, with the logarithm of its diagonal.
    """

    active: Tensor

    def __init__(self, n_clusters: int, latent_dim: int, family: Family, covariance: str) -> None:
        super().__init__()
        self.family = family
        self.covariance = covariance
        self.logits = nn.Parameter(torch.zeros(n_clusters))
        self.centers = nn.Parameter(torch.empty(n_clusters, latent_dim).uniform_(-1, 1))
        self.register_buffer("active", torch.ones(n_clusters, dtype=torch.bool))
        if covariance == "diagonal":
            self.log_scales = nn.Parameter(torch.zeros(n_clusters, latent_dim))
        elif covariance == "full":
            self.precision_factors = nn.Parameter(torch.zeros(n_clusters, latent_dim, latent_dim))

    @property
    def log_weights(self) -> Tensor:
        """Log π, (C,), −inf at pruned clusters."""
        return self.masked_logits.log_softmax(-1)

    @property
    def masked_logits(self) -> Tensor:
        """The logits, (C,), with −inf at pruned clusters."""
        return self.logits.masked_fill(~self.active, -math.inf)

    def log_prob_clusters(self, z: Tensor) -> Tensor:
        """Return log p(z | c), (*, C), for every cluster, active or not, of z (*, d).

        Computed in the dtype of z, at least float32, under autocast too.
        """
        z = at_least_float32(z)
        with torch.autocast(z.device.type, enabled=False):
            points, centers = z.reshape(-1, z.shape[-1]), self.centers
            if self.covariance == "full":
                log_prob = self._by_clusters(points, self._log_prob_full, centers, *self._factors())
            elif self.family.is_normal:
                log_prob = self._log_prob_normal(points)
            elif self.covariance == "diagonal":
                how = self._log_prob_scaled
                log_prob = self._by_clusters(points, how, centers, self.log_scales)
            else:
                distances = torch.cdist(points, centers.to(z.dtype), p=1.0)
                log_prob = -distances - z.shape[-1] * math.log(2)
        return log_prob.reshape(*z.shape[:-1], len(centers))

    def _log_prob_normal(self, points: Tensor) -> Tensor:
        """Return Normal log-densities with diagonal Σ_c, (N, C), by matrix products alone.

        (z − μ)² / σ² is written out, so nothing of N × C × d is made. The terms are far larger than
        their sum where clusters are narrow: hence float64, and an origin amid the clusters.
        """
        dtype, fine = points.dtype, torch.float32 if points.device.type == "mps" else torch.float64
        centers = self.centers.to(fine)
        origin = centers.detach().mean(0)
        points, centers = points.to(fine) - origin, centers - origin
        constant = centers.new_full((), points.shape[-1] * math.log(2 * math.pi))
        if self.covariance == "identity":
            squares = points.square().sum(-1, keepdim=True) + centers.square().sum(-1)
            distances = torch.addmm(squares, points, centers.mT, alpha=-2)
        else:
            log_scales = self.log_scales.to(fine)
            precisions = (-2 * log_scales).exp()
            linear = torch.cat([precisions, -2 * precisions * centers], -1)
            constant = constant + 2 * log_scales.sum(-1)
            distances = torch.cat([points.square(), points], -1) @ linear.mT
            distances = distances + (precisions * centers.square()).sum(-1)
        return (-0.5 * (distances + constant)).to(dtype)

    def _by_clusters(self, points: Tensor, log_prob: LogProb, *parameters: Tensor) -> Tensor:
        """Return log-densities (N, C) of a form that needs (N, C, d), by blocks of clusters.

        Several are computed again on the way back, so that no two are held.
        """
        entries = points.numel()
        parameters = tuple(tensor.to(points.dtype) for tensor in parameters)
        # Exporters have a symbol, which is not to be compared.
        block = max(1, MOST_ENTRIES // max(1, entries)) if isinstance(entries, int) else None
        if block is None or block >= len(parameters[0]):
            return log_prob(points, *parameters)
        blocks = zip(*(tensor.split(block) for tensor in parameters), strict=True)
        again = functools.partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
        return torch.cat([again(log_prob, points, *part) for part in blocks], -1)

    def _log_prob_scaled(self, points: Tensor, centers: Tensor, log_scales: Tensor) -> Tensor:
        return self.family.log_prob(points.unsqueeze(-2), centers, log_scales.exp())

    def _log_prob_full(
        self, points: Tensor, centers: Tensor, factors: Tensor, log_diagonal: Tensor
    ) -> Tensor:
        clusters, dim, _ = factors.shape
        whitened = points @ factors.permute(1, 0, 2).reshape(dim, clusters * dim)
        origins = (centers.unsqueeze(-2) @ factors).squeeze(-2)
        whitened = whitened.unflatten(-1, (clusters, dim)) - origins
        distances = whitened.square().sum(-1) + dim * math.log(2 * math.pi)
        return -0.5 * distances + log_diagonal.sum(-1)

    def _factors(self) -> tuple[Tensor, Tensor]:
        """Return P (C, d, d), lower triangular, and the logarithm of its diagonal (C, d)."""
        # Every d + 1-th number; ONNX knows no diagonals.
        log_diagonal = self.precision_factors.flatten(-2)[:, :: self.centers.shape[-1] + 1]
        return self.precision_factors.tril(-1) + torch.diag_embed(log_diagonal.exp()), log_diagonal

    def log_joint(self, z: Tensor) -> Tensor:
        """Return log π_c + log p(z | c), (*, C), −inf at pruned clusters."""
        return self.log_prob_clusters(z) + self.log_weights

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z), (*), of z (*, d)."""
        return self.log_joint(z).logsumexp(-1)

    def posterior(self, z: Tensor) -> Tensor:
        """Return p(c | z), (*, C), of z (*, d): zero at pruned clusters, summing to 1."""
        return self.log_joint(z).softmax(-1)

    def sample(self, clusters: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw z ~ p(z | c), (n, d), for cluster indices (n,)."""
        centers = self.centers[clusters]
        noise = self.family.noise(tuple(centers.shape), centers, generator)
        if self.covariance == "full":
            # z − μ = P⁻ᵀ ε has covariance (P Pᵀ)⁻¹.
            factors, columns = self._factors()[0][clusters].mT, noise.unsqueeze(-1)
            noise = torch.linalg.solve_triangular(factors, columns, upper=True).squeeze(-1)
        elif self.covariance == "diagonal":
            noise = noise * self.log_scales[clusters].exp()
        return centers + noise

    @torch.no_grad()
    def set_components(
        self, weights: Tensor, centers: Tensor, covariances: Tensor | None = None
    ) -> None:
        """Set all clusters active, with weights (C,) that sum to 1, and centres (C, d).

        Of the covariances (C, d, d), None for scale 1, what the mixture's form can hold is used.
        """
        self.active.fill_(True)
        self.logits.copy_(weights.log())
        self.centers.copy_(centers)
        if covariances is None:
            unit = self.unit_variance * torch.eye(centers.shape[-1]).to(centers)
            covariances = unit.expand(len(centers), -1, -1)
        if self.covariance == "diagonal":
            variances = covariances.diagonal(dim1=-2, dim2=-1) / self.unit_variance
            self.log_scales.copy_(variances.log() / 2)
        elif self.covariance == "full":
            factors = torch.linalg.cholesky(torch.linalg.inv(covariances))
            log_diagonal = factors.diagonal(dim1=-2, dim2=-1).log()
            self.precision_factors.copy_(factors.tril(-1) + torch.diag_embed(log_diagonal))

    @torch.no_grad()
    def set_centers(self, centers: Any) -> None:
        """Overwrite the centres by finite numbers, (C, d); others are refused."""
        own, wanted = self.centers, f"cluster_centers must be finite, {tuple(self.centers.shape)}"
        try:
            centers = torch.as_tensor(centers, dtype=own.dtype, device=own.device)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            raise TypeError(f"{wanted}; got {shown(centers)}") from None
        if centers.shape != own.shape or not bool(centers.isfinite().all()):
            raise ValueError(f"{wanted}; got shape {tuple(centers.shape)}")
        own.copy_(centers)

    @property
    def unit_variance(self) -> float:
        """The variance of the family's member of scale 1."""
        return 1.0 if self.family.is_normal else 2.0

    @torch.no_grad()
    def keep(self, clusters: Tensor) -> None:
        """Leave only ``clusters``, a boolean mask (C,), active, their weights renormalised."""
        self.active.copy_(clusters)
        self.logits.copy_(torch.where(self.active, self.log_weights, self.logits))

    @torch.no_grad()
    def reorder(self, order: Tensor) -> None:
        """Give the clusters the order of ``order``, (C,) indices, each once."""
        for tensor in (*self.parameters(), *self.buffers()):
            tensor.copy_(tensor[order].clone())
