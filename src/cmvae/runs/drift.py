"""Whether samples as a whole lie elsewhere than those of training, column by column."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from pydantic import Field, model_validator

from cmvae.base.settings import Ascending, PositiveInt, Settings
from cmvae.base.words import counted, listed

if TYPE_CHECKING:
    from cmvae.data.datasets import IncompleteDataset

LEVEL = 0.01  # the share of files without drift of which a warning is given, at most
LEAST = 0.1  # differences of shares below this are of no interest, however sure
MOST_COLUMNS, MOST_SAMPLES, EDGES = 200, 20_000, 101
ENTRIES = 1 << 22  # numbers held at a time


class Margin(Settings):
    """How one number of the samples is distributed.

    Attributes:
        name: What it is.
        edges: Values, ascending.
        shares: The share of samples that are at most so large, for each edge.
        samples: How many have it.
    """

    name: str
    edges: Annotated[Ascending, Field(min_length=1)]
    shares: Ascending
    samples: PositiveInt

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.edges) != len(self.shares):
            raise ValueError("edges and shares must be as many")
        return self


def measure_margins(
    data: "IncompleteDataset", names: Mapping[str, Sequence[str]]
) -> dict[str, tuple[Margin, ...]]:
    """Return how the numbers of each modality are distributed.

    Of tables they are the columns, at most 200; of anything else, and of wider tables beside some
    columns, the mean and the spread of each sample.

    Args:
        data: The training samples.
        names: Modality to what its numbers are; none of what is no table.
    """
    found = {}
    for modality in data.data:
        own = list(names.get(modality, ()))
        n = min(len(data), MOST_SAMPLES)
        rows = np.linspace(0, len(data) - 1, n).round().astype(int)
        parts = list(_numbers(data, modality, own, rows))
        labels = _labels(own)
        if not parts:
            continue
        columns = np.concatenate(parts).T
        margins = [_margin(label, column) for label, column in zip(labels, columns, strict=True)]
        found[modality] = tuple(margin for margin in margins if margin is not None)
    return found


class Drift:
    """Compares samples, a part at a time, with those of training.

    Variables that share a name, as genes of cells may, are left out.

    A column has drifted where, for some value, the shares of samples up to it differ by more than
    Smirnov's two-sample test allows, over all columns together (Bonferroni), and by a tenth.

    Args:
        margins: Modality to its margins, as :func:`measure_margins` returns them.
        names: Modality to what its numbers are.
    """

    def __init__(
        self, margins: Mapping[str, Sequence[Margin]], names: Mapping[str, Sequence[str]]
    ) -> None:
        self.margins, self.names = dict(margins), dict(names)
        self._counts: dict[tuple[str, str], np.ndarray] = {}
        self._totals: dict[tuple[str, str], int] = {}

    def add(self, data: "IncompleteDataset") -> None:
        """Count some samples."""
        for modality in data.data:
            own = list(self.names.get(modality, ()))
            labels = _labels(own)
            once = {name for name, count in Counter(labels).items() if count == 1}
            margins = self.margins.get(modality, ())
            by_name = {margin.name: margin for margin in margins if margin.name in once}
            for part in _numbers(data, modality, own, np.arange(len(data))):
                for label, column in zip(labels, part.T, strict=True):
                    if label in by_name:
                        self._count(modality, by_name[label], column)

    def _count(self, modality: str, margin: Margin, column: np.ndarray) -> None:
        key, values = (modality, margin.name), np.sort(column[~np.isnan(column)])
        below = np.searchsorted(values, margin.edges, side="right")
        self._counts[key] = self._counts.get(key, 0) + below
        self._totals[key] = self._totals.get(key, 0) + len(values)

    def to_plain(self) -> list[list[Any]]:
        """Return what was counted, as JSON can hold it."""
        return [[*key, n, self._counts[key].tolist()] for key, n in self._totals.items()]

    def take(self, counted: list[list[Any]]) -> None:
        """Go on from what :meth:`to_plain` returned."""
        for modality, name, total, counts in counted:
            self._totals[modality, name] = total
            self._counts[modality, name] = np.asarray(counts)

    def found(self) -> list[tuple[str, str, float]]:
        """Return modality, column and difference of shares of what lies elsewhere, largest first.

        Above 0 where the values are larger than in training.
        """
        tests = max(1, len(self._counts))
        moved = []
        for modality, margins in self.margins.items():
            for margin in margins:
                key = (modality, margin.name)
                if not self._totals.get(key):
                    continue
                shares = self._counts[key] / self._totals[key]
                gaps = np.asarray(margin.shares) - shares
                gap = float(gaps[np.abs(gaps).argmax()])
                size = 1 / (1 / margin.samples + 1 / self._totals[key])
                if abs(gap) > max(LEAST, math.sqrt(math.log(2 * tests / LEVEL) / (2 * size))):
                    moved.append((*key, gap))
        return sorted(moved, key=lambda own: -abs(own[2]))

    def warn(self) -> None:
        """Warn where the samples lie elsewhere than those of training."""
        moved = self.found()
        if not moved:
            return
        shown = listed(
            f"{name!r} of {modality!r} ({'larger' if gap > 0 else 'smaller'})"
            for modality, name, gap in moved
        )
        warnings.warn(
            f"these samples as a whole lie elsewhere than those of training, in "
            f"{counted(len(moved), 'column')}: {shown}: their clusters may mean little; look at "
            "units and codings, or train again",
            stacklevel=3,
        )


def _labels(names: Sequence[str]) -> list[str]:
    """Return what the numbers of :func:`_numbers` are."""
    whole = ["(mean of a sample)", "(spread of a sample)"] if not _is_narrow(names) else []
    return [names[place] for place in _places(names)] + whole


def _is_narrow(names: Sequence[str]) -> bool:
    return 0 < len(names) <= MOST_COLUMNS


def _places(names: Sequence[str]) -> list[int]:
    """Return the places of the columns that are looked at."""
    if len(names) <= MOST_COLUMNS:
        return list(range(len(names)))
    return np.linspace(0, len(names) - 1, MOST_COLUMNS).round().astype(int).tolist()


def _numbers(
    data: "IncompleteDataset", modality: str, names: Sequence[str], rows: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield the numbers of samples that have a modality, (n, labels), missing ones NaN."""
    seen = rows[data.masks[modality].cpu().numpy()[rows]]
    size = max(1, ENTRIES // max(1, math.prod(data.data[modality].shape[1:])))
    for start in range(0, len(seen), size):
        part = seen[start : start + size]
        batch: Any = data[part]
        values = batch.data[modality][:].cpu().numpy().reshape(len(part), -1).astype(np.float64)
        if modality in batch.cells:
            values[~batch.cells[modality].cpu().numpy()] = np.nan
        own = values[:, _places(names)]
        if not _is_narrow(names):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # of rows without any cells
                moments = [np.nanmean(values, 1), np.nanstd(values, 1)]
            own = np.column_stack([own, *moments])
        yield own


def _margin(name: str, column: np.ndarray) -> Margin | None:
    """Return how a column is distributed; None where it holds nothing."""
    values = np.sort(column[~np.isnan(column)])
    if not len(values):
        return None
    edges = np.unique(np.quantile(values, np.linspace(0, 1, EDGES), method="lower"))
    shares = np.searchsorted(values, edges, side="right") / len(values)
    return Margin(
        name=name,
        edges=tuple(edges.tolist()),
        shares=tuple(shares.round(6).tolist()),
        samples=len(values),
    )
