"""Samples drawn from a stream: what is to be known of the data as a whole is learned of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmvae.data.checks import as_tensor, check_lengths, check_names
from cmvae.data.datasets import MultimodalBaseDataset, dataset_of
from cmvae.data.loading import parts_of

MOST_SAMPLES, MOST_NUMBERS = 1 << 17, 1 << 26


class Reservoir:
    """Samples of a stream, each of which is as likely to be kept as any other one.

    Args:
        most: How many are kept; None: 131,072, of large samples as many as have 2²⁶ numbers.
        seed: Of the draws.

    Example:
        >>> reservoir = Reservoir(2)
        >>> for start in range(0, 6, 3):
        ...     reservoir.add({"a": torch.arange(start, start + 3.0)[:, None]})
        >>> reservoir.seen, len(reservoir.dataset())
        (6, 2)
    """

    def __init__(self, most: int | None = None, seed: int = 0) -> None:
        self._most = most
        self._draws = np.random.default_rng(seed)
        self._kept: dict[tuple[str, str], Tensor] = {}
        self.seen = 0

    def add(self, batch: Any) -> None:
        """Add a batch, {'data': {modality: (B, *)}, …} or {modality: (B, *)}.

        Raises:
            TypeError, ValueError: For what is none, or differs from the batches before.
        """
        values = _values_of(batch)
        if self._most is None:
            numbers = sum(own[0].numel() for own in values.values() if len(own))
            self._most = max(1, min(MOST_SAMPLES, MOST_NUMBERS // max(1, numbers)))
        if self._kept and self._kept.keys() != values.keys():
            shown = [" of ".join(own) for own in values.keys() ^ self._kept.keys()]
            raise ValueError(f"train_data: batches differ, some lack the {sorted(shown)}")
        n = check_lengths({" of ".join(key): own for key, own in values.items()})
        places = np.arange(self.seen, self.seen + n)
        # Algorithm R: sample i takes one of i + 1 places, of which the first ones are kept.
        late = places >= self._most
        places[late] = self._draws.integers(0, places[late] + 1)
        self.seen += n
        kept = places < self._most
        rows, places = np.flatnonzero(kept), places[kept]
        # Of several that take one place in a batch the last one stays.
        places, last = np.unique(places[::-1], return_index=True)
        rows = rows[::-1][last]
        for key, own in values.items():
            self._kept[key] = self._put(key, own[torch.from_numpy(rows.copy())], places)

    def _put(self, key: tuple[str, str], values: Tensor, places: np.ndarray) -> Tensor:
        held = self._kept.get(key)
        if held is None:
            return values.clone()
        if held.shape[1:] != values.shape[1:]:
            field, name = key
            shapes = f"{tuple(held.shape[1:])} and {tuple(values.shape[1:])}"
            raise ValueError(f"train_data: batches differ, {field} of {name} have samples {shapes}")
        dtype = torch.promote_types(held.dtype, values.dtype)  # of 1 and then 0.5
        held, values, new = held.to(dtype), values.to(dtype), torch.from_numpy(places >= len(held))
        held[torch.from_numpy(places)[~new]] = values[~new]
        return torch.cat([held, values[new]])

    def dataset(self) -> MultimodalBaseDataset:
        """Return the samples that are kept; ``ValueError`` where there were none."""
        if not self.seen:
            raise ValueError("train_data gives no batch: the stream holds no samples")
        fields: dict[str, dict[str, Tensor]] = {}
        for (field, name), own in self._kept.items():
            fields.setdefault(field, {})[name] = own
        parts = (fields.get(field) for field in ("masks", "cells", "covariates"))
        return dataset_of(fields["data"], None, *parts)


def drawn_from(batches: Iterable[Any], seed: int) -> MultimodalBaseDataset:
    """Return samples of all batches, drawn at random."""
    reservoir = Reservoir(seed=seed)
    for batch in batches:
        reservoir.add(batch)
    return reservoir.dataset()


def _values_of(batch: Any) -> dict[tuple[str, str], Tensor]:
    """Return what a batch holds, by field and modality."""
    if not isinstance(batch, Mapping):
        raise TypeError(
            f"train_data: its batches must be mappings of modalities, got {type(batch).__name__}"
        )
    given = parts_of(batch)
    check_names(given.data, "train_data")
    fields = {"data": given.data, "masks": given.masks, "cells": given.cells}
    fields["covariates"] = given.covariates or {}
    return {
        (field, str(name)): as_tensor(own, f"{field}[{name!r}]").cpu()
        for field, values in fields.items()
        for name, own in values.items()
    }
