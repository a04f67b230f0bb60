"""Labelled samples, read batch by batch from any accepted form of inputs."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.base.words import shown
from cmvae.data.checks import as_mask
from cmvae.data.loading import as_dataset, batch_at


def batches(data: Any, batch_size: int) -> Iterator[ModelOutput]:
    """Cut data into consecutive batches, as its own ``batch`` or its items give them.

    Args:
        data: a dataset of this package, another map-style ``Dataset`` of such samples, a batch
            {'data', 'masks', 'labels'}, or a plain {modality: (n, *)} mapping.
        batch_size: samples in each batch, the last one perhaps excepted.

    Returns:
        Iterator over outputs with ``data`` {modality: (B, *)}, ``masks`` {modality: (B,) bool, True
        = observed} for every modality, and ``cells`` and ``labels`` where there are any.

    Raises:
        TypeError: for what is not accepted, or a batch_size that is not an integer.
        ValueError: for no samples, a batch_size below 1, and what a dataset refuses.
    """
    size, dataset = positive_int("batch_size", batch_size), as_dataset(data)
    rows = range(len(dataset))
    return (_with_masks(batch_at(dataset, rows[i : i + size])) for i in rows[::size])


def _with_masks(batch: ModelOutput) -> ModelOutput:
    n, masks = len(next(iter(batch["data"].values()))), batch.get("masks") or {}
    whole = torch.ones(n, dtype=torch.bool)
    batch["masks"] = {m: as_mask(masks.get(m, whole), m, n).cpu() for m in batch["data"]}
    return batch


def class_labels(batch: ModelOutput, what: str = "data") -> Tensor:
    """Return the labels of a batch as classes, (B,) int64.

    Raises:
        ValueError: without labels, or with others than whole numbers from 0, one for each sample.
    """
    given, allowed = batch.get("labels"), "labels must be whole numbers from 0"
    if given is None:
        raise ValueError(f"{what} has no labels; {allowed}, the classes that classifiers tell")
    if not isinstance(given, Tensor) or given.ndim != 1:
        raise ValueError(f"{allowed}, one for each sample, got {shown(given)}")
    labels = given.long().cpu()
    if bool((labels != given.cpu()).any()) or bool((labels < 0).any()):
        raise ValueError(f"{allowed}, got {given.unique().tolist()[:12]}")
    return labels


def check_held(argument: str, names: Iterable[str], held: Collection[str]) -> None:
    """Raise ``KeyError`` for modalities that an argument does not hold."""
    missing = [name for name in names if name not in held]
    if missing:
        raise KeyError(f"{argument}: no modalities {missing}; there are {list(held)}")


def restrict(
    batch: ModelOutput, names: tuple[str, ...], need: str = "all"
) -> tuple[ModelOutput, Tensor]:
    """Keep some modalities, and of the samples those that observe them, ``'all'`` or ``'any'``.

    Returns:
        ``data``, ``cells`` where some are missing, ``covariates`` where there are any, and with
        ``'any'`` ``masks`` of these modalities for R samples, and the rows of these in the batch,
        (R,) int64.

    Raises:
        KeyError: for a modality that the batch does not hold.
    """
    check_held("data", names, batch["data"])
    seen = torch.stack([batch["masks"][name] for name in names])
    rows = (seen.all(0) if need == "all" else seen.any(0)).nonzero().flatten()
    kept = ModelOutput(data={name: batch["data"][name][rows] for name in names})
    if cells := {m: own[rows] for m, own in (batch.get("cells") or {}).items() if m in names}:
        kept["cells"] = cells
    if known := {name: own[rows] for name, own in (batch.get("covariates") or {}).items()}:
        kept["covariates"] = known
    if need == "any":
        kept["masks"] = {name: batch["masks"][name][rows] for name in names}
    return kept, rows


def data_of(model: Any, modality: str, decoded: Tensor) -> Tensor:
    """Return what the decoder means in the units of the data: probabilities where it gives logits.

    A model without ``likelihoods`` is taken to decode to data.
    """
    likelihoods = getattr(model, "likelihoods", None)
    return decoded if likelihoods is None else likelihoods[modality].mean(decoded)
