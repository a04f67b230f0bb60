"""One column of a table, by kind: what is learned of it, its numbers, and its cells again."""

import unicodedata
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import AfterValidator, Field

from cmvae.base.arrays import moments, restore, standardise
from cmvae.base.settings import Finite, PositiveFloat, Settings
from cmvae.base.words import SHOWN, listed, shown
from cmvae.preprocessing.answers import answer_codes, are_texts, find_answers
from cmvae.preprocessing.transforms import Chosen, Transform, backward, choose_transforms, forward

Cells = Any  # a pandas Series without missing cells


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError("must not repeat")
    return values


class Column(Settings):
    """How one column becomes numbers; by itself, numbers as they are.

    Attributes:
        name: The column's name.
    """

    name: str | int

    @property
    def names(self) -> list[str]:
        """What each of its numbers is."""
        return [str(self.name)]

    @property
    def levels(self) -> list[str]:
        """Of which value each of its numbers is the share; empty texts where of none."""
        return [""] * len(self.names)

    @property
    def scale(self) -> tuple[float, float]:
        """What is subtracted from its numbers, and what they are divided by then."""
        return 0.0, 1.0

    @property
    def scales(self) -> list[tuple[float, float]]:
        """The scale of each of its numbers."""
        return [self.scale] * len(self.names)

    @classmethod
    def learn(cls, name: str | int, cells: Cells, modality: str) -> Self:
        """Learn from the cells of a column."""
        return cls(name=name)

    def encode(self, cells: Cells, modality: str) -> np.ndarray:
        """Return the numbers of n cells, (n, len(names)) float64.

        Raises:
            ValueError: For cells that this kind of column cannot have.
            TypeError: For what is no number, where numbers are needed.
        """
        numbers = numbers_of(self.name, cells, modality)
        self.check(numbers, cells, modality)
        return standardise(numbers, *self.scale)[:, None]

    def encode_some(self, cells: "pd.Series[Any]", modality: str) -> np.ndarray:
        """Return the numbers of n cells as :meth:`encode`, those of missing ones NaN."""
        there = cells.notna().to_numpy()
        values = np.full((len(cells), len(self.names)), np.nan)
        values[there] = self.encode(cells[there], modality)
        return values

    def known(self, cells: Cells) -> Cells:
        """Return cells, those missing that hold a value which was not among those learned."""
        return cells

    def check(self, numbers: np.ndarray, cells: Cells, modality: str) -> None:
        """Refuse numbers that this kind of column cannot have."""

    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return n cells of numbers (n, len(names)), means or draws, in the units of the data."""
        return restore(values[:, 0].astype(np.float64), *self.scale)

    def refuse(self, cells: Cells, bad: np.ndarray, what: str, modality: str) -> None:
        """Refuse cells, (n,) boolean, naming the first."""
        if bad.any():
            values = list(dict.fromkeys(cells[bad].tolist()))[:SHOWN]
            column = f"modality {modality!r}: column {self.name!r}"
            raise ValueError(f"{column} ({type(self).__name__.lower()}) holds {values}: {what}")


class Continuous(Column):
    """Numbers, standardised; shares and heavy tails go through a transform before.

    Attributes:
        center: The mean.
        spread: The standard deviation; 1 where the column is constant.
        transform: A transform of :mod:`cmvae.preprocessing.transforms`, for most columns 'none'.
        origin: What is subtracted before it.
        unit: What is divided by then.
    """

    kind: Literal["continuous"] = "continuous"
    center: Finite = 0.0
    spread: PositiveFloat = 1.0
    transform: Transform = "none"
    origin: Finite = 0.0
    unit: PositiveFloat = 1.0

    @property
    def scale(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        return self.center, self.spread

    @classmethod
    def learn(cls, name: str | int, cells: Cells, modality: str) -> Self:
        """Measure the cells."""
        numbers = numbers_of(name, cells, modality)[:, None]
        return cls.learn_all([name], numbers, choose_transforms(numbers, [True]))[0]

    @classmethod
    def learn_all(
        cls, names: Sequence[Any], numbers: np.ndarray, transforms: Sequence[Chosen]
    ) -> list[Self]:
        """Measure columns of numbers, (n, len(names)) float64, all at once."""
        numbers = numbers.copy()
        changes: list[dict[str, Any]] = [{} for _ in names]
        for j, (transform, origin, unit) in enumerate(transforms):
            if transform != "none":
                numbers[:, j] = forward(numbers[:, j], transform, origin, unit)
                changes[j] = {"transform": transform, "origin": origin, "unit": unit}
        found = zip(names, *(m.tolist() for m in moments(numbers)), changes, strict=True)
        return [
            cls(name=name, center=center, spread=spread, **own)
            for name, center, spread, own in found
        ]

    def encode(self, cells: Cells, modality: str) -> np.ndarray:
        """Return numbers, (n, 1) float64; see :class:`Column`."""
        numbers = numbers_of(self.name, cells, modality)
        return self.encode_all([self], numbers[:, None])

    @staticmethod
    def encode_all(columns: Sequence[Any], numbers: np.ndarray) -> np.ndarray:
        """Return the numbers (n, D) of D continuous columns as a model takes them, all at once."""
        center, spread = np.array([column.scale for column in columns]).T
        changed = [(j, own) for j, own in enumerate(columns) if own.transform != "none"]
        numbers = numbers.copy() if changed else numbers
        for j, own in changed:
            numbers[:, j] = forward(numbers[:, j], own.transform, own.origin, own.unit)
        return np.asarray(standardise(numbers, center, spread))

    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return numbers in the units of the data; see :class:`Column`."""
        return self.undo(super().decode(values, sample))

    def undo(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers that the transform led to in the units of the data."""
        return backward(numbers, self.transform, self.origin, self.unit)


class Binary(Column):
    """Two values, as 0 and 1; texts that say no and yes are such values, however they are written.

    Attributes:
        values: What 0 and 1 stand for.
    """

    kind: Literal["binary"] = "binary"
    values: tuple[bool | int | str, bool | int | str] = (0, 1)

    @property
    def levels(self) -> list[str]:
        """The second value."""
        return [str(self.values[1])]

    @classmethod
    def learn(cls, name: str | int, cells: Cells, modality: str) -> Self:
        """Learn whether the cells are booleans, or texts that say yes or no."""
        if are_texts(cells) and (answers := find_answers(cells)) is not None:
            return cls(name=name, values=answers)
        is_bool = pd.api.types.infer_dtype(cells) == "boolean"
        return cls(name=name, values=(False, True) if is_bool else (0, 1))

    def known(self, cells: Cells) -> Cells:
        """Return cells, those missing that hold neither value; see :class:`Column`."""
        codes: Any = answer_codes(cells) if are_texts(cells) else pd.to_numeric(cells, "coerce")
        return cells.where(codes.isin((0, 1)))

    def encode(self, cells: Cells, modality: str) -> np.ndarray:
        """Return 0 and 1, (n, 1) float64; see :class:`Column`."""
        if not are_texts(cells):
            return super().encode(cells, modality)
        codes = answer_codes(cells)
        known = "values that are not binary, such as {!r} and {!r}".format(*self.values)
        self.refuse(cells, codes.isna().to_numpy(), known, modality)
        return codes.to_numpy(dtype=np.float64)[:, None]

    def check(self, numbers: np.ndarray, cells: Cells, modality: str) -> None:
        """Refuse what is neither 0 nor 1."""
        bad = (numbers != 0) & (numbers != 1)
        self.refuse(cells, bad, "values that are not binary", modality)

    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return the probabilities of the second value, or the values drawn."""
        numbers = super().decode(values, sample)
        return _picked(self.values, np.rint(numbers).astype(np.int64)) if sample else numbers


class Count(Column):
    """Whole numbers from 0, as they are.

    Attributes:
        mean: Their mean, or where all are 0 what half a count in all rows would make it; a model's
            rates start there.
    """

    kind: Literal["count"] = "count"
    mean: PositiveFloat = 1.0

    @classmethod
    def learn(cls, name: str | int, cells: Cells, modality: str) -> Self:
        """Measure the cells."""
        mean = max(float(numbers_of(name, cells, modality).mean()), 0.5 / len(cells))
        return cls(name=name, mean=float(f"{mean:.6g}"))

    def check(self, numbers: np.ndarray, cells: Cells, modality: str) -> None:
        """Refuse what is no whole number from 0."""
        bad = (numbers < 0) | (numbers != np.rint(numbers))
        self.refuse(cells, bad, "values that are no counts", modality)

    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return rates, or the whole numbers drawn."""
        numbers = super().decode(values, sample)
        return np.rint(numbers).astype(np.int64) if sample else numbers


class Category(Column):
    """One of several values, one-hot.

    Attributes:
        values: The values, in the order of their numbers.
    """

    kind: Literal["category"] = "category"
    values: Annotated[
        tuple[bool | str | int | float, ...], Field(min_length=1), AfterValidator(_distinct)
    ]

    @property
    def names(self) -> list[str]:
        """``column=value`` for each value."""
        return [f"{self.name}={value}" for value in self.values]

    @property
    def levels(self) -> list[str]:
        """The values."""
        return list(map(str, self.values))

    @classmethod
    def learn(cls, name: str | int, cells: Cells, modality: str) -> Self:
        """Learn the values: those of a pandas categorical, else the ones that occur, sorted."""
        if isinstance(cells.dtype, pd.CategoricalDtype):
            given = map(_plain, cells.cat.categories)
            return cls(name=name, values=tuple(dict.fromkeys(given)))
        distinct = dict.fromkeys(map(_plain, cells.unique()))
        by_kind = sorted(distinct, key=lambda value: (isinstance(value, str), value))
        return cls(name=name, values=tuple(by_kind))

    def known(self, cells: Cells) -> Cells:
        """Return cells, those missing that hold another value; see :class:`Column`."""
        are_known = self._codes(cells) >= 0
        return cells if are_known.all() else cells.astype(object).where(are_known)

    def _codes(self, cells: Cells) -> np.ndarray:
        """Return the places of cells among the values, -1 for other ones."""
        if isinstance(cells.dtype, pd.StringDtype):  # of a million texts few are distinct
            places, distinct = cells.factorize(use_na_sentinel=False)
            return self._places(distinct.tolist())[places]
        return self._places(cells.tolist())

    def _places(self, values: list[Any]) -> np.ndarray:
        wanted = pd.Index(list(map(_plain, values)), dtype=object)
        return np.asarray(pd.Index(self.values).get_indexer(wanted))

    def encode(self, cells: Cells, modality: str) -> np.ndarray:
        """Return one-hot vectors; ``ValueError`` for values that were not learned."""
        codes = self._codes(cells)
        known = f"unknown categories; known are {list(self.values)[:SHOWN]}"
        self.refuse(cells, codes < 0, known, modality)
        vectors = np.zeros((len(codes), len(self.values)))
        vectors[np.arange(len(codes)), codes] = 1
        return vectors

    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return the most probable values, or those drawn."""
        return _picked(self.values, values.argmax(1))


COLUMNS: dict[str, type[Column]] = {
    "continuous": Continuous,
    "binary": Binary,
    "count": Count,
    "category": Category,
}
"""Kind to what codes such a column, in the order of a table's numbers."""

AnyColumn = Annotated[Continuous | Binary | Count | Category, Field(discriminator="kind")]


def numbers_of(name: Any, cells: Any, modality: str) -> np.ndarray:
    """Return cells, (n,) or a table of them, as finite float64, missing ones as NaN.

    Raises:
        TypeError: For what is no number.
        ValueError: For infinities.
    """
    try:
        numbers = cells.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError):
        column = f"modality {modality!r}: column {name!r}"
        odd = [shown(value) for value in cells[cells.notna()] if not _is_number(value)]
        raise TypeError(
            f"{column} holds something that is no number: [{listed(dict.fromkeys(odd))}]; correct "
            "these cells, or leave them empty"
        ) from None
    infinite = np.isinf(numbers)
    if infinite.any():
        bad = cells.index[infinite][:SHOWN].tolist()
        raise ValueError(
            f"modality {modality!r}: column {name!r} holds infinite values in rows {bad}; leave "
            "such cells empty"
        )
    return numbers


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _plain(value: Any) -> Any:
    """Return a category as what JSON can hold, of texts that look the same one form."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, int | float | bool):
        return value
    return unicodedata.normalize("NFC", str(value))


def _picked(values: tuple[Any, ...], places: np.ndarray) -> np.ndarray:
    return pd.Series(values).take(places).to_numpy()
