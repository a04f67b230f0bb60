"""Choosing the number of clusters by the penalised normalised entropy of their posteriors."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from cmvae.models.assignment import BEYOND, assign, evaluate_points
from cmvae.models.mixture import MixturePrior

LOST_SHARE = 1e-3


class Selection(NamedTuple):
    """The criterion by number of active clusters, inf where not evaluated, and the best set."""

    h_values: list[float]  # of length C + 1
    active: Tensor  # (C,) boolean


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
    """Remove the cluster of least mass again and again, down to two, and choose the best size.

    A cluster's mass is the number of samples that ``rule`` assigns to it; of equals, the one with
    the least summed probability goes. log p(z_m|c) does not depend on which clusters are active, so
    it is computed once. With fewer than two nothing is evaluated. Of equal criteria the smaller
    size is chosen.

    ``log_densities`` are log p(z_m|c), (M, n, C), which count where ``observed``, (M, n) boolean;
    ``deciding`` both at the rule's deciding points, where these are others. ``logits`` are those of
    π, (C,), ``active`` the clusters to start from, (C,) boolean; ``beta`` weighs the entropy.
    """
    evidence = ActiveMixture(log_densities, observed, logits, active)
    masses = evidence if deciding is None else ActiveMixture(*deciding, logits, active)
    h_values = [math.inf] * (len(logits) + 1)
    best, current = active, active.clone()
    while (size := int(current.sum())) >= 2:
        h_values[size] = evidence.penalised_entropy(beta, latent_dim)
        if h_values[size] <= min(h_values):
            best = current.clone()
        if size == 2:
            break
        clusters, average = assign(rule, masses.posteriors(), masses.observed)
        counts = torch.bincount(clusters, minlength=len(current))
        fewest = current & (counts == counts[current].min())
        lightest = int(average.sum(0).masked_fill(~fewest, math.inf).argmin())
        current[lightest] = False
        evidence.remove(lightest)
        if masses is not evidence:
            masses.remove(lightest)
    return Selection(h_values, best)


@torch.no_grad()
def prune(
    mixture: MixturePrior, points: Iterable[tuple[Tensor, Tensor]], rule: str, beta: float
) -> list[float]:
    """Leave the best set of a mixture's clusters active, weights renormalised; return h_values.

    Points come as :func:`cmvae.models.assignment.evaluate_points` takes them. ``ValueError`` if a
    density is not finite.
    """

    def log_densities(z: Tensor) -> Tensor:
        # In float64 and on the CPU: cheap there, and the criteria of many sizes are compared.
        return mixture.log_prob_clusters(z).double().cpu()

    densities, observed, decisive, counted = evaluate_points(rule, points, log_densities)
    if not bool(densities[observed].isfinite().all()):
        raise ValueError(f"log p(z_m|c) is not finite: {BEYOND}")
    weights = mixture.logits.double().cpu(), mixture.active.cpu()
    settings: dict[str, Any] = {"beta": beta, "latent_dim": mixture.centers.shape[-1], "rule": rule}
    deciding = (decisive, counted) if rule == "joint" else None
    found = select_clusters(densities, observed, *weights, **settings, deciding=deciding)
    mixture.keep(found.active.to(mixture.active.device))
    return found.h_values


class ActiveMixture:
    r"""The mixture at fixed points as clusters leave it, updated and not computed again.

    With a_c = logits_c + log p(z|c) and e_c = exp(a_c − max a), the sums S = Σ e_c and T = Σ e_c
    (a_c − max a) over the active clusters give the log-evidence, max a + log S − logsumexp(logits),
    and the entropy, log S − T / S. A cluster that leaves is subtracted from both. A point that has
    lost most of its S since it was summed is summed again, so that cancellation takes no more than
    three digits of float64. Arguments as of :func:`select_clusters`.
    """

    def __init__(
        self, log_densities: Tensor, observed: Tensor, logits: Tensor, active: Tensor
    ) -> None:
        self.observed = observed
        self.logits = logits.double().masked_fill(~active, -math.inf)
        self.joint = log_densities.double().masked_fill(~observed.unsqueeze(-1), 0.0) + self.logits
        self.largest, self.exponentials, self.total, self.moment = _summed(self.joint)
        self.summed = self.total.clone()

    def remove(self, cluster: int) -> None:
        """Take a cluster out."""
        leaving = self.exponentials[..., cluster].clone()
        self.total -= leaving
        self.moment -= _products(leaving, self.joint[..., cluster] - self.largest)
        self.logits[cluster] = -math.inf
        self.joint[..., cluster] = -math.inf
        self.exponentials[..., cluster] = 0
        rows = (self.total < LOST_SHARE * self.summed).nonzero(as_tuple=True)
        sums = (self.largest, self.exponentials, self.total, self.moment)
        for stored, found in zip(sums, _summed(self.joint[rows]), strict=True):
            stored[rows] = found
        self.summed[rows] = self.total[rows]

    def posteriors(self) -> Tensor:
        """Return p(c|z_m), (M, n, C), zero at clusters that have left."""
        # Not by the total kept up to date: its last digits would break ties of saturated points.
        return self.exponentials / self.exponentials.sum(-1, keepdim=True)

    def penalised_entropy(self, beta: float, latent_dim: int) -> float:
        r"""Return the penalised normalised entropy of the active set A, two or more clusters.

        .. math:: \frac1n \sum_i \frac1{|S_i|} \sum_{m \in S_i}
                  \beta \frac{H(p(c \mid z_m))}{\log |A|}
                  - \frac1d \log \sum_{c \in A} \pi_c \, p(z_m \mid c)

        The smaller the better. (Palumbo et al., 2024, section 3, with the evidence as penalty.)
        """
        size = int(self.logits.isfinite().sum())
        log_total = self.total.log()
        entropy = (log_total - self.moment / self.total).clamp(min=0)
        evidence = self.largest + log_total - self.logits.logsumexp(-1)
        return average(beta * entropy / math.log(size) - evidence / latent_dim, self.observed)


def _summed(joint: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return max a, e, S and T of a = ``joint``, (*, C)."""
    largest = joint.amax(-1)
    centred = joint - largest.unsqueeze(-1)
    exponentials = centred.exp()
    return largest, exponentials, exponentials.sum(-1), _products(exponentials, centred).sum(-1)


def _products(exponentials: Tensor, exponents: Tensor) -> Tensor:
    """Return e · a, 0 where e is 0 and a may be −inf."""
    return torch.where(exponentials > 0, exponentials * exponents, 0.0)


def average(values: Tensor, observed: Tensor) -> float:
    """Average (M, n) over what is observed, then over samples."""
    return float((values.masked_fill(~observed, 0).sum(0) / observed.sum(0)).mean())
