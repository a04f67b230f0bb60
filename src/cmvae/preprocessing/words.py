"""Rows of words: tables of numbers from 0 that are mostly 0, such as words, genes or peaks."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from cmvae.base.arrays import BEYOND_FLOAT32, unit_of
from cmvae.base.settings import Finite, PositiveFloat
from cmvae.base.words import SHOWN, listed
from cmvae.preprocessing.codec import Codec, Entry, Likelihood, Params
from cmvae.preprocessing.matching import check_names, number_block, observed_rows, own_columns

FEWEST_COLUMNS = 50
MOST_FILLED = 0.25  # of the cells of a table of words
_DIGITS = 7  # what float32 holds


def are_words(numbers: np.ndarray) -> bool:
    """Tell whether numbers from 0 (n, D) are rows of words.

    There are at least two rows and 50 columns, and more than three quarters of the cells are 0,
    but not all. Missing cells, NaN, are passed over.
    """
    if len(numbers) < 2 or numbers.shape[1] < FEWEST_COLUMNS:
        return False
    missing = np.count_nonzero(np.isnan(numbers))
    filled = np.count_nonzero(numbers) - missing
    return bool(0 < filled < MOST_FILLED * (numbers.size - missing))


class WordCodec(Codec):
    """Rows of words: weighted, and scaled to one length.

    A cell x of column j becomes x · log(n / n_j), n_j being how many of the n rows have the word;
    each row is then scaled to the length √D, D the number of columns. So what a row is about
    counts, and neither how much of it there is nor what all rows have in common. A row of zeros
    stays one.

    Attributes:
        columns: Names of the columns, in their order.
        weights: log(n / n_j); 0 also for words that no row had.
        means: The columns' means, which generated rows have where the weight is 0.
        length: The median length of weighted rows, which generated rows have.
        filled: Which share of the cells was not 0.
        whole: Whether all numbers were whole.
        ignored: Columns that are left out where they occur.

    Example:
        >>> import numpy as np
        >>> words = np.zeros((4, 60))
        >>> words[[0, 1, 2], [3, 3, 5]] = 2
        >>> codec = WordCodec.learn(words, "text")
        >>> codec.describe()
        '60 words, 1 % of the cells not 0: weighted by log(n / rows with it), scaled to one length'
        >>> codec.decode(codec.encode(words, "text")[0], True)[3].tolist()
        [2, 2, 0, 0]
    """

    content = "table"

    type: Literal["words"] = "words"
    columns: Annotated[tuple[str | int, ...], Field(min_length=1)]
    weights: tuple[Annotated[Finite, Field(ge=0)], ...]
    means: tuple[Annotated[Finite, Field(ge=0)], ...]
    length: PositiveFloat
    filled: PositiveFloat
    whole: bool = False
    ignored: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if not len(self.columns) == len(self.weights) == len(self.means):
            raise ValueError(f"weights and means must hold {len(self.columns)} numbers")
        return self

    @classmethod
    def learn(cls, table: Any, modality: str, ignored: Sequence[str] = ()) -> Self:
        """Learn from a table, DataFrame or array (n, columns), whose numbers :func:`are_words`.

        Args:
            table: The table, without what is ignored.
            modality: Name for the errors.
            ignored: Names of columns that were left out of it.

        Raises:
            TypeError: For names that are neither strings nor integers.
        """
        names = list(range(table.shape[1])) if isinstance(table, np.ndarray) else list(table)
        frame = own_columns(table, names, (), modality)
        columns = check_names(frame, modality)
        seen = number_block(frame[observed_rows(frame)], names, modality)
        there = ~np.isnan(seen)
        rows = there.sum(0)
        seen = np.where(there, seen, 0.0)
        having = np.count_nonzero(seen, axis=0)
        weights = np.log(rows / np.where(having, having, rows))
        unit = unit_of(seen.max())
        lengths = np.linalg.norm(seen / unit * weights, axis=1) * unit
        lengths = lengths / np.sqrt(there.mean(1))
        some = lengths[lengths > 0]
        return cls(
            columns=tuple(columns),
            weights=tuple(_short(weights)),
            means=tuple(_short(seen.sum(0) / rows)),
            length=float(np.median(some)) if len(some) else 1.0,
            filled=float(having.sum() / there.sum()),
            whole=bool((seen == np.rint(seen)).all()),
            ignored=tuple(ignored),
        )

    @property
    def own(self) -> list[str | int]:
        """The names of its columns, in their order."""
        return list(self.columns)

    @property
    def kinds(self) -> dict[str, str]:
        """Column to kind, as text."""
        return dict.fromkeys(map(str, self.columns), "word")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """How many words there are, an axis."""
        return (len(self.columns),)

    @property
    def names(self) -> list[str]:
        """The words."""
        return list(map(str, self.columns))

    @property
    def entries(self) -> list[Entry]:
        """The words."""
        return [Entry(name, "words") for name in self.names]

    @BEYOND_FLOAT32
    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return (n, D) float32, missing cells and rows NaN; see :class:`Codec`.

        Of a row with missing cells the others are scaled as if those were like them.
        """
        frame = own_columns(rows, self.columns, self.ignored, modality)
        observed = observed_rows(frame)
        seen = number_block(frame[observed], self.columns, modality)
        if (seen < 0).any():
            below = [self.columns[j] for j in np.flatnonzero((seen < 0).any(0))[:SHOWN]]
            raise ValueError(
                f"modality {modality!r}: numbers below 0 in columns {below}, which had none when "
                "they were learned as words"
            )
        there = ~np.isnan(seen)
        largest = np.where(there, seen, 0.0).max(1, keepdims=True)
        seen = seen / unit_of(largest) * np.asarray(self.weights)
        lengths = np.linalg.norm(np.where(there, seen, 0.0), axis=1, keepdims=True)
        full = np.sqrt(there.sum(1, keepdims=True))
        values = np.full(frame.shape, np.nan, dtype=np.float32)
        values[observed] = seen * (full / np.where(lengths, lengths, 1.0))
        return values, observed

    def decode(self, values: np.ndarray, sample: bool) -> pd.DataFrame:
        """Return a table in the data's units, of draws whole numbers where all were."""
        numbers = self.readable(values)
        if sample and self.whole:
            numbers = np.rint(numbers).astype(np.int64)
        return pd.DataFrame(numbers, columns=list(self.columns))

    def readable(self, values: np.ndarray) -> np.ndarray:
        """Return values (n, D) in the data's units, float64, of rows of the median length."""
        weights, unit = np.asarray(self.weights), self.length / np.sqrt(len(self.columns))
        numbers = np.asarray(values, dtype=np.float64).clip(0) * unit
        return np.where(weights > 0, numbers / np.where(weights > 0, weights, 1), self.means)

    def describe(self) -> str:
        """Say what was recognised, and how it is prepared."""
        left_out = f"; {len(self.ignored)} left out: {listed(self.ignored)}" if self.ignored else ""
        return (
            f"{len(self.columns)} words, {self.filled:.0%} of the cells not 0: weighted by "
            f"log(n / rows with it), scaled to one length{left_out}"
        ).replace("%", " %")

    def _likelihood(self, chosen: str | None, params: Params, scale: float | str) -> Likelihood:
        if chosen not in (None, "normal", "laplace"):
            raise ValueError(
                f"likelihood {chosen!r} fits no words, which are learned where none is chosen"
            )
        return super()._likelihood(chosen, params, scale)


def _short(numbers: np.ndarray) -> list[float]:
    """Return numbers with as many digits as the model's have: files are a third of the size."""
    return [float(f"{number:.{_DIGITS}g}") for number in numbers.tolist()]
