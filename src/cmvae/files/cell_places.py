"""Where the values of cells lie in an AnnData: in X, a layer, raw, obsm, or one feature type.

A place is named by a text, as ``--layer`` takes it: the name of a layer, ``raw``, ``obsm:KEY``,
``feature_types:TYPE`` (of X) or ``feature_types:TYPE:LAYER``, or ``X``, which None is too.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.arrays import is_sparse
from cmvae.base.words import quoted, shown

TYPES = "feature_types"  # the column of .var that 10x and muon write


@dataclass(frozen=True)
class CellRows:
    """Cells of one modality.

    Attributes:
        values: (n, variables) array, or CSR where they are stored sparse.
        obs_names: The n cells.
        var_names: The variables.
        layer: The place that the values are from; None: ``X``.
        types: The feature types of variables that lie side by side; empty where the place is one.
    """

    values: Any
    obs_names: pd.Index
    var_names: tuple[str, ...]
    layer: str | None = None
    types: tuple[str, ...] = ()


@dataclass(frozen=True)
class CellPlace:
    """A place in an AnnData.

    Attributes:
        kind: ``'X'``, ``'layers'``, ``'raw'``, ``'obsm'`` or ``'feature_types'``.
        key: The layer, the key of obsm, or the feature type; else empty.
        layer: The layer, of a place of one feature type; empty: ``X``.
    """

    kind: str
    key: str = ""
    layer: str = ""

    @property
    def matrix(self) -> str | None:
        """The layer that the values lie in; None: X, raw or obsm."""
        return (self.key if self.kind == "layers" else self.layer) or None

    @property
    def is_whole(self) -> bool:
        """Whether it has all variables, of whatever types they are."""
        return self.kind in ("X", "layers", "raw")

    @classmethod
    def read(cls, text: str | None, where: str, there: Mapping[str, "CellPlace"]) -> "CellPlace":
        """Read a place among those that :func:`named_places` returns.

        Raises:
            TypeError: For what is no text.
            KeyError: For one that is not there, with those that are.
        """
        if text is None:
            return cls("X")
        if not isinstance(text, str):
            raise TypeError(
                f"{where}: a place is named by a text, or None for X; got {shown(text)}"
            )
        if text in there:
            return there[text]
        kind, _, key = text.partition(":")
        what = {"obsm": "key of obsm", TYPES: "feature type"}.get(kind, "layer")
        name = key if kind in ("obsm", TYPES) else text
        known = type_in(text, (own.key for own in there.values() if own.kind == TYPES))
        if known == key:
            what, name = "place", f"{text} of X"
        elif known is not None:
            what, name = "layer", key.removeprefix(f"{known}:")
        raise KeyError(f"{where}: unknown {what} {name!r}; there are {quoted(there)}")


def named_places(
    layers: Iterable[str],
    obsm: Iterable[str],
    types: Iterable[str],
    *,
    has_raw: bool,
    has_x: bool = True,
) -> dict[str, CellPlace]:
    """Return the places of an AnnData by their names; a layer comes before all others."""
    layers, types = list(layers), list(types)
    parts = {
        f"{TYPES}:{name}:{layer}": CellPlace(TYPES, name, layer)
        for name in types
        for layer in layers
    }
    places = {
        **({"raw": CellPlace("raw")} if has_raw else {}),
        **{f"obsm:{name}": CellPlace("obsm", name) for name in obsm},
        **parts,
        **{f"{TYPES}:{name}": CellPlace(TYPES, name) for name in types if has_x},
        **({"X": CellPlace("X")} if has_x else {}),
    }
    own = {name: CellPlace("layers", name) for name in layers}
    return own | {name: place for name, place in places.items() if name not in own}


def numbered_names(key: str, width: int) -> tuple[str, ...]:
    """Return names for the columns of an array in obsm, which has none."""
    return tuple(f"{key}_{place}" for place in range(width))


def feature_types(adata: Any, kind: str = "X") -> list[str]:
    """Return the feature types of an AnnData's variables, in the order in which they first come.

    Or, of the ``kind`` of place ``'raw'``, those of the variables there.
    """
    var = adata.raw.var if kind == "raw" else adata.var
    return distinct_types(var[TYPES]) if TYPES in var else []


def distinct_types(column: Any) -> list[str]:
    """Return the feature types in a column, without missing ones."""
    return list(map(str, pd.Series(column).dropna().unique()))


def type_in(place: str, types: Iterable[str]) -> str | None:
    """Return which of the feature types a place is of, the longest that fits; None: of none."""
    kind, _, key = place.partition(":")
    fits = [own for own in types if key == own or key.startswith(f"{own}:")]
    return max(fits, key=len, default=None) if kind == TYPES else None


def places_in(adata: Any) -> dict[str, CellPlace]:
    """Return the places of an AnnData by their names."""
    has = {"has_raw": adata.raw is not None, "has_x": adata.X is not None}
    return named_places(adata.layers, adata.obsm, feature_types(adata), **has)


def tell_left_out(modality: str, place: str | None, where: object) -> None:
    """Warn of a modality that was learned and whose place is not there."""
    what = f"{where} has no {place or 'X'!r}, where modality {modality!r} was learned from"
    warnings.warn(f"{what}: its samples are taken as without it", stacklevel=4)


def columns_at(adata: Any, place: CellPlace) -> np.ndarray | None:
    """Return which of an AnnData's variables a place has; None where it has variables of its own.

    These are raw and obsm.
    """
    if place.kind in ("raw", "obsm"):
        return None
    own = adata.var[TYPES].astype(str) == place.key if place.kind == TYPES else None
    return np.arange(adata.n_vars) if own is None else np.flatnonzero(own)


def variables_at(adata: Any, place: CellPlace) -> pd.Index:
    """Return the names of the variables of a place."""
    columns = columns_at(adata, place)
    if columns is not None:
        return adata.var_names[columns]
    if place.kind == "raw":
        return adata.raw.var_names
    values = adata.obsm[place.key]
    if isinstance(values, pd.DataFrame):
        return values.columns
    return pd.Index(numbered_names(place.key, getattr(values, "shape", (0, 0))[-1]))


def cells_of(adata: Any, text: str | None, where: str) -> CellRows:
    """Return the values of a place of an AnnData, its cells in its own order.

    Args:
        adata: The AnnData, in memory or backed.
        text: The place.
        where: What it is called, for the errors.

    Raises:
        KeyError: For a place that is not there.
        TypeError: For no AnnData, and values that are no real numbers.
        ValueError: For no values, and those of another number of axes than two.
    """
    if not hasattr(adata, "layers"):
        raise TypeError(f"{where}: expected an AnnData, got {type(adata).__name__}")
    place = CellPlace.read(text, where, places_in(adata))
    names = variables_at(adata, place)
    values: Any
    if place.kind == "raw":
        values = adata.raw.X
    elif place.kind == "obsm":
        values = adata.obsm[place.key]
        values = values.to_numpy() if isinstance(values, pd.DataFrame) else values
    else:
        values = adata.layers[place.matrix] if place.matrix else adata.X
    if values is None:
        raise ValueError(f"{where} has no X; give one of its layers: {quoted(adata.layers)}")
    # A sparse matrix that is still in its file.
    values = values.to_memory() if hasattr(values, "to_memory") else values
    values = values.tocsr() if is_sparse(values) else np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"{where}: expected numbers, got dtype {values.dtype}")
    if values.ndim != 2:
        raise ValueError(f"{where}: expected (cells, variables), got shape {values.shape}")
    if place.kind == TYPES:
        values = values[:, columns_at(adata, place)]
    if 0 in values.shape:
        raise ValueError(f"{where} is empty: {values.shape[0]} cells, {values.shape[1]} variables")
    together = feature_types(adata, place.kind) if place.is_whole else ()
    return CellRows(values, adata.obs_names, tuple(map(str, names)), text, tuple(together))
