"""What a report is made from, besides model and data: names, labels and curves, checked."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cmvae.metrics.clustering import as_categories
from cmvae.report.figures import _short

LONGEST_NAME = 80
NO_LABEL = "(none)"

Labels = tuple[tuple[str, ...], np.ndarray]


def read_ids(ids: Any, n_samples: int) -> tuple[str, ...]:
    """Return what the samples are called: ``ids`` as strings, or their numbers from 0.

    Raises:
        ValueError: For another number of them than of samples.
    """
    if ids is None:
        return tuple(map(str, range(n_samples)))
    names = tuple(map(str, ids))
    if len(names) != n_samples:
        raise ValueError(f"ids: expected {n_samples}, one for each sample, got {len(names)}")
    return names


def read_labels(labels: Any, label_names: Any, n_samples: int) -> Labels | None:
    """Return the names of the labels and which of them each sample has, (n,) from 0.

    Args:
        labels: n numbers or strings, or None.
        label_names: Label to name, a mapping, or a sequence for labels that are whole numbers from
            0; or None.
        n_samples: n.

    Raises:
        TypeError: For labels that are neither all numbers nor all strings.
        ValueError: For another number of them than of samples, NaN, ``NO_LABEL`` for all, or a
            label that ``label_names`` lacks.
    """
    if labels is None:
        return None
    found, codes = np.unique(as_categories(labels, "labels"), return_inverse=True)
    if len(codes) != n_samples:
        raise ValueError(f"labels: expected {n_samples}, one for each sample, got {len(codes)}")
    if found.tolist() == [NO_LABEL]:
        raise ValueError("labels: none of the samples has one")
    if label_names is None:
        return tuple(map(_short, found.tolist())), codes
    by_label = label_names if isinstance(label_names, Mapping) else dict(enumerate(label_names))
    lacking = [label for label in found.tolist() if label not in by_label]
    if lacking:
        raise ValueError(
            f"label_names: no name for the labels {lacking[:5]}; there are {list(by_label)[:5]}"
        )
    return tuple(str(by_label[label]) for label in found.tolist()), codes


def read_cluster_names(names: Mapping[int, str] | None, active: list[int]) -> tuple[str, ...]:
    """Return what the active clusters are called: their index, where no name is given.

    Raises:
        ValueError: For the name of a cluster that is not active.
    """
    given = dict(names or {})
    unknown = [index for index in given if index not in active]
    if unknown:
        raise ValueError(
            f"cluster_names: {unknown} are not active; the active clusters are {active}"
        )
    return tuple(str(given.get(index, index)) for index in active)


def read_features(
    features: Sequence[Any] | None, n_features: int, modality: str
) -> tuple[str, ...]:
    """Return the names of a table's values, at most 80 characters of each.

    Raises:
        ValueError: For another number of names than of values.
    """
    if features is None:
        return tuple(f"feature {i}" for i in range(n_features))
    names = [str(name) for name in features]
    if len(names) != n_features:
        raise ValueError(f"features[{modality!r}]: expected {n_features} names, got {len(names)}")
    return tuple(
        name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names
    )


def read_history(history: Any) -> dict[str, tuple[float | None, ...]]:
    """Return quantities by epoch.

    Args:
        history: Quantity to one value for each epoch, or a DataFrame with a column for each
            quantity; where it has a column ``epoch``, as Lightning's ``metrics.csv``, rows of the
            same epoch are put together. None for none.

    Raises:
        TypeError: For something else, or values that are no numbers.
    """
    if history is None:
        return {}
    if isinstance(history, pd.DataFrame) and "epoch" in history:
        history = history.drop(columns=["step"], errors="ignore").groupby("epoch").last()
    if not isinstance(history, pd.DataFrame | Mapping):
        raise TypeError(
            f"history must be a mapping of lists or a DataFrame, got {type(history).__name__}"
        )
    curves = {}
    for name in history:
        try:
            values = [math.nan if value is None else float(value) for value in history[name]]
        except (TypeError, ValueError) as error:
            raise TypeError(f"history[{name!r}] must hold numbers: {error}") from None
        curves[str(name)] = tuple(value if math.isfinite(value) else None for value in values)
    return curves


def read_selection(h_values: Sequence[float] | Any) -> tuple[tuple[int, float], ...]:
    """Return numbers of clusters and their criterion, of what ``CMVAE.prune_clusters`` returns, where evaluated.

    Raises:
        TypeError: For values that are no numbers.
        ValueError: For NaN.
    """
    try:
        values = (
            []
            if h_values is None
            else [math.inf if value is None else float(value) for value in h_values]
        )
    except (TypeError, ValueError) as error:
        raise TypeError(f"h_values must be a list of numbers: {error}") from None
    if any(map(math.isnan, values)):
        raise ValueError(f"h_values must hold no NaN, got {values}")
    return tuple((size, value) for size, value in enumerate(values) if math.isfinite(value))
