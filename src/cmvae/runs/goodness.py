"""How well samples fit a model: their log-likelihoods, and those of training to compare with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmvae.base.arrays import joined_names
from cmvae.data.datasets import IncompleteDataset
from cmvae.data.observed import numbers_there
from cmvae.models.cmvae import CMVAE
from cmvae.runs.drift import measure_margins
from cmvae.runs.reference import FitReference

DRAWS = 10  # of the importance sampling: a bound, as loose for new samples as for those of training
MOST_SAMPLES, FEWEST_SAMPLES = 2000, 20  # of training that are measured
MOST_PATTERNS = 8
QUANTILES = 1001
_COUNTED = 1 << 16  # samples whose modalities are counted at a time


def measure_reference(
    model: CMVAE, data: IncompleteDataset, numbers: Mapping[str, Sequence[str]]
) -> FitReference:
    """Measure training samples, at most 2000 of each set of modalities.

    The sets are those that most samples have, all modalities, and each alone.

    Args:
        model: The trained model.
        data: The training samples.
        numbers: Modality to what its numbers are; none of what is no table.
    """
    names = list(model.modalities)
    masks = np.stack([data.masks[name].cpu().numpy() for name in names], 1)
    found = {}
    for columns in _patterns(masks):
        rows = np.flatnonzero(masks[:, columns].all(1))
        if len(rows) >= FEWEST_SAMPLES:
            spread = np.linspace(0, len(rows) - 1, min(len(rows), MOST_SAMPLES))
            own = [names[column] for column in columns]
            scores = per_number(model, _only(data[rows[spread.round().astype(int)]], own))
            levels = np.quantile(scores, np.linspace(0, 1, QUANTILES))
            found["+".join(own)] = tuple(float(f"{level:.6g}") for level in levels)
    return FitReference(quantiles=found, margins=measure_margins(data, numbers))


def fit_percentiles(
    model: CMVAE, reference: FitReference | None, data: IncompleteDataset
) -> np.ndarray:
    """Return where samples stand among those of training, (n,), from 0 to 100.

    NaN for modalities that training samples did not have together, and without a reference.
    """
    if reference is None or not reference.quantiles:
        return np.full(len(data), np.nan)
    names = [name for name in model.modalities if name in data.masks]
    masks = np.stack([data.masks[name].cpu().numpy() for name in names], 1)
    return reference.percentiles(per_number(model, data), joined_names(names, masks))


def log_likelihoods(model: CMVAE, data: IncompleteDataset) -> np.ndarray:
    """Return log p(X_S) of samples, (n,), in nats of coded features: a bound of it.

    The draws are the same for every sample and each time.
    """
    options: dict[str, Any] = {"reduction": "none", "chunk_size": model.rows_at_once, "seed": 0}
    nll = model.compute_joint_nll(data, DRAWS, **options)
    return np.asarray(-nll.double().cpu().numpy())


def per_number(model: CMVAE, data: IncompleteDataset) -> np.ndarray:
    """Return log p(X_S) of samples, (n,), divided by how many numbers are there."""
    return log_likelihoods(model, data) / np.maximum(numbers_there(data), 1)


def _only(data: IncompleteDataset, modalities: Sequence[str]) -> IncompleteDataset:
    """Return samples with some of their modalities alone."""

    def kept(own: Mapping[str, Any]) -> dict[str, Any]:
        return {name: own[name] for name in modalities if name in own}

    covariates = dict(data.covariates)
    own = kept(data.data), kept(data.masks)
    return IncompleteDataset(*own, cells=kept(data.cells), covariates=covariates)


def _patterns(masks: np.ndarray) -> list[list[int]]:
    """Return sets of columns of ``masks``, (n, M): the most frequent rows, all, and each one."""
    frequent = Counter[bytes]()
    for start in range(0, len(masks), _COUNTED):  # in the order in which they come
        frequent.update(map(bytes, masks[start : start + _COUNTED]))
    columns = range(masks.shape[1])
    found = [[c for c in columns if row[c]] for row, _ in frequent.most_common(MOST_PATTERNS)]
    found += [list(columns), *([c] for c in columns)]
    return [list(own) for own in dict.fromkeys(map(tuple, found))]
