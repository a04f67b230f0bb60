"""Of several refined samples, the one that the model itself reads as what it was made from."""

import torch
from torch import Tensor

from cmvae.likelihoods.base import at_least_float32
from cmvae.models.cmvae import CMVAE
from cmvae.models.inference import encode_observed, evaluating


@torch.no_grad()
def closest(cmvae: CMVAE, modality: str, drawn: list[Tensor], z: Tensor, batch_size: int) -> Tensor:
    """Return of candidates, each (B, *shape), those whose q(z | x) makes z, (B, d), likeliest.

    What an image-text model does for generated images (Ramesh et al., "Zero-Shot Text-to-Image
    Generation", 2021, section 2.6), the modality's own encoder does here. No label is seen.
    """
    if len(drawn) == 1:
        return drawn[0]
    with evaluating(cmvae):
        fits = [_log_posterior(cmvae, modality, x, z, batch_size) for x in drawn]
    best = torch.stack(fits).argmax(0)
    return torch.stack(drawn)[best, torch.arange(len(z), device=z.device)]


def _log_posterior(cmvae: CMVAE, modality: str, x: Tensor, z: Tensor, batch_size: int) -> Tensor:
    """Return log q(z | x), (B,)."""
    found = []
    for rows, latents in zip(x.split(batch_size), z.split(batch_size), strict=True):
        encoded = encode_observed(cmvae, modality, rows)
        loc, raw = (at_least_float32(own) for own in encoded[:2])
        found.append(cmvae.family.log_prob(latents, loc, cmvae.family.scale(raw)))
    return torch.cat(found)
