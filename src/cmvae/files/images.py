"""Folders of images: the file's stem is the id."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from cmvae.base.unpacking import check_unpacked
from cmvae.base.words import SHOWN, counted, listed
from cmvae.files.source import ReadingError, Source
from cmvae.files.suffixes import IMAGE_SUFFIXES, READ_TABLE_SUFFIXES, suffix_of

BACKGROUND = "white"
"""What is seen through transparent pixels."""

_BROKEN = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # sixteen bits a channel
_BITS = 16
_DECODED = 1 << 27  # bytes of pixels that any file may hold
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "TIFF", "WEBP")
"""What is read, whatever a file's ending says; of others some are programs, such as PostScript."""


class ImageFolder(Source):
    """The images of a folder, in the order of their names; other files are passed over, and named.

    Args:
        path: The folder.
        modality: Name for the errors.
        subfolders: Whether those in subfolders are read too; the ids then are relative paths.

    Raises:
        ValueError: If the folder is missing or holds no images, or two of one id.
    """

    def __init__(self, path: Path, modality: str, subfolders: bool = False) -> None:
        super().__init__(path, modality)
        seen = [
            own
            for own in path.rglob("*")
            if not any(part[0] == "." for part in own.relative_to(path).parts)
        ]
        every = [own for own in seen if own.is_file()]
        self._check_others([own for own in seen if not own.is_file()])
        reached = [own for own in every if subfolders or own.parent == path]
        self.paths = sorted(own for own in reached if own.suffix.lower() in IMAGE_SUFFIXES)
        deeper = [p for p in every if p.parent != path and p.suffix.lower() in IMAGE_SUFFIXES]
        if not self.paths:
            suffixes = ", ".join(IMAGE_SUFFIXES)
            below = f"; {len(deeper)} are in subfolders: subfolders=yes" if deeper else ""
            tables = [p for p in every if p.parent != path and suffix_of(p) in READ_TABLE_SUFFIXES]
            if tables and not deeper:
                below = (
                    f", and {counted(len(tables), 'table')} in subfolders alone, which are not "
                    "read: put shards of one table into one folder"
                )
            raise ValueError(f"{self.where}: the folder holds no images ({suffixes}){below}")
        self._ids = [own.relative_to(path).with_suffix("").as_posix() for own in self.paths]
        odd = [name for name in self._ids if any("\ud800" <= sign <= "\udfff" for sign in name)]
        if odd:
            raise ValueError(f"{self.where}: names that are no text in UTF-8: {odd[:SHOWN]}")
        repeated = [name for name, count in Counter(self._ids).items() if count > 1]
        if repeated:
            raise ValueError(
                f"{self.where}: several images for one id: {repeated[:SHOWN]}; the id is the name "
                "without its ending"
            )
        others = [own for own in reached if own.suffix.lower() not in IMAGE_SUFFIXES]
        self._account(others, [] if subfolders else deeper)

    def read(self) -> list[Path]:
        """Return the paths of all images."""
        return self.paths

    def chunks(
        self, rows: int, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], list[Path]]]:
        """Yield ids and paths; see ``Source``."""
        for start in range(0, len(self.paths), rows):
            yield self._ids[start : start + rows], self.paths[start : start + rows]

    def _check_others(self, paths: Sequence[Path]) -> None:
        """Refuse what has the name of an image and is none: a pipe, or a link to nothing."""
        for own in paths:
            if own.suffix.lower() in IMAGE_SUFFIXES and not own.is_dir():
                raise ValueError(f"{self.where}: {own.name} is neither a file nor a folder")

    def _account(self, others: Sequence[Path], deeper: Sequence[Path]) -> None:
        """Note what is passed over, and what is done with transparent and deep images."""
        self.reading = {"images": str(len(self.paths))}
        if others:
            kinds = Counter(own.suffix.lower() or "no ending" for own in others)
            shown = listed(f"{count} {kind}" for kind, count in kinds.most_common())
            self.notes.append(f"{counted(len(others), 'file')} passed over: {shown}")
        if deeper:
            self.notes.append(
                f"{counted(len(deeper), 'image')} in subfolders passed over "
                "(subfolders=yes reads them)"
            )


@contextmanager
def opened_image(path: Path) -> Iterator[Image.Image]:
    """Open an image of the kinds that are read, none of which is a program; nothing is decoded.

    Raises:
        ValueError: For one that has far more pixels than its file has bytes.
    """
    with Image.open(path, formats=FORMATS) as image:
        each = 1 if len(image.getbands()) == 1 else 4
        check_unpacked(each * image.width * image.height, path, _DECODED)
        yield image


class Measured(NamedTuple):
    """What images have in common: channels, and sizes in pixels.

    Attributes:
        channels: 1 where all are grey, else 3.
        height: The median.
        width: The median.
        smallest: The least height, and the least width of any.
        largest: The greatest ones.
    """

    channels: int
    height: int
    width: int
    smallest: tuple[int, int]
    largest: tuple[int, int]

    def scaled_to(self, height: int, width: int) -> str:
        """Say which heights and widths are scaled to that, empty where all have it."""
        if self.smallest == self.largest == (height, width):
            return ""
        sides = zip(self.smallest, self.largest, strict=True)
        spans = (f"{low} to {high}" if low < high else f"{low}" for low, high in sides)
        return f", {' × '.join(spans)} in the files"


def measure_images(paths: Iterable[Path], modality: str) -> Measured:
    """Return channels and sizes of images; nothing is decoded.

    Raises:
        ValueError: For a broken image; the message names the file.
    """
    sizes, grey = [], True
    for path in paths:
        try:
            with opened_image(path) as image:
                _check_pages(image)
                turned = image.getexif().get(0x0112, 1) >= 5
                sizes.append(image.size if turned else image.size[::-1])
                grey = grey and image.mode in _GREY
        except _BROKEN as error:
            raise _broken(path, modality, error) from error
    height, width = np.median(sizes, axis=0).round().astype(int).tolist()
    low, high = (tuple(bound.tolist()) for bound in (np.min(sizes, axis=0), np.max(sizes, axis=0)))
    return Measured(1 if grey else 3, height, width, low, high)


def measure_bits(paths: Iterable[Path], modality: str, depth: str | None) -> int:
    """Return how many bits a channel of the images count: 8, or an even number up to 16.

    Args:
        paths: The images, of which only those of sixteen bits a channel are decoded.
        modality: Name for the errors.
        depth: Of those 'used', those that any image uses, since cameras and microscopes store ten
            or twelve in sixteen; 'full': all sixteen.

    Raises:
        ReadingError: Where some have sixteen bits and it is not said which of them count.
        ValueError: For a broken image; the message names the file.
    """
    most = 8
    for path in paths:
        try:
            with opened_image(path) as image:
                is_colour = _has_deep_colours(image)
                is_deep = image.mode in _DEEP
                own = int(np.asarray(image).max()).bit_length() if is_deep and depth else 8
        except _BROKEN as error:
            raise _broken(path, modality, error) from error
        if is_colour and depth != "full":
            what = f"modality {modality!r}: {path} has sixteen bits a channel, in colour"
            how = "of which the upper eight can be read: say so, or save it in eight bits"
            raise ReadingError(f"{what}, {how}", modality, ["depth=full"])
        if is_deep and depth is None:
            what = f"modality {modality!r}: {path} has sixteen bits a channel"
            how = "images are kept in eight bits: the upper ones that the folder uses, or of all"
            raise ReadingError(f"{what}, {how}", modality, ["depth=used", "depth=full"])
        most = max(most, _BITS if is_deep and depth == "full" else own)
    return min(_BITS, most + most % 2)


def _check_pages(image: Image.Image) -> None:
    """Refuse a TIFF of several pictures, other than smaller copies of the first."""
    size, count = image.size, getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
    if count == 1:
        return
    image.seek(1)
    if image.size == size:
        raise ValueError(
            f"it holds {count} pictures, the pages of a TIFF, of which one alone can be read: save "
            "that one by itself"
        )
    image.seek(0)


def _has_deep_colours(image: Image.Image) -> bool:
    """Tell whether an image has sixteen bits a channel in colour, of which half are opened."""
    return image.mode not in _DEEP and any(
        ";16" in str(tile[3]) for tile in getattr(image, "tile", ())
    )


def read_image(
    path: Path, shape: tuple[int, int, int], modality: str, bits: int = _BITS
) -> np.ndarray:
    """Return an image scaled to (C, H, W), uint8; C is 1 for grey, 3 for red, green, blue.

    Transparent pixels show white behind them, whatever colour is stored where nothing is seen.

    Args:
        path: The image.
        shape: (C, H, W).
        modality: Name for the errors.
        bits: How many bits a channel images of sixteen bits use; the upper eight of them are kept.

    Raises:
        ValueError: If it is broken, or holds numbers that are no brightness from 0 to 65535; the
            message names the file.
    """
    channels, height, width = shape
    try:
        with opened_image(path) as image:
            turned = ImageOps.exif_transpose(_eight_bits(image, bits))
            flat = _without_alpha(turned).convert("L" if channels == 1 else "RGB")
            scaled = flat if flat.size == (width, height) else flat.resize((width, height))
    except _BROKEN as error:
        raise _broken(path, modality, error) from error
    return np.asarray(scaled, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _eight_bits(image: Image.Image, bits: int) -> Image.Image:
    """Return an image of eight bits a channel; its notes of how it was turned stay."""
    if image.mode == "F":
        raise ValueError("it holds fractions, not brightness from 0 to 65535 or 255")
    if image.mode not in _DEEP:
        return image
    values = np.asarray(image)
    if values.min() < 0 or values.max() >= 1 << _BITS:
        raise ValueError(f"it holds {values.min()} to {values.max()}, expected 0 to 65535")
    small = Image.fromarray((values >> (bits - 8)).clip(0, 255).astype(np.uint8))
    small.getexif().update(image.getexif())
    return small


def _without_alpha(image: Image.Image) -> Image.Image:
    """Return an image as it is seen in front of white."""
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    colours = image.convert("RGBA")
    behind = Image.new("RGBA", colours.size, BACKGROUND)
    return Image.alpha_composite(behind, colours)


def _broken(path: Path, modality: str, error: BaseException) -> ValueError:
    return ValueError(f"modality {modality!r}: broken image {path}: {error}")
