"""What a model is built of, from its settings: names, likelihoods, networks, priors and factors."""

import math
import warnings
from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from cmvae.base.modality_dict import ModalityDict
from cmvae.likelihoods import Likelihood, build_likelihood
from cmvae.models.config import CMVAEConfig
from cmvae.models.families import FAMILIES
from cmvae.models.priors import PrivatePrior
from cmvae.networks import build_decoder, build_encoder

Supplied = Mapping[str, nn.Module] | None


def modality_names(
    config: CMVAEConfig, encoders: Supplied = None, decoders: Supplied = None
) -> tuple[str, ...]:
    """Return the modality names, which input_dims, encoders and decoders must agree on.

    Raises:
        TypeError: If one of them is no mapping.
        ValueError: If none is given, they differ, or a name is not allowed.
    """
    sources = {"input_dims": config.input_dims, "encoders": encoders, "decoders": decoders}
    for argument, source in sources.items():
        if source is not None and not isinstance(source, Mapping):
            raise TypeError(
                f"{argument} must be a mapping from modality to module, got {type(source).__name__}"
            )
    given = {argument: list(source) for argument, source in sources.items() if source is not None}
    if not given:
        raise ValueError(
            "CMVAEConfig.input_dims is needed to build encoders and decoders; got None"
        )
    argument, names = next(iter(given.items()))
    if len(names) != config.n_modalities:
        raise ValueError(
            f"{argument} has modalities {names}, but n_modalities is {config.n_modalities}"
        )
    for other, others in given.items():
        if set(others) != set(names):
            raise ValueError(f"{other} has modalities {others}, but {argument} has {names}")
    bad = [name for name in names if not isinstance(name, str) or name in ("", "all")]
    if bad:
        raise ValueError(
            f"modality names must be strings, not empty and not 'all', which means all; got {bad}"
        )
    config.check_names(names)
    return tuple(names)


def check_supplied(config: CMVAEConfig, encoders: Supplied, decoders: Supplied) -> list[str]:
    """Return which of ``'encoders'`` and ``'decoders'`` the caller supplied, checked.

    Raises:
        TypeError: For a network that is no module.
        ValueError: For what the settings say was supplied and was not, or names in vain.
    """
    supplied = {"encoders": encoders, "decoders": decoders}
    for argument, networks in supplied.items():
        if networks is None and argument in config.custom_architectures:
            raise ValueError(f"custom_architectures names {argument!r}: pass {argument}= to CMVAE")
        for m, network in (networks or {}).items():
            if not isinstance(network, nn.Module):
                kind = type(network).__name__
                raise TypeError(f"{argument}[{m!r}] must be a torch.nn.Module, got {kind}")
    if config.networks is not None and None not in supplied.values():
        raise ValueError(
            f"networks is {config.networks!r}, but encoders and decoders are given: none are built"
        )
    for m in config.decoders_dist or {}:
        if config.likelihood_is_missing(m):
            raise ValueError(
                f"decoders_dist[{m!r}] was a callable, which is not stored: pass it again"
            )
    return [argument for argument, networks in supplied.items() if networks is not None]


def warn_about_size_one(config: CMVAEConfig, modalities: tuple[str, ...]) -> None:
    """Warn of latents of size 1 where the scales of a latent always sum to its size."""
    sizes = {"latent_dim": config.latent_dim}
    sizes |= {f"modalities_specific_dim of {m!r}": config.private_dim(m) for m in modalities}
    ones = [name for name, size in sizes.items() if size == 1]
    if ones and config.prior_and_posterior_dist == "laplace_with_softmax":
        warnings.warn(
            f"{', '.join(ones)} is 1: with 'laplace_with_softmax' the scales of a latent sum to "
            "its size, so a latent of size 1 has scale 1, which cannot be learned",
            stacklevel=3,
        )


def build_likelihoods(config: CMVAEConfig, modalities: tuple[str, ...]) -> dict[str, Likelihood]:
    """Build the likelihoods."""
    shapes = config.input_dims or {}
    return {m: build_likelihood(*config.likelihood_of(m), m, shapes.get(m)) for m in modalities}


def build_encoders(
    config: CMVAEConfig, likelihoods: Mapping[str, Likelihood]
) -> dict[str, nn.Module]:
    """Build the encoders.

    Raises:
        ValueError: If input_dims are lacking, or a network cannot take its shape.
    """
    return {
        m: _build(
            partial(build_encoder, counts=likelihood.counts),
            *(config, "encoders", m, config.latent_dim, config.private_dim(m)),
        )
        for m, likelihood in likelihoods.items()
    }


def build_decoders(config: CMVAEConfig, modalities: tuple[str, ...]) -> dict[str, nn.Module]:
    """Build the decoders; errors as of :func:`build_encoders`."""
    total = config.latent_dim
    return {
        m: _build(build_decoder, config, "decoders", m, total + config.private_dim(m))
        for m in modalities
    }


def _build(
    build: Callable[..., nn.Module], config: CMVAEConfig, part: str, modality: str, *dims: int
) -> nn.Module:
    if config.input_dims is None:
        raise ValueError(
            f"CMVAEConfig.input_dims is needed to build {part}; pass it, or {part}= to CMVAE"
        )
    shape, name = config.input_dims[modality], config.network_of(modality)
    dist, _ = config.likelihood_of(modality)
    likelihood = dist if isinstance(dist, str) else "custom"
    try:
        return build(shape, *dims, likelihood, config.hidden_dims, name)
    except ValueError as error:
        if name is None:
            raise
        what = f"the {part} of modality {modality!r} of shape {shape}"
        raise ValueError(f"networks: {name!r} cannot be {what}: {error}") from None


def build_private_priors(config: CMVAEConfig, modalities: tuple[str, ...]) -> ModalityDict:
    """Build the priors of the private latents."""
    family = FAMILIES[config.prior_and_posterior_dist]
    return ModalityDict(
        {
            m: PrivatePrior(config.private_dim(m), family, config.learn_modality_prior)
            for m in modalities
        }
    )


def rescale_factors(config: CMVAEConfig, modalities: tuple[str, ...]) -> dict[str, float]:
    """Return λ_m: 1, what is given, or max_n D_n / D_m.

    Raises:
        ValueError: If there are neither factors nor input_dims to find them from.
    """
    if not config.uses_likelihood_rescaling:
        return dict.fromkeys(modalities, 1.0)
    if config.rescale_factors is not None:
        return dict(config.rescale_factors)
    if config.input_dims is None:
        raise ValueError(
            "uses_likelihood_rescaling needs input_dims, or rescale_factors; got neither"
        )
    sizes = {m: math.prod(config.input_dims[m]) for m in modalities}
    return {m: max(sizes.values()) / size for m, size in sizes.items()}
