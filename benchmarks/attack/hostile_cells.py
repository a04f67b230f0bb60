"""Hostile files of cells: .h5ad and .h5mu."""

import os
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from cases import Case, command, payload
from hostile_arrays import N, Write, raw
from hostile_tables import check

KIND, FILE = "an .h5mu or .h5ad", "m.h5ad"


def cases(_: Path) -> Iterator[Case]:
    """Yield the cases."""
    for name, write in _cells():
        yield Case(KIND, name, partial(_written, write), partial(check, FILE), FILE)
    yield Case(KIND, "no modalities", _empty_mudata, _data, "m.h5mu")


def _written(write: Write, folder: Path) -> None:
    write(folder / FILE)


def _data(folder: Path) -> None:
    command("fit", "--data", folder / "m.h5mu", "--check")


def _h5(write: Callable[[Any], None], path: Path) -> None:
    """Write a file of cells that is well, and then change it."""
    import anndata
    import h5py
    import numpy as np
    import pandas as pd

    draw = np.random.default_rng(0)
    cells = anndata.AnnData(
        draw.poisson(4, (N, 5)).astype(np.float32),
        pd.DataFrame(index=pd.Index([f"s{i}" for i in range(N)], dtype=object)),
        pd.DataFrame(index=pd.Index([f"g{i}" for i in range(5)], dtype=object)),
    )
    cells.write_h5ad(path)
    with h5py.File(path, "a") as file:
        write(file)


def _cells() -> Iterator[tuple[str, Write]]:
    """Yield what is done to a file of cells."""

    def changed(change: Callable[[Any, Any], object]) -> Write:
        def write(path: Path) -> None:
            import h5py

            (path.parent / "other.h5").unlink(missing_ok=True)
            closed = path.parent.parent / "closed" / "secret.txt"
            with h5py.File(path.parent / "other.h5", "w") as other:
                other["X"] = [[7.0] * 5] * N
            _h5(lambda file: change(file, closed), path)

        return write

    def without_matrix(change: Callable[[Any, Any], object]) -> Write:
        def both(file: Any, closed: Any) -> None:
            del file["X"]
            change(file, closed)

        return changed(both)

    yield "an external link", without_matrix(lambda file, _: _link(file, "other.h5"))
    yield "a link to /etc/passwd", without_matrix(lambda file, _: _link(file, "/etc/passwd"))
    yield "bytes of another file", without_matrix(_external)
    yield "a virtual matrix", without_matrix(_virtual)
    yield "a link to itself", without_matrix(lambda file, _: _soft(file))
    huge = {"shape": (10**6, 10**6), "chunks": (100, 100), "dtype": "f4"}
    yield "10^12 numbers of none", without_matrix(lambda file, _: file.create_dataset("X", **huge))
    fits = {"shape": (N, 10**8), "chunks": (N, 100), "dtype": "f4"}
    yield "many columns of none", without_matrix(lambda file, _: file.create_dataset("X", **fits))
    yield "a matrix of texts", without_matrix(lambda file, _: file.create_dataset("X", data="x"))
    yield "a group as a matrix", without_matrix(lambda file, _: file.create_group("X"))
    yield "CSR that lies", without_matrix(lambda file, _: _sparse(file, [0, 10**9] + [0] * N))
    yield (
        "CSR that goes back",
        without_matrix(lambda file, _: _sparse(file, [5, 0] * (N // 2) + [2])),
    )
    yield "columns beyond the last", without_matrix(lambda file, _: _sparse(file, None, 999))
    yield "10^9 names of none", changed(_many_names)
    yield "no names", changed(lambda file, _: file["obs"].clear())
    yield "no attribute of names", changed(lambda file, _: file["obs"].attrs.clear())
    yield "names elsewhere", changed(lambda file, _: file["obs"].attrs.__setitem__("_index", "/X"))
    yield "no obs", changed(lambda file, _: file.__delitem__("obs"))
    yield "names as numbers", changed(lambda file, _: file["obs"].attrs.__setitem__("_index", 5))
    yield (
        "an unknown encoding",
        changed(lambda file, _: file["X"].attrs.__setitem__("encoding-type", "pickle")),
    )
    yield "noise", raw(os.urandom(5000))
    yield "a mark alone", raw(b"\x89HDF\r\n\x1a\n" + b"\0" * 500)
    yield "nothing", raw(b"")
    yield "a pickle", raw(pickle.dumps(payload()))
    yield "half of it", _half


def _half(path: Path) -> None:
    _h5(lambda _: None, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _link(file: Any, other: str) -> None:
    import h5py

    file["X"] = h5py.ExternalLink(other, "/X")


def _soft(file: Any) -> None:
    import h5py

    file["X"] = h5py.SoftLink("/Y")
    file["Y"] = h5py.SoftLink("/X")


def _external(file: Any, closed: Path) -> None:
    file.create_dataset("X", (N, 5), "u1", external=[(str(closed), 0, N * 5)])


def _virtual(file: Any, _: Path) -> None:
    import h5py

    layout = h5py.VirtualLayout((N, 5), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "X", (N, 5))
    file.create_virtual_dataset("X", layout)


def _sparse(file: Any, bounds: list[int] | None, column: int = 1) -> None:
    own = file.create_group("X")
    own.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
    own.attrs["shape"] = (N, 5)
    own["data"], own["indices"] = [1.0] * N, [column] * N
    own["indptr"] = list(range(N + 1)) if bounds is None else bounds[: N + 1]


def _many_names(file: Any, _: Path) -> None:
    import h5py

    attributes = dict(file["obs/_index"].attrs)
    del file["obs/_index"]
    kind = h5py.string_dtype()
    names = file["obs"].create_dataset("_index", (10**9,), kind, chunks=(1000,))
    names.attrs.update(attributes)


def _empty_mudata(folder: Path) -> None:
    import h5py

    with h5py.File(folder / "m.h5mu", "w") as file:
        file.create_group("mod")
        file.create_group("obs")
