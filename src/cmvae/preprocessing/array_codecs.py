"""Images, and arrays of more than two axes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from cmvae.data.stored import ByteImages
from cmvae.files.images import read_image
from cmvae.preprocessing.codec import Codec

LARGEST_SIDE = 64  # pixels of an image's longer side; larger images are scaled down


class ImageCodec(Codec):
    """Images scaled to one size, as bytes.

    Args:
        shape: (C, H, W), C being 1 (grey) or 3 (red, green, blue) for files, H and W in pixels.
    """

    type = "images"

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    @classmethod
    def of(cls, measured: tuple[int, int, int], size: tuple[int, int] | None = None) -> Self:
        """Choose the size: the one asked for, else that measured, scaled down to at most 64 pixels a side."""
        channels, height, width = measured
        if size is not None:
            return cls((channels, *size))
        factor = min(1.0, LARGEST_SIDE / max(height, width))
        return cls((channels, max(1, round(height * factor)), max(1, round(width * factor))))

    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, C, H, W) uint8, of paths or of such an array; see ``Codec``."""
        if isinstance(rows, np.ndarray):
            if rows.dtype != np.uint8 or rows.shape[1:] != self.shape:
                raise ValueError(
                    f"modality {modality!r}: expected images (n, {', '.join(map(str, self.shape))}) of uint8, "
                    f"got {rows.shape} of {rows.dtype}"
                )
            return rows, np.ones(len(rows), dtype=bool)
        if not isinstance(rows, list) or not all(isinstance(path, Path) for path in rows):
            raise ValueError(f"modality {modality!r}: expected images, got a {type(rows).__name__}")
        shape: Any = self.shape
        values = [read_image(path, shape, modality) for path in rows]
        return np.stack(values), np.ones(len(values), dtype=bool)

    def stored(self, values: Any) -> ByteImages:
        """Return images that stay bytes; see ``Codec``."""
        return ByteImages(values)

    def decode(self, values: np.ndarray, sample: bool) -> np.ndarray:
        """Return (n, H, W, C) uint8; see ``Codec``."""
        return (values.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)

    def describe(self) -> str:
        """Return the size."""
        channels, height, width = self.shape
        return f"images of {height} × {width} pixels, {'grey' if channels == 1 else f'{channels} channels'}"

    def fields(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return {"shape": list(self.shape)}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`fields` returned."""
        channels, height, width = map(int, fields["shape"])
        return cls((channels, height, width))


class ArrayCodec(Codec):
    """Arrays of more than two axes, standardised as a whole; samples that are NaN throughout lack the modality.

    Args:
        shape: Shape of one sample.
        center: What is subtracted, the mean of all entries.
        spread: What is divided by then, their standard deviation, or 1.
    """

    type = "array"

    def __init__(self, shape: tuple[int, ...], center: float, spread: float) -> None:
        self.shape, self.center, self.spread = shape, center, spread

    @classmethod
    def of(cls, values: np.ndarray, modality: str) -> Self:
        """Measure an array (n, *).

        Raises:
            TypeError: If it holds no real numbers.
        """
        if values.dtype.kind not in "biuf":
            raise TypeError(
                f"modality {modality!r}: expected real numbers, got an array of {values.dtype}"
            )
        flat = values.reshape(len(values), -1)
        seen = flat[~np.isnan(flat).all(1)].astype(np.float64)
        if not seen.size:
            raise ValueError(f"modality {modality!r}: the array has no values")
        return cls(values.shape[1:], float(seen.mean()), float(seen.std()) or 1.0)

    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 (n, *); see ``Codec``."""
        if (
            not isinstance(rows, np.ndarray)
            or rows.shape[1:] != self.shape
            or rows.dtype.kind not in "biuf"
        ):
            got = (
                f"{rows.shape} of {rows.dtype}"
                if isinstance(rows, np.ndarray)
                else type(rows).__name__
            )
            raise ValueError(
                f"modality {modality!r}: expected numbers (n, *{self.shape}), got {got}"
            )
        values = ((rows - self.center) / self.spread).astype(np.float32)
        flat = values.reshape(len(values), -1)
        observed = np.asarray(~np.isnan(flat).all(1))
        bad = np.flatnonzero(observed & ~np.isfinite(flat).all(1))
        if len(bad):
            raise ValueError(
                f"modality {modality!r}: NaN or infinity in {len(bad)} samples, the first {bad[:5]}"
            )
        return values, observed

    def decode(self, values: np.ndarray, sample: bool) -> np.ndarray:
        """Return an array in the data's units; see ``Codec``."""
        return values * np.float32(self.spread) + np.float32(self.center)

    def describe(self) -> str:
        """Return the shape."""
        return f"arrays of {' × '.join(map(str, self.shape))}"

    def fields(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return {"shape": list(self.shape), "center": self.center, "spread": self.spread}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`fields` returned."""
        return cls(
            tuple(map(int, fields["shape"])), float(fields["center"]), float(fields["spread"])
        )
