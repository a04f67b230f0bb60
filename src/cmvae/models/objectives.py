"""The training bounds of CMVAE: importance weights, and the two gradients, as plain functions.

Axes: m or M, the modality whose expert drew a sample; n, one that is reconstructed or whose
expert's density is taken; B, samples; K, importance draws.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import generator_keyword
from cmvae.models.assignment import average_posteriors
from cmvae.models.families import scale_each
from cmvae.models.mixture import MixturePrior
from cmvae.models.posterior import Experts
from cmvae.models.private_prior import PrivatePrior, log_prior_each

DIVERGENCE = ("log_p_z", "log_p_w", "log_q_z", "log_q_w")
"""The terms of the divergence: log p(z), log p(w_m), log q(z|X) and log q(w_m|x_m)."""

ACTIVE_UNIT_VARIANCE = 0.01

LogLikelihood = Callable[[Tensor, "Draws"], Tensor]


@dataclass(frozen=True)
class Targets:
    """The cross-modal targets drawn for one evaluation of the bound."""

    chosen: Tensor  # (n, M, B) boolean: is n ≠ m reconstructed from the draws of expert m?
    weight: Tensor  # (M, B): what the log-likelihoods of expert m's targets count, (|S| − 1) / T

    def factors(self, modality: int) -> Tensor:
        """Return what the reconstructions of one modality count, (M, B): 1 for its own expert's."""
        own = torch.arange(len(self.weight), device=self.weight.device) == modality
        return self.weight.masked_fill(own[:, None], 1.0)


@dataclass(frozen=True)
class Draws:
    """Latents drawn for one evaluation of the bound."""

    z: Tensor  # (M, B, K, d), of every expert
    own: tuple[Tensor, ...]  # of each modality m, w_m ~ q(w_m | x_m), (B, K, dim_m)
    # Of each modality n, w̃_n ~ r_n for every m, (M, B, K, dim_n), unused at m = n; with targets,
    # (R, K, dim_n) for the R pairs (m, sample) of targets.chosen[n].
    others: tuple[Tensor, ...]
    targets: Targets | None = None  # what is reconstructed from which expert; None: all from all
    private_scale: float = 1.0  # of p(w_m)


@dataclass(frozen=True)
class Bound:
    """A bound of the log-likelihood and the terms it is made of."""

    value: Tensor  # (B,)
    weights: Tensor  # (M, B, K), of the draws in the bound: v_k / |S|, 0 where unobserved; detached
    log_likelihood: Tensor  # (n, M, B, K), rescaled log p(x_n|z, w_n), 0 where m or n is unobserved
    divergence: Tensor  # (4, M, B, K), the terms of DIVERGENCE, times β
    posteriors: Tensor  # (M, B, K, C), p(c|z) at the draws; detached


def choose_targets(
    observed: Tensor,
    number: int,
    generator: Generator | None = None,
    dtype: torch.dtype = torch.float32,
) -> Targets:
    """Draw as targets, for every expert and sample, T = ``number`` others of ``observed``, (M, B).

    All, where there are no more. Weighted by (|S| − 1) / T, the sum of log p(x_n|z, w̃_n) over them
    has the expectation of the sum over all others.
    """
    same = torch.eye(len(observed), dtype=torch.bool, device=observed.device).unsqueeze(-1)
    allowed = observed & ~same & observed.unsqueeze(1)
    noise = torch.rand(allowed.shape, device=observed.device, **generator_keyword(generator))
    noise = noise.masked_fill(~allowed, 2.0)
    chosen = (noise.argsort(0).argsort(0) < number) & allowed
    count = (observed.sum(0) - 1).clamp(min=1)
    return Targets(chosen, (count.to(dtype) / count.clamp(max=number)).expand(observed.shape))


def draw_latents(
    experts: Experts,
    priors: Sequence[PrivatePrior],
    draws: int,
    generator: Generator | None = None,
    n_targets: int | None = None,
) -> Draws:
    """Draw z ~ q(z|x_m), w_m ~ q(w_m|x_m) and w̃_n ~ r_n for all m and n, ``draws`` times each.

    With ``n_targets`` cross-modal targets of each expert (None: all) w̃_n is drawn where it is
    used, else the noise depends on shapes alone, not on what is observed.
    """
    modalities, batch, dim = experts.loc.shape
    targets = None
    shapes: list[tuple[int, ...]] = [(modalities, batch, draws)] * modalities
    if n_targets is not None and n_targets < modalities - 1:
        targets = choose_targets(experts.observed, n_targets, generator, experts.loc.dtype)
        shapes = [(int(count), draws) for count in targets.chosen.sum((1, 2))]
    dims = [loc.shape[-1] for loc in experts.private_loc]
    own_shapes = [(batch, draws, size) for size in dims]
    other_shapes = [(*shape, size) for shape, size in zip(shapes, dims, strict=True)]
    noise = experts.noise([(modalities, batch, draws, dim), *own_shapes, *other_shapes], generator)
    z = experts.loc.unsqueeze(2) + experts.scale.unsqueeze(2) * noise[0]
    loc = torch.cat(experts.private_loc, -1).unsqueeze(1)
    scale = torch.cat(experts.private_scale, -1).unsqueeze(1)
    own = (loc + scale * torch.cat(noise[1 : 1 + modalities], -1)).split(dims, -1)
    scales = scale_each(experts.family, [prior.raw_scale for prior in priors])
    others = tuple(s * part for s, part in zip(scales, noise[1 + modalities :], strict=True))
    return Draws(z, own, others, targets, priors[0].scale)


def iwae_bound(
    experts: Experts,
    draws: Draws,
    mixture: MixturePrior,
    log_likelihood: LogLikelihood,
    beta: float,
) -> Bound:
    r"""Return the multimodal importance-weighted bound, with ordinary gradients.

    .. math:: \frac{1}{|S|} \sum_{m \in S} \log \frac{1}{K} \sum_k \omega_{m,k}

    with log ω[m,k] = log p(x_m|z,w_m) + Σ_{n≠m} log p(x_n|z,w̃_n)
    + β (log p(z) + log p(w_m) − log q(z|X) − log q(w_m|x_m)) (Palumbo et al., 2024, eq. 4, with the
    cluster summed out exactly: E_{q(c|z)}[log p(c)p(z|c)/q(c|z)] = log p(z)).

    ``log_likelihood`` takes z (M, B, K, d) and draws to rescaled log p(x_n|z, w_n), (n, M, B, K).
    """
    likelihoods = log_likelihood(draws.z, draws)
    joint = mixture.log_joint(draws.z)
    own = log_prior_each(experts.family, draws.own, draws.private_scale)
    priors = (joint.logsumexp(-1), own)
    posteriors = (experts.log_prob(draws.z), experts.log_prob_all_private(draws.own))
    divergence = torch.stack([*priors, *posteriors]) * beta
    log_weights = likelihoods.sum(0) + (divergence[:2] - divergence[2:]).sum(0)
    value = log_weights.logsumexp(-1) - math.log(log_weights.shape[-1])
    # Undefined weights become even ones: each term then shows whether it is not finite.
    weights = log_weights.detach().softmax(-1).nan_to_num(nan=1 / log_weights.shape[-1])
    unobserved, count = ~experts.observed, experts.n_observed
    value = value.masked_fill(unobserved, 0).sum(0) / count
    weights = weights.masked_fill(unobserved.unsqueeze(-1), 0) / count.unsqueeze(-1)
    return Bound(value, weights, likelihoods, divergence, joint.detach().softmax(-1))


def dreg_bound(
    experts: Experts,
    draws: Draws,
    mixture: MixturePrior,
    log_likelihood: LogLikelihood,
    beta: float,
    estimator: str = "unbiased",
) -> Bound:
    r"""Return the bound of :func:`iwae_bound` with doubly reparameterised gradients.

    With v_k = softmax_k(log ω[m,k]), ρ_n(z) = q(z|x_n) / Σ_j q(z|x_j), the densities q in ω at
    detached parameters, and brackets held constant, the encoders' gradient is made of

    - w_m through its sample: Σ_k [(1−β) v_k + β v_k²] ∂log ω/∂w_m · ∂w_m/∂φ;
    - z through its sample: Σ_k { [v_k − β ρ_m v_k (1−v_k)] ∂log ω/∂z − β [v_k] ∂ρ_m/∂z } · ∂z/∂φ_m;
    - the other experts through the mixture's density: −β Σ_k [v_k ρ_n(z_k)] ∂_{φ_n} log q(z_k|x_n),
      z_k detached;

    and everything else has Σ_k [v_k] ∂log ω. This generalises Tucker et al. (2019, eq. 8),
    unbiasedly, to β ≠ 1 and a mixture of experts. ``estimator='published'`` is their rule as in
    print, v_k² for all latents, which is its case of one expert and β = 1.

    The gradients of samples are scaled on the way back by :class:`_GradientGate`: no hooks, one
    forward pass, valid without gradients too.
    """
    constant = experts.detach()
    z, z_gate = _gate(draws.z)
    gated = [_gate(w) for w in draws.own]
    own = tuple(w for w, _ in gated)
    w_gate = torch.stack([gate for _, gate in gated], 1)
    bound = iwae_bound(constant, replace(draws, z=z, own=own), mixture, log_likelihood, beta)
    v = bound.weights * experts.n_observed.unsqueeze(-1)
    if estimator == "published":
        surrogate = _scale_gradient(z_gate, v) + _scale_gradient(w_gate, v)
    else:
        own_share, others = _mixture_terms(experts, constant, draws.z, v)
        surrogate = _scale_gradient(z_gate, 1 - beta * own_share.detach() * (1 - v))
        surrogate = surrogate + _scale_gradient(w_gate, 1 - beta * (1 - v))
        surrogate = surrogate - beta * (_zero(v * own_share) + _zero(others))
    surrogate = surrogate.masked_fill(~experts.observed.unsqueeze(-1), 0)
    value = bound.value + surrogate.sum((0, 2)) / experts.n_observed
    return replace(bound, value=value)


@torch.no_grad()
def bound_terms(bound: Bound, experts: Experts, modalities: Sequence[str]) -> dict[str, Tensor]:
    """Return the terms of a bound by name, detached scalars, averaged over the batch.

    ``self_log_likelihood_M`` and ``cross_log_likelihood_M`` for each modality M and those of
    :data:`DIVERGENCE` are the terms as they enter the bound, averaged with its weights: at K = 1
    the likelihoods plus the p terms minus the q terms are the bound. ``active_units`` are those of
    the posterior means (Burda et al., 2016), ``clusters_in_use`` the clusters that samples of the
    batch belong to by p(c|z) averaged over their draws.
    """
    weights = bound.weights / len(bound.value)
    # A draw of weight zero may have a term of minus infinity.
    terms = torch.cat([bound.log_likelihood, bound.divergence]).detach() * weights
    sums = terms.masked_fill_(weights == 0, 0).sum((2, 3))
    own, every = sums[: len(modalities)].diagonal(), sums[: len(modalities)].sum(1)
    named: dict[str, Tensor] = {}
    for m, same, cross in zip(modalities, own.unbind(), (every - own).unbind(), strict=True):
        named |= {f"self_log_likelihood_{m}": same, f"cross_log_likelihood_{m}": cross}
    named |= zip(DIVERGENCE, sums[len(modalities) :].sum(1).unbind(), strict=True)
    named["active_units"] = active_units(experts.mean)
    posteriors = average_posteriors(bound.posteriors.mean(2), experts.observed)
    named["clusters_in_use"] = (torch.bincount(posteriors.argmax(-1)) > 0).sum()
    return named


def active_units(means: Tensor) -> Tensor:
    """Count the dimensions of latents (n, d) that vary by more than 0.01 over samples, a scalar."""
    return (means.var(0, correction=0) > ACTIVE_UNIT_VARIANCE).sum()


def _mixture_terms(
    experts: Experts, constant: Experts, z: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """Return ρ_m(z), with gradients to z, and Σ_{n≠m} [v ρ_n] log q(z_k|x_n), to n; (M, B, K)."""
    shares = constant.log_prob_experts(z).softmax(0)
    own = torch.diagonal(shares, dim1=0, dim2=1).movedim(-1, 0)
    live = experts.log_prob_experts(z.detach())
    is_other = ~torch.eye(len(z), dtype=torch.bool, device=z.device)[:, :, None, None]
    counted = is_other & experts.observed[:, None, :, None]
    others = (v * shares.detach() * live.masked_fill(~counted, 0)).sum(0)
    return own, others


def _zero(x: Tensor) -> Tensor:
    """Return zeros that carry the gradient of ``x``."""
    return x - x.detach()


class _GradientGate(torch.autograd.Function):
    """Identity whose gradient is scaled by a factor that only becomes known after it was used.

    Beside x (*, d) it returns two channels of zeros (*). Adding ``factor · first + second`` to an
    objective leaves its value as it is, and sends (factor · g, g) back, g the objective's weight in
    the final loss, a mean or gradient scaler included; their ratio scales the gradient of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return x and the two channels."""
        return x.view_as(x), x.new_zeros(x.shape[:-1]), x.new_zeros(x.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Scale the gradient of x by the ratio of the channels; unused ones leave it as it is."""
        gradient, scaled, unit = gradients
        used = unit != 0
        factor = torch.where(used, scaled / torch.where(used, unit, 1), 1)
        return gradient * factor.unsqueeze(-1)


def _gate(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return x and its gate, (2, *)."""
    x, scaled, unit = _GradientGate.apply(x)
    return x, torch.stack([scaled, unit])


def _scale_gradient(gate: Tensor, factor: Tensor) -> Tensor:
    """Return zeros (*) that, in the objective, scale the gate's gradient by ``factor`` (*)."""
    return factor * gate[0] + gate[1]
