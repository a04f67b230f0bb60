"""Results of cells, put back into a copy of their .h5mu or .h5ad file."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.files import atomic_write
from cmvae.base.refused_writes import reserve
from cmvae.base.words import SHOWN, quoted
from cmvae.files.hdf5 import library, read_index

ROOM, BYTES_OF_CELL = 1 << 20, 200  # that results take in a file, at most
KEY = "cmvae"  # what the names of results start with, as in cmvae.omics.to_mudata


def write_results(
    source: Path,
    target: Path,
    ids: Sequence[str],
    clusters: np.ndarray,
    probabilities: np.ndarray,
    embedding: np.ndarray,
    account: Mapping[str, Any],
    fit_percentiles: np.ndarray | None = None,
    cluster_names: Mapping[int, str] | None = None,
) -> None:
    """Write a copy of an .h5mu or .h5ad file with results, named as ``cmvae.omics.to_mudata`` does.

    Cells without results get NaN. Nothing else in the file changes, and its matrices are not read.

    Args:
        source: The file.
        target: The copy.
        ids: n cells.
        clusters: Their clusters, (n,).
        probabilities: Those of all clusters, (n, clusters).
        embedding: The means of q(z|X), (n, d).
        account: What the results came from, for ``.uns``.
        fit_percentiles: How well the cells fit, (n,).
        cluster_names: Names of some clusters; a further column has them, of others the numbers.

    Raises:
        ValueError: For cells that the file does not have.
        OSError: If it cannot be written.
    """
    io, h5py = library("anndata.io"), library("h5py")
    with atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)
        room = 2 * (embedding.nbytes + probabilities.nbytes)
        reserve(temporary, ROOM + room + BYTES_OF_CELL * len(ids))
        with (
            _told_as_system_errors(target),
            h5py.File(temporary, "r+", locking=False) as file,  # atomic_write holds it
        ):
            names = read_index(file["obs"])
            rows = cell_rows(names, ids, f"{source}: .obs")
            taken = probabilities[np.arange(len(ids)), clusters]
            columns, values = placed_results(rows, len(names), clusters, taken, embedding)
            if fit_percentiles is not None:
                columns["fit_percentile"] = np.full(len(names), np.nan)
                columns["fit_percentile"][rows] = fit_percentiles
            if cluster_names:
                given = {str(number): name for number, name in cluster_names.items()}
                numbers = columns["cluster"].categories
                # Of objects too, as in placed_results.
                own = pd.Index([given.get(number, number) for number in numbers], dtype=object)
                columns["cluster_name"] = columns["cluster"].rename_categories(own)
            _add_columns(file["obs"], {f"{KEY}_{name}": own for name, own in columns.items()})
            for group in ("obsm", "uns"):
                if group not in file:
                    io.write_elem(file, group, {})
            io.write_elem(file["obsm"], f"X_{KEY}", values)
            every = placed(rows, len(names), probabilities)
            io.write_elem(file["obsm"], f"{KEY}_probabilities", every)
            io.write_elem(file["uns"], KEY, dict(account))


def _add_columns(table: Any, columns: Mapping[str, Any]) -> None:
    """Add columns to a table in a file, whose attribute has the order of its columns."""
    before = [name for name in map(str, table.attrs.get("column-order", ())) if name not in columns]
    for name, values in columns.items():
        library("anndata.io").write_elem(table, name, values)
    table.attrs["column-order"] = [*before, *columns]


def cell_rows(names: Sequence[str], ids: Sequence[str], where: str) -> np.ndarray:
    """Return the rows of cells, (n,); ``ValueError`` for names that repeat and cells not there."""
    own = pd.Index(list(map(str, names)), dtype=object)
    if not own.is_unique:
        repeated = own[own.duplicated()][0]
        raise ValueError(f"{where} names cells more than once, such as {repeated!r}")
    rows = own.get_indexer(pd.Index(list(ids), dtype=object))
    if (rows < 0).any():
        lacking = [name for name, row in zip(ids, rows, strict=True) if row < 0]
        raise ValueError(f"{where} lacks {len(lacking)} cells, such as {quoted(lacking[:SHOWN])}")
    return rows


def placed_results(
    rows: np.ndarray, n: int, clusters: np.ndarray, probabilities: np.ndarray, embedding: np.ndarray
) -> tuple[dict[str, Any], np.ndarray]:
    """Return results of cells as columns of n cells, and their embedding (n, d) float32.

    Cells without results get NaN; clusters without cells are left out of the categories.

    Args:
        rows: The row of each of r cells, (r,).
        n: How many cells there are.
        clusters: Their clusters, (r,).
        probabilities: The probabilities of these, (r,).
        embedding: The means of q(z|X), (r, d).
    """
    occupied, numbers = np.unique(clusters, return_inverse=True)
    # Of objects: there are versions of anndata that cannot write the strings of pandas 3.
    categories = pd.Index([str(cluster) for cluster in occupied], dtype=object)
    probability, codes = np.full(n, np.nan), np.full(n, -1)
    probability[rows], codes[rows] = probabilities, numbers
    cluster = pd.Categorical.from_codes(codes, categories)
    return {"cluster": cluster, "probability": probability}, placed(rows, n, embedding)


def placed(rows: np.ndarray, n: int, values: np.ndarray) -> np.ndarray:
    """Return values (r, k) at their rows (r,) of n, float32, NaN in the others."""
    found = np.full((n, values.shape[1]), np.nan, dtype=np.float32)
    found[rows] = values
    return found


@contextmanager
def _told_as_system_errors(path: Path) -> Iterator[None]:
    """Turn HDF5's errors while writing, not all of which are the system's, into these."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"{path} cannot be written: {error}") from error
