"""Hostile folders of models: settings, weights, checkpoints."""

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from cases import SECRET, Case, command, payload, told
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]
CONFIG, WEIGHTS = "config.json", "model.safetensors"
MANY = 200_000


def load(folder: Path) -> None:
    """Read the model of a folder."""
    from cmvae import CMVAE

    told(lambda: CMVAE.from_pretrained(folder))


def cases(good: Path) -> Iterator[Case]:
    """Yield the cases; ``good`` holds what is well."""
    model = good / "run" / "model"
    yield from (_config(model, *case) for case in _configs())
    yield from (_text(model, *case) for case in _texts(model))
    yield from (_weights(model, *case) for case in _changes())
    yield from (_bytes(model, *case) for case in _raw())
    yield from (_checkpoint(good, *case) for case in _checkpoints())


def _copied(model: Path, folder: Path) -> None:
    for name in (CONFIG, WEIGHTS):
        shutil.copy(model / name, folder / name)


def _config(model: Path, name: str, changes: dict[str, Any], may: bool = False) -> Case:
    def make(folder: Path) -> None:
        _copied(model, folder)
        fields = {**json.loads((folder / CONFIG).read_text()), **changes}
        (folder / CONFIG).write_text(json.dumps(fields))

    return Case("config.json", name, make, load, CONFIG, may)


def _configs() -> Iterator[tuple[Any, ...]]:
    """Yield what is changed in the settings."""
    for size in (10**6, 10**12, 10**30, -1, 0, True, 2.5, "24", None, [3]):
        yield f"latent_dim {size!r}", {"latent_dim": size}
    yield "2 million clusters", {"number_of_clusters": 2 * 10**6}
    yield "10^9 clusters", {"number_of_clusters": 10**9}
    yield "a layer of 10^9", {"hidden_dims": [10**9]}
    yield "layers of 40000", {"hidden_dims": [40_000, 40_000]}
    yield f"{MANY} layers", {"hidden_dims": [8] * MANY}
    yield "layers as text", {"hidden_dims": "abc"}
    yield "shapes of 10^12", {"input_dims": {"a": [10**12], "i": [3, 8, 8], "t": [4, 9]}}
    yield "60 axes", {"input_dims": {"a": [2] * 60, "i": [3, 8, 8], "t": [4, 9]}}
    yield "huge images", {"input_dims": {"a": [5], "i": [3, 10**5, 10**5], "t": [4, 9]}}
    yield "10^9 modalities", {"n_modalities": 10**9}
    yield "private 10^18", {"modalities_specific_dim": 10**18}
    yield "private by others", {"modalities_specific_dim": {"nobody": 3}}
    yield "K 10^30", {"K": 10**30}
    yield "beta as nan", {"beta": float("nan")}
    yield "beta infinite", {"beta": float("inf")}
    yield "beta of 400 digits", {"beta": 10**400}
    yield "a callable's name", {"decoders_dist": {"a": "custom:os.system"}}
    yield "unknown likelihood", {"decoders_dist": {"a": "eval"}}
    yield "unknown networks", {"networks": "os.system"}
    yield "networks by number", {"networks": {"a": 5}}
    yield "unknown field", {"torch_dtype": "float32"}
    yield "10^5 characters", {"loss": "x" * 10**5}
    yield "10^5 unknown fields", {f"field{i}": i for i in range(10**5)}
    yield "custom encoders", {"custom_architectures": ["encoders"]}
    yield "custom anything", {"custom_architectures": ["os.system"]}
    yield "10^12 factors", {"residual_factors": 10**12}
    mixed = {"a": {"columns": [["categorical", [10**12]]]}}
    yield "10^12 categories", {"decoders_dist": {"a": "mixed"}, "decoder_dist_params": mixed}
    for name, value in (
        ("a text", "x"),
        ("null", None),
        ("deep", json.loads("[" * 900 + "]" * 900)),
    ):
        params = {"a": {"columns": value}}
        yield f"columns {name}", {"decoders_dist": {"a": "mixed"}, "decoder_dist_params": params}
    for scale in ("x", -1, 0, [1, 2], {}, float("nan"), 10**400):
        params = {"a": {"scale": scale}}
        changes = {"decoders_dist": {"a": "normal"}, "decoder_dist_params": params}
        yield f"scale {str(scale)[:20]}", changes
    yield "missing cells of an image", {"missing_cells": ["i"]}
    yield "factors of none", {"rescale_factors": {"a": 1.0}}
    yield "another covariance", {"covariance": "identity"}


def _text(model: Path, name: str, content: bytes | None, kind: str = "") -> Case:
    def make(folder: Path) -> None:
        _copied(model, folder)
        path = folder / CONFIG
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        elif kind == "folder":
            path.mkdir()
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "secret":
            path.symlink_to(model.parents[2] / "closed" / "secret.txt")
        elif kind == "pipe":
            os.mkfifo(path)

    return Case("config.json", name, make, load, CONFIG)


def _texts(model: Path) -> Iterator[tuple[Any, ...]]:
    """Yield what stands in the place of the settings' text."""
    whole = (model / CONFIG).read_text().strip()
    yield "empty", b""
    yield "a list", b"[1, 2]"
    yield "null", b"null"
    yield "not UTF-8", whole.replace("normal", "norm\xe4l").encode("latin-1")
    yield "UTF-16", whole.encode("utf-16")
    yield "zeros", b"\0" * 1000
    yield "nested 200000 deep", b"[" * MANY + b"]" * MANY
    yield "NaN", whole.replace('"beta": 1.0', '"beta": NaN').encode()
    yield "a repeated key that fits", f'{whole[:-1]}, "K": 3}}'.encode()
    yield "repeated key", f'{whole[:-1]}, "latent_dim": 3}}'.encode()
    yield "an integer of 10^4 digits", f'{whole[:-1]}, "K": {"9" * 10**4}}}'.encode()
    yield "truncated", whole.encode()[:-40]
    yield "a lone surrogate", f'{whole[:-1]}, "networks": "\\ud800"}}'.encode()
    yield "a pickle", pickle.dumps(payload())
    for kind in ("folder", "loop", "secret", "pipe", "missing"):
        yield f"a {kind}", None, kind


def _weights(
    model: Path, name: str, change: Callable[[Tensors], Tensors], may: bool = False
) -> Case:
    def make(folder: Path) -> None:
        _copied(model, folder)
        save_file(change(load_file(str(folder / WEIGHTS))), str(folder / WEIGHTS))

    return Case("model.safetensors", name, make, load, WEIGHTS)


def _changes() -> Iterator[tuple[Any, ...]]:
    """Yield how the weights are changed."""
    centers, active = "mixture.centers", "mixture.active"

    def with_own(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        return lambda t: {**t, name: change(t[name]).clone()}

    for value in (float("nan"), float("inf")):
        yield f"{value} in centres", with_own(centers, lambda t, v=value: t * 0 + v)
    yield "one more tensor", lambda t: {**t, "evil": torch.zeros(3)}
    yield "one less tensor", lambda t: dict(list(t.items())[1:])
    yield "another shape", lambda t: {**t, next(iter(t)): torch.zeros(7)}
    yield "none at all", lambda t: {}
    yield "no active cluster", with_own(active, torch.zeros_like)
    yield "active as numbers", with_own(active, lambda t: t.float())
    yield "active of another shape", lambda t: {**t, active: torch.ones(3, dtype=torch.bool)}
    yield (
        "all whole numbers",
        lambda t: {k: v.long() if v.dtype != torch.bool else v for k, v in t.items()},
    )
    yield "half precision in one", with_own(centers, lambda t: t.half())
    yield "eight bits in one", with_own(centers, lambda t: t.to(torch.float8_e4m3fn))
    yield "complex in one", with_own("mixture.logits", lambda t: t.to(torch.complex64))
    yield "whole numbers in one", with_own("mixture.logits", lambda t: t.long())
    yield "truth values in one", with_own("mixture.logits", lambda t: t.bool())


def _bytes(model: Path, name: str, change: Callable[[bytes], bytes | None]) -> Case:
    def make(folder: Path) -> None:
        _copied(model, folder)
        path = folder / WEIGHTS
        if (content := change(path.read_bytes())) is not None:
            path.write_bytes(content)
            return
        path.unlink()
        kinds: dict[str, Callable[[], object]] = {
            "a folder": path.mkdir,
            "a pipe": lambda: os.mkfifo(path),
            "another file": lambda: path.symlink_to(model.parents[2] / "closed" / "secret.txt"),
        }
        kinds[name]()

    return Case("model.safetensors", name, make, load, WEIGHTS)


def _header(content: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def _raw() -> Iterator[tuple[str, Callable[[bytes], bytes | None]]]:
    """Yield how the bytes of the weights are changed."""
    for name in ("a folder", "a pipe", "another file"):
        yield name, lambda _: None
    yield "empty file", lambda _: b""
    yield "half of it", lambda own: own[: len(own) // 2]
    yield "noise", lambda _: bytes(range(256)) * 40
    for power in (31, 62, 63):
        yield f"a header of 2^{power} bytes", lambda own, p=power: struct.pack("<Q", 2**p) + own[8:]
    yield "a pickle", lambda _: pickle.dumps(payload())
    yield "a torch file", lambda _: _torch_bomb()
    huge = {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}
    yield "a shape that lies", lambda _: _header({"mixture.centers": huge})
    over = {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 0]}
    yield "a shape that overflows", lambda _: _header({"mixture.centers": over})
    back = {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}
    yield "offsets that go back", lambda _: _header({"mixture.centers": back}, b"\0" * 8)
    many = {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(MANY)}
    yield "200000 empty tensors", lambda _: _header(many)
    yield "a header nested deep", lambda _: struct.pack("<Q", MANY) + b"[" * MANY


def _torch_bomb() -> bytes:
    """Return a file of torch.save that holds an object with a payload."""
    import io

    file = io.BytesIO()
    torch.save({"state_dict": {"a": payload()}}, file)
    return file.getvalue()


def _checkpoint(good: Path, name: str, write: Callable[[Path], None]) -> Case:
    def make(folder: Path) -> None:
        shutil.copytree(good / "files", folder / "files")
        own = folder / "run.partial"
        (own / "training" / "checkpoints").mkdir(parents=True)
        config = (good / "run" / "config.yaml").read_text()
        text = config.replace(str(good / "files"), str(folder / "files"))
        (own / "config.yaml").write_text(text)
        for kept in ("last.ckpt", "before-last.ckpt"):
            write(own / "training" / "checkpoints" / kept)

    def call(folder: Path) -> None:
        command("fit", "--out", folder / "run", "--resume", "--device", "cpu")

    return Case("checkpoint", name, make, call, ".ckpt")


def _checkpoints() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Yield what stands in the place of checkpoints."""
    yield "a pickle", lambda path: path.write_bytes(pickle.dumps(payload())) and None
    yield "a payload", lambda path: path.write_bytes(_torch_bomb()) and None
    yield "a text", lambda path: path.write_text(SECRET) and None
    yield "no model", lambda path: torch.save({"state_dict": {}, "cmvae_config": "{}"}, path)
    yield "a bomb", _zip_bomb


def _zip_bomb(path: Path) -> None:
    """Write a file of torch.save whose one tensor has 1 GiB, packed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        with file.open("archive/data.pkl", "w", force_zip64=True) as own:
            own.write(pickle.dumps({"state_dict": {}, "cmvae_config": "{}"}, 2))
        with file.open("archive/data/0", "w", force_zip64=True) as own:
            for _ in range(1 << 8):
                own.write(b"\0" * (1 << 22))
        file.writestr("archive/version", "3")
