"""Cost against the library MultiVae: the same networks, sizes and data, in turns in one process.

Usage: make bench-peer (which makes an environment of its own, with MultiVae in it). Writes
records/peer.json, peer.md and peer.png. MultiVae imports torchvision for the downloads of its data
sets alone; a stand-in satisfies the import.
"""

import contextlib
import copy
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import sys
import types
from collections.abc import Callable, Sequence

from timing import (
    IMAGE,
    VECTOR,
    build,
    draw_ratios,
    in_turns,
    samples,
    table,
    training_step,
    write_record,
)


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
import multivae.models.cmvae.cmvae_model
import torch
from multivae.models import CMVAE as PeerCMVAE
from multivae.models import CMVAEConfig as PeerConfig
from multivae.models.base import BaseAEConfig
from multivae.models.nn.default_architectures import Decoder_AE_MLP, Encoder_VAE_MLP_Style
from multivae.models.nn.mmnist import DecoderConvMMNIST, EncoderConvMMNIST_multilatents

from cmvae import CMVAE, MultimodalBaseDataset

LATENT = 32


def networks(shape: tuple[int, ...], modalities: int) -> tuple[dict, dict]:
    """Return MultiVae's networks: perceptrons with a hidden layer of 512, or convolutions."""
    encoders, decoders = {}, {}
    for i in range(modalities):
        encode, decode = BaseAEConfig(shape, LATENT, LATENT), BaseAEConfig(shape, 2 * LATENT)
        kinds = (Encoder_VAE_MLP_Style, Decoder_AE_MLP)
        if shape == IMAGE:
            kinds = (EncoderConvMMNIST_multilatents, DecoderConvMMNIST)
        encoders[f"m{i}"], decoders[f"m{i}"] = kinds[0](encode), kinds[1](decode)
    return encoders, decoders


def pair(
    shape: tuple[int, ...], modalities: int, clusters: int = 40, **settings: object
) -> tuple[CMVAE, PeerCMVAE]:
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
    ours = build(
        shape, modalities, clusters=clusters, networks=lambda: (encoders, decoders), **settings
    )
    return ours, peer


def peer_samples(data: MultimodalBaseDataset) -> object:
    """Return the same samples as MultiVae's data set."""
    masks = getattr(data, "masks", None)
    kind = peer_data.IncompleteDataset if masks else peer_data.MultimodalBaseDataset
    arguments = (dict(data.data), dict(masks)) if masks else (dict(data.data),)
    return kind(*arguments)


def rows_decoded(model: torch.nn.Module, run: Callable[[], object]) -> int:
    """Return how many rows the first decoder is run on."""
    count = 0

    def hook(module: torch.nn.Module, arguments: tuple, output: object) -> None:
        nonlocal count
        count += len(arguments[0])

    handle = next(iter(model.decoders.values())).register_forward_hook(hook)
    run()
    handle.remove()
    return count


def row(
    operation: str, setting: str, seconds: dict[str, float], target: float, **more: object
) -> dict:
    """Return a row of the table."""
    times = {"ms, ours": 1e3 * seconds["ours"], "ms, MultiVae": 1e3 * seconds["peer"]}
    ratio = seconds["peer"] / seconds["ours"]
    found = {
        "operation": operation,
        "setting": setting,
        "target": f"≥ {target}",
        "ratio": ratio,
        **times,
        **more,
    }
    print(found, flush=True)
    return found


def training() -> list[dict]:
    """Compare training steps: forward and backward."""
    settings = [
        ("6 MLP modalities, 40 clusters, K = 1", VECTOR, 6, 0.0, {}, 3.5),
        ("2 MLP modalities, 40 clusters, K = 1", VECTOR, 2, 0.0, {}, 4),
        ("5 image modalities, K = 1", IMAGE, 5, 0.0, {}, 1.05),
        (
            "5 image modalities, K = 1, one sampled target each",
            IMAGE,
            5,
            0.0,
            {"cross_modal_targets": 1},
            2,
        ),
        ("6 MLP modalities, half of the entries missing", VECTOR, 6, 0.5, {}, 5),
        ("5 image modalities, half of the entries missing", IMAGE, 5, 0.5, {}, 3),
    ]
    rows = []
    for setting, shape, modalities, missing, changes, target in settings:
        ours, peer = pair(shape, modalities, **changes)
        data = samples(shape, modalities, missing=missing)
        sides = {"ours": training_step(ours, data), "peer": training_step(peer, peer_samples(data))}
        seconds = in_turns(sides, 40 if shape == VECTOR else 9)
        rows.append(row("training step, MultiVae / ours", setting, seconds, target))
    return rows


def evaluation() -> list[dict]:
    """Compare clustering, selection and likelihood."""
    ours, peer = pair(VECTOR, 6)
    data = samples(VECTOR, 6, 2000)
    theirs = peer_samples(data)

    def prune() -> None:
        ours.mixture.active.fill_(True)
        ours.prune_clusters(data)

    def peer_prune() -> None:
        model = copy.deepcopy(peer)
        with contextlib.redirect_stderr(io.StringIO()):
            model.prune_clusters(theirs)

    rows = []
    setting = "2000 samples, 6 MLP modalities, 40 clusters"
    seconds = in_turns({"ours": prune, "peer": peer_prune}, 3, 1)
    rows.append(row("prune_clusters, MultiVae / ours", setting, seconds, 50))
    sides = {
        "ours": lambda: ours.predict_clusters(data),
        "peer": lambda: peer.predict_clusters(theirs),
    }
    rows.append(row("predict_clusters, MultiVae / ours", setting, in_turns(sides, 15), 3))
    few = data[:50]
    their_few = peer_samples(few)
    sides = {
        "ours": lambda: ours.compute_joint_nll(few, K=1000),
        "peer": lambda: peer.compute_joint_nll(their_few, K=1000),
    }
    decoded = {
        f"decoder rows, {name}": rows_decoded(model, sides[side])
        for name, side, model in (("ours", "ours", ours), ("MultiVae", "peer", peer))
    }
    setting = "50 samples, K = 1000, 6 MLP modalities"
    rows.append(
        row("compute_joint_nll, MultiVae / ours", setting, in_turns(sides, 5, 1), 2, **decoded)
    )
    return rows


def compiled() -> list[dict]:
    """Compare training steps with ours compiled; outputs of MultiVae's break the graph."""
    rows = []
    for modalities, target in ((6, 3.5), (2, 4)):
        ours, peer = pair(VECTOR, modalities)
        data = samples(VECTOR, modalities)
        sides = {
            "ours": training_step(torch.compile(ours), data),
            "peer": training_step(peer, peer_samples(data)),
        }
        setting = f"{modalities} MLP modalities, 40 clusters, K = 1, ours by torch.compile"
        rows.append(row("training step, MultiVae / ours", setting, in_turns(sides, 40), target))
    return rows


def main() -> None:
    """Measure and write."""
    multivae.models.cmvae.cmvae_model.logger.setLevel("ERROR")
    # Compiled ones last: compiling changes how fast everything else in the process runs.
    rows = training() + evaluation() + compiled()
    columns = ["operation", "setting", "target", "ratio", "ms, ours", "ms, MultiVae"]
    write_record(
        "peer",
        "make bench-peer",
        rows,
        table(rows, columns),
        multivae=importlib.metadata.version("multivae"),
    )
    draw_ratios("peer", rows)


if __name__ == "__main__":
    main()
