"""Arrays in .npy and .npz files."""

import lzma
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmvae.base.unpacking import check_archive
from cmvae.files.encoding import find_encoding, opened, opened_text
from cmvae.files.pixels import find_images
from cmvae.files.source import Source, checked_ids
from cmvae.files.suffixes import COMPRESSED, suffix_of

ID_ARRAYS = ("id", "ids")  # arrays of these names in an .npz are the samples' ids
# What NumPy raises for files that are damaged, or are an .npy by the name of an .npz.
_UNREADABLE = (
    *(ValueError, OSError, EOFError, TypeError, AttributeError, RuntimeError, MemoryError),
    *(OverflowError, SyntaxError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, tokenize.TokenError),
)


class ArrayFile(Source):
    """An array (n, *), rows of NaN where a sample lacks the modality.

    One or two axes are numbers in columns 0, 1, …; images become (n, C, H, W), see
    :func:`find_images`. An .npy is memory-mapped, an .npz or a packed one read as a whole.

    Args:
        path: A .npy or .npz file.
        modality: Name for the errors.
        array: Name of the array in an .npz; None: the only one.
        ids: A text file with an id on each line; None: the array ``id`` or ``ids`` of the .npz, or
            numbers from 0.
        layout: Where the channels of images are: 'first', 'last' or 'none'; None: as the shape
            says.

    Raises:
        ValueError: If the file is missing, damaged or holds no such array, or the ids are of
            another number.
        TypeError: For complex numbers, dates and records.
    """

    def __init__(
        self,
        path: Path,
        modality: str,
        array: str | None = None,
        ids: Path | None = None,
        layout: str | None = None,
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
            own = np.array(_read_ids(ids, modality))
        if own is not None and own.shape != values.shape[:1]:
            raise ValueError(f"{self.where}: {own.shape} ids for {len(values)} samples")
        self._ids, self._values = own, values
        self._form = find_images(values, self.where, modality, layout)
        self.reading = {"shape": " × ".join(map(str, values.shape))}
        self.notes = list(self._form.notes)

    @property
    def is_numbered(self) -> bool:
        """See ``Source``."""
        return self._ids is None

    @property
    def width(self) -> int:
        """See ``Source``."""
        return max(1, math.prod(self._values.shape[1:]))

    @property
    def numbers(self) -> int | None:
        """See ``Source``: of one or two axes, which make a table."""
        return int(self._values.size) if self._values.ndim <= 2 else None

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
        return self._form.apply(np.asarray(self._values[rows]))

    def _load(self, array: str | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the array and the ids beside it."""
        try:
            if self.path.suffix.lower() in COMPRESSED:
                with opened(self.path) as packed:
                    return np.load(packed), None
            if suffix_of(self.path) == ".npy":
                return np.load(self.path, mmap_mode="r"), None
            with np.load(self.path) as file:
                names = [name for name in file.files if name not in ID_ARRAYS]
                if len(file.zip.namelist()) > len(set(file.zip.namelist())):
                    raise ValueError("it holds two arrays of one name")
                if array is None and len(names) != 1:
                    raise ValueError(f"it holds the arrays {names}; name one of them")
                if array is not None and array not in names:
                    raise ValueError(f"it holds no array {array!r}, but {names}")
                _check_size(file, self.path, [array or names[0], *ID_ARRAYS])
                own = [file[name] for name in ID_ARRAYS if name in file.files]
                return _array(file[array or names[0]]), _array(own[0]) if own else None
        except _UNREADABLE as error:
            raise ValueError(f"{self.where}: not a readable array: {_told(error)}") from error


def _array(member: Any) -> np.ndarray:
    """Refuse a member of an .npz that NumPy gives as bytes."""
    if not isinstance(member, np.ndarray):
        raise ValueError("it holds something else than arrays")
    return member


def _check_size(file: Any, path: Path, wanted: Sequence[str]) -> None:
    """Refuse arrays of an .npz that are packed too tightly, or say that they are larger."""
    members = [f"{name}.npy" for name in wanted if f"{name}.npy" in file.zip.namelist()]
    check_archive(file.zip, path, members)


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
        raise ValueError(f"{path}: not a readable .npz file: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Return what an error says; NumPy's advice on pickles would have files run as programs."""
    text = str(error)
    if "pickle" in text or "Python objects" in text:
        return "it is damaged, or holds Python objects, not numbers: save it as an array of numbers"
    is_own = text.startswith("it holds") or "times its" in text
    return text if is_own else "it is damaged, or no such file"


def as_images(values: np.ndarray, modality: str) -> np.ndarray:
    """Return images in an array as (n, C, H, W), other arrays as they are; see find_images."""
    return find_images(values, f"modality {modality!r}", modality).apply(values)


def _read_ids(path: Path, modality: str) -> list[str]:
    """Return the lines of a text, in whatever encoding; none for empty ones at the end."""
    if not path.is_file():
        raise ValueError(f"modality {modality!r}: no such file: {path}")
    with opened_text(path, find_encoding(path, modality)) as file:
        return file.read().rstrip().splitlines()
