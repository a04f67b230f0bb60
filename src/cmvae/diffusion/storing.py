"""Diffusion decoders on disk: diffusion.json and diffusion.safetensors, beside the CMVAE's."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from cmvae.base.files import atomic_write
from cmvae.base.reading import read_json
from cmvae.base.words import message_of
from cmvae.diffusion.config import DiffusionConfig
from cmvae.models.pretrained import check_tensors, need_files, prepare_folder, stored_tensors

DIFFUSION_CONFIG = "diffusion.json"
DIFFUSION_WEIGHTS = "diffusion.safetensors"
TRAINED, AVERAGED = ".denoiser.", ".averaged."


@contextmanager
def save_decoders(
    decoders: nn.Module, configs: Mapping[str, DiffusionConfig], directory: str | Path
) -> Iterator[None]:
    """Write the decoders' files beside their targets; rename them once the block has ended well.

    The trained weights are left out: a saved model samples with the averaged ones.
    """
    folder, state = prepare_folder(directory), decoders.state_dict()
    kept = {k: value.detach().contiguous() for k, value in state.items() if TRAINED not in k}
    settings = {m: config.to_plain() for m, config in configs.items()}
    with (
        atomic_write(folder / DIFFUSION_CONFIG) as path,
        atomic_write(folder / DIFFUSION_WEIGHTS) as weights,
    ):
        save_file(kept, str(weights), metadata={"format": "pt"})
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        yield


def read_configs(folder: Path) -> dict[str, DiffusionConfig]:
    """Read the settings that :func:`save_decoders` wrote."""
    path = folder / DIFFUSION_CONFIG
    need_files(path, folder / DIFFUSION_WEIGHTS, what="diffusion decoders have")
    content, stored = read_json(path), stored_tensors(folder / DIFFUSION_WEIGHTS)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: it must be a mapping of modalities to settings")
    found = {m: DiffusionConfig.from_plain(own, f"{path}: {m}") for m, own in content.items()}
    for m, own in found.items():
        if max(own.n_blocks, own.layers_per_block * len(own.channels)) > len(stored):
            few = f"more layers than there are tensors in {folder / DIFFUSION_WEIGHTS}"
            raise ValueError(f"{path}: the settings of {m!r} ask for {few}")
    return found


def check_weights(folder: Path, decoders: nn.Module) -> None:
    """Refuse decoders that are not those of the weights, by the header of their file."""
    path, state = folder / DIFFUSION_WEIGHTS, decoders.state_dict(keep_vars=True)
    own = {name: value for name, value in state.items() if TRAINED not in name}
    check_tensors(own, stored_tensors(path), path)


def load_weights(folder: Path, decoders: nn.Module) -> None:
    """Put the stored weights into decoders, the averaged ones in place of the trained too."""
    path = folder / DIFFUSION_WEIGHTS
    try:
        tensors = load_file(str(path))
        averaged = {k: value for k, value in tensors.items() if AVERAGED in k}
        trained = {k.replace(AVERAGED, TRAINED, 1): value for k, value in averaged.items()}
        bad = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
        for dtype in {value.dtype for value in trained.values()}:
            decoders.to(dtype)
        decoders.load_state_dict({**tensors, **trained})
    except (SafetensorError, OSError, RuntimeError, TypeError) as error:
        reason = f"damaged or does not fit the model: {message_of(error)}"
        raise ValueError(f"{path}: the file is {reason}") from None
    if bad:
        raise ValueError(f"{path}: NaN or infinity in {bad[:5]}")
