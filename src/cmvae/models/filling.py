"""What encoders see in place of missing cells."""

import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from cmvae.likelihoods import Likelihood
from cmvae.networks import run_decoder

if TYPE_CHECKING:
    from cmvae.models.inference import Parts


def filled(parts: "Parts", modality: str, x: Tensor, cells: Tensor | None) -> Tensor:
    """Return values (R, *) as an encoder sees them: missing cells hold their filling.

    Counts with a library size of an encoder that does not see which cells are there, such as genes
    that a file of new cells lacks, are filled with what the model expects of any sample, at the
    total that those there speak for: 0 would say that the gene is silent, and share out the total
    among the others.
    """
    if cells is None:
        return x
    likelihood, like = cast(Likelihood, parts.likelihoods[modality]), parts.mixture.centers
    filling = torch.as_tensor(likelihood.filling).to(like)
    if not parts.model_config.has_missing_cells(modality) and _has_library(likelihood, x):
        shares, counts = _usual_shares(parts, modality), x.flatten(1)
        there = cells.flatten(1)
        total = torch.where(there, counts, 0).sum(-1, keepdim=True)
        known = torch.where(there, shares, 0).sum(-1, keepdim=True)
        filling = (total * shares / known.clamp_min(torch.finfo(like.dtype).tiny)).reshape(x.shape)
    return torch.where(cells, x, filling)


def _has_library(likelihood: Likelihood, x: Tensor) -> bool:
    """Tell whether all values of a sample are counts with one library size."""
    whole = (0, math.prod(x.shape[1:]))
    return any(b.size is not None and (b.start, b.stop) == whole for b in likelihood.counts)


@torch.no_grad()
def _usual_shares(parts: "Parts", modality: str) -> Tensor:
    """Return the shares of a sample's total that the model expects of any, (D,).

    Those at the clusters' centres, averaged with their weights, under the usual covariates.
    """
    centers, weights = parts.mixture.centers, parts.mixture.log_weights.exp()
    private = centers.new_zeros(len(centers), parts.model_config.private_dim(modality))
    latents = [centers, private]
    if parts.covariates is not None:
        unknown = centers.new_full((1, len(parts.covariates.sizes)), torch.nan)
        codes = parts.covariates(parts.covariates.usual(unknown))
        latents.append(codes.to(centers).expand(len(centers), -1))
    shape = parts.model_config.shape_of(modality)
    made = run_decoder(parts.decoders[modality], torch.cat(latents, -1), modality, shape)
    means = cast(Likelihood, parts.likelihoods[modality]).mean(made).flatten(1)
    return (weights.to(means) @ (means / means.sum(-1, keepdim=True))).to(centers)
