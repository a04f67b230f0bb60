"""A CMVAE for inference alone, whose operations depend on no values: what exporters can trace."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn

from cmvae.models.assignment import assign, check_rule, deciding_points
from cmvae.models.cmvae import CMVAE
from cmvae.models.inference import encode_observed, private_priors, score
from cmvae.models.posterior import Experts


class Inferred(NamedTuple):
    """What a model says of B samples.

    Attributes:
        clusters: (B,) int64.
        probabilities: (B, C).
        embedding: The mean of q(z|X), (B, latent_dim).
        log_likelihood: A bound of log p(X_S), (B,), as ``compute_joint_nll`` has it with a seed,
            where it was asked for.
    """

    clusters: Tensor
    probabilities: Tensor
    embedding: Tensor
    log_likelihood: Tensor | None


class TraceableModel(nn.Module):
    """What :meth:`CMVAE.predict_clusters`, ``encode`` and ``compute_joint_nll`` return, traceable.

    These encode what is observed and nothing else, and check what they are given: both depend on
    values. Here every sample goes through every network, in its present mode; what is missing holds
    something harmless, and counts for nothing. Nothing is checked. The parts are the model's own.

    Args:
        model: The model.
        rule: The assignment rule.
        draws: K of the importance sampling, the same for all samples.
        seed: Where these come from.

    Raises:
        ValueError: For an unknown rule.
    """

    shares: Tensor
    evenly: Tensor
    missing: Tensor

    def __init__(self, model: CMVAE, rule: str, draws: int, seed: int) -> None:
        super().__init__()
        check_rule(rule)
        self.model = model
        self.rule, self.draws = rule, draws
        names, config = model.modalities, model.model_config
        device = model.cluster_centers.device
        first = Generator(device).manual_seed(seed)
        shares = torch.rand((len(names), 1), device=device, generator=first)
        self.register_buffer("shares", shares)
        evenly = [draws // max(1, count) for count in range(len(names) + 1)]
        self.register_buffer("evenly", torch.tensor(evenly, device=device))
        missing = torch.zeros(0, device=device)
        if model.covariates is not None:
            missing = model.covariates.draw(1, Generator(device).manual_seed(seed))[0]
        self.register_buffer("missing", missing)
        dims = (config.latent_dim, *(config.private_dim(m) for m in names))
        again, like = Generator(device).manual_seed(seed), model.cluster_centers
        chunks = torch.arange(draws).split(max(1, model.rows_at_once))
        # Drawn in the order of cmvae.models.marginal, which is the same for every sample.
        noise = [
            [model.family.noise((1, len(chunk), dim), like, again) for dim in dims]
            for chunk in chunks
        ]
        for place, parts in enumerate(zip(*noise, strict=True)):
            self.register_buffer(f"noise_{place}", torch.cat(parts, 1))

    def forward(
        self,
        data: Sequence[Tensor],
        observed: Tensor,
        cells: Sequence[Tensor | None],
        with_likelihood: bool = True,
        covariates: Tensor | None = None,
    ) -> Inferred:
        """Infer.

        Args:
            data: (B, *) finite values of each of the M modalities, in the model's order.
            observed: Which samples have which modality, (M, B) boolean.
            cells: Which cells are there, (B, D) boolean, where some may be missing.
            with_likelihood: Whether log-likelihoods are asked for.
            covariates: Of a model that has some, (B, C), NaN where one is missing.
        """
        codes = None
        if self.model.covariates is not None and covariates is not None:
            codes = self.model.covariates(covariates.where(~covariates.isnan(), self.missing))
        experts = self._experts(data, observed, cells)
        points, counted = deciding_points(self.rule, experts.loc, observed)
        clusters, average = assign(self.rule, self.model.mixture.posterior(points), counted)
        bound = self._log_likelihood(experts, data, cells, codes) if with_likelihood else None
        return Inferred(clusters, average, experts.mean, bound)

    def _experts(
        self, data: Sequence[Tensor], observed: Tensor, cells: Sequence[Tensor | None]
    ) -> Experts:
        family, names = self.model.family, self.model.modalities
        encoded = [
            encode_observed(self.model, m, x, there)
            for m, x, there in zip(names, data, cells, strict=True)
        ]
        loc, raw, private_loc, private_raw = zip(*encoded, strict=True)
        scales = tuple(family.scale(raw) for raw in private_raw)
        z = torch.stack(loc), family.scale(torch.stack(raw))
        return Experts(family, *z, private_loc, scales, observed)

    def _log_likelihood(
        self,
        experts: Experts,
        data: Sequence[Tensor],
        cells: Sequence[Tensor | None],
        codes: Tensor | None,
    ) -> Tensor:
        """Return what :func:`cmvae.models.marginal.estimate_log_marginal` does with a seed."""
        counts = self._spread(experts.observed)
        log_shares = (counts.to(experts.loc.dtype) / self.draws).log()
        order = torch.arange(self.draws, device=counts.device)
        choice = (order >= counts.cumsum(0).unsqueeze(-1)).sum(0)  # (B, K): experts by turns
        own = choice.clamp_max(len(counts) - 1).unsqueeze(0).unsqueeze(-1)
        own = own.expand(-1, -1, -1, experts.loc.shape[-1])

        def chosen(parameters: Tensor) -> Tensor:
            wide = parameters.unsqueeze(2).expand(-1, -1, self.draws, -1)
            return wide.gather(0, own).squeeze(0)

        z = chosen(experts.loc) + chosen(experts.scale) * self.get_buffer("noise_0")
        log_q = (experts.log_prob_experts(z) + log_shares.unsqueeze(-1)).logsumexp(0)
        total = self.model.mixture.log_prob(z) - log_q
        for m, prior in enumerate(private_priors(self.model)):
            noise = self.get_buffer(f"noise_{m + 1}")
            w = experts.private_loc[m].unsqueeze(1) + experts.private_scale[m].unsqueeze(1) * noise
            added = prior.log_prob(w) - experts.log_prob_private(m, w)
            added = added + self._scored(m, torch.cat([z, w], -1), data[m], cells[m], codes)
            total = total + added.masked_fill(~experts.observed[m].unsqueeze(-1), 0)
        return total.logsumexp(1) - math.log(self.draws)

    def _spread(self, observed: Tensor) -> Tensor:
        """Return how many draws each expert gets, (M, B), as ``spread_draws`` does."""
        noise, count = self.shares.masked_fill(~observed, 2.0), observed.sum(0)
        earlier = (noise.unsqueeze(0) < noise.unsqueeze(1)).sum(1)
        even = self.evenly.index_select(0, count)
        return (even + (earlier < self.draws - even * count)) * observed

    def _scored(
        self,
        place: int,
        latents: Tensor,
        x: Tensor,
        cells: Tensor | None,
        codes: Tensor | None,
    ) -> Tensor:
        """Return log p(x|z, w) of a modality, (B, K), at latents (B, K, d + dim)."""

        def repeated(values: Tensor) -> Tensor:
            own = values.unsqueeze(1)
            return own.expand(-1, self.draws, *own.shape[2:])

        there = None if cells is None else repeated(cells)
        known = None if codes is None else repeated(codes)
        modality = self.model.modalities[place]
        return score(self.model, modality, latents, repeated(x), there, False, known)
