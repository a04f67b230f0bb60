"""Drawing latents, for encoding and generation: from experts, from the priors, from clusters."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Generator, Tensor

from cmvae.base.memory import check_memory
from cmvae.base.words import shown
from cmvae.data.batches import iterate
from cmvae.data.checks import as_tensor, check_mapping
from cmvae.data.covariates import read_covariates
from cmvae.models.covariates import refuse_covariates
from cmvae.models.inference import Parts
from cmvae.models.posterior import Experts
from cmvae.models.private_prior import PrivatePrior


def check_draws(parts: Parts, argument: str, value: int, draws: int) -> None:
    """Refuse so many draws of all latents that memory cannot hold them, by the argument's name."""
    if torch.compiler.is_compiling():
        return
    config, like = parts.model_config, parts.mixture.centers
    size = config.latent_dim + sum(map(config.private_dim, parts.modalities))
    n_bytes = 2 * draws * size * like.element_size()  # noise, and what it becomes
    check_memory(f"{argument} = {value}", n_bytes, f"lower {argument}, or draw in parts")


def sample_private_prior(
    parts: Parts, modality: str, shape: tuple[int, ...], generator: Generator | None = None
) -> Tensor:
    """Draw w_m, (*shape, dim_m), from the prior that ``reconstruction_option`` names."""
    option = parts.model_config.reconstruction_option
    prior = cast(PrivatePrior, parts.private_priors[modality])
    if option == "aggregate":
        return prior.sample_aggregate(shape, generator)
    return prior.sample(shape, auxiliary=option == "single_prior", generator=generator)


def sample_latents(
    parts: Parts, experts: Experts, draws: int, generator: Generator | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Draw z from q(z|X), (B, draws, d), and w_m, (B, draws, dim_m), from its expert or prior."""
    z = experts.sample(experts.choose(draws, generator), generator)
    private = {}
    for i, m in enumerate(parts.modalities):
        drawn = experts.sample_private(i, draws, generator)
        other = sample_private_prior(parts, m, tuple(drawn.shape[:-1]), generator)
        private[m] = torch.where(experts.observed[i][:, None, None], drawn, other)
    return z, private


def mean_latents(parts: Parts, experts: Experts, draws: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the means of what :func:`sample_latents` draws, repeated for every draw."""
    private = {}
    for m, loc, seen in zip(parts.modalities, experts.private_loc, experts.observed, strict=True):
        other = cast(PrivatePrior, parts.private_priors[m]).mean
        private[m] = loc.where(seen[:, None], other).unsqueeze(1).expand(-1, draws, -1)
    return experts.mean.unsqueeze(1).expand(-1, draws, -1), private


def joined_latents(
    parts: Parts, embedding: Mapping[str, Any], modalities: list[str]
) -> dict[str, Tensor]:
    """Return [z, w_m], (..., d + dim_m), of an embedding as ``CMVAE.encode`` returns it."""
    if not isinstance(embedding, Mapping) or not {"z", "modalities_z"} <= set(embedding):
        raise TypeError("embedding must hold 'z' and 'modalities_z', as encode returns them")
    like, config = parts.mixture.centers, parts.model_config
    z, private = as_tensor(embedding["z"], "z").to(like), embedding["modalities_z"]
    check_mapping(private, "modalities_z", "(..., dim)")
    latents = {}
    for m in modalities:
        if m not in private:
            raise KeyError(f"modalities_z lacks {m!r}; it has {list(private)}")
        w, dim = as_tensor(private[m], f"modalities_z[{m!r}]").to(like), config.private_dim(m)
        if z.shape[-1] != config.latent_dim or w.shape != (*z.shape[:-1], dim):
            wanted = f"z must be (..., {config.latent_dim}), modalities_z[{m!r}] (..., {dim})"
            raise ValueError(f"{wanted}; got {tuple(z.shape)} and {tuple(w.shape)}")
        latents[m] = torch.cat([z, w], -1)
    return latents


def given_covariates(parts: Parts, inputs: Any, batch_size: int) -> list[Tensor]:
    """Return the covariates that inputs hold, in parts (n, C), NaN where one is missing."""
    sizes, found = parts.model_config.covariates, []
    for chunk in iterate(inputs, batch_size):
        own: Any = chunk if isinstance(chunk, Mapping) else vars(chunk)
        n = len(next(iter(own["data"].values())))
        found.append(read_covariates(own.get("covariates") or {}, sizes, n))
    return found


def covariates_to_decode(
    parts: Parts,
    inputs: Any,
    chosen: Mapping[str, Any] | None,
    draws: int,
    usual: bool,
    batch_size: int,
    generator: Generator | None,
) -> dict[str, Tensor]:
    """Return the covariates to decode n samples under, {name: (n, draws)}.

    Those that are chosen, else the samples' own; missing ones are drawn, or the ``usual`` ones.
    """
    known = parts.covariates
    if known is None:
        refuse_covariates(chosen)
        return {}
    own = torch.cat(given_covariates(parts, inputs, batch_size)).to(known.levels)
    asked = known.given(chosen, len(own)).to(known.levels)
    values = asked.where(~asked.isnan(), own).repeat_interleave(draws, 0)
    values = known.usual(values) if usual else known.filled(values, generator)
    return known.named(values.unflatten(0, (-1, draws)))


def embedded_codes(parts: Parts, embedding: Mapping[str, Any]) -> Tensor | None:
    """Return the codes of an embedding's covariates, (..., width); those that it lacks are drawn.

    None of a model without covariates.
    """
    known, given = parts.covariates, embedding.get("covariates")
    if known is None:
        refuse_covariates(given)
        return None
    z = as_tensor(embedding["z"], "z").to(parts.mixture.centers)
    flat = {name: torch.as_tensor(own).flatten() for name, own in (given or {}).items()}
    values = known.filled(known.given(flat, z[..., 0].numel()).to(z))
    return cast(Tensor, known(values)).unflatten(0, z.shape[:-1])


def as_reconstruction(parts: Parts, modality: str, values: Any) -> Tensor:
    """Return a decoder's output (..., *input shape) as a tensor; others are refused."""
    what, shape = f"reconstructions[{modality!r}]", parts.model_config.shape_of(modality) or ()
    given = as_tensor(values, what)
    fits = tuple(given.shape[given.ndim - len(shape) :]) == tuple(shape)
    if not fits or not given.is_floating_point():
        wanted = f"floating numbers (..., {', '.join(map(str, shape))})"
        raise ValueError(f"{what} must be {wanted}, got {given.dtype} {tuple(given.shape)}")
    return given


def choose_clusters(
    parts: Parts, cluster: Any, n_samples: int, generator: Generator | None = None
) -> Tensor:
    """Return each sample's cluster, (n_samples,) int64: drawn for None, else given and active.

    Several share the samples evenly, in their order: one for each sample is a special case.
    """
    active, weights = parts.mixture.active, parts.mixture.log_weights.exp()
    if cluster is None:
        return torch.multinomial(weights, n_samples, replacement=True, generator=generator)
    refusal = (
        f"cluster must be an index, or a list of them whose length divides n_samples = {n_samples}"
        f", got {shown(cluster)}"
    )
    try:
        clusters = torch.as_tensor(cluster, device=active.device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(refusal) from None
    integer = not (clusters.is_floating_point() or clusters.dtype == torch.bool)
    if not integer or clusters.ndim > 1 or not clusters.numel() or n_samples % clusters.numel():
        raise ValueError(refusal)
    clusters, allowed = clusters.long().reshape(-1), active.nonzero().squeeze(-1)
    if not bool(torch.isin(clusters, allowed).all()):
        raise ValueError(f"cluster must be active, one of {allowed.tolist()}; got {shown(cluster)}")
    return clusters.repeat_interleave(n_samples // len(clusters))
