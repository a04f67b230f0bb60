"""The values that samples have of a modality, some samples at a time."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from cmvae.data.datasets import IncompleteDataset
from cmvae.data.stored import CellsReadLater


def numbers_there(data: IncompleteDataset) -> np.ndarray:
    """Return how many numbers samples have, of all modalities that they have, (n,) int64."""
    total = np.zeros(len(data), dtype=np.int64)
    for name, values in data.data.items():
        cells, each = data.cells.get(name), np.array(math.prod(values.shape[1:]))
        if cells is not None:
            own = cells.counts() if isinstance(cells, CellsReadLater) else cells.sum(1)
            each = own.cpu().numpy()
        total += data.masks[name].cpu().numpy() * each
    return total


def coded_values(
    data: IncompleteDataset, modality: str, rows: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places in ``rows``, (B,), whose samples have a modality, and its values, (B, *).

    Values are as the model sees them, missing cells NaN, ``size`` samples at a time.
    """
    if modality not in data.data:
        return
    places = np.flatnonzero(data.masks[modality].numpy()[rows])
    cells = data.cells.get(modality)
    for start in range(0, len(places), size):
        part = places[start : start + size]
        chosen = torch.as_tensor(rows[part])
        values = data.data[modality][chosen].detach().cpu().numpy()
        yield part, values if cells is None else np.where(cells[chosen].numpy(), values, np.nan)
