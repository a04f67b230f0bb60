"""Layers that MultiVae and this package both have, under different names.

A table gives for each layer here those of MultiVae's network that it is made of, one below the
other: a single matrix product is faster than four small ones. Recognised are MultiVae's default
perceptrons, and the residual networks of its example on PolyMNIST, which are the paper's.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmvae.models.config import CMVAEConfig
from cmvae.networks import build_decoder, build_encoder
from cmvae.networks.shapes import halved_sizes

HIDDEN_DIMS = (512,)  # of MultiVae's perceptrons

Table = Mapping[str, tuple[str, ...]]  # layer here → layers there
Weights = dict[str, Tensor]

_MLP: dict[str, dict[str, tuple[str, ...]]] = {
    "encoders": {
        "trunk.0": ("layers.0.0",),
        "head.linear": ("embedding", "style_embedding", "log_var", "style_log_var"),
    },
    "decoders": {"trunk.0": ("layers.0.0",), "head": ("layers.1.0",)},
}
_BLOCK = {"first": "conv_0", "second": "conv_1", "shortcut": "conv_s"}


class Known(NamedTuple):
    """Networks here that hold what those of MultiVae do."""

    name: str  # in cmvae.networks.NETWORKS
    weights: Weights


def recognise(part: str, modality: str, config: CMVAEConfig, theirs: Weights) -> Known | None:
    """Find the networks of a ``part``, ``'encoders'`` or ``'decoders'``, by names and shapes.

    Returns:
        Their name here, and the weights ``theirs`` under the names here; None where there are none,
        or the shape of the modality is not known.
    """
    shape = config.shape_of(modality)
    if shape is None:
        return None
    for name in ("mlp_sigmoid", "resnet"):
        if name == "resnet" and (len(shape) != 3 or min(shape[1:]) < 2):
            continue
        with torch.device("meta"):
            own = _built(name, part, modality, config).state_dict()
        weights = _renamed(own, theirs, table_of(name, part, shape))
        if weights is not None:
            return Known(name, weights)
    return None


def table_of(name: str, part: str, shape: Sequence[int]) -> Table:
    """Return which layers of a network of ``NETWORKS`` are which of MultiVae's."""
    if name == "mlp_sigmoid":
        return _MLP[part]
    blocks = 2 * len(halved_sizes(shape[1:], round_up=True))
    if part == "decoders":
        ends: Table = {"layers.0": ("fc",), f"layers.{blocks + 2}": ("conv_img",)}
        return {**ends, **_residual("resnet", "layers", 2, blocks)}
    table: dict[str, tuple[str, ...]] = {}
    for own, letter in (("shared", "u"), ("private", "w")):
        table[f"{own}.layers.0"] = (f"conv_img_{letter}",)
        table |= _residual(f"resnet_{letter}", f"{own}.layers", 1, blocks)
        table[f"{own}.head"] = (f"fc_mu_{letter}", f"fc_lv_{letter}")
    return table


def as_theirs(part: str, modality: str, config: CMVAEConfig, own: Weights) -> Weights:
    """Return the weights of a built-in network, under MultiVae's names where it has the network."""
    name, shape = config.network_of(modality), config.shape_of(modality)
    if shape is None or not (is_default(modality, config) or name == "resnet"):
        return own
    table, sizes = table_of(str(name), part, shape), _sizes(modality, config)
    theirs: Weights = {}
    for key, values in own.items():
        layer, _, kind = key.rpartition(".")
        names = table[layer]
        rows = {1: [len(values)], 2: [len(values) // 2] * 2, 4: sizes}[len(names)]
        cut = values.split(rows)
        theirs |= {f"{n}.{kind}": part.clone() for n, part in zip(names, cut, strict=True)}
    return theirs


def is_default(modality: str, config: CMVAEConfig) -> bool:
    """Tell whether the networks of a modality are those that MultiVae builds itself."""
    return config.network_of(modality) == "mlp_sigmoid" and config.hidden_dims == HIDDEN_DIMS


def _sizes(modality: str, config: CMVAEConfig) -> list[int]:
    """Return how many rows of the head of a perceptron each parameter of the posteriors has."""
    return 2 * [config.latent_dim, config.private_dim(modality)]


def _residual(theirs: str, own: str, offset: int, blocks: int) -> dict[str, tuple[str, ...]]:
    """Return the layers of residual blocks, which stand at every second place."""
    return {
        f"{own}.{i + offset}.{mine}": (f"{theirs}.{i}.{layer}",)
        for i in range(0, blocks, 2)
        for mine, layer in _BLOCK.items()
    }


def _built(name: str, part: str, modality: str, config: CMVAEConfig) -> nn.Module:
    shape = config.shape_of(modality) or ()
    z, w = config.latent_dim, config.private_dim(modality)
    if part == "encoders":
        return build_encoder(shape, z, w, "normal", HIDDEN_DIMS, name)
    return build_decoder(shape, z + w, "normal", HIDDEN_DIMS, name)


def _renamed(own: Mapping[str, Tensor], theirs: Weights, table: Table) -> Weights | None:
    """Return weights under the names here, None where names or shapes are others."""
    left, found = dict(theirs), {}
    for key, wanted in own.items():
        layer, _, kind = key.rpartition(".")
        parts = [left.pop(f"{name}.{kind}", None) for name in table.get(layer, ())]
        there = [part for part in parts if part is not None]
        if not there or len(there) < len(parts):
            return None
        if any(part.shape[1:] != wanted.shape[1:] for part in there):
            return None
        found[key] = torch.cat(there)
        if found[key].shape != wanted.shape:
            return None
    return None if left else found
