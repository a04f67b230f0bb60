"""Diffusion decoders on disk: diffusion.json and diffusion.safetensors, beside the CMVAE's."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cmvae.base.files import atomic_write
from cmvae.diffusion.config import DiffusionConfig
from cmvae.models.pretrained import prepare_folder

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
    folder = prepare_folder(directory)
    state = decoders.state_dict()
    kept = {
        name: value.detach().contiguous() for name, value in state.items() if TRAINED not in name
    }
    settings = {m: config.to_plain() for m, config in configs.items()}
    with (
        atomic_write(folder / DIFFUSION_CONFIG) as path,
        atomic_write(folder / DIFFUSION_WEIGHTS) as weights,
    ):
        save_file(kept, str(weights), metadata={"format": "pt"})
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        yield


class StoredWeights(NamedTuple):
    """The weights of a file, by name, to be put into a model."""

    path: Path
    tensors: dict[str, Tensor]

    def into(self, decoders: nn.Module) -> None:
        """Put the weights into decoders, the averaged ones in place of the trained too."""
        trained = {
            k.replace(AVERAGED, TRAINED, 1): v for k, v in self.tensors.items() if AVERAGED in k
        }
        bad = [name for name, value in self.tensors.items() if not bool(value.isfinite().all())]
        if bad:
            raise ValueError(f"{self.path}: NaN or infinity in {bad[:5]}")
        dtypes = {value.dtype for value in trained.values()}
        try:
            for dtype in dtypes:
                decoders.to(dtype)
            decoders.load_state_dict({**self.tensors, **trained})
        except (RuntimeError, TypeError) as error:
            reason = "damaged or does not fit the model: " + " ".join(str(error).split())
            raise ValueError(f"{self.path}: the file is {reason}") from None


def load_decoders(directory: str | Path) -> tuple[dict[str, DiffusionConfig], StoredWeights]:
    """Read the settings and the weights that :func:`save_decoders` wrote."""
    names = (DIFFUSION_CONFIG, DIFFUSION_WEIGHTS)
    config_path, weights_path = (Path(directory) / name for name in names)
    for path in (config_path, weights_path):
        if not path.is_file():
            needed = " and ".join(names)
            raise ValueError(f"{path}: no such file; diffusion decoders have {needed}")
    try:
        stored = dict(json.loads(config_path.read_text(encoding="utf-8")))
        configs = {m: DiffusionConfig.from_plain(fields) for m, fields in stored.items()}
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{config_path}: {error}") from None
    try:
        tensors = load_file(str(weights_path))
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{weights_path}: the file is damaged: {reason}") from None
    return configs, StoredWeights(weights_path, tensors)
