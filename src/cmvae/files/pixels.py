"""Images in arrays: where their channels are, what is seen through them, how deep they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmvae.files.source import ReadingError

COLOURS = (1, 3)  # channels of grey, and of red, green and blue
WITH_ALPHA = (2, 4)
_LOOKED_AT = 256  # images
_SATURATED = 0.5  # of an alpha channel's entries are 0 or 255, at least


@dataclass(frozen=True)
class PixelForm:
    """How images lie in an array.

    Attributes:
        layout: Where the channels are: 'first', 'last' or 'none'; None: it holds no images.
        has_alpha: Whether the last channel tells how much is seen of the others.
        bits: How many bits a channel uses, which an alpha channel is told by.
        notes: What is unusual, in words.
    """

    layout: str | None = None
    has_alpha: bool = False
    bits: int = 8
    notes: tuple[str, ...] = ()

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return an array (n, *), or a part of it, as (n, C, H, W) of the same dtype."""
        if self.layout is None:
            return values
        values = _channels_first(values, self.layout)
        return composited(values, self.bits) if self.has_alpha else values


def find_images(
    values: np.ndarray, where: str, modality: str, layout: str | None = None
) -> PixelForm:
    """Tell how images lie in an array, by its shape and dtype.

    Arrays of bytes, or of whole numbers of sixteen bits, are images where they have three axes, (n,
    H, W), or four: (n, C, H, W) or (n, H, W, C), C being 1 or 3, or 2 or 4 with an alpha channel.
    Other arrays of four axes have channels where one end alone is so short.

    Args:
        values: (n, *).
        where: Modality and file, for the messages.
        modality: The modality.
        layout: Where the channels are, if it is known.

    Raises:
        ReadingError: If they may be at either end.
        ValueError: For a layout of an array of other axes, and two or four channels of which the
            last one is no alpha channel.
    """
    is_bytes = values.dtype in (np.uint8, np.uint16)
    if layout is not None and values.ndim != (3 if layout == "none" else 4):
        raise ValueError(f"{where}: layout={layout} does not fit an array of {values.ndim} axes")
    if values.ndim not in (3, 4) or not (is_bytes or layout or values.ndim == 4):
        return PixelForm()
    layout = layout or _find_layout(values.shape, is_bytes, where, modality)
    notes = {"last": ("channels on the last axis",)}.get(layout or "", ())
    if not is_bytes:
        return PixelForm(layout if layout == "last" else None, notes=notes)
    some = _channels_first(values[:: max(1, len(values) // _LOOKED_AT)], str(layout))
    bits = 8
    if values.dtype == np.uint16:
        bits = used_bits(values)
        notes = (*notes, "sixteen bits a channel, of which eight are kept")
    has_alpha = some.shape[1] in WITH_ALPHA
    if has_alpha:
        _check_alpha(some, bits, where)
        notes = (*notes, f"{some.shape[1]} channels: the last is alpha, white is seen through it")
    return PixelForm(layout, has_alpha, bits, notes)


def used_bits(values: np.ndarray) -> int:
    """Return how many bits whole numbers use: 8, or an even number up to 16."""
    most = max(8, int(values.max(initial=0)).bit_length())
    return most + most % 2


def eight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Return the upper eight of some bits as bytes; what is brighter is white."""
    return (values >> (bits - 8)).clip(0, 255).astype(np.uint8)


def composited(pixels: np.ndarray, bits: int = 8) -> np.ndarray:
    """Return images (n, C, H, W) with an alpha channel, C being 2 or 4, on white: (n, C − 1, H, W).

    Args:
        pixels: The images, of whole numbers, whose dtype is kept.
        bits: How many bits a channel uses.

    Example:
        >>> composited(np.array([[10], [0]], np.uint8).reshape(1, 2, 1, 1)).ravel().tolist()
        [255]
    """
    white = float((1 << bits) - 1)
    share = pixels[:, -1:].astype(np.float32) / white
    seen = white - (white - pixels[:, :-1].astype(np.float32)) * share
    return np.asarray(seen.round().astype(pixels.dtype))


def _find_layout(shape: Sequence[int], is_bytes: bool, where: str, modality: str) -> str | None:
    """Return where the channels of an array are; None: it need not hold images."""
    if len(shape) == 3:
        return "none"
    for channels in (COLOURS, WITH_ALPHA):
        ends = [name for name, at in (("first", 1), ("last", 3)) if shape[at] in channels]
        if len(ends) == 1:
            return ends[0]
        if ends and is_bytes:
            break
    if not is_bytes:
        return None
    raise ReadingError(
        f"{where}: images {tuple(shape)} may have their channels on the second axis or on the "
        "last one; say which",
        modality,
        ["layout=first", "layout=last"],
    )


def _channels_first(values: np.ndarray, layout: str) -> np.ndarray:
    if layout == "none":
        return values[:, None]
    return values.transpose(0, 3, 1, 2) if layout == "last" else values


def _check_alpha(pixels: np.ndarray, bits: int, where: str) -> None:
    """Refuse a last channel that hardly ever says that a pixel is all there or not at all."""
    alpha = pixels[:, -1] >> (bits - 8)
    if np.isin(alpha, (0, 255)).mean() < _SATURATED:
        count = pixels.shape[1]
        raise ValueError(
            f"{where}: images of {count} channels, the last of which does not look like an alpha "
            f"channel: keep 1 channel (grey) or 3 (red, green, blue), or give numbers that are no "
            "bytes, such as float32"
        )
