"""The marginal likelihood of what is observed, by importance sampling."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Generator, Tensor

from cmvae.models.mixture import MixturePrior
from cmvae.models.posterior import Experts
from cmvae.models.priors import PrivatePrior

LogLikelihood = Callable[[int, Tensor, Tensor], Tensor]


def spread_draws(observed: Tensor, draws: int, generator: Generator | None = None) -> Tensor:
    """Spread K draws over the experts ``observed``, (M, B), of each sample: numbers (M, B) int64.

    What remains after an even split goes to experts chosen at random, so that with fewer draws than
    experts every expert has the same chance.
    """
    noise = torch.rand(observed.shape, device=observed.device, generator=generator)
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
) -> Tensor:
    r"""Estimate log p(X_S) of each sample, (B,).

    .. math:: \log \frac1K \sum_k \frac{p(z_k) \prod_{m \in S} p(w_{m,k}) \, p(x_m \mid z_k,
    w_{m,k})}
              {q(z_k \mid X) \prod_{m \in S} q(w_{m,k} \mid x_m)}

    The draws of z are spread over the experts by :func:`spread_draws`; the denominator has the
    mixture with the proportions so used.

    Args:
        experts: Those of the batch.
        mixture: The prior p(z).
        priors: Those of the private latents.
        log_likelihood: (modality index m, sample indices (R,), latents [z, w_m] (R, k, d + dim_m))
            → log p(x_m|z, w_m), (R, k), unscaled.
        draws: K.
        chunk_size: At most so many draws, over samples together, are held at a time.
        generator: Source of randomness.
    """
    modalities, batch = experts.observed.shape
    counts = spread_draws(experts.observed, draws, generator)
    log_proportions = (counts.to(experts.loc.dtype) / draws).log()
    names = torch.arange(modalities, device=counts.device)
    log_weights = partial(_log_weights, experts, mixture, priors, log_likelihood, generator)
    block = max(1, chunk_size // draws)
    totals = []
    for samples in torch.arange(batch, device=counts.device).split(block):
        per_sample = names.repeat(len(samples)).repeat_interleave(counts[:, samples].T.flatten())
        total = experts.loc.new_full((len(samples),), -math.inf)
        for choice in per_sample.reshape(len(samples), draws).split(chunk_size, dim=1):
            weights = log_weights(log_proportions[:, samples], choice, samples)
            total = torch.logaddexp(total, weights.logsumexp(1))
        totals.append(total - math.log(draws))
    return torch.cat(totals)


def _log_weights(
    experts: Experts,
    mixture: MixturePrior,
    priors: Sequence[PrivatePrior],
    log_likelihood: LogLikelihood,
    generator: Generator | None,
    log_proportions: Tensor,
    choice: Tensor,
    samples: Tensor,
) -> Tensor:
    """Return log weights, (R, k), of draws for ``samples``, (R,), from experts ``choice``, (R, k).

    The experts have proportions (M, R).
    """
    some = experts.select(samples)
    z = some.sample(choice, generator)
    log_q = (some.log_prob_experts(z) + log_proportions.unsqueeze(-1)).logsumexp(0)
    log_weights = mixture.log_prob(z) - log_q
    for m, prior in enumerate(priors):
        w = some.sample_private(m, choice.shape[1], generator)
        difference = prior.log_prob(w) - some.log_prob_private(m, w)
        log_weights = log_weights + difference.masked_fill(~some.observed[m].unsqueeze(-1), 0)
        seen = some.observed[m].nonzero().squeeze(-1)
        if len(seen):
            latents = torch.cat([z[seen], w[seen]], -1)
            log_weights = log_weights.index_add(0, seen, log_likelihood(m, samples[seen], latents))
    return log_weights
