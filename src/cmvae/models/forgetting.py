"""A penalty on what the shared latent tells of covariates."""

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import generator_keyword
from cmvae.data.batches import Batch
from cmvae.models.inference import Parts, decode_latents, encode_observed, likelihood_of
from cmvae.models.posterior import Experts

FLOOR = 1e-6


def forgetting_loss(
    parts: Parts,
    batch: Batch,
    experts: Experts,
    codes: Tensor,
    generator: Generator | None = None,
) -> Tensor:
    r"""Return how far samples move in z when they are made as if they had other covariates.

    .. math:: \frac{1}{N} \sum_m \sum_{i \in S_m}
              \frac{\lVert \mu_m(x_{m,i}) - \mu_m(\tilde x_{m,i}) \rVert^2}{\mathrm{Var}(\mu_m)},
              \quad \tilde x = x + E[x \mid z, w, s'] - E[x \mid z, w, s]

    with s' the covariates of another sample of the batch, drawn at random; of counts the distance
    x − E[x | z, w, s] is scaled by the root of the ratio of the means, as their deviations are, and
    what is made is at least 0. What decoders say that covariates add is swapped, and the encoders
    are asked to see the same z in it: a cycle, as of Jha et al. ("Disentangling factors of
    variation with cycle-consistent variational auto-encoders", ECCV 2018). Each sample is compared
    with itself, so that batches may hold groups in different shares. Only the encoders learn by it.

    Args:
        parts: The model.
        batch: B samples.
        experts: Of these.
        codes: Their encoded covariates, (B, width).
        generator: Source of randomness.
    """
    order = torch.randperm(len(batch), device=codes.device, **generator_keyword(generator))
    total, count = experts.loc.sum() * 0, 0
    for i, m in enumerate(parts.modalities):
        rows = batch.observed[i].nonzero().squeeze(-1)
        if len(rows) < 2 or not batch.data[m].is_floating_point():
            continue
        x, loc = batch.data[m].index_select(0, rows), experts.loc[i].index_select(0, rows)
        latents = torch.cat([loc, experts.private_loc[i].index_select(0, rows)], -1)
        others = codes.index_select(0, order).index_select(0, rows)
        own = codes.index_select(0, rows)
        swapped = _swapped(parts, m, x, latents.detach(), own, others)
        cells = batch.cells[m].index_select(0, rows) if m in batch.cells else None
        again = encode_observed(parts, m, swapped, cells)[0]
        spread = loc.detach().var(0, correction=0).sum().clamp_min(FLOOR)
        total = total + (loc - again).square().sum() / spread
        count += len(rows)
    return total / max(1, count)


@torch.no_grad()
def _swapped(
    parts: Parts, modality: str, x: Tensor, latents: Tensor, own: Tensor, others: Tensor
) -> Tensor:
    """Return values (R, *) as they would be under the codes of others, by the decoder."""
    likelihood = likelihood_of(parts, modality)
    before, after = (
        likelihood.mean(decode_latents(parts, modality, latents, codes)) for codes in (own, others)
    )
    made = x + after - before
    if len(x.shape) == 2:
        for start, stop, size, *_ in likelihood.counts:
            part = slice(start, stop)
            scale = 1.0 if size is None else x[:, part].sum(1, keepdim=True) / size
            low, high = before[:, part] * scale, after[:, part] * scale
            ratio = (high / low.clamp_min(FLOOR)).sqrt()
            made[:, part] = (x[:, part] * ratio + (high - low * ratio)).clamp_min(0)
    return made.to(x.dtype)
