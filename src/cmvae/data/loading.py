"""From data in any accepted form to a dataset, and from a dataset to its batches."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, default_collate

from cmvae.base.outputs import ModelOutput
from cmvae.data.checks import check_masks
from cmvae.data.covariates import joined_covariates
from cmvae.data.datasets import MultimodalBaseDataset, Sample, dataset_of

_DRAWN = 4096  # places that are numbers of Python at a time


class Given(NamedTuple):
    """What a batch holds; of a plain {modality: values} mapping, data alone."""

    data: Mapping[str, Any]
    masks: Mapping[str, Any]
    cells: Mapping[str, Any]
    labels: Any = None
    covariates: Mapping[str, Any] | None = None


def parts_of(inputs: Mapping[str, Any]) -> Given:
    """Return what a batch, or a plain {modality: values} mapping, consists of.

    One sample of a dataset, known as such by its kind or by masks or labels without an axis, is a
    batch of one.
    """
    if not isinstance(inputs.get("data"), Mapping):
        return Given(inputs, {}, {})
    masks, cells = ({} if inputs.get(own) is None else inputs[own] for own in ("masks", "cells"))
    check_masks(masks)
    check_masks(cells, "cells")
    data, labels = inputs["data"], inputs.get("labels")
    known = inputs.get("covariates")
    if isinstance(inputs, Sample) or any(map(_is_scalar, [*masks.values(), labels])):
        data, masks, cells, known = (
            own and {name: torch.as_tensor(values)[None] for name, values in own.items()}
            for own in (data, masks, cells, known)
        )
        labels = None if labels is None else [labels]
    return Given(data, masks, cells, labels, known)


def _is_scalar(value: Any) -> bool:
    is_axisless = isinstance(value, Tensor) and value.ndim == 0
    return is_axisless or isinstance(value, bool | int | np.generic)


def as_dataset(data: Any, argument: str = "data", *, with_length: bool = True) -> Any:
    """Return data as a dataset: a batch or a plain mapping as one of this package.

    Messages call it by the name of the argument.

    Raises:
        TypeError: for anything else, and a dataset without a length unless it may lack one.
        ValueError: for no samples, and what a dataset refuses.
    """
    if isinstance(data, Mapping):
        given = parts_of(data)
        data = dataset_of(given.data, given.labels, given.masks, given.cells, given.covariates)
    if not isinstance(data, Dataset) or (with_length and not isinstance(data, Sized)):
        wanted = "a dataset with a length or a mapping"
        if not with_length:
            wanted = "a dataset, a mapping or a DataLoader"
        raise TypeError(f"{argument} must be {wanted}, got {type(data).__name__}")
    if isinstance(data, Sized) and len(data) == 0:
        raise ValueError(f"{argument} holds no samples")
    return data


def is_batched(dataset: Any) -> bool:
    """Return whether ``dataset.batch`` gives its items: not where a subclass makes its own."""
    is_ours = getattr(type(dataset), "__getitem__", None) is MultimodalBaseDataset.__getitem__
    return is_ours and dataset.is_checked


def batch_at(dataset: Any, rows: Sequence[int]) -> ModelOutput:
    """Return some samples of a dataset as a batch."""
    whole = is_batched(dataset)
    return ModelOutput(dataset.batch(rows) if whole else collate([dataset[row] for row in rows]))


def batch_loader(dataset: Any, batch_size: int, **arguments: Any) -> DataLoader[Any]:
    """Return a loader of a dataset's batches; of this package's, they are read without a loop.

    Of a dataset with a length, batches say under ``'rows'`` which of its samples they hold. Further
    arguments are those of ``torch.utils.data.DataLoader``.
    """
    if isinstance(dataset, IterableDataset):
        arguments.pop("shuffle", None)  # the order is that of the stream
        return DataLoader(dataset, batch_size, collate_fn=collate, **arguments)
    batches = _Batches(dataset)
    if arguments.pop("shuffle", False):
        arguments["sampler"] = Shuffled(batches)
    return DataLoader(batches, batch_size, collate_fn=_as_it_is, **arguments)


class Shuffled(RandomSampler):
    """All places of a dataset in the random order that PyTorch's own sampler would draw.

    That one keeps a list of them, of 40 bytes a sample; this one a tensor, of 8.
    """

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(int(torch.empty((), dtype=torch.int64).random_()))
        for part in torch.randperm(len(self.data_source), generator=generator).split(_DRAWN):
            yield from part.tolist()


class _Batches(Dataset[Any]):
    """A dataset whose items are batches, which say which rows they have."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: list[int]) -> Any:
        batch = _batch_of(self.dataset, indices)
        if not isinstance(batch, Mapping):
            return batch
        own = batch if _is_sample(batch) else {"data": batch}
        return ModelOutput({**own, "rows": torch.as_tensor(indices)})


def _batch_of(dataset: Any, indices: list[int]) -> Any:
    """Return some samples of a dataset, collated unless it is one of this package's."""
    if is_batched(dataset):
        return dataset.batch(indices)
    at_once = getattr(dataset, "__getitems__", None)
    return collate(at_once(indices) if at_once else [dataset[row] for row in indices])


def _as_it_is(batch: Any) -> Any:
    return batch


def collate(items: list[Any]) -> Any:
    """Collate samples as PyTorch does; what others have a mask for counts as observed without.

    Of a ``ConcatDataset`` of complete and incomplete data PyTorch's own collation drops the masks,
    as it does with all that the first sample does not hold. Covariates that a sample lacks are NaN.
    Samples that differ in modalities or
    shapes are a ``ValueError``.
    """
    if any(_is_sample(item) and "masks" in item for item in items):
        items = [_with_every_mask(item) for item in items]
    named = {name for item in items if _is_sample(item) for name in item.get("cells") or ()}
    if named:
        items = [_with_all_cells(item, sorted(named)) for item in items]
    known = [item.get("covariates") or {} if _is_sample(item) else {} for item in items]
    if any(known):
        pairs = zip(items, joined_covariates(known), strict=True)
        items = [ModelOutput({**item, "covariates": own}) for item, own in pairs]
    mappings = [item for item in items if isinstance(item, Mapping)]
    held = {frozenset(item["data"] if _is_sample(item) else item) for item in mappings}
    if len(held) > 1:
        shown = " and ".join(str(sorted(map(str, names))) for names in list(held)[:2])
        raise ValueError(f"samples do not make a batch, their modalities differ: {shown}")
    try:
        return default_collate(items)
    except (KeyError, RuntimeError) as error:
        what = "samples do not make a batch, they differ in fields or shapes"
        raise ValueError(f"{what}: {error}") from error


def _with_every_mask(item: Mapping[str, Any]) -> ModelOutput:
    everywhere = dict.fromkeys(item["data"], torch.ones((), dtype=torch.bool))
    return ModelOutput({**item, "masks": {**everywhere, **(item.get("masks") or {})}})


def _with_all_cells(item: Mapping[str, Any], named: Sequence[str]) -> ModelOutput:
    given, data = item.get("cells") or {}, item["data"]
    whole = {
        m: torch.ones(torch.as_tensor(data[m]).shape, dtype=torch.bool) for m in named if m in data
    }
    return ModelOutput({**item, "cells": {**whole, **given}})


def _is_sample(item: Any) -> bool:
    return isinstance(item, Mapping) and isinstance(item.get("data"), Mapping)
