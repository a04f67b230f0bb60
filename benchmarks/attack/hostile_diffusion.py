"""Hostile folders of diffusion decoders."""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cases import Case, told

CONFIG, WEIGHTS = "diffusion.json", "diffusion.safetensors"
SIZES = (0, -1, 2.5, "x", None, 10**12, 10**30)


def load(folder: Path) -> None:
    """Read the model of a folder."""
    from cmvae.diffusion import DCMVAE

    told(lambda: DCMVAE.from_pretrained(folder))


def write_good(model: Path, folder: Path) -> None:
    """Write the model of a run with a decoder of its images, which was not trained."""
    from cmvae import CMVAE
    from cmvae.diffusion import DCMVAE, DiffusionConfig

    small = DiffusionConfig(channels=(32,), layers_per_block=1, attention=False)
    DCMVAE(CMVAE.from_pretrained(model), {"i": small}).save_pretrained(folder)


def cases(good: Path) -> Iterator[Case]:
    """Yield the cases."""
    for name, named, change in (*_configs(), *_weights()):
        yield Case("diffusion", name, partial(_make, good, change), load, named)


def _make(good: Path, change: Callable[[Path], object], folder: Path) -> None:
    for path in (good / "diffusion").iterdir():
        shutil.copy(path, folder / path.name)
    change(folder)


def _configs() -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    fields = ("channels", "hidden_dim", "n_blocks", "layers_per_block", "train_steps", "patch")
    for place, size in enumerate(SIZES):
        field = fields[place % len(fields)]
        yield f"{field} {size}", CONFIG, partial(_put, field, size)
    for field in fields[2:5]:
        yield (
            f"{field} 200000",
            CONFIG,
            partial(_put, field, 200_000 if field != fields[4] else 2**40),
        )
    yield "200000 channels", CONFIG, partial(_put, "channels", [32] * 200_000)
    yield "wide channels", CONFIG, partial(_put, "channels", [2**20])
    yield "an unknown field", CONFIG, partial(_put, "evil", 1)
    yield "others", CONFIG, lambda folder: (folder / CONFIG).write_text('{"zzz": {}}')
    for text in ("[]", "3", "null", "", "{", "[" * 10**5, '{"i": 3}', "{}"):
        yield text[:9], CONFIG, lambda folder, own=text: (folder / CONFIG).write_text(own)


def _put(field: str, value: Any, folder: Path) -> None:
    content = json.loads((folder / CONFIG).read_text())
    content["i"][field] = value
    (folder / CONFIG).write_text(json.dumps(content))


def _weights() -> Iterator[tuple[str, str, Callable[[Path], object]]]:
    def cut(folder: Path) -> None:
        own = (folder / WEIGHTS).read_bytes()
        (folder / WEIGHTS).write_bytes(own[: len(own) // 2])

    def spoilt(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = load_file(str(folder / WEIGHTS))
        first = next(name for name in tensors if "averaged" in name)
        save_file({**tensors, first: tensors[first] * float("nan")}, str(folder / WEIGHTS))

    yield "half of the weights", WEIGHTS, cut
    yield "NaN in the weights", WEIGHTS, spoilt
    yield "no weights", WEIGHTS, lambda folder: (folder / WEIGHTS).unlink()
