"""Shares and heavy tails of numbers: what their columns go through before they are standardised."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from cmvae.base.arrays import moments, unit_of

Transform = Literal["none", "sqrt", "log1p", "arcsinh"]
Chosen = tuple[Transform, float, float]  # with origin and unit

EQUAL_SUMS = 1e-3  # relative to the sum
FEWEST_SHARES = 3
HEAVY = 10.0  # the kurtosis, 3 of a normal distribution, from which tails are heavy
RELIEF = 3.0  # how many times smaller a transform must make it
_LARGEST = {"sqrt": 1e150, "log1p": 700.0, "arcsinh": 700.0}  # what float64 can undo

_INVERSES = {"sqrt": np.square, "log1p": np.expm1, "arcsinh": np.sinh}
SAID = {"sqrt": "as square roots of shares", "log1p": "as logarithms", "arcsinh": "as arcsinh"}
"""What is said of columns that go through a transform."""


def forward(numbers: np.ndarray, transform: str, origin: Any, unit: Any) -> np.ndarray:
    """Return f((x − origin) / unit), f the transform, odd where it has none below 0."""
    if transform == "none":
        return numbers
    scaled = (numbers - origin) / unit
    if transform == "arcsinh":
        return np.arcsinh(scaled)
    size = np.abs(scaled)
    return np.sign(scaled) * (np.sqrt(size) if transform == "sqrt" else np.log1p(size))


def backward(values: np.ndarray, transform: str, origin: Any, unit: Any) -> np.ndarray:
    """Return what :func:`forward` took to ``values``; of numbers from 0, 0 for those below."""
    if transform == "none":
        return values
    largest = _LARGEST[transform]
    lowest = -largest if transform == "arcsinh" else 0.0
    return np.asarray(_INVERSES[transform](values.clip(lowest, largest)) * unit + origin)


def are_shares(numbers: np.ndarray) -> bool:
    """Tell whether rows (n, D) are shares: numbers from 0, at least three, of one sum.

    Rows with missing cells, NaN, are passed over. Sums may differ by a thousandth. They must differ
    by much less than those of unrelated columns of these variances would, or columns that hardly
    vary would pass; and zeros and ones alone are categories.
    """
    numbers = numbers[~np.isnan(numbers).any(1)]
    if numbers.shape[1] < FEWEST_SHARES or len(numbers) < 2 or (numbers < 0).any():
        return False
    if np.isin(numbers, (0, 1)).all():
        return False
    numbers = numbers / unit_of(numbers.max())
    sums = numbers.sum(1)
    spread, middle = np.ptp(sums), np.median(sums)
    if middle <= 0 or spread > EQUAL_SUMS * middle:
        return False
    return bool(sums.std() < 0.1 * np.sqrt(numbers.var(0).sum()))


def choose_transforms(numbers: np.ndarray, allowed: Sequence[bool]) -> list[Chosen]:
    """Return the transform, origin and unit of each of the columns (n, D), where one is allowed.

    Missing cells are NaN; every column has some that are not.
    Shares get square roots. Of others 'none', but for heavy tails: a kurtosis above 10 that a
    transform makes three times smaller at least. That is log(1 + x / median) for numbers from 0,
    and for others arcsinh around the median, in units of the median distance from it. A median
    that is 0 is that of what is not 0.
    """
    none: Chosen = ("none", 0.0, 1.0)
    if all(allowed) and are_shares(numbers):
        return [("sqrt", 0.0, 1.0)] * numbers.shape[1]
    found = [none] * numbers.shape[1]
    before = _kurtosis(numbers)
    for j in np.flatnonzero((before > HEAVY) & np.asarray(allowed)):
        own = _for_heavy_tails(numbers[~np.isnan(numbers[:, j]), j])
        after = _kurtosis(forward(numbers[:, [j]], *own))[0]
        found[j] = own if after * RELIEF <= before[j] else none
    return found


def _for_heavy_tails(column: np.ndarray) -> Chosen:
    """Return the transform, origin and unit that a column, not a constant one, would get."""
    is_positive = column.min() >= 0
    origin = 0.0 if is_positive else float(np.median(column))
    distances = np.abs(column - origin)
    unit = float(np.median(distances)) or float(np.median(distances[distances > 0]))
    return ("log1p" if is_positive else "arcsinh"), origin, unit


def _kurtosis(numbers: np.ndarray) -> np.ndarray:
    """Return the fourth moments of standardised columns, (D,); 0 of constant ones."""
    center, spread = moments(numbers)
    standardised = (numbers - center) / spread
    fourth = standardised**2 * standardised**2
    there = ~np.isnan(fourth)
    return np.asarray(fourth.mean(0) if there.all() else _mean_of_some(fourth, there))


def _mean_of_some(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the means of what is there, (D,); NaN of columns of which nothing is."""
    number = there.sum(0)
    sums = np.where(there, values, 0).sum(0)
    return np.where(number, sums / np.maximum(number, 1), np.nan)
