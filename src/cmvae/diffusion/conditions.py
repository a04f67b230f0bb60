"""What diffusion decoders are trained on: reconstructions from any modality of a sample."""

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from cmvae.data.batches import Batch
from cmvae.models.cmvae import CMVAE
from cmvae.models.generation import sample_private_prior
from cmvae.models.inference import decode_rows, evaluating, experts_of


@dataclass(frozen=True)
class Conditions:
    """The reconstructions of a batch.

    Attributes:
        source: For each sample the index of the modality that it is reconstructed from, (B,) int64.
        rows: Target modality → indices of the samples that have observed it, (R,) int64.
        reconstructions: Target modality → x̂ of these samples, the mean of the likelihood, (R,
            *input shape).
    """

    source: Tensor
    rows: dict[str, Tensor]
    reconstructions: dict[str, Tensor]


@torch.no_grad()
def draw_conditions(
    cmvae: CMVAE, batch: Batch, targets: list[str], generator: Generator | None = None
) -> Conditions:
    """Draw for each sample one of its observed modalities, z from it, and decode every target.

    The private latent of the target comes from its own encoder where the drawn modality is the
    target itself, a self-reconstruction; else from the prior that ``reconstruction_option`` names,
    as in generation.

    Args:
        cmvae: The model; its networks run in eval mode.
        batch: The samples.
        targets: Modalities to reconstruct where they are observed.
        generator: Source of randomness.
    """
    with evaluating(cmvae):
        experts = experts_of(cmvae, batch)
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
                decoded = decode_rows(cmvae, target, torch.cat([z[seen], w], -1))
                reconstructions |= cmvae.to_data({target: decoded})
    return Conditions(source, rows, reconstructions)
