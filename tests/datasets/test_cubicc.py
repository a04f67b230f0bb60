"""CUBICC, on a small made-up copy of the published files."""

import numpy as np
import pytest
import torch

from cmvae.data import ByteImages, MultimodalBaseDataset
from cmvae.datasets import cubicc

N, WORDS, VOCABULARY = 9, 5, 7
SPLITS = {"train": [4, 0, 6, 2, 1], "validation": [3, 8], "test": [5, 7]}


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {
        "images": torch.rand(N, 3, 8, 8, generator=generator),
        "captions": torch.randint(VOCABULARY, (N, WORDS), generator=generator),
        "labels": torch.arange(N) % 4,
    }


def one_hot(captions):
    return torch.nn.functional.one_hot(captions, VOCABULARY)


@pytest.fixture
def folder(tmp_path):
    for name, tensor in tensors().items():
        torch.save(tensor, tmp_path / f"{name}.pt")
    for split, rows in SPLITS.items():
        np.save(tmp_path / f"{split}_split.npy", np.array(rows))
    return tmp_path


@pytest.mark.parametrize("split", SPLITS)
def test_splits_are_read_in_their_order(folder, split):
    ds, rows = cubicc(folder, split), SPLITS[split]
    assert type(ds) is MultimodalBaseDataset
    assert ds.modalities == ("image", "caption")
    assert torch.equal(ds.data["image"], tensors()["images"][rows])
    assert torch.equal(ds.data["caption"], tensors()["captions"][rows])
    assert torch.equal(ds.labels, tensors()["labels"][rows])
    assert ds.data["caption"].dtype == ds.labels.dtype == torch.int64


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.int64, torch.uint8, torch.bool]
)
def test_one_hot_captions_become_indices(folder, dtype):
    torch.save(one_hot(tensors()["captions"]).to(dtype), folder / "captions.pt")
    assert torch.equal(cubicc(folder).data["caption"], tensors()["captions"][SPLITS["train"]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int16, torch.uint16])
def test_captions_may_be_other_numbers_and_labels_a_column(folder, dtype):
    torch.save(tensors()["captions"].to(dtype), folder / "captions.pt")
    torch.save(tensors()["labels"].to(dtype)[:, None], folder / "labels.pt")
    ds = cubicc(folder)
    assert torch.equal(ds.data["caption"], tensors()["captions"][SPLITS["train"]])
    assert torch.equal(ds.labels, tensors()["labels"][SPLITS["train"]])


def test_bytes_stay_bytes(folder):
    images = (tensors()["images"] * 255).to(torch.uint8)
    torch.save(images, folder / "images.pt")
    ds = cubicc(folder)
    assert isinstance(ds.data["image"], ByteImages)
    assert torch.equal(ds[1].data["image"], images[0].float() / 255)


def test_the_old_format_of_files_is_read(folder):
    torch.save(tensors()["images"], folder / "images.pt", _use_new_zipfile_serialization=False)
    assert torch.equal(cubicc(folder).data["image"], tensors()["images"][SPLITS["train"]])


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


def save(name, value):
    return lambda folder: torch.save(value, folder / name)


def save_rows(value):
    return lambda folder: np.save(folder / "train_split.npy", value)


T = tensors()
CASES = [
    (lambda folder: (folder / "images.pt").unlink(), "images.pt", "the file does not exist"),
    (
        lambda folder: (folder / "captions.pt").write_bytes(b"PK\x03\x04 not"),
        "captions.pt",
        "not a tensor",
    ),
    (lambda folder: (folder / "captions.pt").write_bytes(b""), "captions.pt", "not a tensor"),
    (lambda folder: cut(folder / "images.pt"), "images.pt", "not a tensor"),
    (save("labels.pt", Evil()), "labels.pt", "not a tensor"),
    (save("labels.pt", {"a": torch.zeros(2)}), "labels.pt", "expected a tensor, got dict"),
    (save("labels.pt", torch.zeros(N, 2)), "labels.pt", r"expected shape \(n,\), got \(9, 2\)"),
    (
        save("labels.pt", T["labels"] + 1j),
        "labels.pt",
        "expected integers, got dtype torch.complex64",
    ),
    (save("labels.pt", torch.rand(N)), "labels.pt", "expected integers, got dtype torch.float32"),
    (
        save("images.pt", T["images"][1:]),
        "images.pt",
        r"expected shape \(9, C, H, W\), got \(8, 3, 8, 8\)",
    ),
    (
        save("images.pt", 2 * T["images"]),
        "images.pt",
        r"expected floats in \[0, 1\], got values from",
    ),
    (
        save("images.pt", T["images"] * float("nan")),
        "images.pt",
        r"expected floats in \[0, 1\], got values from nan",
    ),
    (
        save("images.pt", T["images"].long()),
        "images.pt",
        "expected uint8 or floats, got dtype torch.int64",
    ),
    (
        save("captions.pt", T["captions"][0]),
        "captions.pt",
        r"expected shape \(9, T\) or \(9, T, V\), got \(5,\)",
    ),
    (save("captions.pt", T["captions"] - 9), "captions.pt", "expected indices of words"),
    (save("captions.pt", T["captions"] + 0.5), "captions.pt", "expected indices of words"),
    (save("captions.pt", 2 * one_hot(T["captions"])), "captions.pt", "expected one-hot vectors"),
    (
        save("captions.pt", one_hot(T["captions"]) + 0.5 * one_hot(T["captions"]).roll(1, -1)),
        "captions.pt",
        "one-hot vectors",
    ),
    (
        lambda folder: (folder / "train_split.npy").unlink(),
        "train_split.npy",
        "the file does not exist",
    ),
    (
        lambda folder: (folder / "train_split.npy").write_bytes(b"x"),
        "train_split.npy",
        "not an array",
    ),
    (
        lambda folder: (folder / "train_split.npy").write_bytes(b"PK\x03\x04 not"),
        "train_split.npy",
        "not an array",
    ),
    (
        lambda folder: spoil_bytes(folder / "train_split.npy", 8, b"\x02"),
        "train_split.npy",
        "not an array",
    ),
    (save_rows(np.array([object()])), "train_split.npy", "not an array"),
    (save_rows(np.array([0, 9])), "train_split.npy", "indices from 0 to 9 for 9 samples"),
    (save_rows(np.array([-1, 3])), "train_split.npy", "indices from -1 to 3 for 9 samples"),
    (save_rows(np.array([1.0, 0.5])), "train_split.npy", r"expected integers as indices, got 0\.5"),
    (save_rows(np.array(["a"])), "train_split.npy", "expected indices of shape"),
    (
        save_rows(np.zeros((2, 2))),
        "train_split.npy",
        r"expected indices of shape \(n,\), got shape \(2, 2\)",
    ),
]


def spoil_bytes(path, start, content):
    whole = bytearray(path.read_bytes())
    whole[start : start + len(content)] = content
    path.write_bytes(whole)


def cut(path):
    path.write_bytes(path.read_bytes()[:-300])


@pytest.mark.parametrize(("spoil", "file", "message"), CASES)
def test_a_file_at_fault_is_named(folder, spoil, file, message, capsys):
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        cubicc(folder)
    assert str(folder / file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize("zipped", [True, False])
def test_whatever_is_damaged_the_file_is_named(folder, zipped):
    torch.save(tensors()["labels"], folder / "labels.pt", _use_new_zipfile_serialization=zipped)
    whole, generator, messages = (folder / "labels.pt").read_bytes(), np.random.default_rng(0), []
    for _ in range(200):
        damaged = np.frombuffer(whole, dtype=np.uint8).copy()
        damaged[generator.integers(len(whole), size=8)] = generator.integers(256, size=8)
        (folder / "labels.pt").write_bytes(damaged.tobytes())
        try:
            cubicc(folder)
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(str(folder) in message and "\n" not in message for message in messages)


def test_a_split_that_there_is_not(folder):
    with pytest.raises(
        ValueError, match="split: expected 'train', 'validation', 'test', got 'all'"
    ):
        cubicc(folder, "all")
