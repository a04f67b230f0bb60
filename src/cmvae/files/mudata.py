"""MuData files (.h5mu): their modalities, cells and columns, the matrices a part at a time."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import quoted
from cmvae.files.cell_places import (
    TYPES,
    CellPlace,
    CellRows,
    distinct_types,
    named_places,
    numbered_names,
    tell_left_out,
    type_in,
)
from cmvae.files.hdf5 import (
    DamagedError,
    check_size,
    kind_of,
    open_h5mu,
    read_by_columns,
    read_index,
    read_node,
    read_rows,
)
from cmvae.files.modality import ModalityFile
from cmvae.files.source import Source, checked_ids
from cmvae.files.suffixes import MUDATA_SUFFIX

SPARSE = ("data", "indices", "indptr")  # the parts of a sparse matrix


class MuDataModality(Source):
    """Cells of one modality of an .h5mu file, or of an .h5ad, their names being the ids.

    What is stored by rows is read a part at a time, sparse or not; a matrix stored by columns (CSC)
    is read as a whole, and stays sparse.

    Args:
        path: The file.
        modality: Name for the errors.
        array: The modality's name in the file; None: ``modality``.
        layer: The place to read (:mod:`cmvae.files.cell_places`); None: ``X``.

    Raises:
        ImportError: If the extra ``omics`` is not installed.
        KeyError: For a modality or a place that is not there, with those that are.
        ValueError: If the file is missing, damaged or something else, or the modality has no cells
            or variables.
        TypeError: For values that are no real numbers.
    """

    def __init__(
        self, path: Path, modality: str, array: str | None = None, layer: str | None = None
    ) -> None:
        super().__init__(path, modality)
        self.array, self.layer = array or modality, layer
        with open_h5mu(path) as file:
            group = self._group(file)
            place = self._place(group)
            node = self._node(group, place)
            self._ids = checked_ids(read_index(group["obs"]), self.where)
            self._var_names, self._columns = _variables(group, place, node)
            table = group["raw"] if place.kind == "raw" else group
            self._types = tuple(types_of(table)) if place.is_whole else ()
            self._check(node)

    def read(self) -> CellRows:
        """Return all cells; sparse values stay sparse."""
        return next(rows for _, rows in self.chunks(len(self._ids)))

    def ids(self) -> list[str]:
        """Return the names of all cells."""
        return self._ids

    def chunks(self, rows: int, texts: Sequence[str] = ()) -> Iterator[tuple[list[str], CellRows]]:
        """Yield ids and rows; see ``Source``."""
        with open_h5mu(self.path) as file:
            group = self._group(file)
            node = self._node(group, self._place(group))
            whole = {"csc_matrix": read_by_columns, "dataframe": _frame}.get(str(kind_of(node)))
            held = None if whole is None else whole(node)
            for start in range(0, len(self._ids), rows):
                ids = self._ids[start : start + rows]
                stop = start + len(ids)
                values = read_rows(node, start, stop) if held is None else held[start:stop]
                if self._columns is not None:
                    values = values[:, self._columns]
                index = pd.Index(ids, dtype=object)
                yield ids, CellRows(values, index, self._var_names, self.layer, self._types)

    def _group(self, file: Any) -> Any:
        """Return the modality in the file; an .h5ad is one by itself, whatever its name."""
        if "mod" not in file:
            return file
        if self.array not in file["mod"]:
            names = _modality_names(file)
            raise KeyError(
                f"{self.where}: unknown modality {self.array!r}; there are {quoted(names)}"
            )
        return file["mod"][self.array]

    def _place(self, group: Any) -> CellPlace:
        """Return the place in a modality of the file, nothing of it read."""
        if "mod" in group or "obs" not in group:
            raise ValueError(f"{self.where}: expected an AnnData as modality {self.array!r}")
        return CellPlace.read(self.layer, self.where, _places_in(group))

    def _node(self, group: Any, place: CellPlace) -> Any:
        """Return the matrix in the file, nothing of it read."""
        if place.kind == "obsm":
            return group["obsm"][place.key]
        if place.matrix:
            return group["layers"][place.matrix]
        if place.kind == "raw":
            return group["raw"]["X"]
        if "X" not in group:
            layers = quoted(group.get("layers", {}))
            raise ValueError(f"{self.where}: it has no X; name one of its layers: {layers}")
        return group["X"]

    def _check(self, node: Any) -> None:
        kind = kind_of(node)
        if kind not in ("array", "dataframe", "csr_matrix", "csc_matrix"):
            raise TypeError(
                f"{self.where}: expected an array or a sparse matrix of numbers, got {kind!r}"
            )
        if kind == "dataframe":
            shape: tuple[int, ...] = len(self._ids), len(self._var_names)
            check_size(*node.values())
        else:
            shape = self._check_matrix(node, kind)
        if 0 in shape:
            raise ValueError(f"{self.where}: it is empty: {shape[0]} cells, {shape[1]} variables")

    def _check_matrix(self, node: Any, kind: str) -> tuple[int, ...]:
        """Return the shape of what is read of a matrix."""
        if lost := [part for part in SPARSE if kind != "array" and part not in node]:
            raise DamagedError(f"its sparse matrix lacks {quoted(lost)}")
        dtype = node.dtype if kind == "array" else node["data"].dtype
        if dtype.kind not in "biuf":
            raise TypeError(f"{self.where}: expected numbers, got dtype {dtype}")
        shape = tuple(map(int, node.shape if kind == "array" else node.attrs["shape"]))
        width = len(self._var_names) if self._columns is None else shape[-1]
        if shape != (len(self._ids), width):
            raise ValueError(
                f"{self.where}: a matrix {shape} for {len(self._ids)} cells, {width} names"
            )
        check_size(*([node] if kind == "array" else node.values()))
        return len(self._ids), len(self._var_names)


def types_of(group: Any) -> list[str]:
    """Return the feature types of an AnnData in a file, in the order in which they first come."""
    return distinct_types(read_node(group["var"][TYPES])) if TYPES in group.get("var", {}) else []


def _places_in(group: Any) -> dict[str, CellPlace]:
    """Return the places of an AnnData in a file by their names."""
    layers, obsm = (group.get(name, {}) for name in ("layers", "obsm"))
    has = {"has_raw": "X" in group.get("raw", {}), "has_x": "X" in group}
    return named_places(layers, obsm, types_of(group), **has)


def h5ad_types(path: Path) -> list[str]:
    """Return the feature types of the variables of an .h5ad file, none where it does not say."""
    with open_h5mu(path) as file:
        return types_of(file)


def layer_of_type(path: Path, place: str | None, layer: str) -> str:
    """Return the place that a layer's name means, of a modality that lies at another place.

    Where that is one feature type of an .h5ad, it is the columns of that type in the layer.

    Raises:
        ImportError: If the extra ``omics`` is not installed.
        ValueError: If the file is missing, damaged or something else.
    """
    with open_h5mu(path) as file:
        there, types = _places_in(file), types_of(file)
    known = type_in(place or "", types)
    own = f"{TYPES}:{known}:{layer}"
    if known is None or not (own in there or layer == "X"):
        return layer
    return own if own in there else f"{TYPES}:{known}"


def _variables(group: Any, place: CellPlace, node: Any) -> tuple[tuple[str, ...], Any]:
    """Return the names of the variables of a place, and which columns these are; None: all."""
    if place.kind == "obsm":
        if kind_of(node) == "dataframe":
            return tuple(map(str, node.attrs["column-order"])), None
        width = node.attrs["shape"][1] if hasattr(node, "keys") else node.shape[-1]
        return numbered_names(place.key, int(width)), None
    table = group["raw"]["var"] if place.kind == "raw" else group["var"]
    names = np.array(list(map(str, read_index(table))), dtype=object)
    if place.kind != TYPES:
        return tuple(names), None
    columns = np.flatnonzero(np.asarray(read_node(table[TYPES])).astype(str) == place.key)
    return tuple(names[columns]), columns


def _frame(node: Any) -> np.ndarray:
    """Return a table in a file as numbers, (n, columns)."""
    columns = [np.asarray(read_node(node[name])) for name in node.attrs["column-order"]]
    if odd := [own.dtype for own in columns if own.dtype.kind not in "biuf"]:
        raise TypeError(f"{node.name}: expected numbers, got dtype {odd[0]}")
    return np.stack(columns, 1)


def h5mu_files(
    path: Path, like: Mapping[str, ModalityFile] | None = None
) -> dict[str, ModalityFile]:
    """Return the modalities of an .h5mu file.

    Args:
        path: The file.
        like: Modalities of a run: those of them that were read from an .h5mu, and that the file
            has, are returned, read as they were. Those that it lacks are left out, with a warning;
            others of the file are passed over.

    Raises:
        ImportError: If the extra ``omics`` is not installed.
        ValueError: If the file is missing, damaged or something else, or has none of the
            modalities.
    """
    with open_h5mu(path) as file:
        names = _modality_names(file)
    where = str(path.absolute())
    if like is None:
        return {name: ModalityFile(path=where, array=name) for name in names}
    places = {
        name: (file.array or name, file.layer)
        for name, file in like.items()
        if file.path is not None and Path(file.path).suffix == MUDATA_SUFFIX
    }
    found = {
        name: ModalityFile(path=where, array=array, layer=layer)
        for name, (array, layer) in places.items()
        if array in names
    }
    if not found:
        raise ValueError(
            f"{path} has modalities {quoted(names)}; "
            f"those the run read from an .h5mu: {quoted(places)}"
        )
    for name in [name for name in places if name not in found]:
        tell_left_out(name, places[name][0], path)
    return found


def h5ad_files(path: Path, like: Mapping[str, ModalityFile]) -> dict[str, ModalityFile]:
    """Return the modalities of a run, read from .h5ad files, that lie in an .h5ad file too.

    Args:
        path: The file.
        like: Modalities of a run. Those whose place the file does not have are left out, with a
            warning.

    Raises:
        ImportError: If the extra ``omics`` is not installed.
        ValueError: If the file is none, has none of the places, or one that several modalities had
            in files of their own.
    """
    with open_h5mu(path) as file:
        there = _places_in(file)
    found = {name: own for name, own in like.items() if (own.layer or "X") in there}
    if not found:
        wanted = quoted(own.layer or "X" for own in like.values())
        raise ValueError(f"{path} has {quoted(there)}; the run read {wanted} from an .h5ad")
    for name in [name for name in like if name not in found]:
        tell_left_out(name, like[name].layer, path)
    layers = [own.layer or "X" for own in found.values()]
    if shared := [name for name, at in zip(found, layers, strict=True) if layers.count(at) > 1]:
        what = f"{quoted(shared)} of the run were of one place in files of their own"
        raise ValueError(f"{path}: {what}; say which of them it holds, NAME=PATH")
    where = str(path.absolute())
    return {name: ModalityFile(path=where, layer=own.layer) for name, own in found.items()}


def read_obs_column(path: Path, column: str | None, what: str) -> "pd.Series[str]":
    """Return a column of the cells of an .h5mu file as strings, its index their names.

    Cells without a value are left out.

    Args:
        path: The file.
        column: A column of ``.obs``, or MODALITY:COLUMN of that of a modality; None: the only one.
        what: What it holds, for the errors.

    Raises:
        ValueError: If the file is none, or the column is not there.
    """
    with open_h5mu(path) as file:
        table, (name, _, own) = file["obs"], (column or "").partition(":")
        if own and column not in table and name in file.get("mod", {}):
            table, column = file["mod"][name]["obs"], own
        columns = list(map(str, table.attrs.get("column-order", ())))
        if column is None and len(columns) != 1:
            raise ValueError(
                f"{what} {path}: name a column with column=NAME; .obs has {columns[:10]}"
            )
        column = column or columns[0]
        if column not in columns:
            raise ValueError(f"{what} {path}: .obs has no column {column!r}; it has {columns[:10]}")
        index = pd.Index(list(map(str, read_index(table))), dtype=object)
        return pd.Series(read_node(table[column]), index).dropna().astype(str)


def _modality_names(file: Any) -> list[str]:
    """Return the modalities of an open file, in the order of the MuData."""
    names, order = list(file["mod"]), [str(name) for name in file["mod"].attrs.get("mod-order", ())]
    return order if sorted(order) == sorted(names) else names
