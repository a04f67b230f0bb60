"""Cells of an .h5mu file: counts, binary or real values of named variables, sparse where they are stored so."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd

from cmvae.data.stored import SparseRows, StandardisedRows, is_sparse
from cmvae.files.mudata import OmicsRows
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.omics_coding import (
    COUNTS,
    LIKELIHOODS,
    REALS,
    CodedModality,
    OmicsCoding,
    check_likelihood,
    learn_modality,
    pick_variables,
)

KINDS = {
    **dict.fromkeys(COUNTS, "counts"),
    "bernoulli": "binary",
    **dict.fromkeys(REALS, "continuous"),
}
_SHOWN = 5


class OmicsCodec(Codec):
    """Variables found by name, as :func:`cmvae.data.from_mudata` codes them.

    Args:
        coded: How the modality becomes numbers.
    """

    type = "omics"

    def __init__(self, coded: CodedModality) -> None:
        self.coded = coded
        self.shape = (len(coded.var_names),)

    @classmethod
    def of(cls, rows: OmicsRows, modality: str, likelihood: str | None = None) -> Self:
        """Learn from all cells, some million entries at a time.

        Args:
            rows: The cells.
            modality: Name of the modality.
            likelihood: The likelihood asked for; None: as the values say.

        Raises:
            ValueError: For an unknown likelihood, or values that it does not allow.
        """
        if likelihood is not None and likelihood not in LIKELIHOODS:
            allowed = ", ".join(map(repr, LIKELIHOODS))
            raise ValueError(
                f"modality {modality!r}: likelihood must be one of {allowed}, got {likelihood!r}"
            )
        name = check_likelihood(modality, rows.values, likelihood, rows.obs_names)
        return cls(learn_modality(modality, rows.values, rows.var_names, rows.layer, name))

    def encode(self, rows: Any, modality: str) -> tuple[Any, np.ndarray]:
        """Return (n, variables) float32; what is sparse stays so, and is not standardised yet. See ``Codec``."""
        values = pick_variables(self.coded, rows.values, rows.var_names)
        check_likelihood(modality, values, self.coded.likelihood, rows.obs_names)
        if self.coded.center and not is_sparse(values):
            values = (values - np.asarray(self.coded.center)) / np.asarray(self.coded.spread)
        with np.errstate(
            over="ignore"
        ):  # what is beyond float32 is refused by name where datasets are made
            return values.astype(np.float32), np.ones(values.shape[0], dtype=bool)

    def stored(self, values: Any) -> Any:
        """Return sparse values as what a dataset makes dense a batch at a time, and standardises; see ``Codec``."""
        if not is_sparse(values):
            return values
        rows = SparseRows(values)
        return (
            StandardisedRows(rows, self.coded.center, self.coded.spread)
            if self.coded.center
            else rows
        )

    def decode(self, values: np.ndarray, sample: bool) -> pd.DataFrame:
        """Return a table of the variables in the data's units; see ``Codec``."""
        numbers = self.restore(values)
        if sample and self.coded.likelihood not in REALS:
            numbers = np.rint(numbers).astype(np.int64)
        return pd.DataFrame(numbers, columns=list(self.coded.var_names))

    def restore(self, values: np.ndarray) -> np.ndarray:
        """Return values of the likelihood, (n, variables), in the data's units, float64."""
        return self._coding.restore(self.coded.name, values)

    def describe(self) -> str:
        """Return how many variables of what kind there are, and the first names."""
        names = self.coded.var_names
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        layer = "" if self.coded.layer is None else f" of layer {self.coded.layer}"
        return (
            f"{len(names)} {KINDS[self.coded.likelihood]}{layer}: {', '.join(names[:_SHOWN])}{more}"
        )

    def fields(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return {"coding": self._coding.to_json()}

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`fields` returned."""
        (coded,) = OmicsCoding.from_json(fields["coding"]).modalities
        return cls(coded)

    def likelihood(
        self, chosen: str | None, params: Mapping[str, Any], scale: float | str
    ) -> tuple[str, dict]:
        """Return the likelihood that was learned, with its library size or the scale; see ``Codec``."""
        own = {"scale": scale} if self.coded.likelihood in REALS else dict(self.coded.params)
        if params.get("library_size") is False:
            own.pop("size", None)
        return self.coded.likelihood, {**own, **params}

    @property
    def _coding(self) -> OmicsCoding:
        return OmicsCoding((self.coded,))
