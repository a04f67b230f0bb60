"""Cost against the library MultiVae: the same networks, sizes and data, in turns within one process.

Usage: make bench-peer (which makes an environment of its own, with MultiVae in it). Writes records/peer.json and
peer.md. MultiVae imports torchvision for the downloads of its data sets alone; a stand-in satisfies the import.
"""

import copy
import importlib.machinery
import importlib.metadata
import sys
import types
from collections.abc import Callable, Mapping, Sequence

from timing import BATCH, IMAGE, VECTOR, build, in_turns, samples, training_step, write_record


class _StandIn(types.ModuleType):
    """A module that has every name, so that importing from it succeeds."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _StandInFinder:
    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        if name.split(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


if importlib.util.find_spec("torchvision") is None:
    sys.meta_path.append(_StandInFinder())

import multivae.data.datasets as peer_data
import torch
from multivae.models import CMVAE as PeerCMVAE
from multivae.models import CMVAEConfig as PeerConfig
from multivae.models.base import BaseAEConfig
from multivae.models.nn.default_architectures import Decoder_AE_MLP, Encoder_VAE_MLP_Style
from multivae.models.nn.mmnist import DecoderConvMMNIST, EncoderConvMMNIST_multilatents

from cmvae import CMVAE, MultimodalBaseDataset

LATENT = 32


def networks(shape: tuple[int, ...], modalities: int) -> tuple[dict, dict]:
    """Return MultiVae's networks of these modalities: perceptrons with a hidden layer of 512, or convolutions."""
    encoders, decoders = {}, {}
    for i in range(modalities):
        encode, decode = BaseAEConfig(shape, LATENT, LATENT), BaseAEConfig(shape, 2 * LATENT)
        kinds = (Encoder_VAE_MLP_Style, Decoder_AE_MLP)
        if shape == IMAGE:
            kinds = (EncoderConvMMNIST_multilatents, DecoderConvMMNIST)
        encoders[f"m{i}"], decoders[f"m{i}"] = kinds[0](encode), kinds[1](decode)
    return encoders, decoders


def pair(shape: tuple[int, ...], modalities: int, clusters: int = 40, **settings: object) -> tuple[CMVAE, PeerCMVAE]:
    """Return our model and MultiVae's, with copies of the same networks."""
    torch.manual_seed(0)
    encoders, decoders = networks(shape, modalities)
    config = PeerConfig(
        n_modalities=modalities,
        latent_dim=LATENT,
        modalities_specific_dim=LATENT,
        input_dims=dict.fromkeys(encoders, shape),
        number_of_clusters=clusters,
        K=1,
        loss="iwae_looser",
    )
    peer = PeerCMVAE(config, copy.deepcopy(encoders), copy.deepcopy(decoders))
    ours = build(shape, modalities, clusters=clusters, networks=lambda: (encoders, decoders), **settings)
    return ours, peer


def peer_samples(data: MultimodalBaseDataset) -> object:
    """Return the same samples as MultiVae's data set."""
    masks = getattr(data, "masks", None)
    kind = peer_data.IncompleteDataset if masks else peer_data.MultimodalBaseDataset
    arguments = (dict(data.data), dict(masks)) if masks else (dict(data.data),)
    return kind(*arguments)
