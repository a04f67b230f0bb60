"""Small pictures, many on one sheet, as ``data:`` addresses that a page can hold."""

import base64
import io
import math
from collections.abc import Iterable

import numpy as np
from PIL import Image

from cmvae.report.content import Sheet

BLANK = 255
QUALITIES = (90, 75, 60, 40)


class Scale:
    """How the values of images become bytes: [0, 1] to 0 … 255, or the range of the data where that is another.

    Args:
        low: The smallest value of the data.
        high: The largest.
    """

    def __init__(self, low: float, high: float) -> None:
        if low >= 0 and high <= 1:
            low, high = 0.0, 1.0
        self.low, self.span = low, high - low if high > low else 1.0

    def bytes(self, images: np.ndarray) -> np.ndarray:
        """Return images (n, H, W) or (n, C, H, W) as (n, H, W, 3) uint8; more than three channels as the first three.

        Values beyond the range are cut off; pictures with NaN are blank.

        Raises:
            ValueError: For another number of axes.
        """
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ValueError(
                f"images must be (n, H, W) or (n, C, H, W), got the shape {images.shape}"
            )
        colours = images[:, :3] if images.shape[1] >= 3 else np.repeat(images[:, :1], 3, axis=1)
        shades = 255 * ((colours.astype(np.float64) - self.low) / self.span).clip(0, 1)
        blank = np.isnan(shades).any((1, 2, 3), keepdims=True)
        return np.where(blank, BLANK, shades).round().astype(np.uint8).transpose(0, 2, 3, 1)


def thumbnails(pictures: np.ndarray, largest: int) -> np.ndarray:
    """Return (n, H, W, 3) bytes scaled down until no side is above ``largest`` pixels."""
    height, width = pictures.shape[1:3]
    shrink = min(1.0, largest / max(height, width))
    if shrink == 1:
        return pictures
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    small = [
        np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
        for picture in pictures
    ]
    return np.stack(small) if small else pictures[:, : size[1], : size[0]]


def as_sheet(pictures: np.ndarray, budget: int) -> Sheet:
    """Put pictures (n, H, W, 3) bytes on one sheet, of at most about ``budget`` bytes.

    It is a PNG where that fits, else a JPEG of a quality that does, else a JPEG of pictures half as
    large.
    """
    n, height, width, _ = pictures.shape
    across = max(1, math.ceil(math.sqrt(n * height / width)))
    down = max(1, math.ceil(n / across))
    tiles = np.full((down * across, height, width, 3), BLANK, np.uint8)
    tiles[:n] = pictures
    whole = (
        tiles.reshape(down, across, height, width, 3)
        .swapaxes(1, 2)
        .reshape(down * height, across * width, 3)
    )
    for kind, encoded in _encodings(Image.fromarray(whole)):
        if len(encoded) <= budget:
            uri = f"data:image/{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
            return Sheet(uri, across, n, width, height)
    if max(height, width) == 1:
        raise ValueError(f"{n} pictures do not fit into {budget} bytes")
    return as_sheet(thumbnails(pictures, math.ceil(max(height, width) / 2)), budget)


def _encodings(image: Image.Image) -> Iterable[tuple[str, bytes]]:
    """Yield encodings, ever smaller."""
    is_grey = np.ptp(np.asarray(image), axis=2).max() == 0
    if is_grey:
        image = image.convert("L")
    yield "png", _encoded(image, "PNG", optimize=True)
    for quality in QUALITIES:
        yield "jpeg", _encoded(image, "JPEG", quality=quality, optimize=True)


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
