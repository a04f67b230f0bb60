"""Arrays in .npy and .npz files."""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmvae.files.source import Source, checked_ids

ID_ARRAYS = ("id", "ids")  # arrays of these names in an .npz are the samples' ids
# What NumPy raises for files that are damaged, or are an .npy by the name of an .npz.
_UNREADABLE = (
    *(ValueError, OSError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)


class ArrayFile(Source):
    """An array (n, *), rows of NaN where a sample lacks the modality.

    One or two axes are numbers in columns 0, 1, …; bytes of three or four axes are images (n, H,
    W), (n, C, H, W) or (n, H, W, C), C being 1 or 3, which become (n, C, H, W). An .npy is
    memory-mapped, an .npz read as a whole.

    Args:
        path: A .npy or .npz file.
        modality: Name for the errors.
        array: Name of the array in an .npz; None: the only one.
        ids: A text file with an id on each line; None: the array ``id`` or ``ids`` of the .npz, or
            numbers from 0.

    Raises:
        ValueError: If the file is missing, damaged or holds no such array, or the ids are of
            another number.
        TypeError: For complex numbers, dates and records.
    """

    def __init__(
        self, path: Path, modality: str, array: str | None = None, ids: Path | None = None
    ) -> None:
        super().__init__(path, modality)
        values, own = self._load(array)
        if values.dtype.kind in "cmMV":
            raise TypeError(f"{self.where}: expected numbers, got dtype {values.dtype}")
        if values.ndim == 0:
            raise ValueError(
                f"{self.where}: expected an array with samples on its first axis, got a scalar"
            )
        if ids is not None:
            if not ids.is_file():
                raise ValueError(f"modality {modality!r}: no such file: {ids}")
            own = np.array(ids.read_text(encoding="utf-8-sig").splitlines())
        if own is not None and own.shape != values.shape[:1]:
            raise ValueError(f"{self.where}: {own.shape} ids for {len(values)} samples")
        self._ids, self._values = own, as_images(values)

    @property
    def is_numbered(self) -> bool:
        """See ``Source``."""
        return self._ids is None

    def read(self) -> Any:
        """Return the array."""
        return self._rows(slice(None))

    def chunks(self, rows: int, texts: Sequence[str] = ()) -> Iterator[tuple[list[str], Any]]:
        """Yield ids and rows; see ``Source``."""
        for start in range(0, len(self._values), rows):
            part = self._rows(slice(start, start + rows))
            own = (
                range(start, start + len(part))
                if self._ids is None
                else self._ids[start : start + rows]
            )
            yield checked_ids(own, self.where, start), part

    def _rows(self, rows: slice) -> Any:
        return np.asarray(self._values[rows])

    def _load(self, array: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the array and the ids beside it."""
        try:
            if self.path.suffix == ".npy":
                return np.load(self.path, mmap_mode="r"), None
            with np.load(self.path) as file:
                names = [name for name in file.files if name not in ID_ARRAYS]
                if array is None and len(names) != 1:
                    raise ValueError(f"it holds the arrays {names}; name one of them")
                if array is not None and array not in names:
                    raise ValueError(f"it holds no array {array!r}, but {names}")
                own = [file[name] for name in ID_ARRAYS if name in file.files]
                return file[array or names[0]], own[0] if own else None
        except _UNREADABLE as error:
            raise ValueError(f"{self.where}: not a readable array: {error}") from error


def array_names(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz, the ids left out.

    Raises:
        ValueError: If it is none.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    try:
        with np.load(path) as file:
            return [name for name in file.files if name not in ID_ARRAYS]
    except _UNREADABLE as error:
        raise ValueError(f"{path}: not a readable .npz file: {error}") from error


def as_images(values: np.ndarray) -> np.ndarray:
    """Return bytes of three or four axes as (n, C, H, W)."""
    if values.dtype != np.uint8 or values.ndim not in (3, 4):
        return values
    if values.ndim == 3:
        return values[:, None]
    last = values.shape[3] in (1, 3) and values.shape[1] not in (1, 3)
    return values.transpose(0, 3, 1, 2) if last else values
