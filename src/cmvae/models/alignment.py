"""Contrastive alignment: what modalities share enters z before any decoder can read it."""

from dataclasses import replace

import torch
from torch import Tensor

from cmvae.base.processes import are_together, gather
from cmvae.models.families import Family
from cmvae.models.posterior import Experts

SHARPNESS = 8.0  # how far apart, in nats, the critic sees unrelated locations
READING_SCALE = 0.25  # of q(z|x_m) while decoders learn to read z: they learn sooner
VARIANCE_FLOOR = 1e-8


def alignment_loss(experts: Experts, sharpness: float = SHARPNESS) -> Tensor:
    r"""Return the contrastive loss between the locations μ_m of every pair of experts, a scalar.

    .. math:: -\frac{1}{P} \sum_{m \neq n} \sum_{i \in S_m \cap S_n}
              \log \frac{f(x_{m,i} - x_{n,i})}{\sum_{j \in S_n} f(x_{m,i} - x_{n,j})}
              + \frac{1}{N} \sum_m \sum_{i \in S_m} \lVert \mu_{m,i} - x_{m,i} \rVert^2 / d

    with x_m the locations of the batch standardised, to mean zero and mean square one (one factor
    for all dimensions), f the standard density of the latent family to the power s / d, s the
    sharpness, S_m the samples that have observed m, and P and N the numbers of summands. The first
    term asks each expert to recognise, among the batch, the sample that another one sees: InfoNCE
    (van den Oord et al., 2018, eq. 4) over all pairs of views (Tian et al., "Contrastive Multiview
    Coding", 2020). It does not depend on the scale of the locations, at the start close to nothing;
    the second term, in which x is held constant, brings them to scale.

    Where several processes take a step together (:func:`cmvae.base.processes.together`), the batch
    is that of all: each returns the same loss, and the mean of their gradients is its gradient.
    """
    experts = _of_all_processes(experts)
    standardised = _standardise(experts)
    # Axes: m, n, i, j.
    logits = resemblance(
        experts.family, standardised.unsqueeze(1), standardised.unsqueeze(0), sharpness
    )
    # Finite, so that a modality which no sample of the batch has leaves no NaN among the gradients.
    logits = logits.masked_fill(~experts.observed[None, :, None, :], torch.finfo(logits.dtype).min)
    log_share = logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1)
    same = torch.eye(len(logits), dtype=torch.bool, device=logits.device).unsqueeze(-1)
    counted = experts.observed.unsqueeze(1) & experts.observed.unsqueeze(0) & ~same
    contrast = -log_share.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)
    offsets = (experts.loc - standardised.detach()).square().mean(-1)
    return contrast + offsets.masked_fill(~experts.observed, 0).sum() / experts.observed.sum()


def resemblance(family: Family, a: Tensor, b: Tensor, sharpness: float = SHARPNESS) -> Tensor:
    """Return the critic's log f(a_i - b_j) up to a constant, (*, I, J), of (*, I, d), (*, J, d)."""
    power = 2.0 if family.is_normal else 1.0
    return -sharpness / a.shape[-1] * family.factor * torch.cdist(a, b, p=power).pow(power)


def _of_all_processes(experts: Experts) -> Experts:
    """Return the locations of the samples of all processes, with gradients to the own ones.

    As means over processes are taken of gradients, these are multiplied by their number.
    """
    if not are_together():
        return experts
    loc, seen = experts.loc, experts.observed.unsqueeze(-1)
    parts, own = gather(torch.cat([loc, seen.to(loc.dtype)], -1))
    places = [part[..., :-1] for part in parts]
    places[own] = loc + (len(parts) - 1) * (loc - loc.detach())
    observed = torch.cat([part[..., -1] > 0 for part in parts], 1)
    return replace(experts, loc=torch.cat(places, 1), observed=observed)


def _standardise(experts: Experts) -> Tensor:
    """Return the locations, (M, B, d), with mean 0 and mean square 1 over what is observed."""
    weights = experts.observed.unsqueeze(-1).to(experts.loc.dtype)
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
    centred = experts.loc - (weights * experts.loc).sum(1, keepdim=True)
    variance = (weights * centred.square()).sum(1, keepdim=True).mean(-1, keepdim=True)
    return centred * (variance + VARIANCE_FLOOR).rsqrt()
