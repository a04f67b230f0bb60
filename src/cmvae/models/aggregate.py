"""The aggregate posteriors of the private latents, from what the encoders make of the data."""

from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from cmvae.data.batches import Batch
from cmvae.models.inference import Parts, experts_of, private_priors


@torch.no_grad()
def fit_private_priors(parts: Parts, batches: Iterable[Batch], generator: Generator) -> None:
    """Fit each modality's aggregate posterior to one draw of w_m for every sample that has m.

    A modality of fewer than two samples keeps what it has.
    """
    drawn: list[list[Tensor]] = [[] for _ in parts.modalities]
    for batch in batches:
        experts = experts_of(parts, batch)
        for i, own in enumerate(drawn):
            w = experts.sample_private(i, 1, generator).squeeze(1)
            own.append(w[batch.observed[i]])
    for prior, own in zip(private_priors(parts), drawn, strict=True):
        w = torch.cat(own) if own else torch.empty(0)
        if len(w) > 1:
            prior.fit(w)
