"""How the modalities of a MuData become numbers: what is learned once and applied to other cells."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from cmvae.data.checks import CHUNK_ENTRIES, quoted
from cmvae.data.stored import is_sparse

COUNTS = ("negative_binomial", "poisson")
REALS = ("normal", "laplace")
LIKELIHOODS = (*COUNTS, "bernoulli", *REALS)
_SHOWN = 5


@dataclass(frozen=True)
class CodedModality:
    """How one modality becomes numbers.

    Attributes:
        name: Its name.
        var_names: Its variables, in the order of the numbers.
        layer: The layer they are read from; None: ``X``.
        likelihood: One of ``'negative_binomial'``, ``'poisson'``, ``'bernoulli'``, ``'normal'``,
            ``'laplace'``.
        size: Of counts the median total of a cell; None: without library size.
        center: Of real numbers the variables' means, which are subtracted; else empty.
        spread: What is divided by then: their standard deviations, 1 where one is constant; else
            empty.
    """

    name: str
    var_names: tuple[str, ...]
    layer: str | None
    likelihood: str
    size: float | None = None
    center: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of the likelihood."""
        if self.likelihood in REALS:
            return {"scale": "learned"}
        return {} if self.size is None else {"library_size": True, "size": self.size}


@dataclass(frozen=True)
class OmicsCoding:
    """How a MuData becomes numbers, and the settings of a model for them.

    Attributes:
        modalities: The modalities, in the order of the model's.

    Example:
        >>> rna = CodedModality("rna", ("CD3E", "MS4A1"), "counts", "negative_binomial", 3000.0)
        >>> OmicsCoding((rna,)).settings["decoder_dist_params"]
        {'rna': {'library_size': True, 'size': 3000.0}}
    """

    modalities: tuple[CodedModality, ...]

    @property
    def input_dims(self) -> dict[str, tuple[int, ...]]:
        """Modality to input shape."""
        return {coded.name: (len(coded.var_names),) for coded in self.modalities}

    @property
    def decoders_dist(self) -> dict[str, str]:
        """Modality to the name of its likelihood."""
        return {coded.name: coded.likelihood for coded in self.modalities}

    @property
    def decoder_dist_params(self) -> dict[str, dict[str, Any]]:
        """Modality to the parameters of its likelihood."""
        return {coded.name: coded.params for coded in self.modalities}

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments of ``CMVAEConfig`` that follow from the data: ``CMVAEConfig(**coding.settings, ...)``."""
        return {
            "n_modalities": len(self.modalities),
            "input_dims": self.input_dims,
            "decoders_dist": self.decoders_dist,
            "decoder_dist_params": self.decoder_dist_params,
        }

    def restore(self, modality: str, values: Any) -> np.ndarray:
        """Return a model's values of a modality, (*, variables), in the units of the data, float64.

        Args:
            modality: Its name.
            values: Means or draws, as ``CMVAE.to_data`` returns them.

        Raises:
            KeyError: For an unknown modality.
        """
        coded = {own.name: own for own in self.modalities}
        if modality not in coded:
            raise KeyError(f"unknown modality {modality!r}; known are {quoted(coded)}")
        numbers = np.asarray(values, dtype=np.float64)
        own = coded[modality]
        return numbers * np.asarray(own.spread) + np.asarray(own.center) if own.center else numbers

    def to_json(self) -> str:
        """Return the coding as JSON text."""
        return json.dumps(
            {"modalities": [asdict(coded) for coded in self.modalities]}, ensure_ascii=False
        )

    @classmethod
    def from_json(cls, text: str) -> "OmicsCoding":
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            read = tuple(_from_fields(entry) for entry in json.loads(text)["modalities"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a stored coding of a MuData: {error}") from None
        if not read:
            raise ValueError("not a stored coding of a MuData: it has no modalities")
        return cls(read)


def _from_fields(entry: dict[str, Any]) -> CodedModality:
    lists = {field.name for field in fields(CodedModality) if str(field.type).startswith("tuple")}
    values: dict[str, Any] = {
        name: tuple(value) if name in lists else value for name, value in entry.items()
    }
    coded = CodedModality(**values)
    if coded.likelihood not in LIKELIHOODS:
        raise ValueError(f"unknown likelihood {coded.likelihood!r}")
    wanted = len(coded.var_names) if coded.likelihood in REALS else 0
    if (
        len(coded.center) != wanted
        or len(coded.spread) != wanted
        or not all(spread > 0 for spread in coded.spread)
    ):
        raise ValueError(f"center and spread of modality {coded.name!r} do not fit its variables")
    return coded


def check_likelihood(name: str, values: Any, likelihood: str | None, obs_names: pd.Index) -> str:
    """Return a likelihood that allows the values, found by looking at them where it is None.

    Args:
        name: Name of the modality.
        values: (n, variables) array or CSR matrix.
        likelihood: One of ``LIKELIHOODS``, or None.
        obs_names: The n cells, for the errors.

    Raises:
        ValueError: For values that are not finite or that the likelihood does not allow, naming the
            first.
    """

    def refuse(allowed: Callable[[Any], Any], what: str) -> None:
        if (bad := _first_not(values, allowed)) is not None:
            raise ValueError(
                f"modality {name!r}: {what}; got {bad[1]:.6g} in cell {obs_names[bad[0]]!r}"
            )

    refuse(np.isfinite, "values must be finite (take cells that lack the modality out of it)")
    if likelihood is None:
        if _first_not(values, _is_whole) is not None:
            return "normal"
        refuse(
            _is_nonnegative,
            "whole numbers, some negative, are no counts; if they are right, say so in likelihoods",
        )
        return "negative_binomial" if _first_not(values, _is_binary) is not None else "bernoulli"
    if likelihood in COUNTS:
        counts = (
            f"{likelihood!r} needs counts, whole numbers of at least 0: another layer or likelihood"
        )
        refuse(lambda entries: _is_whole(entries) & _is_nonnegative(entries), counts)
    if likelihood == "bernoulli":
        refuse(_is_binary, "'bernoulli' needs 0 and 1")
    return likelihood


def _is_whole(entries: Any) -> Any:
    return np.rint(entries) == entries


def _is_nonnegative(entries: Any) -> Any:
    return entries >= 0


def _is_binary(entries: Any) -> Any:
    return (entries == 0) | (entries == 1)


def _first_not(values: Any, allowed: Callable[[Any], Any]) -> tuple[int, float] | None:
    """Return row and value of the first entry that is not allowed; zeros that a sparse matrix leaves out are."""
    for start, block in blocks(values):
        entries = block.data if is_sparse(block) else block.ravel()
        bad = np.flatnonzero(~allowed(entries))
        if len(bad):
            at = bad[0]
            row = (
                np.searchsorted(block.indptr, at, side="right") - 1
                if is_sparse(block)
                else at // block.shape[1]
            )
            return start + int(row), float(entries[at])
    return None


def learn_modality(
    name: str, values: Any, var_names: tuple[str, ...], layer: str | None, likelihood: str
) -> CodedModality:
    """Learn the coding of a modality from its cells, some million entries at a time.

    Args:
        name: Its name.
        values: (n, variables) array or CSR matrix of values that the likelihood allows.
        var_names: Its variables.
        layer: The layer that the values are.
        likelihood: One of ``LIKELIHOODS``.

    Raises:
        ValueError: For counts that are all 0.
    """
    if likelihood in REALS:
        scaler = StandardScaler(with_mean=False)
        for _, block in blocks(values):
            scaler.partial_fit(block)
        center, spread = (tuple(map(float, found)) for found in (scaler.mean_, scaler.scale_))
        return CodedModality(name, var_names, layer, likelihood, None, center, spread)
    if likelihood == "bernoulli" or len(var_names) < 2:
        return CodedModality(name, var_names, layer, likelihood)
    totals = np.asarray(values.sum(axis=1), dtype=np.float64).ravel()
    if not totals.any():
        raise ValueError(f"modality {name!r}: all its counts are 0")
    # A cell of which nothing was counted says nothing of how much is counted where something is.
    return CodedModality(name, var_names, layer, likelihood, float(np.median(totals[totals > 0])))


def pick_variables(coded: CodedModality, values: Any, var_names: tuple[str, ...]) -> Any:
    """Return the values of a coding's variables, found by name.

    Args:
        coded: The coding.
        values: (n, all variables) array or CSR matrix.
        var_names: What the variables are called.

    Raises:
        KeyError: For variables that are lacking.
        ValueError: For names that occur more than once.
    """
    if var_names == coded.var_names:
        return values
    names = pd.Index(var_names)
    if not names.is_unique:
        repeated = names[names.duplicated()].unique()[:_SHOWN]
        raise ValueError(
            f"modality {coded.name!r}: variables {quoted(repeated)} occur more than once"
        )
    columns = names.get_indexer(pd.Index(coded.var_names))
    if (columns < 0).any():
        lacking = [
            name for name, column in zip(coded.var_names, columns, strict=True) if column < 0
        ]
        raise KeyError(
            f"modality {coded.name!r} lacks {len(lacking)} variables, such as {quoted(lacking[:_SHOWN])}"
        )
    return values[:, columns]


def blocks(values: Any) -> Iterator[tuple[int, Any]]:
    """Yield the first row and the rows of blocks of an array or CSR matrix, a few million entries each as dense."""
    step = max(1, CHUNK_ENTRIES // values.shape[1])
    for start in range(0, values.shape[0], step):
        yield start, values[start : start + step]
