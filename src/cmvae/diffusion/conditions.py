"""What diffusion decoders are trained on: reconstructions from any modality of a sample."""

from typing import NamedTuple

import torch
from torch import Generator, Tensor

from cmvae.data.batches import Batch
from cmvae.models.cmvae import CMVAE
from cmvae.models.generation import sample_private_prior
from cmvae.models.inference import (
    covariate_codes,
    decode_latents,
    evaluating,
    experts_of,
    with_covariates,
)


class Conditions(NamedTuple):
    """The reconstructions of a batch."""

    z: Tensor  # (B, latent_dim), what it is reconstructed from
    source: Tensor  # (B,) int64, the index of the modality that each sample is reconstructed from
    rows: dict[str, Tensor]  # by target, the indices of the samples that have observed it, (R,)
    reconstructions: dict[str, Tensor]  # by target, their x̂, likelihood means (R, *input shape)


@torch.no_grad()
def draw_conditions(
    cmvae: CMVAE, batch: Batch, targets: list[str], generator: Generator | None = None
) -> Conditions:
    """Draw for each sample one of its observed modalities, z from it, and decode observed targets.

    The private latent of the target comes from its encoder where the drawn modality is the target
    itself, a self-reconstruction; else from the prior that ``reconstruction_option`` names.
    """
    with evaluating(cmvae):
        batch = with_covariates(cmvae, batch, generator)
        experts, codes = experts_of(cmvae, batch), covariate_codes(cmvae, batch)
        choice = experts.choose(1, generator)
        z, source = experts.sample(choice, generator).squeeze(1), choice.squeeze(1)
        rows: dict[str, Tensor] = {}
        reconstructions: dict[str, Tensor] = {}
        for target in targets:
            index = cmvae.modalities.index(target)
            rows[target] = seen = batch.observed[index].nonzero().squeeze(-1)
            own = experts.select(seen).sample_private(index, 1, generator).squeeze(1)
            other = sample_private_prior(cmvae, target, (len(seen),), generator)
            w = torch.where((source[seen] == index).unsqueeze(-1), own, other)
            if len(seen):
                own_codes = None if codes is None else codes[seen]
                decoded = decode_latents(cmvae, target, torch.cat([z[seen], w], -1), own_codes)
                reconstructions |= cmvae.to_data({target: decoded})
    return Conditions(z, source, rows, reconstructions)
