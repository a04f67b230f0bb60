"""Contrastive alignment of the experts: what modalities share enters z before any decoder has learned to read it."""

import torch
from torch import Tensor

from cmvae.posterior import Experts

__all__ = ["ALIGNMENT_SCALE", "READING_SCALE", "alignment_loss"]

ALIGNMENT_SCALE = 4.0
"""How far apart the loss moves samples, in scales of the prior: clusters of scale 1 then lie apart."""

READING_SCALE = 0.25
"""What the scales of q(z|x_m) are multiplied by while decoders learn to read z: less noise, and they learn sooner."""


def alignment_loss(experts: Experts, scale: float = ALIGNMENT_SCALE) -> Tensor:
    r"""Return the contrastive loss between the locations μ_m of the experts of every pair of modalities, a scalar.

    .. math:: -\frac{1}{P} \sum_{m \neq n} \sum_{i \in S_m \cap S_n}
              \log \frac{f(\mu_{m,i} - \mu_{n,i})}{\sum_{j \in S_n} f(\mu_{m,i} - \mu_{n,j})}

    with f the density of the latent family at location 0 and the given scale, S_m the samples of the batch that have
    observed m, and P the number of summands: each expert is to recognise, among the batch, the sample that another
    one sees. This is InfoNCE (van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive
    Coding", 2018, eq. 4) over all pairs of views (Tian, Krishnan, Isola, "Contrastive Multiview Coding", 2020),
    with the density of the model's own latents as critic. Zero where no sample has two modalities.

    Args:
        experts: The experts of a batch of B samples.
        scale: Scale of f; in the unit of the prior's.
    """
    power = 2.0 if experts.family.is_normal else 1.0
    distances = torch.cdist(experts.loc.unsqueeze(1), experts.loc.unsqueeze(0), p=power) / scale  # (m, n, i, j)
    logits = -experts.family.factor * distances.pow(power)
    unseen = ~experts.observed[None, :, None, :]
    # Finite, so that a modality which no sample of the batch has leaves no NaN among the gradients.
    logits = logits.masked_fill(unseen, torch.finfo(logits.dtype).min)
    log_share = logits.log_softmax(-1).diagonal(dim1=-2, dim2=-1)
    same = torch.eye(len(logits), dtype=torch.bool, device=logits.device).unsqueeze(-1)
    counted = experts.observed.unsqueeze(1) & experts.observed.unsqueeze(0) & ~same
    return -log_share.masked_fill(~counted, 0).sum() / counted.sum().clamp(min=1)
