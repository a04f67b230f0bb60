"""When a training ends early, and the samples that it is judged by."""

from typing import Any

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch.utils.data import DataLoader, IterableDataset, Subset

from cmvae.base.plain import finite_or_none
from cmvae.base.words import counted, shown
from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.data.loading import as_dataset, is_batched


class Patience(EarlyStopping):
    """Ends a training once its loss has not been lower than before for so many epochs.

    They are counted from when all clusters and β have their place: the loss means something else
    before.
    """

    def __init__(self, monitor: str, patience: int) -> None:
        at_end = monitor.startswith("train")
        super().__init__(monitor, patience=patience, check_on_train_epoch_end=at_end)

    def forget_best(self) -> None:
        """Begin to count anew, because the loss changes its meaning."""
        self.best_score, self.wait_count = torch.tensor(torch.inf), 0


def hold_out(data: Any, share: Any, seed: int | None) -> tuple[Any, Any]:
    """Return the samples to train on, and those of a share that is held out, drawn by the seed.

    Without a seed they are the same each time, so that a resumed training goes on with them.

    Raises:
        ValueError: For a share that is not between 0 and 1 or leaves no sample on one side, and
            for data that have no samples to choose from.
    """
    number = finite_or_none(share)
    if number is None or not 0 < number < 1:
        raise ValueError(
            f"validation must be a share of the samples, between 0 and 1, got {shown(share)}"
        )
    if isinstance(data, DataLoader | IterableDataset):
        kind = "DataLoader" if isinstance(data, DataLoader) else "stream"
        raise ValueError(
            f"validation holds out samples of a dataset, but train_data is a {kind}: "
            "pass val_data instead"
        )
    dataset = as_dataset(data, "train_data")
    size = len(dataset)
    held = round(number * size)
    if not 0 < held < size:
        what = f"validation = {number:g} of {counted(size, 'sample')}"
        raise ValueError(f"{what} leaves none on one side: choose another share")
    order = np.random.default_rng(seed or 0).permutation(size)
    taken = [np.sort(part) for part in (order[held:], order[:held])]
    if isinstance(dataset, MultimodalBaseDataset) and is_batched(dataset):
        return dataset[taken[0]], dataset[taken[1]]
    return Subset(dataset, taken[0].tolist()), Subset(dataset, taken[1].tolist())
