"""The marginal likelihood of what is observed, by importance sampling."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from cmvae.models.mixture import MixturePrior
from cmvae.models.posterior import Experts
from cmvae.models.private_prior import PrivatePrior

LogLikelihood = Callable[[int, Tensor, Tensor], Tensor]


def spread_draws(
    observed: Tensor, draws: int, generator: Generator | None = None, alike: bool = False
) -> Tensor:
    """Spread K draws over the experts ``observed``, (M, B), of each sample: numbers (M, B) int64.

    What remains after an even split goes to experts chosen at random, for all samples ``alike`` or
    for each.
    """
    modalities, batch = observed.shape
    shape = (modalities, 1 if alike else batch)
    noise = torch.rand(shape, device=observed.device, generator=generator).expand(-1, batch)
    ranks = noise.masked_fill(~observed, 2.0).argsort(0).argsort(0)
    count = observed.sum(0)
    even = torch.div(draws, count, rounding_mode="floor")
    return (even + (ranks < draws - even * count)) * observed


def estimate_log_marginal(
    experts: Experts,
    mixture: MixturePrior,
    priors: Sequence[PrivatePrior],
    log_likelihood: LogLikelihood,
    draws: int,
    chunk_size: int,
    generator: Generator | None = None,
    seed: int | None = None,
) -> Tensor:
    r"""Estimate log p(X_S) of each sample, (B,).

    .. math:: \log \frac1K \sum_k \frac{p(z_k) \prod_{m \in S} p(w_{m,k}) \, p(x_m \mid z_k,
    w_{m,k})}
              {q(z_k \mid X) \prod_{m \in S} q(w_{m,k} \mid x_m)}

    The K = ``draws`` of z are spread over the experts by :func:`spread_draws`; the denominator has
    the mixture with the proportions so used. At most ``chunk_size`` draws, over samples together,
    are held at a time. ``log_likelihood`` takes the index of m, indices of samples (R,) and [z,
    w_m] (R, k, d + dim_m) to log p(x_m|z, w_m), (R, k), unscaled. With a ``seed`` the noise is that
    of one sample for all, so that none depends on which others there are.
    """
    modalities, batch = experts.observed.shape
    alike, device = seed is not None, experts.loc.device
    generator = generator if seed is None else Generator(device).manual_seed(seed)
    counts = spread_draws(experts.observed, draws, generator, alike)
    log_proportions = (counts.to(experts.loc.dtype) / draws).log()
    names = torch.arange(modalities, device=counts.device)
    block = max(1, chunk_size // draws)
    totals = []
    for samples in torch.arange(batch, device=counts.device).split(block):
        some, shares = experts.select(samples), log_proportions[:, samples].unsqueeze(-1)
        generator = generator if seed is None else Generator(device).manual_seed(seed)
        score = partial(_log_ratios, some, samples, priors, log_likelihood, generator, alike)
        per_sample = names.repeat(len(samples)).repeat_interleave(counts[:, samples].T.flatten())
        total = experts.loc.new_full((len(samples),), -math.inf)
        for choice in per_sample.reshape(len(samples), draws).split(chunk_size, dim=1):
            z = some.sample(choice, generator, alike)
            log_q = (some.log_prob_experts(z) + shares).logsumexp(0)
            weights = score(z, mixture.log_prob(z) - log_q)
            total = torch.logaddexp(total, weights.logsumexp(1))
        totals.append(total - math.log(draws))
    return torch.cat(totals)


def _log_ratios(
    some: Experts,
    samples: Tensor,
    priors: Sequence[PrivatePrior],
    log_likelihood: LogLikelihood,
    generator: Generator | None,
    alike: bool,
    z: Tensor,
    log_weights: Tensor,
) -> Tensor:
    """Add to log p(z) − log q(z|X) of ``samples``, (R, k), the factors of every modality."""
    for m, prior in enumerate(priors):
        w = some.sample_private(m, z.shape[1], generator, alike)
        difference = prior.log_prob(w) - some.log_prob_private(m, w)
        log_weights = log_weights + difference.masked_fill(~some.observed[m].unsqueeze(-1), 0)
        seen = some.observed[m].nonzero().squeeze(-1)
        if len(seen):
            latents = torch.cat([z[seen], w[seen]], -1)
            log_weights = log_weights.index_add(0, seen, log_likelihood(m, samples[seen], latents))
    return log_weights
