"""Running the parts of a CMVAE: inputs read, experts encoded, latents decoded and scored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, cast

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import seeded
from cmvae.base.modality_dict import ModalityDict
from cmvae.base.submodules import submodules
from cmvae.base.words import quoted, shown
from cmvae.data.batches import Batch, iterate, read_inputs
from cmvae.likelihoods import Likelihood
from cmvae.models.config import CMVAEConfig
from cmvae.models.covariates import Covariates
from cmvae.models.families import Family, scale_each
from cmvae.models.filling import filled
from cmvae.models.marginal import estimate_log_marginal
from cmvae.models.mixture import MixturePrior
from cmvae.models.objectives import Bound, Draws, draw_latents, dreg_bound, iwae_bound
from cmvae.models.posterior import Experts
from cmvae.models.private_prior import PrivatePrior
from cmvae.models.residuals import ResidualFactors
from cmvae.networks import run_decoder, run_encoder

Names = str | Sequence[str]  # 'all', a name or a list of names


class Parts(Protocol):
    """What these functions need of a :class:`cmvae.CMVAE`."""

    model_config: CMVAEConfig
    modalities: tuple[str, ...]
    family: Family
    encoders: ModalityDict
    decoders: ModalityDict
    likelihoods: ModalityDict
    private_priors: ModalityDict
    mixture: MixturePrior
    rescale_factors: dict[str, float]
    residuals: ResidualFactors | None
    covariates: Covariates | None


def likelihood_of(parts: Parts, modality: str) -> Likelihood:
    """Return the likelihood of a modality."""
    return cast(Likelihood, parts.likelihoods[modality])


def private_priors(parts: Parts) -> list[PrivatePrior]:
    """Return the priors of the private latents."""
    return cast(list[PrivatePrior], parts.private_priors.values())


def chosen_modalities(parts: Parts, argument: str, names: Names) -> list[str]:
    """Return the modalities that an argument names: ``'all'``, a name or a list, not empty."""
    known = list(parts.modalities)
    if isinstance(names, str):
        names = known if names == "all" and "all" not in known else [names]
    if not isinstance(names, Sequence | set):
        raise TypeError(f"{argument} must be 'all', a name or a list of names, got {shown(names)}")
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"{argument} must hold names of modalities, got {shown(names)}")
    names = list(dict.fromkeys(names))
    unknown = [name for name in names if name not in known]
    if unknown:
        odd = f"unknown modalities [{quoted(unknown)}]"
        raise KeyError(f"{argument} has {odd}; the model has {known}")
    if not names:
        raise ValueError(f"{argument} is empty; allowed are 'all' and any of {known}")
    return names


@contextmanager
def evaluating(module: Any) -> Iterator[None]:
    """Run networks in eval mode; every submodule gets its own mode back, whatever happens."""
    training = [own for own in submodules(module) if own.training]
    for submodule in training:
        submodule.training = False
    try:
        yield
    finally:
        for submodule in training:
            submodule.training = True


def read_batch(parts: Parts, inputs: Any) -> Batch:
    """Read anything that :meth:`cmvae.CMVAE.encode` takes, with its errors; a ``Batch`` is read."""
    if isinstance(inputs, Batch):
        return inputs
    like, config = parts.mixture.centers, parts.model_config
    batch = read_inputs(
        inputs,
        parts.modalities,
        dtype=like.dtype,
        device=like.device,
        shapes=config.input_dims,
        covariates=config.covariates,
    )
    if not torch.compiler.is_compiling():
        for m, x in batch.data.items():
            rows = slice(None) if batch.complete else batch.observed[parts.modalities.index(m)]
            seen, own, shape = x[rows], likelihood_of(parts, m), parts.model_config.shape_of(m)
            if len(seen) and m in batch.cells:
                own.check(seen, m, shape, batch.cells[m][rows])
            elif len(seen):
                own.check(seen, m, shape)
    return batch


def with_covariates(
    parts: Parts, batch: Batch, generator: Generator | None = None, alike: bool = False
) -> Batch:
    """Return a batch whose missing covariates are drawn as they occurred in training."""
    if parts.covariates is None or batch.covariates is None:
        return batch
    return replace(batch, covariates=parts.covariates.filled(batch.covariates, generator, alike))


def covariate_codes(parts: Parts, batch: Batch) -> Tensor | None:
    """Return the encoding of covariates, of which none are missing, (B, width); None without."""
    if parts.covariates is None or batch.covariates is None:
        return None
    return cast(Tensor, parts.covariates(batch.covariates))


def experts_of(parts: Parts, batch: Batch) -> Experts:
    """Encode what is observed, and only that, in the networks' present mode."""
    loc, raw, private_loc, private_raw = zip(*_encoded(parts, batch), strict=True)
    family = parts.family
    z = torch.stack(loc), family.scale(torch.stack(raw))
    return Experts(family, *z, private_loc, scale_each(family, private_raw), batch.observed)


def experts_given(parts: Parts, inputs: Any, modalities: list[str], batch_size: int) -> Experts:
    """Encode samples in eval mode; only ``modalities`` count, and each must have one of them."""
    with evaluating(parts):
        chunks = iterate(inputs, batch_size)
        experts = Experts.join([experts_of(parts, read_batch(parts, chunk)) for chunk in chunks])
    counted = torch.tensor([m in modalities for m in parts.modalities])
    experts = experts.restrict(counted.to(experts.observed.device))
    lacking = (experts.n_observed == 0).nonzero().squeeze(-1)
    if len(lacking):
        which = f"{len(lacking)} of {len(experts.n_observed)} samples: {lacking[:5].tolist()}"
        raise ValueError(f"nothing of cond_mod {modalities} is observed in {which}")
    return experts


def expert_points(
    parts: Parts, inputs: Any, batch_size: int, sample: bool, generator: Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield one z of every expert, (M, B, d), its mean or a draw, and what is observed, (M, B)."""
    for chunk in iterate(inputs, batch_size):
        batch = read_batch(parts, chunk)
        with evaluating(parts):
            if sample:
                z = experts_of(parts, batch).sample_each(1, generator).squeeze(2)
            else:
                z = torch.stack([own[0] for own in _encoded(parts, batch)])
        yield z, batch.observed


@torch.no_grad()
def latent_means(model: Any, data: Any, batch_size: int = 512) -> Tensor:
    """Return the mean of q(z|X), (n, latent_dim), by a CMVAE or D-CMVAE, of any form of inputs."""
    chunks = iterate(data, batch_size)
    return torch.cat([model.encode(chunk, return_mean=True).z[:, 0] for chunk in chunks])


def nonfinite_experts(parts: Parts, inputs: Any) -> list[str]:
    """Name the experts with a location or scale that is not finite, as ``'q(z|x_a)'``."""
    experts = experts_of(parts, read_batch(parts, inputs))
    found = []
    for i, name in enumerate(parts.modalities):
        shared = ("z", experts.loc[i], experts.scale[i])
        private = ("w", experts.private_loc[i], experts.private_scale[i])
        for latent, loc, scale in (shared, private):
            if not bool((scale.log().isfinite() & loc.isfinite()).all()):
                found.append(f"q({latent}|x_{name})")
    return found


def _encoded(parts: Parts, batch: Batch) -> list[tuple[Tensor, ...]]:
    """Return location and raw scale of z, (B, d), and of w, (B, dim_m), from each modality."""
    return [_expert(parts, batch, i, m) for i, m in enumerate(parts.modalities)]


def _expert(parts: Parts, batch: Batch, index: int, modality: str) -> tuple[Tensor, ...]:
    """Return those of one modality."""
    cells = batch.cells.get(modality)
    if batch.complete:
        return encode_observed(parts, modality, batch.data[modality], cells)
    dims = (parts.model_config.latent_dim, parts.model_config.private_dim(modality))
    like, starts = parts.mixture.centers, (0.0, parts.family.unit_raw)
    filled = [like.new_full((len(batch), dim), start) for dim in dims for start in starts]
    full = torch.cat(filled, -1).to(torch.promote_types(like.dtype, torch.float32))
    rows = batch.observed[index].nonzero().squeeze(-1)
    if len(rows):
        cells = None if cells is None else cells.index_select(0, rows)
        seen = batch.data[modality].index_select(0, rows)
        raw = torch.cat(encode_observed(parts, modality, seen, cells), -1)
        full = full.index_copy(0, rows, raw.to(full.dtype))
    return full.split([part.shape[-1] for part in filled], -1)


def encode_observed(
    parts: Parts, modality: str, x: Tensor, cells: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return location and raw scale of z and of w from observed rows of a modality, (R, *)."""
    dims = (parts.model_config.latent_dim, parts.model_config.private_dim(modality))
    seen = filled(parts, modality, x, cells)
    return run_encoder(parts.encoders[modality], seen, modality, *dims, cells)


def decode_latents(
    parts: Parts, modality: str, latents: Tensor, codes: Tensor | None = None
) -> Tensor:
    """Decode [z, w], (..., d + dim_m), not empty: (..., *input shape).

    A model with covariates needs the ``codes`` of these, (..., width), expanded where they repeat.
    """
    decoder, shape = parts.decoders[modality], parts.model_config.shape_of(modality)
    if codes is not None:
        own = codes.expand(*latents.shape[:-1], codes.shape[-1]).to(latents.dtype)
        latents = torch.cat([latents, own], -1)
    rows = run_decoder(decoder, latents.reshape(-1, latents.shape[-1]), modality, shape)
    return rows.reshape(*latents.shape[:-1], *rows.shape[1:])


def log_likelihoods(parts: Parts, batch: Batch, z: Tensor, drawn: Draws) -> Tensor:
    """Return rescaled log p(x_n | z, w_n), (n, M, B, K), for z, (M, B, K, d).

    It is zero where the expert or n is unobserved, or n is no target of the expert.
    """
    each = [_log_likelihood(parts, n, batch, z, drawn) for n in range(len(parts.modalities))]
    return torch.stack(each)


def bound_of(
    parts: Parts,
    batch: Batch,
    experts: Experts,
    draws: int,
    beta: float,
    generator: Generator | None = None,
    n_targets: int | None = None,
) -> Bound:
    """Return the training bound of a batch, by the loss and the estimator of the settings."""
    config = parts.model_config
    latents = draw_latents(experts, private_priors(parts), draws, generator, n_targets)
    batch = with_covariates(parts, batch, generator)
    log_likelihood = partial(log_likelihoods, parts, batch)
    if config.loss == "iwae_looser":
        return iwae_bound(experts, latents, parts.mixture, log_likelihood, beta)
    return dreg_bound(experts, latents, parts.mixture, log_likelihood, beta, config.dreg_estimator)


def log_marginal(
    parts: Parts,
    inputs: Any,
    draws: int,
    chunk_size: int,
    generator: Generator | None = None,
    seed: int | None = None,
) -> Tensor:
    """Estimate log p(X_S) of samples, (n,), by :mod:`cmvae.models.marginal`, in eval mode."""
    priors, found = private_priors(parts), []
    with evaluating(parts):
        for chunk in iterate(inputs, chunk_size):
            batch = read_batch(parts, chunk)
            source = generator if seed is None else seeded(seed, batch.observed.device)
            batch = with_covariates(parts, batch, source, alike=seed is not None)
            score = partial(score_rows, parts, batch, rescaled=False)
            model = (experts_of(parts, batch), parts.mixture, priors, score)
            found.append(estimate_log_marginal(*model, draws, chunk_size, generator, seed))
    return torch.cat(found)


def score_rows(
    parts: Parts, batch: Batch, index: int, rows: Tensor, latents: Tensor, rescaled: bool = True
) -> Tensor:
    """Return log p(x_m|z, w_m), (R, K), at [z, w_m], (R, K, d + dim_m), of samples ``rows``, (R,).

    m is the modality at place ``index``, which they have observed.
    """
    modality = parts.modalities[index]
    codes = covariate_codes(parts, batch)
    if codes is not None:
        codes = codes.index_select(0, rows).unsqueeze(1).expand(-1, latents.shape[1], -1)
    reconstruction = decode_latents(parts, modality, latents, codes)
    cells = (batch.cells[modality],) if modality in batch.cells else ()
    likelihood, data = likelihood_of(parts, modality), batch.data[modality]
    values = likelihood.log_prob_of_rows(reconstruction, data, rows, *cells)
    return _as_counted(parts, modality, values, latents, rescaled)


def _log_likelihood(parts: Parts, index: int, batch: Batch, z: Tensor, drawn: Draws) -> Tensor:
    """Return rescaled log p(x_n | z, w_n) of one modality n, (M, B, K)."""
    experts, samples, draws, _ = z.shape
    observed, targets = batch.observed[index], drawn.targets
    if targets is None:
        w = drawn.others[index].select_scatter(drawn.own[index], 0, index)
        latents = torch.cat([z, w], -1)
        if batch.complete:
            modality = parts.modalities[index]

            def repeated(own: Tensor) -> Tensor:
                return own[None, :, None].expand(experts, -1, draws, *own.shape[1:])

            cells = repeated(batch.cells[modality]) if modality in batch.cells else None
            codes = covariate_codes(parts, batch)
            codes = None if codes is None else repeated(codes)
            target = repeated(batch.data[modality])
            return score(parts, modality, latents, target, cells, codes=codes)
        rows = (batch.observed & observed).flatten().nonzero().squeeze(-1)
        latents = latents.flatten(0, 1).index_select(0, rows)
    else:
        own = observed.nonzero().squeeze(-1)
        cross = targets.chosen[index].flatten().nonzero().squeeze(-1)
        rows = torch.cat([index * samples + own, cross])
        w = torch.cat([drawn.own[index].index_select(0, own), drawn.others[index]])
        latents = torch.cat([z.flatten(0, 1).index_select(0, rows), w], -1)
    if not len(rows):
        return z.new_zeros(z.shape[:-1])
    values = score_rows(parts, batch, index, rows % samples, latents)
    if targets is not None:
        values = values * targets.factors(index).flatten().index_select(0, rows).unsqueeze(-1)
    scattered = values.new_zeros(experts * samples, draws).index_copy(0, rows, values)
    return scattered.unflatten(0, (experts, samples))


def score(
    parts: Parts,
    modality: str,
    latents: Tensor,
    target: Tensor,
    cells: Tensor | None = None,
    rescaled: bool = True,
    codes: Tensor | None = None,
) -> Tensor:
    """Return log p(x|z, w), (*), of the cells of targets (*, ...) given latents (*, d + dim).

    ``codes`` of covariates are (*, width).
    """
    lead, likelihood = latents.shape[:-1], likelihood_of(parts, modality)
    reconstruction = decode_latents(parts, modality, latents, codes)
    there = () if cells is None else (cells,)
    values = likelihood.log_prob_of_samples(reconstruction, target, len(lead), *there)
    return _as_counted(parts, modality, values, latents, rescaled)


def _as_counted(
    parts: Parts, modality: str, values: Tensor, latents: Tensor, rescaled: bool
) -> Tensor:
    """Return log-likelihoods, at least float32, times what the modality counts if ``rescaled``."""
    values = values.to(torch.promote_types(latents.dtype, torch.float32))
    factor = parts.rescale_factors[modality] if rescaled else 1.0
    return values if factor == 1.0 else values * factor
