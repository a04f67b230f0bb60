"""Folders of images: the file's stem is the id."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cmvae.files.source import Source
from cmvae.files.suffixes import IMAGE_SUFFIXES

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L")  # more than eight bits a channel


class ImageFolder(Source):
    """The images of a folder, in the order of their names; other files are passed over.

    Raises:
        ValueError: If the folder is missing or holds no images.
    """

    def __init__(self, path: Path, modality: str) -> None:
        super().__init__(path, modality)
        self.paths = sorted(
            p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "."
        )
        if not self.paths:
            raise ValueError(
                f"{self.where}: the folder holds no images ({', '.join(IMAGE_SUFFIXES)})"
            )

    def read(self) -> list[Path]:
        """Return the paths of all images."""
        return self.paths

    def chunks(
        self, rows: int, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], list[Path]]]:
        """Yield ids and paths; see ``Source``."""
        for start in range(0, len(self.paths), rows):
            part = self.paths[start : start + rows]
            yield [path.stem for path in part], part


def measure_images(paths: Sequence[Path], modality: str) -> tuple[int, int, int]:
    """Return channels (1 where all are grey), and the median height and width in pixels.

    Nothing is decoded.

    Raises:
        ValueError: For a broken image; the message names the file.
    """
    sizes, grey = [], True
    for path in paths:
        try:
            with Image.open(path) as image:
                turned = image.getexif().get(0x0112, 1) >= 5
                sizes.append(image.size if turned else image.size[::-1])
                grey = grey and image.mode in ("1", "L", "LA")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"modality {modality!r}: broken image {path}: {error}") from error
    height, width = np.median(sizes, axis=0).round().astype(int).tolist()
    return 1 if grey else 3, height, width


def read_image(path: Path, shape: tuple[int, int, int], modality: str) -> np.ndarray:
    """Return an image scaled to (C, H, W), uint8; C is 1 for grey, 3 for red, green, blue.

    Raises:
        ValueError: If it is broken, or has more than eight bits a channel; the message names the
            file.
    """
    channels, height, width = shape
    try:
        with Image.open(path) as image:
            if image.mode in _DEEP:
                raise ValueError(
                    f"its mode is {image.mode}; images of eight bits a channel are read"
                )
            turned = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
            scaled = turned if turned.size == (width, height) else turned.resize((width, height))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"modality {modality!r}: broken image {path}: {error}") from error
    return np.asarray(scaled, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
