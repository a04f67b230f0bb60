"""A model's folder as MultiVae writes it: settings as JSON, weights by ``torch.save``."""

import json
import pickle
import platform
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmvae.base.arguments import as_path
from cmvae.base.files import atomic_write, may_write_folder
from cmvae.base.reading import read_json
from cmvae.base.words import shown

CONFIG_NAME = "model_config.json"
WEIGHTS_NAME = "model.pt"
ENVIRONMENT_NAME = "environment.json"
NAME = "CMVAEConfig"

_TRAINED = "final_model"  # where a trainer of MultiVae leaves the model, in its own folder
# What PyTorch says of a file that is damaged, or holds more than tensors.
_DAMAGED = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError),
    *(KeyError, IndexError, AttributeError, AssertionError, struct.error),
)


def read_folder(folder: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return settings and weights of a CMVAE of MultiVae; nothing is unpickled but tensors.

    Raises:
        ValueError: If a file is missing or damaged, or the model is another one.
    """
    folder = as_path("folder", folder)
    config, weights = folder / CONFIG_NAME, folder / WEIGHTS_NAME
    for path in (config, weights):
        if not path.is_file():
            raise ValueError(f"{path}: no such file{_way(folder)}")
    fields = read_json(config)
    name = fields.get("name") if isinstance(fields, Mapping) else None
    if name != NAME:
        other = str(name).removesuffix("Config").removesuffix("_")
        what = f"a {other} of MultiVae" if isinstance(name, str) else "no settings of MultiVae"
        raise ValueError(f"{config}: this is {what}; only its CMVAE can be converted")
    return dict(fields), _read_weights(weights)


def is_folder(folder: Path) -> bool:
    """Tell whether MultiVae wrote a model there."""
    return (folder / CONFIG_NAME).is_file()


def _may_be_replaced(folder: Path) -> bool:
    return is_folder(folder) and not any(folder.glob("*.pkl"))


def write_folder(
    folder: str | Path, fields: Mapping[str, Any], weights: Mapping[str, Tensor], overwrite: bool
) -> None:
    """Write settings and weights as MultiVae does; errors as of the other folders.

    Pickled networks are neither replaced nor left beside weights that are not theirs.
    """
    folder = as_path("folder", folder)
    may_write_folder(folder, overwrite, "a model of MultiVae without pickles", _may_be_replaced)
    folder.mkdir(parents=True, exist_ok=True)
    python = ".".join(platform.python_version_tuple()[:2])
    environment = {"name": "EnvironmentConfig", "python_version": python}
    with (
        atomic_write(folder / CONFIG_NAME) as config,
        atomic_write(folder / WEIGHTS_NAME) as state,
        atomic_write(folder / ENVIRONMENT_NAME) as about,
    ):
        config.write_text(json.dumps({"name": NAME, **fields}), encoding="utf-8")
        about.write_text(json.dumps(environment), encoding="utf-8")
        torch.save({"model_state_dict": dict(weights)}, state)


def _way(folder: Path) -> str:
    """Say what a folder that is none of MultiVae's models may be."""
    if is_folder(folder / _TRAINED):
        return f"; the trained model is in {folder / _TRAINED}"
    if (folder / "model.safetensors").is_file():
        return "; this is a model of cmvae already: load it with CMVAE.from_pretrained"
    return f"; a model saved by MultiVae has {CONFIG_NAME} and {WEIGHTS_NAME}"


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except _DAMAGED as error:
        kind = type(error).__name__
        what = "is damaged, or holds more than tensors, which is not read"
        raise ValueError(f"{path}: the file {what} ({kind})") from None
    state = found.get("model_state_dict") if isinstance(found, Mapping) else None
    if not isinstance(state, Mapping):
        raise ValueError(f"{path}: expected 'model_state_dict', got {shown(found)}")
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if odd:
        raise ValueError(f"{path}: {odd[:5]} are no tensors")
    return dict(state)
