"""Where the values of cells lie in an AnnData: in X, a layer, raw, obsm, or X of one feature type.

A place is named by a text, as ``--layer`` takes it: the name of a layer, ``raw``, ``obsm:KEY`` or
``feature_types:TYPE``; None is ``X``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.arrays import is_sparse
from cmvae.base.words import quoted

TYPES = "feature_types"  # the column of .var that 10x and muon write


@dataclass(frozen=True)
class CellRows:
    """Cells of one modality.

    Attributes:
        values: (n, variables) array, or CSR where they are stored sparse.
        obs_names: The n cells.
        var_names: The variables.
        layer: The place that the values are from; None: ``X``.
    """

    values: Any
    obs_names: pd.Index
    var_names: tuple[str, ...]
    layer: str | None = None


@dataclass(frozen=True)
class CellPlace:
    """A place in an AnnData.

    Attributes:
        kind: ``'X'``, ``'layers'``, ``'raw'``, ``'obsm'`` or ``'feature_types'``.
        key: The layer, the key of obsm, or the feature type; else empty.
    """

    kind: str
    key: str = ""

    @classmethod
    def read(
        cls,
        text: str | None,
        where: str,
        layers: Iterable[str],
        obsm: Iterable[str] = (),
        types: Iterable[str] = (),
        has_raw: bool = False,
    ) -> "CellPlace":
        """Read a place among those that there are; a layer comes before all others.

        Raises:
            KeyError: For one that is not there, with those that are.
        """
        if text is None:
            return cls("X")
        kind, _, key = text.partition(":")
        there = {
            **{name: cls("layers", name) for name in layers},
            **({"raw": cls("raw")} if has_raw else {}),
            **{f"obsm:{name}": cls("obsm", name) for name in obsm},
            **{f"{TYPES}:{name}": cls(TYPES, name) for name in types},
        }
        if text in there:
            return there[text]
        what = {"obsm": "key of obsm", TYPES: "feature type"}.get(kind, "layer")
        shown = key if kind in ("obsm", TYPES) else text
        raise KeyError(f"{where}: unknown {what} {shown!r}; there are {quoted(there)}")


def numbered_names(key: str, width: int) -> tuple[str, ...]:
    """Return names for the columns of an array in obsm, which has none."""
    return tuple(f"{key}_{place}" for place in range(width))


def feature_types(adata: Any) -> list[str]:
    """Return the feature types of an AnnData's variables, in the order in which they first come."""
    if TYPES not in adata.var:
        return []
    return list(map(str, adata.var[TYPES].dropna().unique()))


def has_place(adata: Any, text: str | None) -> bool:
    """Tell whether an AnnData has a place."""
    try:
        _place_in(adata, text, "")
    except KeyError:
        return False
    return True


def _place_in(adata: Any, text: str | None, where: str) -> CellPlace:
    types = feature_types(adata)
    return CellPlace.read(text, where, adata.layers, adata.obsm, types, adata.raw is not None)


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
    place = _place_in(adata, text, where)
    names: Any = adata.var_names
    values: Any
    if place.kind == "raw":
        values, names = adata.raw.X, adata.raw.var_names
    elif place.kind == "obsm":
        values = adata.obsm[place.key]
        if isinstance(values, pd.DataFrame):
            names, values = values.columns, values.to_numpy()
        elif len(getattr(values, "shape", ())) == 2:
            names = numbered_names(place.key, values.shape[1])
    else:
        values = adata.layers[place.key] if place.kind == "layers" else adata.X
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
        own = (adata.var[TYPES].astype(str) == place.key).to_numpy()
        values, names = values[:, np.flatnonzero(own)], names[own]
    if 0 in values.shape:
        raise ValueError(f"{where} is empty: {values.shape[0]} cells, {values.shape[1]} variables")
    return CellRows(values, adata.obs_names, tuple(map(str, names)), text)
