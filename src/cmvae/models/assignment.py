"""From p(c | z_m) of each modality to the cluster of a sample."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Rule = Callable[[Tensor, Tensor, Tensor], Tensor]


def average_posteriors(posteriors: Tensor, observed: Tensor) -> Tensor:
    """Return the average of p(c|z_m), (M, B, C), over the observed modalities, (M, B): (B, C)."""
    counted = posteriors.masked_fill(~observed.unsqueeze(-1), 0)
    return counted.sum(0) / observed.sum(0).unsqueeze(-1)


def by_mean(posteriors: Tensor, observed: Tensor, average: Tensor) -> Tensor:
    """Assign each sample the cluster of largest average posterior."""
    return average.argmax(-1)


def by_vote(posteriors: Tensor, observed: Tensor, average: Tensor) -> Tensor:
    """Assign each sample the cluster most of its modalities vote for; ties go to the larger average posterior.

    The majority vote of Palumbo et al. (2024, section 3).
    """
    votes = F.one_hot(posteriors.argmax(-1), posteriors.shape[-1]) * observed.unsqueeze(-1)
    counts = votes.sum(0)
    tied = counts == counts.amax(-1, keepdim=True)
    return average.masked_fill(~tied, -1).argmax(-1)


RULES: dict[str, Rule] = {"mean": by_mean, "vote": by_vote, "joint": by_mean}
"""Rules by name: (p(c|z_m) (M, B, C), observed (M, B), their average (B, C)) → cluster indices (B,), int64.

``'joint'`` is given a single row, p(c|z̄) at the mean z̄ of the joint posterior q(z|X), instead of
one per modality.
"""


def assign(rule: str, posteriors: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the clusters, (B,) int64, that a rule gives samples, and the average of their posteriors, (B, C).

    Args:
        rule: A name in :data:`RULES`.
        posteriors: p(c|z_m), (M, B, C); with ``'joint'`` at its :func:`deciding_points`.
        observed: What is observed, (M, B) boolean.

    Raises:
        ValueError: If there is no such rule.
    """
    decide, average = check_rule(rule), average_posteriors(posteriors, observed)
    return decide(posteriors, observed, average), average


def deciding_points(rule: str, z: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points whose posteriors ``rule`` weighs, and which of them count.

    These are the modalities' own, z_m (M, B, d) with observed (M, B); for ``'joint'`` a single one,
    the average of what is observed, (1, B, d), which always counts.
    """
    if rule != "joint":
        return z, observed
    mean = z.masked_fill(~observed.unsqueeze(-1), 0).sum(0) / observed.sum(0).unsqueeze(-1)
    return mean.unsqueeze(0), observed.any(0, keepdim=True)


def check_rule(rule: str) -> Rule:
    """Return the rule of that name.

    Raises:
        ValueError: If there is none.
    """
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule must be one of {list(RULES)}, got {rule!r}")
    return RULES[rule]
