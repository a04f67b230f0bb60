"""What a model is built of, from its settings: names, networks and factors, checked."""

import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cmvae.base.memory import check_memory
from cmvae.base.modality_dict import ModalityDict
from cmvae.likelihoods import Likelihood, build_likelihood
from cmvae.models.config import CMVAEConfig
from cmvae.models.covariates import Covariates
from cmvae.models.families import Family
from cmvae.models.mixture import MixturePrior
from cmvae.models.private_prior import PrivatePrior
from cmvae.models.residuals import ResidualFactors
from cmvae.networks import build_decoder, build_encoder

Supplied = Mapping[str, nn.Module] | None
Part = nn.Module | None

TRAINING_COPIES = 4  # weights, gradients and the two moments of Adam
_SIZES = {
    "mixture": "latent_dim, number_of_clusters or the form of covariance",
    "residuals": "residual_factors",
    "private_priors": "the private dimensions",
}
_SIZES_OF_NETWORKS = "hidden_dims, latent_dim or the private dimensions"


def modality_names(
    config: CMVAEConfig, encoders: Supplied = None, decoders: Supplied = None
) -> tuple[str, ...]:
    """Return the modality names, which input_dims, encoders and decoders must agree on."""
    sources = {"input_dims": config.input_dims, "encoders": encoders, "decoders": decoders}
    given: dict[str, list[str]] = {}
    for argument, source in sources.items():
        if isinstance(source, Mapping):
            given[argument] = list(source)
        elif source is not None:
            got = type(source).__name__
            raise TypeError(f"{argument} must be a mapping from modality to module, got {got}")
    if not given:
        raise ValueError("CMVAEConfig.input_dims is needed to build networks; got None")
    argument, names = next(iter(given.items()))
    if len(names) != config.n_modalities:
        n = config.n_modalities
        raise ValueError(f"{argument} has modalities {names}, but n_modalities is {n}")
    for other, others in given.items():
        # Networks that are not given are built, where the shapes of inputs are known.
        fits = set(others) <= set(names) if "input_dims" in given else set(others) == set(names)
        if not (fits and others):
            raise ValueError(f"{other} has modalities {others}, but {argument} has {names}")
    bad = [name for name in names if not isinstance(name, str) or name in ("", "all")]
    if bad:
        raise ValueError(f"modality names must be strings, not empty and not 'all'; got {bad}")
    config.check_names(names)
    return tuple(names)


def check_supplied(config: CMVAEConfig, encoders: Supplied, decoders: Supplied) -> list[str]:
    """Return which of ``'encoders'`` and ``'decoders'`` the caller supplied, checked.

    Of those of some modalities alone, ``'decoders.NAME'`` for each.
    """
    supplied, n = {"encoders": encoders, "decoders": decoders}, config.n_modalities
    for argument, networks in supplied.items():
        wanted, given = config.supplied(argument), set(networks or ())
        if len(given) < n if wanted is None else set(wanted) - given:
            own = [n for n in config.custom_architectures if n.startswith(argument)]
            raise ValueError(f"custom_architectures names {own}: pass {argument}= to CMVAE")
        for m, network in (networks or {}).items():
            if not isinstance(network, nn.Module):
                got = type(network).__name__
                raise TypeError(f"{argument}[{m!r}] must be a torch.nn.Module, got {got}")
    for m in config.missing_cells:
        encoder = (encoders or {}).get(m)
        if encoder is not None and not getattr(encoder, "sees_cells", False):
            way = "it needs sees_cells = True and forward(x, cells)"
            raise ValueError(f"missing_cells names {m!r}, whose encoder does not see cells: {way}")
    if config.networks is not None and all(len(own or ()) == n for own in supplied.values()):
        unused = f"networks is {config.networks!r}"
        raise ValueError(f"{unused}, but encoders and decoders are given: none are built")
    for m in config.decoders_dist or {}:
        if config.likelihood_is_missing(m):
            lost = f"decoders_dist[{m!r}] was a callable, which is not stored"
            raise ValueError(f"{lost}: pass decoders_dist= again")
    return [
        name
        for argument, networks in supplied.items()
        if networks is not None
        for name in ([argument] if len(networks) == n else [f"{argument}.{m}" for m in networks])
    ]


def warn_about_size_one(config: CMVAEConfig, modalities: tuple[str, ...]) -> None:
    """Warn of latents of size 1 where the scales of a latent always sum to its size."""
    sizes = {"latent_dim": config.latent_dim}
    sizes |= {f"modalities_specific_dim of {m!r}": config.private_dim(m) for m in modalities}
    ones = [name for name, size in sizes.items() if size == 1]
    if ones and config.prior_and_posterior_dist == "laplace_with_softmax":
        why = "with 'laplace_with_softmax' scales sum to a latent's size: one cannot be learned"
        warnings.warn(f"{', '.join(ones)} is 1: {why}", stacklevel=3)


def build_parts(
    config: CMVAEConfig,
    family: Family,
    modalities: tuple[str, ...],
    encoders: Supplied = None,
    decoders: Supplied = None,
) -> dict[str, Part]:
    """Build what a model consists of, by the name of its attribute; what is supplied is taken."""
    likelihoods = build_likelihoods(config, modalities)
    priors = build_private_priors(config, family, modalities)
    n_clusters, covariance = config.number_of_clusters, config.covariance
    return {
        "encoders": ModalityDict(build_networks(config, likelihoods, "encoders", encoders)),
        "decoders": ModalityDict(build_networks(config, likelihoods, "decoders", decoders)),
        "likelihoods": ModalityDict(likelihoods),
        "private_priors": ModalityDict(priors),
        "mixture": MixturePrior(n_clusters, config.latent_dim, family, covariance),
        "residuals": build_residuals(config, likelihoods),
        "covariates": Covariates(config.covariates) if config.covariates else None,
    }


def check_size(make: Callable[[], Mapping[str, Part]], copies: int = 1) -> None:
    """Refuse a model whose weights, so many times over, are more than the memory there is.

    They are counted on the meta device, where tensors have sizes and nothing else.

    Args:
        make: Returns its parts by name.
        copies: How many times over; in training ``TRAINING_COPIES``.

    Raises:
        ValueError: Naming the settings to lower.
    """
    largest, size, total = "", 0, 0
    weightless = torch.get_default_device().type == "meta"
    try:
        with torch.device("meta"), _NoDraws():
            for name, part in make().items():
                own = sum(x.nbytes for x in part.state_dict().values()) if part is not None else 0
                largest, size = (name, own) if own > size else (largest, size)
                total += own
    except (RuntimeError, TypeError) as error:
        if "overflow" not in str(error).lower():
            return  # networks of one's own that cannot be built there
        raise ValueError(f"no model can be so large: lower {_SIZES_OF_NETWORKS}") from None
    if weightless:
        return
    what = "training the model's weights" if copies > 1 else "the model's weights"
    lower = _SIZES.get(largest, _SIZES_OF_NETWORKS)
    check_memory(f"{what}, most of them in its {largest},", copies * total, f"lower {lower}")


class _NoDraws(TorchFunctionMode):
    """Leaves out normal draws: on the meta device these load PyTorch's compiler, for a second."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))


def build_networks(
    config: CMVAEConfig, likelihoods: Mapping[str, Likelihood], part: str, supplied: Supplied = None
) -> dict[str, nn.Module]:
    """Build the ``'encoders'`` or the ``'decoders'`` that are not supplied, and return all.

    ``ValueError`` where that cannot be.
    """
    given = dict(supplied or {})
    if set(given) == set(likelihoods):
        return given
    if config.input_dims is None:
        otherwise = f"pass it, or {part}= to CMVAE"
        raise ValueError(f"CMVAEConfig.input_dims is needed to build {part}; {otherwise}")
    built: dict[str, nn.Module] = {}
    for m, likelihood in likelihoods.items():
        if m in given:
            built[m] = given[m]
            continue
        shape, name, (dist, _) = config.input_dims[m], config.network_of(m), config.likelihood_of(m)
        how = (dist if isinstance(dist, str) else "custom", config.hidden_dims, name)
        z, w, s = config.latent_dim, config.private_dim(m), sum(config.covariates.values())
        try:
            if part == "encoders":
                sees = config.has_missing_cells(m)
                built[m] = build_encoder(
                    shape, z, w, *how, counts=likelihood.counts, sees_cells=sees
                )
            else:
                built[m] = build_decoder(shape, z + w, *how, n_covariates=s)
        except ValueError as error:
            if name is None:
                raise ValueError(f"{part} of modality {m!r}: {error}") from None
            what = f"{part} of modality {m!r} of shape {shape}"
            raise ValueError(f"networks: {name!r} cannot be the {what}: {error}") from None
    return built


def build_likelihoods(config: CMVAEConfig, modalities: tuple[str, ...]) -> dict[str, Likelihood]:
    """Build the likelihood of each modality."""
    own = {m: (*config.likelihood_of(m), m, config.shape_of(m)) for m in modalities}
    return {m: build_likelihood(*settings) for m, settings in own.items()}


def build_private_priors(
    config: CMVAEConfig, family: Family, modalities: tuple[str, ...]
) -> dict[str, nn.Module]:
    """Build the priors of each modality's private latent."""
    learned, aggregate = config.learn_modality_prior, config.reconstruction_option == "aggregate"
    how = (family, learned, aggregate, config.private_scale)
    return {m: PrivatePrior(config.private_dim(m), *how) for m in modalities}


def build_residuals(
    config: CMVAEConfig, likelihoods: Mapping[str, Likelihood]
) -> ResidualFactors | None:
    """Build the factors of what decoders leave of real numbers; None where there are none."""
    if not config.residual_factors:
        return None
    n_columns = 0
    for modality, shape in (config.input_dims or {}).items():
        if len(shape) == 1:
            real = likelihoods[modality].real
            n_columns += real * shape[0] if isinstance(real, bool) else int(real.sum())
    if not n_columns:
        return None
    return ResidualFactors(n_columns, min(config.residual_factors, n_columns))


def rescale_factors(config: CMVAEConfig, modalities: tuple[str, ...]) -> dict[str, float]:
    """Return λ_m: 1, what is given, or max_n D_n / D_m; ``ValueError`` without input_dims."""
    if not config.uses_likelihood_rescaling:
        return dict.fromkeys(modalities, 1.0)
    if config.rescale_factors is not None:
        return dict(config.rescale_factors)
    if config.input_dims is None:
        raise ValueError("uses_likelihood_rescaling needs input_dims or rescale_factors")
    sizes = {m: math.prod(config.input_dims[m]) for m in modalities}
    return {m: max(sizes.values()) / size for m, size in sizes.items()}
