"""Models from MultiVae's folders, and back: the same numbers under other names."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from cmvae.base.words import listed, message_of, shown
from cmvae.models.build import Supplied
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.inference import likelihood_of
from cmvae.models.pretrained import too_large
from cmvae.multivae.folder import CONFIG_NAME, WEIGHTS_NAME, read_folder, write_folder
from cmvae.multivae.layers import HIDDEN_DIMS, Weights, as_theirs, is_default, recognise
from cmvae.multivae.priors import priors_as_theirs, read_priors, set_priors

ModelType = TypeVar("ModelType", bound=CMVAE)

PARTS = ("encoders", "decoders")

_SAME = (  # settings of one name and meaning
    *("n_modalities", "latent_dim", "input_dims", "uses_likelihood_rescaling", "rescale_factors"),
    *("decoders_dist", "K", "prior_and_posterior_dist", "learn_modality_prior", "beta"),
    *("modalities_specific_dim", "reconstruction_option", "loss", "number_of_clusters"),
)
_OTHERS = ("name", "decoder_dist_params", "custom_architectures")
_SCALED = ("normal", "laplace")
_DISTS = (*_SCALED, "bernoulli", "categorical")  # likelihoods that MultiVae has


def convert(folder: str | Path, *, encoders: Supplied = None, decoders: Supplied = None) -> CMVAE:
    """Return the CMVAE that MultiVae saved in a folder, in eval mode.

    ``model_config.json`` and ``model.pt`` are read, tensors alone; pickles, ``encoders.pkl`` and
    ``decoders.pkl``, never are. Encodings, decodings, cluster weights and the loss
    ``'iwae_looser'`` are those of MultiVae. Its default perceptrons, and the residual networks of
    its example on PolyMNIST, become built-in ones; other networks are passed, with parameters named
    as they were, and get their weights. Clusters that MultiVae has pruned are inactive.

    With ``'normal_with_softplus'`` MultiVae's priors have the scale log 2, not 1: ``private_scale``
    is that then, and ``covariance`` is ``'diagonal'``.

    Args:
        folder: What ``model.save(folder)`` wrote there.
        encoders: Modality to network, where those of MultiVae are not recognised.
        decoders: Likewise.

    Raises:
        ValueError: If a file is missing or damaged, the model is no CMVAE, networks must be passed,
            or those passed do not fit the weights.

    Example:
        >>> from cmvae.multivae import convert
        >>> model = convert("old/final_model")  # doctest: +SKIP
        >>> model.save_pretrained("new")  # doctest: +SKIP
    """
    return read_model(CMVAE, folder, encoders, decoders)


def read_model(
    model_class: type[ModelType],
    folder: str | Path,
    encoders: Supplied = None,
    decoders: Supplied = None,
) -> ModelType:
    """Return the model of a folder as one of this class; see :func:`convert`."""
    fields, state = read_folder(folder)
    try:
        config = _config_of(fields)
    except ValueError as error:
        raise ValueError(f"{Path(folder) / CONFIG_NAME}: {message_of(error)}") from None
    try:
        return _build(model_class, config, state, {"encoders": encoders, "decoders": decoders})
    except (ValueError, RuntimeError, OverflowError) as error:
        reason = too_large(error) or message_of(error)
        raise ValueError(f"{Path(folder) / WEIGHTS_NAME}: {reason}") from None


def export(model: CMVAE, folder: str | Path, *, overwrite: bool = False) -> None:
    """Write a model as MultiVae saves its CMVAE: the way back.

    Perceptrons as MultiVae builds them (``networks='mlp_sigmoid'``, ``hidden_dims=(512,)``) are
    loaded there by ``AutoModel.load_from_folder(folder)``. Of other networks the weights alone are
    written: there, build the model with them and ``load_state_dict`` what ``model.pt`` holds under
    ``'model_state_dict'``. The residual networks ``'resnet'`` get the names that they have in
    MultiVae's example on PolyMNIST.

    Args:
        model: A :class:`cmvae.CMVAE`.
        folder: Made where missing; it holds nothing else.
        overwrite: Whether a model of MultiVae there may be replaced.

    Raises:
        TypeError: If it is no CMVAE.
        ValueError: If a setting has no counterpart there, or the folder may not be written.

    Example:
        >>> from cmvae.multivae import export
        >>> export(model, "back")  # doctest: +SKIP
    """
    if not isinstance(model, CMVAE):
        raise TypeError(f"model must be a CMVAE, got {type(model).__name__}")
    config = model.model_config
    weights = {name: values.cpu() for name, values in priors_as_theirs(model).items()}
    fields = _settings_as_theirs(model)
    built = [part for part in PARTS if config.supplied(part) == []]
    for part in PARTS:
        custom = config.supplied(part)
        for m, network in getattr(model, part).items():
            own = dict(network.state_dict())
            is_ours = custom is not None and m not in custom
            own = as_theirs(part, m, config, own) if is_ours else own
            weights |= {f"{part}.{m}.{name}": values.cpu() for name, values in own.items()}
    default = built if all(is_default(m, config) for m in model.modalities) else []
    fields["custom_architectures"] = [part for part in PARTS if part not in default]
    write_folder(folder, fields, weights, overwrite)


def _settings_as_theirs(model: CMVAE) -> dict[str, Any]:
    """Return settings under MultiVae's names; ``ValueError`` for those it has not."""
    config, modalities = model.model_config, model.modalities
    lost = {
        "missing_cells": bool(config.missing_cells),
        "covariates": bool(config.covariates),
        "reconstruction_option": config.reconstruction_option == "aggregate",
        "modalities_specific_dim": len({config.private_dim(m) for m in modalities}) > 1,
    }
    lost |= {f"decoders_dist[{m!r}]": config.likelihood_of(m)[0] not in _DISTS for m in modalities}
    if names := [name for name, is_lost in lost.items() if is_lost]:
        got = ", ".join(f"{name} = {shown(_value(config, name))}" for name in names)
        raise ValueError(f"MultiVae's CMVAE has no counterpart of {got}")
    params = {m: dict(config.likelihood_of(m)[1]) for m in modalities}
    for m, own in params.items():
        if own.get("scale") == "learned":
            own["scale"] = likelihood_of(model, m).scale
    return {
        **{name: config.to_plain()[name] for name in _SAME},
        "modalities_specific_dim": config.private_dim(modalities[0]),
        "decoders_dist": {m: config.likelihood_of(m)[0] for m in modalities},
        "decoder_dist_params": {m: own for m, own in params.items() if own},
    }


def _value(config: CMVAEConfig, name: str) -> Any:
    """Return the value of a setting, or of an entry of a mapping among them."""
    field, _, modality = name.partition("[")
    return config.likelihood_of(modality[1:-2])[0] if modality else getattr(config, field)


def _config_of(fields: Mapping[str, Any]) -> CMVAEConfig:
    """Return MultiVae's settings as ours, networks and priors aside."""
    if unknown := [name for name in fields if name not in (*_SAME, *_OTHERS)]:
        raise ValueError(f"unknown settings {unknown}: was it saved by another version?")
    given = {name: fields[name] for name in _SAME if name in fields}
    if not given.get("uses_likelihood_rescaling"):
        given["rescale_factors"] = None  # which MultiVae keeps, and does not read
    dists, scales = given.get("decoders_dist") or {}, {}
    for m, params in (fields.get("decoder_dist_params") or {}).items():
        if dists.get(m, "normal") in _SCALED and "scale" in params:  # what MultiVae reads of it
            scales[m] = {"scale": params["scale"]}
    return CMVAEConfig.from_plain({**given, "decoder_dist_params": scales or None})


def _build(
    model_class: type[ModelType],
    config: CMVAEConfig,
    state: Weights,
    supplied: Mapping[str, Supplied],
) -> ModelType:
    """Build a model and give it MultiVae's weights; ``ValueError`` where they do not fit."""
    left = dict(state)
    modalities = _modalities(left)
    priors = read_priors(config, modalities, left)
    stored = {part: {m: _under(f"{part}.{m}.", left) for m in modalities} for part in PARTS}
    if left:
        raise ValueError(f"there are tensors that a CMVAE of MultiVae has not: {listed(left)}")
    changes = {"private_scale": priors.private_scale, "covariance": priors.covariance}
    names: dict[str, str] = {}
    for part in (part for part in PARTS if supplied[part] is None):
        for m, theirs in stored[part].items():
            found = recognise(part, m, config, theirs)
            if found is None or names.setdefault(m, found.name) != found.name:
                raise ValueError(_pass_them(part, m, theirs))
            stored[part][m] = found.weights
    if names:
        changes |= {"networks": names, "hidden_dims": HIDDEN_DIMS}
    model = model_class(config.replace(**changes), supplied["encoders"], supplied["decoders"])
    for part, own in stored.items():
        for m, weights in own.items():
            _load(getattr(model, part)[m], weights, f"{part}[{m!r}]")
    set_priors(model, priors)
    return model.to(priors.centers.dtype).eval()


def _modalities(state: Iterable[str]) -> list[str]:
    """Return the modalities, in MultiVae's order."""
    found = [name.removeprefix("r_logvars_priors.") for name in state if "r_logvars_p" in name]
    if not found:
        raise ValueError("r_logvars_priors are missing, which a CMVAE of MultiVae has")
    return found


def _under(prefix: str, left: Weights) -> Weights:
    """Take the tensors whose names begin so out of those that are left; the rest of each name."""
    names = [name for name in left if name.startswith(prefix)]
    return {name.removeprefix(prefix): left.pop(name) for name in names}


def _pass_them(part: str, modality: str, theirs: Weights) -> str:
    """Say that networks are to be passed, and how their parameters must be named."""
    way = f"pass {part}={{modality: network}} to cmvae.multivae.convert"
    named = f"whose parameters are named {listed(theirs)}"
    never = f"{part}.pkl is a pickle, which is never loaded"
    return (
        f"the {part} of modality {modality!r} are none that are known here: {way}, {named}; {never}"
    )


def _load(network: nn.Module, weights: Weights, what: str) -> None:
    """Load weights into a network; ``ValueError`` where names, shapes or numbers are wrong."""
    own = {name: tuple(values.shape) for name, values in network.state_dict().items()}
    given = {name: tuple(values.shape) for name, values in weights.items()}
    if differing := [name for name in {**own, **given} if own.get(name) != given.get(name)]:
        name = differing[0]
        sizes = f"{name} is {own.get(name)}, {given.get(name)} in the file"
        raise ValueError(f"{what} is not the network of the weights: {sizes}")
    bad = [m for m, x in weights.items() if x.is_floating_point() and not x.isfinite().all()]
    if bad:
        raise ValueError(f"{what}: NaN or infinity in {bad[:5]}")
    with torch.no_grad():
        network.load_state_dict(weights)
