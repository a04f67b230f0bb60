"""Choosing the number of clusters by the penalised normalised entropy of their posteriors."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cmvae.assignment import average_posteriors, check_rule

__all__ = ["Selection", "penalised_entropy", "select_clusters"]


@dataclass(frozen=True)
class Selection:
    """What :func:`select_clusters` found.

    Attributes:
        h_values: The criterion by number of active clusters, a list of length C + 1; inf where not evaluated.
        active: The clusters of the best size, (C,) boolean.
    """

    h_values: list[float]
    active: Tensor


def penalised_entropy(log_joint: Tensor, observed: Tensor, beta: float, latent_dim: int) -> float:
    r"""Return the penalised normalised entropy of a set A of two or more clusters; the smaller the better.

    .. math:: \frac1n \sum_i \frac1{|S_i|} \sum_{m \in S_i}
              \beta \frac{H(p(c \mid z_m))}{\log |A|} - \frac{1}{d} \log \sum_{c \in A} \pi_c \, p(z_m \mid c)

    (Palumbo et al., 2024, section 3, with the evidence as penalty.)

    Args:
        log_joint: log π_c + log p(z_m|c), (M, n, |A|), π renormalised on A.
        observed: What is observed, (M, n) boolean.
        beta: Weight of the entropy.
        latent_dim: d.
    """
    log_evidence = log_joint.logsumexp(-1)
    # entr(p) is 0 at p = 0: saturated posteriors give no 0 · inf.
    entropy = torch.special.entr(log_joint.softmax(-1)).sum(-1)
    values = beta * entropy / math.log(log_joint.shape[-1]) - log_evidence / latent_dim
    per_sample = values.masked_fill(~observed, 0).sum(0) / observed.sum(0)
    return float(per_sample.mean())


def select_clusters(
    log_densities: Tensor,
    observed: Tensor,
    logits: Tensor,
    active: Tensor,
    *,
    beta: float,
    latent_dim: int,
    rule: str = "mean",
    deciding: tuple[Tensor, Tensor] | None = None,
) -> Selection:
    """Remove the cluster with the least mass again and again, down to two, and choose the best size.

    A cluster's mass is the number of samples that ``rule`` assigns to it; of equals, the one with the least
    summed probability goes. log p(z_m|c) does not depend on which clusters are active, so it is computed once.
    With fewer than two active clusters nothing is evaluated. Of equal criteria the smaller size is chosen.

    Args:
        log_densities: log p(z_m|c), (M, n, C); rows of unobserved modalities are not looked at.
        observed: What is observed, (M, n) boolean.
        logits: The logits of π, (C,).
        active: The clusters to start from, (C,) boolean.
        beta: Weight of the entropy.
        latent_dim: d.
        rule: The assignment rule, a name in :data:`cmvae.assignment.RULES`.
        deciding: Densities and what counts at the rule's deciding points
            (:func:`cmvae.assignment.deciding_points`); by default those above.

    Raises:
        ValueError: If the rule is unknown.
    """
    assign = check_rule(rule)
    at, counted = deciding or (log_densities, observed)
    h_values = [math.inf] * (len(logits) + 1)
    best = active
    current = active.clone()
    while (size := int(current.sum())) >= 2:
        members = current.nonzero().squeeze(-1)
        log_weights = logits[members].log_softmax(-1)
        h_values[size] = penalised_entropy(log_densities[..., members] + log_weights, observed, beta, latent_dim)
        if h_values[size] <= min(h_values):
            best = current.clone()
        if size == 2:
            break
        posteriors = (at[..., members] + log_weights).softmax(-1)
        counts = torch.bincount(assign(posteriors, counted), minlength=size)
        sums = average_posteriors(posteriors, counted).sum(0)
        lightest = sums.masked_fill(counts != counts.min(), math.inf).argmin()
        current[members[lightest]] = False
    return Selection(h_values, best)
