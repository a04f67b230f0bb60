"""Saved models: a folder with config.json and model.safetensors, here or on the Hub; no pickle."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_model
from torch import Tensor, nn

from cmvae.base.arguments import as_path
from cmvae.base.extras import from_extra
from cmvae.base.files import atomic_write
from cmvae.base.reading import read_json
from cmvae.base.words import message_of, shortened, shown
from cmvae.models.build import Supplied
from cmvae.models.config import CMVAEConfig
from cmvae.models.hub import HUB_ID, hub_fault, is_of_hub

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

_HUB_FILES = ["*.json", "*.safetensors"]
_FLOATING = ("F64", "F32", "F16", "BF16")  # as safetensors calls them
_FEW = 1 << 24  # numbers that need no file

ModelType = TypeVar("ModelType", bound=nn.Module)


def prepare_folder(directory: str | Path) -> Path:
    """Return the folder to save a model in, made where it is missing, if it is no file."""
    directory = as_path("save_directory", directory)
    if directory.exists() and not directory.is_dir():
        raise ValueError(f"save_directory must be a folder, got the file {directory}")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def model_folder(name: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a saved model: ``name``, or where the Hub's model is fetched to.

    A string ``owner/name`` that is no folder here is an id of the Hub. JSON and safetensors files
    are fetched, nothing else. ``ValueError`` if there is neither, or a folder has a ``revision``.
    """
    path = as_path("pretrained_model_name_or_path", name)
    if revision is not None and not isinstance(revision, str):
        raise TypeError(f"revision must be a string or None, got {shown(revision)}")
    if not isinstance(name, str) or path.exists() or not HUB_ID.fullmatch(name):
        if revision is not None:
            where = "models of the Hugging Face Hub"
            raise ValueError(f"revision is for {where}, but {str(name)!r} is a path")
        return path
    what = f"{name}: no such folder; a model of this id on the Hugging Face Hub"
    hub = from_extra("huggingface_hub", "hub", what)
    try:
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES))
    except Exception as error:
        if not is_of_hub(error):
            raise
        missing = "no such folder, and the Hugging Face Hub gives no model of this id"
        raise ValueError(f"{name}: {missing}: {hub_fault(error)}") from None


def need_files(*paths: Path, what: str) -> None:
    """Refuse a folder that lacks one of these files, which ``what`` has."""
    names = " and ".join(path.name for path in paths)
    for path in paths:
        if not path.is_file():
            raise ValueError(f"{path}: no such file; {what} {names}")


def save_pretrained(model: Any, directory: str | Path) -> None:
    """Write the settings and the weights of a model into a folder, made where it is missing."""
    directory = prepare_folder(directory)
    # Both are written before either is renamed: a failure leaves the old pair whole.
    with (
        atomic_write(directory / CONFIG_NAME) as config,
        atomic_write(directory / WEIGHTS_NAME) as weights,
    ):
        save_model(model, str(weights), metadata={"format": "pt"})
        config.write_text(model.model_config.to_json() + "\n", encoding="utf-8")


def load_pretrained(
    model_class: type[ModelType],
    directory: str | Path,
    encoders: Supplied = None,
    decoders: Supplied = None,
    decoders_dist: Mapping[str, Any] | None = None,
) -> ModelType:
    """Build a model from a folder's settings and load its weights: ``CMVAE.from_pretrained``."""
    config_path, weights_path = Path(directory) / CONFIG_NAME, Path(directory) / WEIGHTS_NAME
    need_files(config_path, weights_path, what="a saved model has")
    stored = stored_tensors(weights_path)
    config = _read_config(config_path, decoders_dist, stored, weights_path)
    for part, networks in (("encoders", encoders), ("decoders", decoders)):
        _check_supplied(config, part, networks, config_path)
    try:
        with torch.device("meta"):  # which takes no memory, however large it is
            built = model_class(config, encoders, decoders)
            check_tensors(built.state_dict(keep_vars=True), stored, weights_path)
        model = model_class(config, encoders, decoders)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{config_path}: {too_large(error) or message_of(error)}") from None
    _load_weights(model, weights_path)
    return model.eval()


def _check_supplied(config: CMVAEConfig, part: str, networks: Supplied, path: Path) -> None:
    """Refuse networks that a model was not made with, and the lack of those that it was."""
    wanted = config.supplied(part)
    if wanted is None:
        if networks is None:
            raise ValueError(f"{path}: this model has custom {part}: pass {part}= again")
        return
    given = sorted(networks or {})
    if given == sorted(wanted):
        return
    if not wanted:
        raise ValueError(f"{path}: this model has built-in {part}: do not pass {part}=")
    should = f"pass {part}= of these again, and of no others; got {given}"
    raise ValueError(f"{path}: this model has custom {part} of {wanted}: {should}")


def too_large(error: Exception) -> str:
    """Say that no model has such sizes, where PyTorch says so; else nothing."""
    said = f"{type(error).__name__} {error}".lower()
    return "no model can be so large" if "overflow" in said else ""


class Stored(NamedTuple):
    """What the header of a file of weights says of a tensor."""

    shape: tuple[int, ...]
    dtype: str


def stored_tensors(path: Path) -> dict[str, Stored]:
    """Return what the header of a file of weights says; ``ValueError`` where it is damaged."""
    try:
        with safe_open(str(path), framework="pt") as file:
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {n: Stored(tuple(p.get_shape()), p.get_dtype()) for n, p in parts.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"the file of weights {path} is damaged: {message_of(error)}") from None


def _read_config(
    path: Path,
    decoders_dist: Mapping[str, Any] | None,
    stored: Mapping[str, Stored],
    weights: Path,
) -> CMVAEConfig:
    fields = read_json(path)
    try:
        _check_counts(fields, stored, weights)
        config = CMVAEConfig.from_plain(fields)
        if decoders_dist is not None:
            if kept := [m for m in decoders_dist if not config.likelihood_is_missing(m)]:
                reason = "whose likelihoods are stored: pass callables alone"
                raise ValueError(f"decoders_dist names {kept}, {reason}")
            config = config.replace(decoders_dist={**(config.decoders_dist or {}), **decoders_dist})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return config


def _check_counts(fields: Any, stored: Mapping[str, Stored], path: Path) -> None:
    """Refuse settings that ask for more than the weights can be of, before anything is built."""
    given = fields if isinstance(fields, Mapping) else {}
    layers, shapes = given.get("hidden_dims"), given.get("input_dims")
    own = shapes if isinstance(shapes, Mapping) else {}
    numbers = sum(math.prod(tensor.shape) for tensor in stored.values())
    vectors = [s[0] for s in own.values() if isinstance(s, list) and len(s) == 1]
    counts = {
        "hidden_dims": (len(layers) if isinstance(layers, list) else 0, len(stored)),
        "input_dims": (len(own), len(stored)),
        "an axis in input_dims": (
            max((n for n in vectors if isinstance(n, int)), default=0),
            max(numbers, _FEW),
        ),
    }
    for field, (count, most) in counts.items():
        if count > most:
            what = f"{field} has {count} entries, too many for the tensors in {path}"
            raise ValueError(f"the model is not that of the weights: {what}")


def check_tensors(own: Mapping[str, Tensor], stored: Mapping[str, Stored], path: Path) -> None:
    """Refuse settings whose model is not that of the weights, by the header of their file.

    Args:
        own: The tensors of the model that the settings make; it may have none but in name.
        stored: Those of the file.
        path: The file.
    """
    shared = {id(value) for name, value in own.items() if name in stored}  # stored once
    for name in [*own, *(name for name in stored if name not in own)]:
        size = tuple(own[name].shape) if name in own else None
        found = stored[name].shape if name in stored else None
        if size != found and (name in stored or id(own[name]) not in shared):
            sizes = f"{shortened(name)} is {size}, {found} in {path}"
            raise ValueError(f"the model is not that of the weights: {sizes}")
    floating = [name for name in stored if own[name].is_floating_point()]
    kinds = sorted({stored[name].dtype for name in floating})
    odd = [name for name in floating if stored[name].dtype not in _FLOATING]
    odd += [n for n in stored if own[n].dtype == torch.bool and stored[n].dtype != "BOOL"]
    if odd:
        got = f"{shortened(odd[0])} holds {stored[odd[0]].dtype} in {path}"
        raise ValueError(f"the model is not that of the weights: {got}")
    if len({own[name].dtype for name in floating}) == 1 < len(kinds):
        raise ValueError(f"{path} holds numbers of several precisions: {', '.join(kinds)}")


def _load_weights(model: nn.Module, path: Path) -> None:
    """Load the weights that :func:`_check_tensors` has found to be the model's, with no third copy.

    The file is mapped into memory once, and stays there as long as any of its tensors does.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        bad = [name for name, values in tensors.items() if not _is_finite(values)]
        model.to(tensors["mixture.centers"].dtype)  # of all
        model.load_state_dict(tensors, strict=False)  # shared ones are stored once
        is_active = bool(tensors["mixture.active"].any())
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = f"the file is damaged or does not fit the model: {message_of(error)}"
        raise ValueError(f"{path}: {reason}") from None
    if bad:
        raise ValueError(f"{path}: NaN or infinity in {bad[:5]}")
    if not is_active:
        raise ValueError(f"{path}: mixture.active must have an active cluster at least")


def _is_finite(values: torch.Tensor) -> bool:
    """Tell whether all numbers are finite, without a copy of them."""
    if not values.is_floating_point() or not values.numel():
        return True
    low, high = values.aminmax()  # NaN where there is one
    return bool(low.isfinite() & high.isfinite())
