"""CUBICC: photographs of birds and captions of them, grouped into eight species, as published."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmvae.base.words import quoted, shown
from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.data.stored import ByteImages

SPLITS = ("train", "validation", "test")
CHUNK = 256


def cubicc(folder: str | Path, split: str = "train") -> MultimodalBaseDataset:
    """Read the CUB Image-Captions for Clustering data from the folder in which they are published.

    13,150 pairs of a photograph and a caption, of 22 subspecies of birds grouped into 8 species:
    blackbird, gull, jay, oriole, tanager, tern, warbler, wren. ``images.pt``, ``captions.pt`` and
    ``labels.pt`` hold tensors of all pairs; ``train_split.npy``, ``validation_split.npy`` and
    ``test_split.npy`` the indices of those in a split. Nothing in them is unpickled but tensors.

    Args:
        folder: The folder of the files.
        split: ``'train'``, ``'validation'`` or ``'test'``.

    Returns:
        The pairs of the split with their species as labels, (n,) int64. ``image`` (n, C, H, W), as
        published of 3 x 64 x 64: float32 in [0, 1] in samples and batches, kept as bytes if the
        file holds bytes. ``caption`` (n, T) int64, the index of each word, as published of 32 words
        from 1,590: targets of a categorical likelihood with the shape (T, V); one-hot captions in
        the file, (n, T, V), are turned into indices.

    Raises:
        ValueError: For an unknown split; for a file that is missing, damaged, or holds anything but
            such tensors, naming it.

    References:
        Palumbo, Manduchi, Laguna, Chopard, Vogt, Deep Generative Clustering with Multimodal
        Diffusion Variational Autoencoders, ICLR 2024.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected {quoted(SPLITS)}, got {shown(split)}")
    root = Path(folder)
    labels = _read_labels(root / "labels.pt")
    rows = _read_rows(root / f"{split}_split.npy", len(labels))
    image = _read_images(root / "images.pt", len(labels), rows)
    caption = _read_captions(root / "captions.pt", len(labels), rows)
    return MultimodalBaseDataset({"image": image, "caption": caption}, labels[rows])


def _load(path: Path) -> Tensor:
    """Return the tensor in a file, memory-mapped where its format allows."""
    if not path.is_file():
        raise ValueError(f"{path}: the file does not exist")
    try:
        mmap = zipfile.is_zipfile(path)
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # of a damaged file a reader raises whatever it runs into
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path}: not a tensor that can be read ({reason})") from error
    if not isinstance(value, Tensor) or value.layout != torch.strided:
        raise ValueError(f"{path}: expected a tensor, got {type(value).__name__}")
    return value


def _read_labels(path: Path) -> Tensor:
    labels = _load(path)
    labels = labels.squeeze(-1) if labels.ndim == 2 else labels
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"{path}: expected shape (n,), got {tuple(labels.shape)}")
    return _whole(labels, path, "integers")


def _read_rows(path: Path, n_samples: int) -> Tensor:
    """Return the indices of a split, (n,) int64."""
    if not path.is_file():
        raise ValueError(f"{path}: the file does not exist")
    try:
        rows = np.load(path, allow_pickle=False)
    except Exception as error:
        raise ValueError(f"{path}: not an array that can be read ({error})") from error
    if not isinstance(rows, np.ndarray):
        raise ValueError(f"{path}: expected indices of shape (n,), got {type(rows).__name__}")
    if rows.ndim != 1 or rows.dtype.kind not in "iuf" or not len(rows):
        got = f"shape {rows.shape} and {rows.dtype}"
        raise ValueError(f"{path}: expected indices of shape (n,), got {got}")
    if not (rows % 1 == 0).all():
        raise ValueError(f"{path}: expected integers as indices, got {rows[rows % 1 != 0][0]}")
    low, high = rows.min(), rows.max()
    if low < 0 or high >= n_samples:
        raise ValueError(f"{path}: indices from {low} to {high} for {n_samples} samples")
    return torch.from_numpy(rows.astype(np.int64))


def _read_images(path: Path, n_samples: int, rows: Tensor) -> Tensor | ByteImages:
    images = _load(path)
    if images.ndim != 4 or len(images) != n_samples:
        got = tuple(images.shape)
        raise ValueError(f"{path}: expected shape ({n_samples}, C, H, W), got {got}")
    if images.dtype == torch.uint8:
        return ByteImages(images[rows])
    if not images.is_floating_point():
        raise ValueError(f"{path}: expected uint8 or floats, got dtype {images.dtype}")
    kept = images[rows].float()
    if not bool(((kept >= 0) & (kept <= 1)).all()):
        seen = f"values from {kept.min():.4g} to {kept.max():.4g}"
        raise ValueError(f"{path}: expected floats in [0, 1], got {seen}")
    return kept


def _read_captions(path: Path, n_samples: int, rows: Tensor) -> Tensor:
    """Return the index of each word, (n, T) int64; large one-hot captions are read in parts."""
    captions = _load(path)
    if captions.ndim not in (2, 3) or len(captions) != n_samples:
        shapes = f"({n_samples}, T) or ({n_samples}, T, V)"
        raise ValueError(f"{path}: expected shape {shapes}, got {tuple(captions.shape)}")
    if captions.ndim == 3:
        return torch.cat([_indices(captions[part], path) for part in rows.split(CHUNK)])
    what = "indices of words, integers of at least 0"
    indices = _whole(captions[rows], path, what)
    if bool((indices < 0).any()):
        raise ValueError(f"{path}: expected {what}, got {indices.min()}")
    return indices


def _whole(values: Tensor, path: Path, what: str) -> Tensor:
    """Return whole numbers of any dtype as int64."""
    whole = None if values.is_complex() or values.is_quantized else values.long()
    if whole is None or not bool((whole.to(values.dtype) == values).all()):
        raise ValueError(f"{path}: expected {what}, got dtype {values.dtype}")
    return whole


def _indices(one_hot: Tensor, path: Path) -> Tensor:
    """Return (n, T) indices of (n, T, V) one-hot vectors."""
    is_set = one_hot == 1
    if not bool(((is_set.sum(-1) == 1) & (is_set | (one_hot == 0)).all(-1)).all()):
        raise ValueError(f"{path}: expected one-hot vectors on the last axis")
    return is_set.to(torch.uint8).argmax(-1)
