"""From data to the batches that training reads."""

from collections.abc import Mapping
from typing import Any

from torch.utils.data import DataLoader, Dataset

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import collate
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset


def make_loader(argument: str, data: Any, batch_size: int, shuffle: bool) -> DataLoader[Any]:
    """Return a loader of the batches of a dataset or mapping; a ``DataLoader`` is one already.

    Raises:
        TypeError: For data of another kind; the message calls them by the name of the argument.
        ValueError: For data that give no batch.
    """
    if not isinstance(data, DataLoader):
        data = _loader_of(argument, data, positive_int("batch_size", batch_size), shuffle)
    if hasattr(data.dataset, "__len__") and len(data) == 0:
        why = "it holds no samples, or fewer than a whole batch is dropped"
        raise ValueError(f"{argument} gives no batch: {why}")
    return data


def _loader_of(argument: str, data: Any, size: int, shuffle: bool) -> DataLoader[Any]:
    if isinstance(data, Mapping) and isinstance(data.get("data"), Mapping):
        data = IncompleteDataset(data["data"], data.get("masks") or {}, data.get("labels"))
    elif isinstance(data, Mapping):
        data = MultimodalBaseDataset(data)
    if not isinstance(data, Dataset):
        raise TypeError(
            f"{argument} must be a dataset, a mapping or a DataLoader, got {type(data).__name__}"
        )
    if hasattr(data, "__len__") and len(data) == 0:
        raise ValueError(f"{argument} holds no samples")
    if isinstance(data, MultimodalBaseDataset):
        return DataLoader(_Batches(data), batch_size=size, shuffle=shuffle, collate_fn=_as_it_is)
    return DataLoader(data, batch_size=size, shuffle=shuffle, collate_fn=collate)


class _Batches(Dataset[ModelOutput]):
    """A dataset whose batches are read by one indexing operation per tensor, not by sample."""

    def __init__(self, dataset: MultimodalBaseDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> ModelOutput:
        return self.dataset.batch(indices)


def _as_it_is(batch: Any) -> Any:
    return batch
