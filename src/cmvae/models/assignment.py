"""From p(c | z_m) of each modality to the cluster of a sample."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from cmvae.base.words import shown
from cmvae.models.mixture import MixturePrior

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
BEYOND = "latents or clusters are beyond what the dtype can hold"


def average_posteriors(posteriors: Tensor, observed: Tensor) -> Tensor:
    """Return the average of p(c|z_m), (M, B, C), over the observed modalities, (M, B): (B, C)."""
    counted = posteriors.masked_fill(~observed.unsqueeze(-1), 0)
    return counted.sum(0) / observed.sum(0).unsqueeze(-1)


def by_mean(posteriors: Tensor, observed: Tensor, average: Tensor) -> Tensor:
    """Assign each sample the cluster of largest average posterior."""
    return average.argmax(-1)


def by_vote(posteriors: Tensor, observed: Tensor, average: Tensor) -> Tensor:
    """Assign the cluster that most modalities vote for, of equals that of larger average posterior.

    (Palumbo et al., 2024, section 3.)
    """
    votes = F.one_hot(posteriors.argmax(-1), posteriors.shape[-1]) * observed.unsqueeze(-1)
    counts = votes.sum(0)
    tied = counts == counts.amax(-1, keepdim=True)
    return average.masked_fill(~tied, -1).argmax(-1)


RULES: dict[str, Rule] = {"mean": by_mean, "vote": by_vote, "joint": by_mean}
"""(p(c|z_m) (M, B, C), observed (M, B), their average (B, C)) → cluster indices (B,), int64.

``'joint'`` is given a single row, p(c|z̄) at the mean z̄ of q(z|X), instead of one per modality.
"""


def check_rule(rule: str) -> Rule:
    """Return the rule of that name; ``ValueError`` if there is none."""
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule must be one of {list(RULES)}, got {shown(rule)}")
    return RULES[rule]


def assign(rule: str, posteriors: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return clusters, (B,) int64, and average posteriors, (B, C), from p(c|z_m), (M, B, C).

    Those at the :func:`deciding_points` of the rule; ``observed``, (M, B) boolean, likewise.
    """
    decide, average = check_rule(rule), average_posteriors(posteriors, observed)
    return decide(posteriors, observed, average), average


def deciding_points(rule: str, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points whose posteriors ``rule`` weighs, and which of them count.

    These are z_m (M, B, d) and observed (M, B); for ``'joint'`` the average of the observed z_m,
    (1, B, d), which always counts.
    """
    if rule != "joint" or len(z) == 1:  # the mean of one is this one, which every sample has
        return z, observed
    mean = z.masked_fill(~observed.unsqueeze(-1), 0).sum(0) / observed.sum(0).unsqueeze(-1)
    return mean.unsqueeze(0), observed.any(0, keepdim=True)


def evaluate_points(
    rule: str, points: Iterable[tuple[Tensor, Tensor]], function: Callable[[Tensor], Tensor]
) -> tuple[Tensor, ...]:
    """Evaluate a function, z (*, d) → (*, C), at points and at the deciding points of a rule.

    From chunks of z_m, (M, B, d), and what is observed, (M, B) boolean, to the values at z_m,
    (M, n, C), and what is observed, (M, n); then both at the deciding points.
    """
    parts = []
    for z, seen in points:
        deciding, counted = deciding_points(rule, z, seen)
        each = function(z)
        parts.append((each, seen, each if deciding is z else function(deciding), counted))
    each, seen, deciding, counted = (
        torch.cat(part, 1) if len(part) > 1 else part[0] for part in zip(*parts, strict=True)
    )
    return each, seen.to(each.device), deciding, counted.to(each.device)


def assign_points(
    rule: str, points: Iterable[tuple[Tensor, Tensor]], mixture: MixturePrior
) -> tuple[Tensor, Tensor, Tensor]:
    """Assign samples to the clusters of a mixture, from points as :func:`evaluate_points` takes.

    Returns the clusters, (n,) int64; the average of the posteriors that decide, (n, C); and
    p(c|z_m), (M, n, C), NaN where unobserved. ``ValueError`` if one of them is no number.
    """
    each, observed, *deciding = evaluate_points(rule, points, mixture.posterior)
    if bool((each.isnan().any(-1) & observed).any()):
        raise ValueError(f"p(c|z_m) is not a number: {BEYOND}")
    clusters, average = assign(rule, *deciding)
    return clusters, average, each.masked_fill(~observed.unsqueeze(-1), math.nan)
