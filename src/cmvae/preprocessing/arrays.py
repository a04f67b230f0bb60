"""Images, and arrays of more than two axes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from cmvae.base.arrays import BEYOND_FLOAT32, restore, standardise
from cmvae.base.settings import Finite, PositiveFloat, PositiveInt
from cmvae.base.words import counted
from cmvae.files.images import Measured, read_image
from cmvae.files.pixels import eight_bits
from cmvae.files.writing import write_image
from cmvae.preprocessing.codec import Codec, Writer

LARGEST_SIDE = 64  # pixels of an image's longer side; larger images are scaled down


class ImageCodec(Codec):
    """Images scaled to one size, as bytes.

    Attributes:
        shape: (C, H, W), C being 1 (grey) or 3 (red, green, blue) for files, H and W in pixels.
        bits: How many bits a channel images of sixteen use.
    """

    content = "images"

    type: Literal["images"] = "images"
    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    bits: Annotated[int, Field(ge=8, le=16)] = 8

    @classmethod
    def learn(cls, measured: Measured, size: tuple[int, int] | None = None, bits: int = 8) -> Self:
        """Choose the size: the one asked for, else that measured, at most 64 pixels a side."""
        channels, height, width, *_ = measured
        factor = min(1.0, LARGEST_SIDE / max(height, width))
        scaled = max(1, round(height * factor)), max(1, round(width * factor))
        return cls(shape=(channels, *(size or scaled)), bits=bits)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(C, H, W)."""
        return self.shape

    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, C, H, W) uint8, of paths or of such an array; see :class:`Codec`."""
        if isinstance(rows, np.ndarray):
            if rows.dtype == np.uint16:
                rows = eight_bits(rows, self.bits)
            if rows.dtype != np.uint8 or rows.shape[1:] != self.shape:
                shape = ", ".join(map(str, self.shape))
                raise ValueError(
                    f"modality {modality!r}: expected images (n, {shape}) of uint8, "
                    f"got {rows.shape} of {rows.dtype}"
                )
            return rows, np.ones(len(rows), dtype=bool)
        if not isinstance(rows, list) or not all(isinstance(path, Path) for path in rows):
            got = type(rows).__name__
            raise ValueError(f"modality {modality!r}: expected images, got a {got}")
        values = [read_image(path, self.shape, modality, self.bits) for path in rows]
        return np.stack(values), np.ones(len(values), dtype=bool)

    def stored(self, values: Any) -> Any:
        """Return images that stay bytes; see :class:`Codec`."""
        from cmvae.data.stored import ByteImages

        return ByteImages(values)

    def decode(self, values: np.ndarray, sample: bool) -> np.ndarray:
        """Return (n, H, W, C) uint8; see :class:`Codec`."""
        return (values.clip(0, 1) * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)

    def describe(self) -> str:
        """Return the size."""
        channels, height, width = self.shape
        colours = "grey" if channels == 1 else f"{channels} channels"
        deep = f", {self.bits} bits a channel" if self.bits > 8 else ""
        return f"images of {height} × {width} pixels, {colours}{deep}"

    @contextmanager
    def open_writer(self, folder: Path, name: str, suffix: str, **_: Any) -> Iterator[Writer]:
        """Give what writes images into a folder: ``NAME/ID.png``."""
        (folder / name).mkdir()

        def write(ids: list[str], rows: Any, clusters: np.ndarray | None) -> None:
            for sample, pixels in zip(ids, rows, strict=True):
                path = folder / name / f"{sample.replace('/', '_')}.png"
                if path.exists():
                    raise ValueError(
                        f"modality {name!r}: the id {sample!r} would name the image of another "
                        "sample"
                    )
                write_image(path, pixels)

        yield write


class ArrayCodec(Codec):
    """Arrays of more than two axes, standardised as a whole.

    Samples that are NaN throughout lack the modality.

    Attributes:
        shape: Shape of one sample.
        center: The mean of all entries.
        spread: Their standard deviation, or 1.
    """

    content = "array"

    type: Literal["array"] = "array"
    shape: tuple[PositiveInt, ...]
    center: Finite
    spread: PositiveFloat

    @classmethod
    def learn(cls, values: np.ndarray, modality: str) -> Self:
        """Measure an array (n, *) of real numbers."""
        seen = values[_observed(values, modality)].astype(np.float64)
        if not seen.size:
            raise ValueError(f"modality {modality!r}: the array has no values")
        spread = float(seen.std()) or 1.0
        return cls(shape=values.shape[1:], center=float(seen.mean()), spread=spread)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return self.shape

    @BEYOND_FLOAT32
    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 (n, *); see :class:`Codec`."""
        is_array = isinstance(rows, np.ndarray)
        if not is_array or rows.shape[1:] != self.shape or rows.dtype.kind not in "biuf":
            got = f"{rows.shape} of {rows.dtype}" if is_array else type(rows).__name__
            raise ValueError(
                f"modality {modality!r}: expected numbers (n, *{self.shape}), got {got}"
            )
        values = standardise(rows, self.center, self.spread).astype(np.float32)
        return values, _observed(values, modality)

    def decode(self, values: np.ndarray, sample: bool) -> np.ndarray:
        """Return an array in the data's units; see :class:`Codec`."""
        return restore(values, np.float32(self.center), np.float32(self.spread))

    def readable(self, values: np.ndarray) -> np.ndarray:
        """Return an array in the data's units."""
        return self.decode(values, False)

    def describe(self) -> str:
        """Return the shape."""
        return f"arrays of {' × '.join(map(str, self.shape))}"

    @contextmanager
    def open_writer(self, folder: Path, name: str, suffix: str, **_: Any) -> Iterator[Writer]:
        """Give what writes arrays into a folder: ``NAME.npy``."""
        parts: list[np.ndarray] = []
        yield lambda ids, rows, clusters: parts.append(rows)
        if parts:
            np.save(folder / f"{name}.npy", np.concatenate(parts))


def _observed(values: np.ndarray, modality: str) -> np.ndarray:
    """Return which samples of an array (n, *) are there, (n,); ``ValueError`` for some in part."""
    flat = values.reshape(len(values), -1)
    observed = np.asarray(~np.isnan(flat).all(1))
    bad = np.flatnonzero(observed & ~np.isfinite(flat).all(1))
    if len(bad):
        raise ValueError(
            f"modality {modality!r}: NaN or infinity in {counted(len(bad), 'sample')}, the first "
            f"{bad[:5].tolist()}; only tables may lack single cells, not arrays of samples of "
            f"the shape {values.shape[1:]}"
        )
    return observed
