"""Cells of a MuData or an .h5mu file: counts, binary or real values of variables found by name."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from cmvae.base.arrays import BEYOND_FLOAT32, blocks, is_sparse, restore, standardise
from cmvae.base.settings import Finite, PositiveFloat
from cmvae.base.words import SHOWN, listed, quoted, shown
from cmvae.files.cell_places import TYPES, CellRows
from cmvae.preprocessing.codec import Codec, Entry, Likelihood, Params

COUNTS = ("negative_binomial", "poisson")
REALS = ("normal", "laplace")
LIKELIHOODS = (*COUNTS, "bernoulli", *REALS)
KINDS = {**dict.fromkeys(COUNTS, "counts"), "bernoulli": "binary"}
ENTRIES = {**dict.fromkeys(COUNTS, ("count", "")), "bernoulli": ("binary", "1")}


class CellCodec(Codec):
    """Variables of cells; what is sparse stays sparse. Missing values are NaN, in dense ones alone.

    Attributes:
        var_names: The variables, in the order of the numbers.
        layer: The place they are read from (:mod:`cmvae.files.cell_places`); None: ``X``.
        dist: The likelihood.
        size: Of counts the median total of a cell; None: without library size.
        center: Of real numbers the variables' means, which are subtracted; else empty.
        spread: What is divided by then: their standard deviations, 1 where one is constant; else
            empty.
    """

    content = "table"

    type: Literal["omics"] = "omics"
    var_names: Annotated[tuple[str, ...], Field(min_length=1)]
    layer: str | None = None
    dist: Literal["negative_binomial", "poisson", "bernoulli", "normal", "laplace"]
    size: PositiveFloat | None = None
    center: tuple[Finite, ...] = ()
    spread: tuple[PositiveFloat, ...] = ()

    @model_validator(mode="after")
    def _check_scales(self) -> Self:
        wanted = len(self.var_names) if self.dist in REALS else 0
        if len(self.center) != wanted or len(self.spread) != wanted:
            raise ValueError(f"center and spread must hold {wanted} numbers, one for each variable")
        return self

    @classmethod
    def learn(cls, rows: CellRows, modality: str, dist: str | None = None) -> Self:
        """Learn from all cells, some million entries at a time.

        Args:
            rows: The cells.
            modality: Name of the modality.
            dist: The likelihood asked for; None: whole numbers of at least 0 are counts,
                'negative_binomial', only 0 and 1 'bernoulli', all others 'normal'.

        Raises:
            ValueError: For an unknown likelihood, values that it does not allow, counts that are
                all 0, variables without a value, or that are named twice.
        """
        if dist is not None and dist not in LIKELIHOODS:
            raise ValueError(
                f"modality {modality!r}: likelihood must be one of {quoted(LIKELIHOODS)}, "
                f"got {shown(dist)}"
            )
        check_variables(pd.Index(rows.var_names, dtype=object), modality)
        if len(rows.types) > 1:
            layer = "" if rows.layer in (None, "X", "raw") else f":{rows.layer}"
            what = f"modality {modality!r} has variables of the feature types {quoted(rows.types)}"
            place = f"{TYPES}:{rows.types[0]}{layer}"
            warnings.warn(f"{what} side by side; {place!r} names those of one", stacklevel=2)
        dist = _checked(rows, modality, dist)
        if hollow := _without_values(rows):
            raise ValueError(f"modality {modality!r}: no values in variables {listed(hollow)}")
        own: dict[str, Any] = {"var_names": rows.var_names, "layer": rows.layer, "dist": dist}
        if dist in REALS:
            from sklearn.preprocessing import StandardScaler  # slow to import

            scaler = StandardScaler(with_mean=False)
            for _, block in blocks(rows.values):
                scaler.partial_fit(block)
            center, spread = (tuple(map(float, f)) for f in (scaler.mean_, scaler.scale_))
            return cls(**own, center=center, spread=spread)
        if dist == "bernoulli" and (above := _first_not(rows.values, _is_binary)) is not None:
            what = f"modality {modality!r}: counts, such as {above[1]:.6g}, are read as 'bernoulli'"
            warnings.warn(f"{what}: 1 where anything was counted", stacklevel=2)
        if dist == "bernoulli" or len(rows.var_names) < 2:
            return cls(**own)
        totals = _totals(rows.values)
        if not totals.any():
            raise ValueError(f"modality {modality!r}: all its counts are 0")
        # A cell without counts says nothing of how much is counted where something is.
        return cls(**own, size=float(np.median(totals[totals > 0])))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """How many variables there are, an axis."""
        return (len(self.var_names),)

    @property
    def names(self) -> list[str]:
        """The variables."""
        return list(self.var_names)

    @property
    def entries(self) -> list[Entry]:
        """The variables: counts, binary ones or numbers."""
        kind, level = ENTRIES.get(self.dist, ("continuous", ""))
        return [Entry(name, kind, level) for name in self.names]

    @BEYOND_FLOAT32
    def encode(self, rows: Any, modality: str) -> tuple[Any, np.ndarray]:
        """Return (n, variables) float32; what is sparse stays so, and is not standardised yet.

        Missing values are NaN.
        """
        if not isinstance(rows, CellRows):
            got = type(rows).__name__
            raise ValueError(
                f"modality {modality!r}: expected cells of an .h5mu file, which it was learned "
                f"from, got a {got}"
            )
        rows = self._own_variables(rows, modality)
        _checked(rows, modality, self.dist)
        observed = _observed(rows.values)
        if self.dist == "bernoulli":
            return _binary(rows.values), observed
        if is_sparse(rows.values) or not self.center:
            return rows.values.astype(np.float32, copy=False), observed
        values = np.empty(rows.values.shape, dtype=np.float32)
        center, spread = np.asarray(self.center), np.asarray(self.spread)
        for start, block in blocks(rows.values):
            values[start : start + len(block)] = standardise(block, center, spread)
        return values, observed

    def stored(self, values: Any) -> Any:
        """Return sparse values as what becomes dense, and standardised, a batch at a time."""
        if not is_sparse(values):
            return values
        from cmvae.data.stored import SparseRows, StandardisedRows

        rows = SparseRows(values)
        return StandardisedRows(rows, self.center, self.spread) if self.center else rows

    def decode(self, values: np.ndarray, sample: bool) -> pd.DataFrame:
        """Return a table of the variables in the data's units; see :class:`Codec`."""
        numbers = self.readable(values)
        if sample and self.dist not in REALS:
            numbers = np.rint(numbers).astype(np.int64)
        return pd.DataFrame(numbers, columns=list(self.var_names))

    def readable(self, values: np.ndarray) -> np.ndarray:
        """Return values of the likelihood, (*, variables), in the data's units, float64."""
        numbers = np.asarray(values, dtype=np.float64)
        if not self.center:
            return numbers
        return restore(numbers, np.asarray(self.center), np.asarray(self.spread))

    def describe(self) -> str:
        """Return how many variables of what kind there are, and the first names."""
        layer = f" of {'' if ':' in self.layer else 'layer '}{self.layer}" if self.layer else ""
        kind = KINDS.get(self.dist, "continuous")
        return f"{len(self.var_names)} {kind}{layer}: {listed(self.var_names)}"

    def _likelihood(self, chosen: str | None, params: Params, scale: float | str) -> Likelihood:
        own: dict[str, Any] = {"scale": scale} if self.dist in REALS else {}
        if self.size is not None:
            own = {"library_size": True}
            if params.get("library_size") is not False:
                own["size"] = self.size
        return self.dist, {**own, **params}

    def places_of(self, rows: CellRows, modality: str) -> np.ndarray:
        """Return where each variable is among those of cells, (variables,), −1 where it is not.

        Raises:
            ValueError: For variables that occur more than once.
        """
        names = pd.Index(rows.var_names, dtype=object)
        check_variables(names, modality)
        return names.get_indexer(pd.Index(self.var_names, dtype=object))

    def with_own_variables(self, rows: CellRows, places: np.ndarray) -> CellRows:
        """Return cells with the variables that were learned, in their order.

        Those that are not there become missing cells, NaN, which makes all of them dense: read as
        zeros, they would say that nothing of them was counted.

        Args:
            rows: The cells.
            places: As :meth:`places_of` returns them.
        """
        there = places >= 0
        values = rows.values[:, places[there]]
        if not there.all():
            dtype = np.result_type(values.dtype, np.float32)
            found = np.full((values.shape[0], len(places)), np.nan, dtype)
            found[:, there] = values.toarray() if is_sparse(values) else values
            values = found
        return replace(rows, values=values, var_names=self.var_names)

    def without_counts(self, rows: CellRows) -> list[str]:
        """Return the cells that have the modality, of whose library size nothing was counted."""
        if self.dist not in COUNTS or self.size is None:
            return []
        return list(rows.obs_names[(_totals(rows.values) == 0) & _observed(rows.values)])

    def _own_variables(self, rows: CellRows, modality: str) -> CellRows:
        """Return cells with the variables that were learned, found by name."""
        if rows.var_names == self.var_names:
            return rows
        places = self.places_of(rows, modality)
        if (places < 0).any():
            lacking = [n for n, place in zip(self.var_names, places, strict=True) if place < 0]
            raise KeyError(
                f"modality {modality!r} lacks {len(lacking)} variables, such as "
                f"{quoted(lacking[:SHOWN])}"
            )
        return self.with_own_variables(rows, places)


def check_variables(names: pd.Index, modality: str) -> None:
    """Refuse names of variables that occur more than once, with a ``ValueError``."""
    if not names.is_unique:
        repeated = quoted(names[names.duplicated()].unique()[:SHOWN])
        raise ValueError(
            f"modality {modality!r}: variables {repeated} occur more than once; make var_names "
            "unique"
        )


def _checked(rows: CellRows, modality: str, dist: str | None) -> str:
    """Return a likelihood that allows the values, found by looking at them where it is None.

    Raises:
        ValueError: For values that are not finite or that the likelihood does not allow, naming the
            first.
    """

    def refuse(allowed: Callable[[Any], Any], what: str) -> None:
        if (bad := _first_not(rows.values, allowed)) is not None:
            cell = rows.obs_names[bad[0]]
            raise ValueError(f"modality {modality!r}: {what}; got {bad[1]:.6g} in cell {cell!r}")

    if is_sparse(rows.values):
        refuse(
            np.isfinite,
            "values of a sparse matrix must be finite (take cells that lack the modality out of "
            "it; where single values are missing, store it as a dense one)",
        )
    refuse(lambda entries: ~np.isinf(entries), "values must be finite, or NaN where missing")
    if dist is None:
        if _first_not(rows.values, _is_whole) is not None:
            return "normal"
        refuse(
            _is_nonnegative,
            "whole numbers, some negative, are no counts; if they are right, name the likelihood",
        )
        return "negative_binomial" if _first_not(rows.values, _is_binary) else "bernoulli"
    if dist in COUNTS:
        counts = f"{dist!r} needs counts, whole numbers of at least 0: another layer or likelihood"
        refuse(lambda entries: _is_whole(entries) & _is_nonnegative(entries), counts)
    if dist == "bernoulli":
        binary = "'bernoulli' needs 0 and 1, or counts, which become 1 where they are above 0"
        refuse(lambda entries: _is_whole(entries) & _is_nonnegative(entries), binary)
    return dist


def _observed(values: Any) -> np.ndarray:
    """Return which cells have any value, (n,) boolean."""
    if is_sparse(values):
        return np.ones(values.shape[0], dtype=bool)
    return np.asarray(~np.isnan(values).all(1))


def _binary(values: Any) -> Any:
    """Return counts (n, variables) as 0 and 1, float32; zeros and ones are not copied."""
    if _first_not(values, _is_binary) is None:
        return values.astype(np.float32, copy=False)
    if not is_sparse(values):
        return np.minimum(values, 1).astype(np.float32)
    found = values.astype(np.float32)
    found.sum_duplicates()
    np.minimum(found.data, 1, out=found.data)
    return found


def _without_values(rows: CellRows) -> list[str]:
    """Return the variables of which all values are missing."""
    if is_sparse(rows.values) or rows.values.dtype.kind != "f":
        return []
    hollow = np.isnan(rows.values).all(0)
    return [name for name, none in zip(rows.var_names, hollow, strict=True) if none]


def _totals(values: Any) -> np.ndarray:
    """Return the total of each cell, (n,) float64, as if what is missing were like the rest."""
    if is_sparse(values) or values.dtype.kind != "f" or not np.isnan(values).any():
        return np.asarray(values.sum(axis=1), dtype=np.float64).ravel()
    there = (~np.isnan(values)).mean(1)
    return np.asarray(np.nansum(values, 1, dtype=np.float64) / np.where(there > 0, there, 1))


def _is_whole(entries: Any) -> Any:
    return np.rint(entries) == entries


def _is_nonnegative(entries: Any) -> Any:
    return entries >= 0


def _is_binary(entries: Any) -> Any:
    return (entries == 0) | (entries == 1)


def _first_not(values: Any, allowed: Callable[[Any], Any]) -> tuple[int, float] | None:
    """Return row and value of the first entry not allowed; zeros that a CSR leaves out are.

    So are NaNs of arrays.
    """
    for start, block in blocks(values):
        if is_sparse(block):
            block.sum_duplicates()  # of a copy: a value is what all entries at its place add up to
        entries = block.data if is_sparse(block) else block.ravel()
        missing = False if is_sparse(block) else np.isnan(entries)
        bad = np.flatnonzero(~(allowed(entries) | missing))
        if len(bad):
            at = bad[0]
            row = at // block.shape[1]
            if is_sparse(block):
                row = np.searchsorted(block.indptr, at, side="right") - 1
            return start + int(row), float(entries[at])
    return None
