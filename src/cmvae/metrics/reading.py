"""Labelled samples, read batch by batch from any accepted form of inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import collate, is_batched
from cmvae.data.checks import as_mask
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset


def batches(data: Any, batch_size: int) -> Iterator[ModelOutput]:
    """Cut data into consecutive batches, as its own ``batch`` or its items give them.

    Args:
        data: a dataset of this package, another map-style ``Dataset`` of such samples, a batch
            {'data', 'masks', 'labels'}, or a plain {modality: (n, *)} mapping.
        batch_size: samples in each batch, the last one perhaps excepted.

    Returns:
        Iterator over outputs with ``data`` {modality: (B, *)}, ``masks`` {modality: (B,) bool, True
        = observed} for every modality, and ``labels`` where there are any.

    Raises:
        TypeError: for what is not accepted, or a batch_size that is not an integer.
        ValueError: for no samples, a batch_size below 1, and what a dataset refuses.
    """
    size, dataset = positive_int("batch_size", batch_size), as_dataset(data)
    rows = range(len(dataset))
    return (_with_masks(batch_at(dataset, rows[i : i + size])) for i in rows[::size])


def as_dataset(data: Any) -> Any:
    """Return data as a map-style dataset with a length, mappings as datasets of this package.

    Raises:
        TypeError: for anything else.
        ValueError: for no samples, and what a dataset refuses.
    """
    if isinstance(data, Mapping):
        data = data if isinstance(data.get("data"), Mapping) else {"data": data}
        values, masks, labels = data["data"], data.get("masks"), data.get("labels")
        complete = MultimodalBaseDataset(values, labels) if not masks else None
        data = complete or IncompleteDataset(values, masks, labels)
    if not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        kind = type(data).__name__
        raise TypeError(f"data must be a dataset with a length or a mapping, got {kind}")
    if len(data) == 0:
        raise ValueError("data holds no samples")
    return data


def batch_at(dataset: Any, rows: Sequence[int]) -> ModelOutput:
    """Return some samples of a dataset as a batch."""
    whole = is_batched(dataset)
    return ModelOutput(dataset.batch(rows) if whole else collate([dataset[row] for row in rows]))


def class_labels(batch: ModelOutput, what: str = "data") -> Tensor:
    """Return the labels of a batch as classes, (B,) int64.

    Raises:
        ValueError: without labels, or with others than whole numbers from 0, one for each sample.
    """
    if batch.get("labels") is None:
        needed = "whole numbers from 0 are needed, as the classifiers have classes"
        raise ValueError(f"{what} has no labels; {needed}")
    given, allowed = batch["labels"], "labels must be whole numbers from 0"
    if not isinstance(given, Tensor) or given.ndim != 1:
        raise ValueError(f"{allowed}, one for each sample, got {given!r:.80}")
    labels = given.long().cpu()
    if bool((labels != given.cpu()).any()) or bool((labels < 0).any()):
        raise ValueError(f"{allowed}, got {given.unique().tolist()[:12]}")
    return labels


def restrict(
    batch: ModelOutput, names: tuple[str, ...], need: str = "all"
) -> tuple[ModelOutput, Tensor]:
    """Keep some modalities, and of the samples those that have observed them.

    Args:
        batch: as :func:`batches` gives it, B samples.
        names: the modalities.
        need: ``'all'`` or ``'any'`` of them must be observed.

    Returns:
        ``data`` and ``masks`` of these modalities for R samples, and the rows of these, (R,) int64.

    Raises:
        KeyError: for a modality that the batch does not hold.
    """
    missing = [name for name in names if name not in batch["data"]]
    if missing:
        raise KeyError(f"data: no modalities {missing}; there are {list(batch['data'])}")
    seen = torch.stack([batch["masks"][name] for name in names])
    rows = (seen.all(0) if need == "all" else seen.any(0)).nonzero().flatten()
    kept = ModelOutput(data={name: batch["data"][name][rows] for name in names})
    if need == "any":
        kept["masks"] = {name: batch["masks"][name][rows] for name in names}
    return kept, rows


def data_of(model: Any, modality: str, decoded: Tensor) -> Tensor:
    """Return what the decoder means in the units of the data: probabilities where it gives logits.

    A model without ``likelihoods`` is taken to decode to data.
    """
    likelihoods = getattr(model, "likelihoods", None)
    return decoded if likelihoods is None else likelihoods[modality].mean(decoded)


def _with_masks(batch: ModelOutput) -> ModelOutput:
    n, masks = len(next(iter(batch["data"].values()))), batch.get("masks") or {}
    whole = torch.ones(n, dtype=torch.bool)
    batch["masks"] = {m: as_mask(masks.get(m, whole), m, n).cpu() for m in batch["data"]}
    return batch
