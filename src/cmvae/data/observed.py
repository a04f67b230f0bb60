"""The values that samples have of a modality, some samples at a time."""

from collections.abc import Iterator

import numpy as np
import torch

from cmvae.data.datasets import IncompleteDataset


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
