"""HDF5 files of anndata and mudata: opened, looked through, and what they hold read as it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.extras import from_extra
from cmvae.base.unpacking import check_unpacked
from cmvae.base.words import shortened
from cmvae.files.suffixes import ANNDATA_SUFFIX, suffix_of

READABLE = (
    "array",
    "string-array",
    "nullable-string-array",
    "categorical",
    "nullable-integer",
    "nullable-boolean",
)


class DamagedError(ValueError):
    """What is wrong with a file, in words that are to be read."""


def library(name: str) -> Any:
    """Return a module of the extra ``omics``; ``ImportError`` where it is not installed."""
    return from_extra(name, "omics", "MuData")


def _check_own(file: Any) -> None:
    """Refuse links to other files, and matrices whose numbers lie in others."""
    h5py = library("h5py")

    def check(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            if node.is_virtual or node.external:
                raise DamagedError(f"{shortened(name)} lies in other files, which are not read")
            return
        for own in node:
            if isinstance(node.get(own, getlink=True), h5py.ExternalLink):
                raise DamagedError(f"{shortened(own)} is a link to another file, which is not read")

    check("", file)
    file.visititems(check)


def check_size(*nodes: Any) -> None:
    """Refuse arrays that say they are far larger than their file."""
    for node in nodes:
        if hasattr(node, "nbytes"):
            check_unpacked(int(node.nbytes), Path(node.file.filename))


@contextmanager
def open_h5mu(path: Path) -> Iterator[Any]:
    """Open an .h5mu or .h5ad file for reading; what is wrong with it is told with its name.

    Raises:
        ImportError: If the extra ``omics`` is not installed.
        ValueError: If the file is missing, damaged or something else.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    h5py = library("h5py")
    try:
        with h5py.File(path, "r") as file:
            is_anndata = suffix_of(path) == ANNDATA_SUFFIX
            needed = ("obs", "var") if is_anndata else ("mod", "obs")
            if not all(hasattr(file.get(name), "keys") for name in needed):
                raise DamagedError(_what_it_lacks(file, is_anndata))
            _check_own(file)
            if not (is_anndata or len(file["mod"])):
                raise DamagedError("it holds no modalities")
            if file.attrs.get("axis", 0) == 1:
                raise DamagedError(
                    "its modalities share variables (axis=1); "
                    "expected some that share cells (axis=0)"
                )
            yield file
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, AttributeError) as error:
        if str(path) in str(error) and not isinstance(error, OSError):
            raise
        reason = str(error) if isinstance(error, DamagedError) else "it is damaged, or no such file"
        kind = suffix_of(path)
        raise ValueError(f"{path}: not an {kind} file that can be read: {reason}") from error


def _what_it_lacks(file: Any, is_anndata: bool) -> str:
    if not is_anndata:
        return "it holds no modalities (an .h5ad holds one: name it so)"
    if getattr(getattr(file.get("obs"), "dtype", None), "names", None):
        way = "anndata.read_h5ad(PATH).write_h5ad(ANOTHER)"
        return f"its tables are of anndata before 0.7; write it anew: {way}"
    return "it holds no cells"


def read_rows(node: Any, start: int, stop: int) -> Any:
    """Return some rows of an array or of a CSR matrix in a file."""
    if kind_of(node) == "array":
        return node[start:stop]
    from scipy.sparse import csr_array

    width = int(node.attrs["shape"][1])
    return csr_array(_compressed(node, start, stop, width), shape=(stop - start, width))


def read_by_columns(node: Any) -> Any:
    """Return a CSC matrix in a file as CSR."""
    from scipy.sparse import csc_array

    height, width = map(int, node.attrs["shape"])
    return csc_array(_compressed(node, 0, width, height), shape=(height, width)).tocsr()


def _compressed(node: Any, start: int, stop: int, width: int) -> tuple[Any, Any, Any]:
    """Return values, places and bounds of some rows (of a CSC: columns) of a sparse matrix.

    Not through anndata's own slices, which do not work with every SciPy. SciPy reads and writes
    wherever a damaged file says: so all of it is looked at before.
    """
    bounds = np.asarray(node["indptr"][start : stop + 1]).astype(np.int64)
    ends = [len(node["data"]), len(node["indices"])]
    rises = len(bounds) == stop - start + 1 and bool((np.diff(bounds) >= 0).all())
    if not (rises and bounds[0] >= 0 and bounds[-1] <= min(ends)):
        raise DamagedError("its sparse matrix is damaged: its rows end where it has no numbers")
    entries = slice(int(bounds[0]), int(bounds[-1]))
    places = np.asarray(node["indices"][entries])
    if len(places) and not 0 <= places.min() <= places.max() < width:
        raise DamagedError(f"its sparse matrix is damaged: it has numbers beyond its {width} names")
    return node["data"][entries], places, bounds - bounds[0]


def kind_of(node: Any) -> str | None:
    """Return what something in a file is stored as; arrays of some writers do not say so."""
    kind = node.attrs.get("encoding-type", None if hasattr(node, "keys") else "array")
    return None if kind is None else str(kind)


def read_index(table: Any) -> Any:
    """Return the index of a table in a file."""
    return read_node(table[table.attrs["_index"]])


def read_node(node: Any) -> Any:
    """Return something in a file as the object that it is."""
    kind = kind_of(node)
    if kind not in READABLE:
        raise DamagedError(
            f"{node.name} is stored as {kind!r}, not as one of {', '.join(READABLE)}"
        )
    check_size(*(node.values() if hasattr(node, "values") else [node]))
    own = library("anndata.io").read_elem(node)
    if "categories" not in node.attrs:
        return own
    # Of anndata 0.7: codes, which refer to their names.
    return pd.Categorical.from_codes(own, read_node(node.file[node.attrs["categories"]]))
