"""What is missing of samples, generated from what is there: cells of vectors, whole modalities."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Adam

from cmvae.data.batches import Batch
from cmvae.models.generation import mean_latents
from cmvae.models.inference import (
    Parts,
    covariate_codes,
    decode_latents,
    experts_of,
    likelihood_of,
    private_priors,
    score_rows,
)
from cmvae.networks.shapes import one_hot

RATE = 0.05  # step size of Adam, in the scale of the latents' priors


def impute_batch(parts: Parts, batch: Batch, steps: int) -> dict[str, Tensor]:
    r"""Return every modality of every sample, {modality: (B, *)}; networks run as they stand.

    What is observed is as it is. The rest are the likelihoods' means at the latents that are most
    probable given what is observed,

    .. math:: \mathrm{arg\,max}_{z, w} \; \log p(z) + \sum_{m \in S}
              \log p(w_m) + \log p(x_m^{\mathrm{obs}} \mid z, w_m),

    found by ``steps`` of Adam from the means of the experts. Each expert sees one modality; latents
    that are fitted put together what all of them say (as semi-amortised inference does; Kim et al.,
    "Semi-amortized variational autoencoders", ICML 2018). To real numbers is added what their
    residual factors expect, where the model has learned any. No sample depends on another.
    """
    given = {m: _as_values(parts, m, x) for m, x in batch.data.items()}
    rows = batch.lacking.nonzero().squeeze(-1)
    if not len(rows):
        return given
    part = batch if len(rows) == len(batch) else batch.select(rows)
    means = fitted_means(parts, part, steps)
    if parts.residuals is not None:
        residuals, there = residuals_of(parts, part, means)
        means = _with_residuals(parts, part, means, parts.residuals(residuals, there))
    completed = {}
    for i, (m, made) in enumerate(means.items()):
        if m in given:
            there = part.observed[i].reshape(-1, *(1,) * (made.ndim - 1)).expand(made.shape)
            there = there & part.cells[m] if m in part.cells else there
            made = torch.where(there, given[m].index_select(0, rows), made)
            made = given[m].index_copy(0, rows, made.to(given[m].dtype))
        completed[m] = made
    return completed


def fitted_means(parts: Parts, batch: Batch, steps: int) -> dict[str, Tensor]:
    """Return the likelihoods' means at the most probable latents, {modality: (B, *)}.

    Of a missing covariate the most frequent category is taken, or the median: nothing is drawn.
    """
    z, private = mean_latents(parts, experts_of(parts, batch), 1)
    latents = [z[:, 0].detach(), *(private[m][:, 0].detach() for m in parts.modalities)]
    if parts.covariates is not None and batch.covariates is not None:
        batch = replace(batch, covariates=parts.covariates.usual(batch.covariates))
    z, *ws = _most_probable(parts, batch, latents, steps)
    codes = covariate_codes(parts, batch)
    return {
        m: likelihood_of(parts, m).mean(decode_latents(parts, m, torch.cat([z, w], -1), codes))
        for m, w in zip(parts.modalities, ws, strict=True)
    }


def real_columns(parts: Parts) -> dict[str, Tensor]:
    """Return of every vector modality which values are real numbers, {modality: (D,) boolean}."""
    shapes = parts.model_config.input_dims or {}
    found = {}
    for m in parts.modalities:
        if len(shapes.get(m, ())) == 1:
            real = torch.as_tensor(likelihood_of(parts, m).real)
            found[m] = real.to(parts.mixture.centers.device).expand(shapes[m])
    return found


def residuals_of(parts: Parts, batch: Batch, means: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return values minus means of all real columns side by side, and which are there, (B, ΣD)."""
    residuals, there = [], []
    for m, real in real_columns(parts).items():
        made = means[m][:, real]
        seen = batch.observed[parts.modalities.index(m)].unsqueeze(1).expand(made.shape)
        given = batch.data[m][:, real] if m in batch.data else made
        there.append(seen & batch.cells[m][:, real] if m in batch.cells else seen)
        residuals.append(torch.where(there[-1], given.to(made.dtype) - made, 0))
    return torch.cat(residuals, 1), torch.cat(there, 1)


def _with_residuals(
    parts: Parts, batch: Batch, means: dict[str, Tensor], found: Tensor
) -> dict[str, Tensor]:
    """Return means with what is expected of their residuals, (B, ΣD), in observed modalities."""
    changed, columns = dict(means), real_columns(parts)
    sizes = [int(real.sum()) for real in columns.values()]
    for (m, real), own in zip(columns.items(), found.split(sizes, 1), strict=True):
        seen = batch.observed[parts.modalities.index(m)].unsqueeze(1)
        changed[m] = means[m].clone()
        changed[m][:, real] += torch.where(seen, own, 0)
    return changed


def _most_probable(
    parts: Parts, batch: Batch, latents: Sequence[Tensor], steps: int
) -> list[Tensor]:
    """Return z and every w_m, (B, dim) each, after so many steps towards the most probable."""
    with torch.inference_mode(False):  # in which nothing has a gradient
        if any(own.is_inference() for own in (batch.observed, *batch.data.values())):
            batch = batch.select(torch.arange(len(batch), device=batch.observed.device))
        return _steps(parts, batch, latents, steps)


def _steps(parts: Parts, batch: Batch, latents: Sequence[Tensor], steps: int) -> list[Tensor]:
    """Take the steps of :func:`_most_probable`."""
    moved = [own.clone().requires_grad_() for own in latents]
    optimiser = Adam(moved, lr=RATE)
    for _ in range(steps):
        with torch.enable_grad():
            gradients = torch.autograd.grad(-_log_density(parts, batch, *moved), moved)
        for own, gradient in zip(moved, gradients, strict=True):
            own.grad = gradient
        optimiser.step()
    return [own.detach() for own in moved]


def _log_density(parts: Parts, batch: Batch, z: Tensor, *private: Tensor) -> Tensor:
    """Return log p(x_S, z, w), summed over samples, a scalar."""
    density = parts.mixture.log_prob(z).sum()
    for i, (prior, w) in enumerate(zip(private_priors(parts), private, strict=True)):
        density = density + prior.log_prob(w.unsqueeze(1)).sum()
        rows = batch.observed[i].nonzero().squeeze(-1)
        if len(rows):
            joined = torch.cat([z, w], -1).index_select(0, rows).unsqueeze(1)
            density = density + score_rows(parts, batch, i, rows, joined, rescaled=False).sum()
    return density


def _as_values(parts: Parts, modality: str, given: Tensor) -> Tensor:
    """Return what is given of a modality, (B, *), floating, class indices as one-hot vectors."""
    like, shape = parts.mixture.centers, parts.model_config.shape_of(modality)
    if shape is not None and given.ndim == len(shape):
        # What is not observed holds anything, and is replaced.
        given = one_hot(given.clamp(0, shape[-1] - 1), shape[-1], like.dtype)
    return given.to(like.dtype)
