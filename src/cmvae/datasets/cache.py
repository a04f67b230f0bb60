"""Arrays that are made once, kept in a folder, and memory-mapped from there."""

import json
import logging
import os
import tokenize
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from cmvae.base.files import atomic_write
from cmvae.base.reading import read_json

logger = logging.getLogger(__name__)

VARIABLE = "CMVAE_CACHE"


def cache_folder(cache: str | Path | None = None) -> Path:
    """Return ``cache``, else the environment's ``CMVAE_CACHE``, else ``~/.cache/cmvae``."""
    return Path(cache or os.environ.get(VARIABLE) or "~/.cache/cmvae").expanduser()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Make a folder of the cache; what cannot be written there is an ``OSError`` with a way out."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        way = f"give another folder as cache, or in the environment as {VARIABLE}"
        message = f"cache: cannot write to {folder} ({error.strerror or error}); {way}"
        raise OSError(message) from error


def cached_arrays(
    folder: Path,
    name: str,
    recipe: Mapping[str, Any],
    keys: Sequence[str],
    make: Callable[[], Mapping[str, np.ndarray]],
) -> dict[str, np.ndarray]:
    """Return a folder's arrays; what is missing, damaged or of another recipe is made anew.

    An array is the file ``NAME-KEY.npy``; ``NAME.json`` holds the recipe and the arrays' checksums
    and is written last: a run that is cut off leaves nothing that is believed.

    Args:
        folder: The folder, made where it is missing.
        name: What the files' names start with.
        recipe: What the arrays follow from, of plain JSON values.
        keys: The arrays that are wanted; they come memory-mapped and read-only.
        make: Returns all of the recipe's arrays; called only where something has to be made.

    Raises:
        OSError: If the folder cannot be written to; the message names it.
    """
    arrays = _read(folder, name, recipe, keys)
    if arrays is None:
        with writing(folder), atomic_write(folder / f"{name}.json") as record:
            logger.info("making %s in %s", name, folder)
            sums = _write(folder, name, make())
            text = json.dumps({"recipe": dict(recipe), "crc32": sums}, indent=2)
            record.write_text(text, encoding="utf-8")
        arrays = _read(folder, name, recipe, keys)
    if arrays is None:
        raise OSError(f"cache: {folder} does not hold what was just written to it")
    return arrays


def _write(folder: Path, name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    """Write arrays, and return their checksums."""
    sums = {}
    for key, array in arrays.items():
        whole = np.ascontiguousarray(array)
        with atomic_write(folder / f"{name}-{key}.npy") as temporary:
            np.save(temporary, whole, allow_pickle=False)
        sums[key] = zlib.crc32(whole.data)
    return sums


def _read(
    folder: Path, name: str, recipe: Mapping[str, Any], keys: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """Return the arrays, or None unless they are whole and of this recipe."""
    try:
        record = read_json(folder / f"{name}.json")
        if not isinstance(record, dict) or record.get("recipe") != dict(recipe):
            return None
        sums = record["crc32"]
        arrays = {key: open_memmap(folder / f"{name}-{key}.npy", mode="r") for key in keys}
        whole = all(zlib.crc32(array.data) == sums[key] for key, array in arrays.items())
        return dict(arrays) if whole else None
    except (OSError, EOFError, ValueError, KeyError, TypeError, tokenize.TokenError):
        return None
