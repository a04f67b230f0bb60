"""Covariates as they are written, a batch's name or an age, to the numbers of a model and back."""

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field

from cmvae.base.settings import Finite, PositiveFloat, Settings
from cmvae.base.words import SHOWN, counted, listed, quoted, shown
from cmvae.files.join import JoinedRows

CATEGORY, NUMBER = "category", "number"
MOST_WHOLE = 12  # different whole numbers up to which they are the names of categories
FEWEST_EACH = 2  # samples that a category has on average, below which it is an id
FEW, LITTLE = 20, 0.1  # samples with a modality, and of the largest share in another category

Kind = Literal["category", "number"]


class CovariateCodec(Settings):
    """What was learned of a covariate.

    Attributes:
        categories: Its values, in order; none of a number.
        center: Of a number the mean, which is subtracted.
        spread: What is divided by then, its standard deviation.
    """

    categories: Annotated[tuple[str, ...], Field(max_length=2**20)] = ()
    center: Finite = 0.0
    spread: PositiveFloat = 1.0

    @classmethod
    def learn(cls, values: Any, name: str, kind: Kind | None = None) -> Self | None:
        """Learn from n values; None for one that is the same for all samples, with a warning.

        Args:
            values: Texts or numbers, None or NaN where missing.
            name: Its name, for the errors.
            kind: What it is; None: numbers are numbers, unless all are whole and at most 12 differ.

        Raises:
            ValueError: For a covariate without values, one that is an id, and numbers that are
                none.
        """
        column = _as_column(values, name)
        there = column.dropna()
        if not len(there):
            raise ValueError(f"covariate {name!r}: no sample has a value")
        numbers = _numbers(there)
        odd = _odd_one(there, kind)
        if odd is not None:
            raise ValueError(f"covariate {name!r}: a finite number was expected, got {shown(odd)}")
        texts = there.map(_text)
        if texts.nunique() == 1 or (numbers is not None and numbers.nunique() == 1):
            what = f"covariate {name!r} is {shown(there.iloc[0])} for all samples that have it"
            warnings.warn(f"{what}: it is left out", stacklevel=2)
            return None
        if numbers is not None and (kind == NUMBER or (kind is None and _are_measured(numbers))):
            return cls(center=float(numbers.mean()), spread=float(numbers.std()))
        counts = texts.value_counts(sort=False).sort_index()
        if len(there) < FEWEST_EACH * len(counts):
            what = f"{len(counts)} different values in {counted(len(there), 'sample')}"
            raise ValueError(f"covariate {name!r}: {what} are an id, not a category")
        alone = counts.index[counts == 1]
        if len(alone):
            what = f"covariate {name!r}: only one sample has each of {listed(map(repr, alone))}"
            own = "what is the sample's own and what is the category's cannot be told apart"
            warnings.warn(f"{what}: {own}", stacklevel=2)
        return cls(categories=tuple(map(str, _in_order(list(counts.index)))))

    @property
    def size(self) -> int:
        """The number of categories, 1 of a number."""
        return len(self.categories) or 1

    def encode(self, values: Any, name: str) -> np.ndarray:
        """Return n values as numbers, (n,) float32, NaN where missing.

        Raises:
            ValueError: For an unknown category, or what is no number.
        """
        column = _as_column(values, name)
        if not self.categories:
            numbers = pd.to_numeric(column, errors="coerce")
            bad = numbers.isna() & column.notna() | np.isinf(numbers)
            if bad.any():
                odd = shown(column[bad].iloc[0])
                raise ValueError(f"covariate {name!r}: a finite number was expected, got {odd}")
            return ((numbers - self.center) / self.spread).to_numpy(np.float32)
        own = pd.Index(list(map(_text, self.categories)))
        found = own.get_indexer(pd.Index(column.map(_text, na_action="ignore")))
        unknown = column[(found < 0) & column.notna().to_numpy()]
        if len(unknown):
            odd = listed(map(repr, unknown.map(_text).unique()))
            known = f"training had {listed(map(repr, self.categories), SHOWN)}"
            way = "leave it empty where it is none of them"
            raise ValueError(f"covariate {name!r}: unknown {odd}; {known}; {way}")
        return np.where(found < 0, np.nan, found).astype(np.float32)

    def decode(self, values: np.ndarray) -> pd.Series:
        """Return numbers (n,) as they are written; NaN is missing."""
        if not self.categories:
            return pd.Series(np.asarray(values, dtype=np.float64) * self.spread + self.center)
        names = [None if math.isnan(value) else self.categories[int(value)] for value in values]
        return pd.Series(names, dtype=object)

    def describe(self) -> str:
        """Return what it is, in a few words."""
        if not self.categories:
            return f"a number, about {self.center:.4g} ± {self.spread:.3g}"
        return f"{len(self.categories)} categories: {listed(self.categories)}"


def learn_covariates(
    given: Mapping[str, Any], kinds: Mapping[str, Kind | None] | None = None
) -> dict[str, CovariateCodec]:
    """Learn each covariate, name to n values; those that are constant are left out."""
    found = {n: CovariateCodec.learn(own, n, (kinds or {}).get(n)) for n, own in given.items()}
    return {name: own for name, own in found.items() if own is not None}


def encode_covariates(
    codecs: Mapping[str, CovariateCodec], given: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Return covariates, name to n values, as numbers; those that are not given are left out.

    Raises:
        KeyError: For one that was not learned.
        ValueError: As :meth:`CovariateCodec.encode`.
    """
    if unknown := [name for name in given if name not in codecs]:
        known = f"those of training are [{quoted(codecs)}]"
        raise KeyError(f"unknown covariates [{quoted(unknown)}]; {known}")
    return {name: codecs[name].encode(own, name) for name, own in given.items()}


def chosen_covariates(
    codecs: Mapping[str, CovariateCodec], chosen: Mapping[str, Any] | None
) -> dict[str, float] | None:
    """Return the value to generate under of each covariate that is chosen, as a model's number.

    Raises:
        TypeError: For what is no mapping of names to single values.
        KeyError, ValueError: As :func:`encode_covariates`.
    """
    if chosen is None:
        return None
    if not isinstance(chosen, Mapping) or any(np.ndim(own) for own in chosen.values()):
        raise TypeError(f"covariates must be a mapping of names to values, got {shown(chosen)}")
    encoded = encode_covariates(codecs, {name: [own] for name, own in chosen.items()})
    return {name: float(own[0]) for name, own in encoded.items()}


def _as_column(values: Any, name: str) -> pd.Series:
    """Return values as a column of objects, empty texts missing."""
    column = pd.Series(values).reset_index(drop=True).astype(object)
    column = column.where(column.notna(), None)
    is_text = column.map(lambda value: isinstance(value, str))
    blank = is_text & (column.astype(str).str.strip() == "")
    odd = [
        v
        for v in column
        if v is not None and not isinstance(v, str | bool | int | float | np.generic)
    ]
    if odd:
        raise TypeError(f"covariate {name!r}: expected texts or numbers, got {shown(odd[0])}")
    return column.mask(blank, None)


def _numbers(column: pd.Series) -> pd.Series | None:
    """Return finite numbers, None where some are none; booleans and categories are none."""
    if column.map(lambda value: isinstance(value, bool | np.bool_)).any():
        return None
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    return numbers if np.isfinite(numbers).all() else None


def _odd_one(column: pd.Series, kind: Kind | None) -> Any:
    """Return the first value that is no finite number, where all were to be numbers; else None.

    So they are where that was said, or where they are but for infinity.
    """
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    if kind == CATEGORY or (kind is None and numbers.isna().any()):
        return None
    is_flag = column.map(lambda value: isinstance(value, bool | np.bool_)) & (kind == NUMBER)
    odd = column[is_flag | ~np.isfinite(numbers)]
    return odd.iloc[0] if len(odd) else None


def _are_measured(numbers: pd.Series) -> bool:
    whole = bool((numbers == numbers.round()).all())
    return not whole or numbers.nunique() > MOST_WHOLE


def _text(value: Any) -> str:
    """Return a category as it is written: 1.0 as 1, the text too, as files write numbers."""
    is_float = isinstance(value, float | np.floating)
    own = str(int(value)) if is_float and float(value).is_integer() else str(value).strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", own)


def _in_order(names: list[str]) -> list[str]:
    """Return names in order, those that are numbers by these."""
    try:
        return sorted(names, key=float)
    except ValueError:
        return sorted(names)


def warn_of_covariates(codecs: Mapping[str, CovariateCodec], rows: JoinedRows) -> None:
    """Warn of covariates that some samples lack, or that tell which modalities a sample has."""
    for name, codec in codecs.items():
        if name not in rows.covariates:
            continue
        values = codec.encode(rows.covariates[name], name)
        lacking = int(np.isnan(values).sum())
        if lacking:
            what = f"covariate {name!r}: {counted(lacking, 'sample')} of {len(values)} without it"
            warnings.warn(f"{what}: drawn there as it occurs in the others", stacklevel=3)
        if codec.categories:
            _warn_of_confounding(name, codec.categories, values, rows.masks)


def _warn_of_confounding(
    name: str, categories: Sequence[str], values: np.ndarray, masks: Mapping[str, np.ndarray]
) -> None:
    """Warn of modalities that no, or hardly any, samples of some categories have."""
    for modality, seen in masks.items():
        own = {c: seen[values == number] for number, c in enumerate(categories)}
        have = {c: (int(some.sum()), float(some.mean())) for c, some in own.items() if len(some)}
        most = max((share for _, share in have.values()), default=0.0)
        none = [c for c, (count, _) in have.items() if not count and most]
        hardly = [c for c, (n, share) in have.items() if 0 < n < FEW and share < LITTLE * most]
        said = [
            f"{some} of {listed(map(repr, names))}"
            for some, names in (("none", none), ("hardly any", hardly))
            if names
        ]
        if said:
            what = f"covariate {name!r} tells which samples have modality {modality!r}"
            why = "so that its effect there cannot be learned"
            warnings.warn(f"{what}: {' and '.join(said)} has it, {why}", stacklevel=4)
