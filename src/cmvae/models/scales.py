"""Learned scales of likelihoods in closed form, from what decoders leave of the data."""

from collections.abc import Iterable

import torch
from torch import Generator, Tensor

from cmvae.data.batches import Batch
from cmvae.likelihoods import LearnedScale, learned_scales
from cmvae.models.generation import sample_latents
from cmvae.models.inference import (
    Parts,
    covariate_codes,
    decode_latents,
    experts_of,
    likelihood_of,
    with_covariates,
)


@torch.no_grad()
def fit_scales(parts: Parts, batches: Iterable[Batch], generator: Generator) -> None:
    r"""Set every learned scale to its most probable value, from one draw of the latents a sample.

    .. math:: \sigma_m = \Bigl( \mathrm{mean}_i \; E_{q(z|X_i) \, q(w_m|x_{m,i})}
              \lvert x_{m,i} - \mu_m(z, w_m) \rvert^p \Bigr)^{1/p},

    over what is observed, p = 2 of a Normal, 1 of a Laplace likelihood: the closed form of Rybkin,
    Daniilidis and Levine ("Simple and effective VAE training with calibrated decoders", ICML 2021).
    """
    if not learned_scales(parts.likelihoods):
        return
    sums: dict[LearnedScale, tuple[Tensor | float, Tensor | int]] = {}
    for batch in batches:
        batch = with_covariates(parts, batch, generator)
        codes = covariate_codes(parts, batch)
        z, private = sample_latents(parts, experts_of(parts, batch), 1, generator)
        for i, m in enumerate(parts.modalities):
            rows, likelihood = batch.observed[i].nonzero().squeeze(-1), likelihood_of(parts, m)
            if not len(rows) or not learned_scales(likelihood):
                continue
            latents = torch.cat([z, private[m]], -1)[rows, 0]
            cells = batch.cells[m][rows] if m in batch.cells else None
            own_codes = None if codes is None else codes[rows]
            given, made = batch.data[m][rows], decode_latents(parts, m, latents, own_codes)
            for own, location, target, there in likelihood.learned_parts(made, given, cells):
                total, number = sums.get(own, (0.0, 0))
                more, count = own.deviations(location, target, there)
                sums[own] = total + more, number + count
    for own, (total, number) in sums.items():
        if number:
            own.set_scale(torch.as_tensor(total / number))
