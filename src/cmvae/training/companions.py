"""Models that warm up beside a model, so that where clusters start is not left to one of them."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from cmvae.models.alignment import alignment_loss
from cmvae.models.cmvae import CMVAE
from cmvae.training.start import ALIGNMENT_WEIGHT

MOST_CONTRASTED = 256  # samples, with each other: their pairs are quadratic in a large batch


class Companion(nn.Module):
    """A model without clusters that learns from the same batches as another.

    Args:
        model: The model, whose mixture is a single cluster of scale 1.
        alignment: Weight of the contrastive loss between its modalities
            (:func:`cmvae.models.alignment.alignment_loss`), beside the objective; of large batches
            the mean over parts of 256 samples.
    """

    def __init__(self, model: CMVAE, alignment: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.alignment = alignment

    def forward(self, inputs: Any) -> Tensor:
        """Return the loss that it learns from a batch by; zero where that is not finite."""
        output = self.model(inputs, return_experts=True)
        loss: Tensor = output.loss
        if self.alignment:
            experts = output.experts
            rows = torch.arange(experts.loc.shape[1], device=experts.loc.device)
            parts = rows.chunk(math.ceil(len(rows) / MOST_CONTRASTED))
            contrasts = [alignment_loss(experts.select(own)) for own in parts]
            loss = loss + self.alignment * torch.stack(contrasts).mean()
        return loss if bool(loss.isfinite()) else torch.zeros_like(loss)


def companions_of(model: CMVAE) -> nn.ModuleList:
    """Return the companions of a model of vectors: aligned, linear, and both; else none.

    A linear model has too few parameters to learn single samples by heart; an aligned one keeps in
    z what modalities share. Where there is nothing to align, a second model of other weights takes
    the place of the aligned ones. They are most of what a fit costs, and what keeps clusters from
    being one model's mistake: with the first alone, clusters of cells told batches that lack a type
    or a modality in two of seven runs by more than the true types do, with all three in none.
    """
    config = model.model_config
    shapes = (config.input_dims or {}).values()
    if config.custom_architectures or config.networks or any(len(s) != 1 for s in shapes):
        return nn.ModuleList()
    alone = config.replace(number_of_clusters=1, covariance="identity", custom_architectures=[])
    linear = alone.replace(hidden_dims=())
    plans = [(alone, ALIGNMENT_WEIGHT), (linear, 0.0), (linear, ALIGNMENT_WEIGHT)]
    if len(model.modalities) < 2:
        plans = [(alone, 0.0), (linear, 0.0)]
    made = [Companion(CMVAE(own), weight) for own, weight in plans]
    for companion in made:
        if model.covariates is not None and companion.model.covariates is not None:
            companion.model.covariates.load_state_dict(model.covariates.state_dict())
        mixture = companion.model.mixture
        mixture.centers.data.zero_()
        mixture.requires_grad_(False)
    return nn.ModuleList(made)
