"""PolyMNIST: one digit in other handwritings on five backgrounds; as published, or composed."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmvae.base.arguments import positive_int
from cmvae.base.extras import from_extra
from cmvae.base.words import listed
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset, dataset_of
from cmvae.data.masks import random_masks
from cmvae.data.stored import ByteImages

EXTRA = ("datasets", "PolyMNIST")
SIDE = 28
N_MODALITIES = 5
INK = 128
FILE = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}\.png")
EXPECTED = f"{SIDE} x {SIDE} pixels of mode RGB"


def read_polymnist(
    folder: str | Path,
    split: str = "train",
    *,
    modalities: int = N_MODALITIES,
    missing_rate: float = 0.0,
    seed: int = 0,
) -> MultimodalBaseDataset | IncompleteDataset:
    """Read PolyMNIST from the folders in which it is published.

    ``FOLDER/SPLIT/m0`` to ``m4`` hold the modalities, PNG images of 28 x 28 pixels in colour, named
    ``INDEX.LABEL.png``; files of one name make a tuple. As published there are 60,000 in ``train``
    and 10,000 in ``test``.

    Args:
        folder: The folder of the splits.
        split: Which.
        modalities: How many modalities are read, the first ones.
        missing_rate: Share of incomplete samples, in [0, 1]; see ``random_masks``.
        seed: Seed of what is left out.

    Returns:
        The tuples by index, then by label, with labels (n,) int64. Modality -> bytes (n, 3, 28,
        28), in samples and batches float32 in [0, 1]. Incomplete if missing_rate is above 0.

    Raises:
        ImportError: If Pillow is not installed.
        ValueError: For a missing or empty folder, files that do not pair up, a file with another
            name, size or mode or that is no whole image, a missing_rate outside [0, 1].

    References:
        Sutter, Daunhawer, Vogt, Generalized Multimodal ELBO, ICLR 2021.
    """
    root = Path(folder) / split
    names = modality_names(modalities)
    files = _paired_files(root, names)
    labels = np.array([int(file.split(".")[1]) for file in files])
    masks = random_masks(len(files), names, missing_rate, seed)
    data = {name: _read_images([root / name / file for file in files]) for name in names}
    return images_dataset(data, labels, masks if missing_rate > 0 else None)


def compose_polymnist(
    digits: Any,
    labels: Any,
    backgrounds: Sequence[Any] | Mapping[str, Any],
    n_samples: int,
    seed: int = 0,
) -> MultimodalBaseDataset:
    """Compose tuples by PolyMNIST's recipe from any digits and backgrounds.

    A tuple shows one class. In each modality a digit of this class, drawn by itself, is laid on a
    crop of 28 x 28 pixels from a random place of the modality's background: where the digit is
    brighter than 128 of 255, the colours of the crop are inverted, x -> 255 - x. So the modalities
    share the class and nothing else. The published data use every digit once in each modality; here
    classes, all equally likely, and digits are drawn with replacement.

    Args:
        digits: (n, 28, 28) uint8, bright on dark.
        labels: (n,) integers.
        backgrounds: For each modality an image (H, W, 3) uint8, at least 28 pixels high and wide; a
            mapping names the modalities, those of a sequence are ``m0``, ``m1``, ….
        n_samples: Tuples to compose.
        seed: Seed of all draws; equal seeds give equal tuples.

    Returns:
        The tuples, with labels (n_samples,) int64. Modality -> bytes (n_samples, 3, 28, 28), in
        samples and batches float32 in [0, 1].

    Raises:
        TypeError: For digits or backgrounds that are not uint8, or labels that are not integers.
        ValueError: For no or other shapes, or an n_samples below 1.

    References:
        Sutter, Daunhawer, Vogt, Generalized Multimodal ELBO, ICLR 2021.
    """
    digits, labels = _checked_digits(digits, labels)
    images = _checked_backgrounds(backgrounds)
    rng = np.random.default_rng(seed)
    classes, first, counts = np.unique(np.sort(labels), return_index=True, return_counts=True)
    by_class = np.argsort(labels, kind="stable")
    drawn = rng.integers(len(classes), size=positive_int("n_samples", n_samples))
    data = {}
    for name, image in images.items():
        chosen = by_class[first[drawn] + rng.integers(counts[drawn])]
        top, left = (rng.integers(size - SIDE + 1, size=n_samples) for size in image.shape[:2])
        crops = np.lib.stride_tricks.sliding_window_view(image, (SIDE, SIDE), (0, 1))[top, left]
        is_ink = digits[chosen] > INK
        data[name] = np.where(is_ink[:, None], 255 - crops, crops)
    return images_dataset(data, classes[drawn])


def modality_names(modalities: int) -> list[str]:
    """Return ``m0``, ``m1``, … of the first modalities, 1 to 5."""
    if positive_int("modalities", modalities) > N_MODALITIES:
        raise ValueError(f"modalities: expected 1 to {N_MODALITIES}, got {modalities}")
    return [f"m{i}" for i in range(modalities)]


def images_dataset(
    data: Mapping[str, np.ndarray], labels: np.ndarray, masks: Mapping[str, Any] | None = None
) -> MultimodalBaseDataset | IncompleteDataset:
    """Return a dataset of images (n, 3, 28, 28) uint8, incomplete where there are masks."""
    images = {name: ByteImages(array) for name, array in data.items()}
    return dataset_of(images, labels.astype(np.int64), masks)


def _paired_files(root: Path, names: Sequence[str]) -> list[str]:
    """Return the names of the files that every modality's folder holds, by index and label."""
    found = {}
    for name in names:
        folder = root / name
        if not folder.is_dir():
            expected = f"expected the modalities {', '.join(names)} in {root}"
            raise ValueError(f"folder: {folder} does not exist; {expected}")
        found[name] = {path.name for path in folder.glob("*.png") if not path.name.startswith(".")}
        wrong = sorted(file for file in found[name] if not FILE.fullmatch(file))
        if wrong:
            raise ValueError(f"{folder / wrong[0]}: expected a name of the form INDEX.LABEL.png")
    every = set().union(*found.values())
    if not every:
        raise ValueError(f"folder: {root} holds no images in {', '.join(names)}")
    lacking = {name: sorted(every - files, key=_key) for name, files in found.items()}
    told = "; ".join(f"{name} lacks {listed(files)}" for name, files in lacking.items() if files)
    if told:
        raise ValueError(f"folder: the modalities in {root} do not pair up: {told}")
    return sorted(every, key=_key)


def _key(file: str) -> tuple[int, ...]:
    """Return index and label of a file's name."""
    return tuple(int(part) for part in file.split(".")[:2])


def _read_images(paths: Sequence[Path]) -> np.ndarray:
    """Return PNG images as (n, 3, 28, 28) uint8."""
    module = from_extra("PIL.Image", *EXTRA)
    images = np.empty((len(paths), 3, SIDE, SIDE), dtype=np.uint8)
    for row, path in enumerate(paths):
        try:
            with module.open(path) as file:
                what = f"{file.width} x {file.height} pixels of mode {file.mode}"
                pixels = np.asarray(file) if what == EXPECTED else None
        except (OSError, SyntaxError, ValueError, module.DecompressionBombError) as error:
            raise ValueError(f"{path}: not a whole image ({error})") from error
        if pixels is None:
            raise ValueError(f"{path}: expected {EXPECTED}, got {what}")
        images[row] = pixels.transpose(2, 0, 1)
    return images


def _checked_digits(digits: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    digits, labels = _as_bytes(digits, "digits"), np.asarray(labels)
    if digits.ndim != 3 or digits.shape[1:] != (SIDE, SIDE) or not len(digits):
        wanted = f"(n, {SIDE}, {SIDE}) with n at least 1"
        raise ValueError(f"digits: expected shape {wanted}, got {digits.shape}")
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels: expected integers, got dtype {labels.dtype}")
    if labels.shape != (len(digits),):
        wanted = f"({len(digits)},), one per digit"
        raise ValueError(f"labels: expected shape {wanted}, got {labels.shape}")
    return digits, labels


def _as_bytes(values: Any, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype != np.uint8:
        raise TypeError(f"{what}: expected dtype uint8, got {array.dtype}")
    return array


def _checked_backgrounds(backgrounds: Sequence[Any] | Mapping[str, Any]) -> dict[str, np.ndarray]:
    if not isinstance(backgrounds, Mapping):
        backgrounds = {f"m{i}": image for i, image in enumerate(backgrounds)}
    images = {m: _as_bytes(image, f"background of {m!r}") for m, image in backgrounds.items()}
    if not images:
        raise ValueError("backgrounds: expected at least one image")
    for name, image in images.items():
        if image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < SIDE:
            wanted = f"(H, W, 3) with H and W at least {SIDE}"
            raise ValueError(f"background of {name!r}: expected shape {wanted}, got {image.shape}")
    return images
