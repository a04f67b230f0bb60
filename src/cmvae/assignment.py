"""From p(c | z_m) of each modality to the cluster of a sample."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

__all__ = ["RULES", "average_posteriors", "check_rule"]

Rule = Callable[[Tensor, Tensor], Tensor]


def average_posteriors(posteriors: Tensor, observed: Tensor) -> Tensor:
    """Return the average of p(c|z_m), (M, B, C), over the observed modalities, (M, B): (B, C)."""
    counted = posteriors.masked_fill(~observed.unsqueeze(-1), 0)
    return counted.sum(0) / observed.sum(0).unsqueeze(-1)


def by_mean(posteriors: Tensor, observed: Tensor) -> Tensor:
    """Assign each sample the cluster of largest average posterior."""
    return average_posteriors(posteriors, observed).argmax(-1)


def by_vote(posteriors: Tensor, observed: Tensor) -> Tensor:
    """Assign each sample the cluster most of its modalities vote for; ties go to the larger average posterior.

    The majority vote of Palumbo et al. (2024, section 3).
    """
    votes = F.one_hot(posteriors.argmax(-1), posteriors.shape[-1]) * observed.unsqueeze(-1)
    counts = votes.sum(0)
    tied = counts == counts.amax(-1, keepdim=True)
    return average_posteriors(posteriors, observed).masked_fill(~tied, -1).argmax(-1)


RULES: dict[str, Rule] = {"mean": by_mean, "vote": by_vote}
"""Rules by name: (p(c|z_m) (M, B, C), observed (M, B)) → cluster indices (B,), int64."""


def check_rule(rule: str) -> Rule:
    """Return the rule of that name.

    Raises:
        ValueError: If there is none.
    """
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"rule must be one of {list(RULES)}, got {rule!r}")
    return RULES[rule]
