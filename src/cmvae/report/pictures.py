"""Small pictures, many on one sheet, as ``data:`` addresses that a page can hold."""

import base64
import io
import math
from collections.abc import Iterator

import numpy as np
from PIL import Image

from cmvae.report.content import Sheet
from cmvae.report.drawing import as_colours, tiled

BLANK = 255
QUALITIES = (90, 75, 60, 40)


def as_bytes(images: np.ndarray) -> np.ndarray:
    """Return images (n, C, H, W) in [0, 1] as (n, H, W, 3) uint8, those with NaN blank."""
    return (255 * as_colours(images)).round().astype(np.uint8)


def thumbnails(pictures: np.ndarray, largest: int) -> np.ndarray:
    """Return (n, H, W, 3) bytes scaled down until no side is above ``largest`` pixels."""
    height, width = pictures.shape[1:3]
    shrink = min(1.0, largest / max(height, width))
    if shrink == 1 or not len(pictures):
        return pictures
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    images = (Image.fromarray(picture) for picture in pictures)
    return np.stack([np.asarray(image.resize(size, Image.Resampling.BOX)) for image in images])


def as_sheet(pictures: np.ndarray, budget: int) -> Sheet:
    """Put pictures (n, H, W, 3) bytes on one sheet, of at most about ``budget`` bytes.

    It is a PNG where that fits, else a JPEG of a quality that does, else one of pictures half as
    large; ``ValueError`` where not even single pixels fit.
    """
    n, height, width, _ = pictures.shape
    across = max(1, math.ceil(math.sqrt(n * height / width)))
    for kind, encoded in _encodings(Image.fromarray(tiled(pictures, across))):
        if len(encoded) <= budget:
            uri = f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
            return Sheet(uri, across, n, width, height)
    if max(height, width) == 1:
        raise ValueError(f"{n} pictures do not fit into {budget} bytes")
    return as_sheet(thumbnails(pictures, math.ceil(max(height, width) / 2)), budget)


def _encodings(image: Image.Image) -> Iterator[tuple[str, bytes]]:
    """Yield encodings, ever smaller."""
    if np.ptp(np.asarray(image), axis=2).max() == 0:  # grey
        image = image.convert("L")
    yield "png", _encoded(image, "PNG", optimize=True)
    for quality in QUALITIES:
        yield "jpeg", _encoded(image, "JPEG", quality=quality, optimize=True)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
