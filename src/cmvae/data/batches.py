"""Any accepted form of inputs, read into one: a batch of tensors with what is observed."""

from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, Subset

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.base.words import quoted
from cmvae.data.checks import (
    MARK,
    any_cell,
    as_cells,
    as_mask,
    check_known,
    check_lengths,
    check_names,
    check_observed,
    nonfinite_error,
    nonfinite_samples,
    sample_list,
)
from cmvae.data.covariates import as_covariates, read_covariates
from cmvae.data.loading import collate, is_batched, parts_of
from cmvae.data.stored import Stored, as_values

Inputs = Dataset[Any] | Mapping[str, Any]

ACCEPTED = (
    "a MultimodalBaseDataset or IncompleteDataset, another map-style torch Dataset of such "
    "samples, a batch {'data': {modality: tensor}, 'masks': {modality: (n,) bool}, 'cells': "
    "{modality: (n, D) bool}, 'covariates': {name: (n,)}}, or a plain {modality: tensor} mapping"
)


@dataclass(frozen=True)
class Batch:
    """Tensors of B samples, ready for a model.

    Attributes:
        data: modality -> (B, *) for the modalities that the inputs hold, in the model's order. Rows
            of samples that lack the modality hold anything, NaN included; missing cells hold 0.
        observed: (M, B) bool, one row for each of the model's modalities in its order.
        complete: whether every modality of every sample is known to be observed.
        cells: modality -> (B, *) bool, which cells are there, where some may be missing.
        covariates: (B, C), the model's covariates in its order, NaN where one is missing; None of a
            model that has none.
    """

    data: dict[str, Tensor]
    observed: Tensor
    complete: bool
    cells: dict[str, Tensor] = field(default_factory=dict)
    covariates: Tensor | None = None

    def __len__(self) -> int:
        """Return B."""
        return self.observed.shape[1]

    @property
    def lacking(self) -> Tensor:
        """Which samples lack a modality or a cell, (B,) bool."""
        found = ~self.observed.all(0)
        for cells in self.cells.values():
            found = found | ~cells.all(1)
        return found

    def select(self, rows: Tensor) -> "Batch":
        """Return the samples ``rows``, indices (R,)."""
        data, cells = (
            {name: values.index_select(0, rows) for name, values in own.items()}
            for own in (self.data, self.cells)
        )
        observed = self.observed.index_select(1, rows)
        own = None if self.covariates is None else self.covariates.index_select(0, rows)
        return Batch(data, observed, bool(observed.all()), cells, own)


class _Parts(NamedTuple):
    """What inputs consist of, before it is checked."""

    data: Mapping[str, Any]
    masks: Mapping[str, Any]
    cells: Mapping[str, Any]
    covariates: Mapping[str, Any] | None = None
    is_checked: bool = False
    first_sample: int = 0  # its index in what the user gave, by which messages name samples


def read_inputs(
    inputs: Inputs,
    modalities: Sequence[str],
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    covariates: Mapping[str, int] | None = None,
) -> Batch:
    """Read any accepted form of inputs.

    A modality that the inputs do not hold is unobserved in every sample. Observed entries must be
    finite; this is checked here unless a dataset of this package has checked it. While PyTorch
    compiles, nothing that depends on the values of tensors is checked, and inputs with masks do not
    count as complete.

    Args:
        inputs: a dataset of this package; another map-style ``Dataset`` whose items collate to a
            batch; a batch {'data': {modality: (B, *)}, 'masks': {modality: (B,) bool}, 'cells':
            {modality: (B, D) bool}, 'covariates': {name: (B,)}}, its other keys ignored; or a plain
            {modality: (B, *)} mapping.
        modalities: names that the model knows, M of them, in its order.
        dtype: what floating inputs are cast to; integers and booleans are kept.
        device: where everything goes.
        shapes: modality -> shape of one sample. Integers may come without its last axis (classes).
        covariates: the model's covariates, name -> number of categories, 1 for a number.

    Raises:
        KeyError: for a modality, in data, masks or cells, or a covariate, that the model does not
            know.
        TypeError: for any other kind of inputs, and values that are not numeric arrays.
        ValueError: for no modality or no samples, lengths that differ, a mask or a sample of a
            wrong shape, a sample with nothing observed, NaN or infinity in an observed entry, an
            unknown category of a covariate.
    """
    parts = _read_parts(inputs)
    check_known(parts.data, modalities, "inputs")
    check_known(parts.masks, modalities, "masks")
    check_known(parts.cells, list(parts.data), "cells")
    given = {name: _floats(parts.data[name], name) for name in modalities if name in parts.data}
    n = _count(given)
    for name, shape in (shapes or {}).items():
        if name in given:
            _check_shape(given[name], name, shape)
    read_values = not torch.compiler.is_compiling()
    cells = _read_cells(parts, given, shapes or {})
    observed, complete = _read_observed(parts, given, cells, modalities, n)
    observed = observed.to(device)
    cells = {name: own.to(device) for name, own in cells.items()}
    data = {
        name: tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else tensor.dtype)
        for name, tensor in given.items()
    }
    # Whatever a missing cell holds is gone before any arithmetic.
    data |= {
        name: torch.where(own, data[name], 0).to(data[name].dtype) for name, own in cells.items()
    }
    # What a dataset of this package has checked can still overflow when it is cast to fewer bits.
    narrowed = any(given[name].element_size() > data[name].element_size() for name in data)
    if (narrowed or not parts.is_checked) and read_values:
        _check_finite(data, observed, modalities, parts.first_sample)
    # What is no vector lacks all its cells or none, which is known of the sample.
    vectors = {m: own for m, own in cells.items() if len((shapes or {}).get(m, own.shape[1:])) == 1}
    known = None
    if covariates or parts.covariates:
        known = read_covariates(parts.covariates or {}, covariates or {}, n, parts.first_sample)
        known = known.to(device=device, dtype=dtype)
    return Batch(data, observed, complete, vectors, known)


def iterate(inputs: Inputs, batch_size: int) -> Iterator[Inputs]:
    """Cut what ``read_inputs`` accepts into consecutive chunks of so many samples.

    Returns:
        Iterator over chunks that ``read_inputs`` accepts, and in which it names samples by their
        place in ``inputs``: datasets of datasets of this package, otherwise batches without labels.

    Raises:
        TypeError: for a batch_size that is not an integer, and inputs that are not accepted.
        ValueError: for a batch_size below 1, no samples, no modality, or lengths that differ.
    """
    size = positive_int("batch_size", batch_size)
    if isinstance(inputs, Dataset):
        n = _dataset_length(inputs)
        return (_cut_dataset(inputs, start, min(start + size, n)) for start in range(0, n, size))
    parts = _read_parts(inputs)
    data = {name: as_values(value, f"modality {name!r}") for name, value in parts.data.items()}
    n = _count(data)
    masks = {name: as_mask(mask, name, n) for name, mask in parts.masks.items()}
    check_known(parts.cells, list(data), "cells")
    cells = {name: as_cells(own, name, data[name].shape) for name, own in parts.cells.items()}
    known = as_covariates(parts.covariates or {}, n)
    whole = _Parts(data, masks, cells, known, first_sample=parts.first_sample)
    return (_cut_parts(whole, start, start + size) for start in range(0, n, size))


def _count(data: Mapping[str, Sized]) -> int:
    """Return the number of samples that all modalities share, at least one."""
    n = check_lengths(data)
    if n == 0:
        raise ValueError("inputs hold no samples")
    return n


def _floats(value: Any, modality: str) -> Tensor:
    """Return values as a tensor, what is kept compact as floats."""
    values = as_values(value, f"modality {modality!r}")
    return values[:] if isinstance(values, Stored) else values


def _cut_parts(parts: _Parts, start: int, stop: int) -> ModelOutput:
    """Return a batch of the samples from start to stop."""
    chunk = ModelOutput(data={name: tensor[start:stop] for name, tensor in parts.data.items()})
    others = {"masks": parts.masks, "cells": parts.cells, "covariates": parts.covariates}
    for kind, masks in others.items():
        if masks:
            chunk[kind] = {name: mask[start:stop] for name, mask in masks.items()}
    chunk["first_sample"] = parts.first_sample + start
    return chunk


def _cut_dataset(dataset: Dataset[Any], start: int, stop: int) -> Inputs:
    """Return a dataset, or else a batch, of the samples from start to stop."""
    if start == 0 and stop == _dataset_length(dataset) and is_batched(dataset):
        return dataset
    root, rows = _unwrap(dataset, range(start, stop))
    if is_batched(root):
        return root[slice(start, stop) if root is dataset else rows]
    parts = _read_mapping(collate([dataset[i] for i in range(start, stop)]))
    own = {"masks": parts.masks, "cells": parts.cells, "covariates": parts.covariates}
    return ModelOutput(data=parts.data, **own, first_sample=start)


def _read_parts(inputs: Any) -> _Parts:
    """Return data and masks of any accepted form of inputs."""
    if isinstance(inputs, Mapping):
        return _read_mapping(inputs)
    if not isinstance(inputs, Dataset):
        raise TypeError(f"inputs: expected {ACCEPTED}; got {type(inputs).__name__}")
    n = _dataset_length(inputs)
    root, rows = _unwrap(inputs, range(n))
    if not is_batched(root):
        return _read_mapping(collate([inputs[i] for i in range(n)]))
    # A whole dataset is read as it lies, without a copy.
    samples = root.batch(rows) if type(inputs) is Subset else root
    kinds = ("masks", "cells", "covariates")
    masks, cells, known = (getattr(samples, kind, {}) for kind in kinds)
    return _Parts(samples.data, masks, cells, known, is_checked=True)


def _read_mapping(inputs: Any) -> _Parts:
    """Return data and masks of a batch or of a plain {modality: tensor} mapping."""
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs: expected {ACCEPTED}; got a Dataset of {type(inputs).__name__}")
    data, masks, cells, _, covariates = parts_of(inputs)
    check_names(data, "inputs")
    first = inputs.get("first_sample", 0) if data is not inputs else 0
    return _Parts(data, masks, cells, covariates, first_sample=first)


def _dataset_length(dataset: Dataset[Any]) -> int:
    """Return the number of samples of a map-style dataset."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        kind = type(dataset).__name__
        raise TypeError(f"inputs: expected {ACCEPTED}; got {kind}, which has no length")
    if len(dataset) == 0:
        raise ValueError("inputs hold no samples")
    return len(dataset)


def _unwrap(dataset: Dataset[Any], rows: Sequence[int]) -> tuple[Any, Sequence[int]]:
    """Return what a ``Subset``, however nested, is a subset of, and the rows there."""
    while type(dataset) is Subset:
        indices = dataset.indices
        dataset, rows = dataset.dataset, [int(indices[row]) for row in rows]
    return dataset, rows


def _check_shape(tensor: Tensor, modality: str, shape: Sequence[int]) -> None:
    """Raise ``ValueError`` unless samples have the shape that the model expects."""
    got, expected = tuple(tensor.shape[1:]), tuple(shape)
    is_integer = not tensor.is_floating_point() and tensor.dtype != torch.bool
    if got != expected and not (is_integer and expected and got == expected[:-1]):
        single = tuple(tensor.shape) == expected
        way = "; a single sample needs an axis of samples first: x[None]" if single else ""
        wrong = f"expected samples of shape {expected}, got {got}{way}"
        raise ValueError(f"modality {modality!r}: {wrong}")


def _read_observed(
    parts: _Parts,
    data: Mapping[str, Tensor],
    cells: Mapping[str, Tensor],
    modalities: Sequence[str],
    n_samples: int,
) -> tuple[Tensor, bool]:
    """Return (M, n_samples) bool, and whether all of it is known to be True."""
    read_values = not torch.compiler.is_compiling()
    masks = {
        name: as_mask(mask, name, n_samples, check_values=read_values)
        for name, mask in parts.masks.items()
    }
    device = next(iter([*masks.values(), *data.values()])).device
    everywhere = torch.ones(n_samples, dtype=torch.bool, device=device)
    rows = [masks.get(m, everywhere) if m in data else ~everywhere for m in modalities]
    observed = torch.stack([row.to(device) for row in rows])
    for name, own in cells.items():
        observed[modalities.index(name)] &= any_cell(own).to(device)
    if not masks and not cells:
        return observed, len(data) == len(modalities)
    if not read_values:
        return observed, False
    for name in masks:
        if name not in data and masks[name].any():
            marked = f"marks {sample_list(masks[name], parts.first_sample)} as observed"
            only = f"but the inputs hold only {quoted(data)}"
            raise ValueError(f"modality {name!r}: its mask {marked}, {only}")
    complete = bool(observed.all())
    if not complete:
        check_observed(observed, modalities, parts.first_sample)
    return observed, complete


def _read_cells(
    parts: _Parts, data: Mapping[str, Tensor], shapes: Mapping[str, Sequence[int]]
) -> dict[str, Tensor]:
    """Return modality -> which cells are there, (n_samples, *) bool."""
    check = not torch.compiler.is_compiling()
    axes = {name: len(shape) for name, shape in shapes.items()}
    held = {name: own[:] if isinstance(own, Stored) else own for name, own in parts.cells.items()}
    return {
        name: as_cells(own, name, data[name].shape, axes.get(name), check_values=check)
        for name, own in held.items()
    }


def _check_finite(
    data: Mapping[str, Tensor], observed: Tensor, modalities: Sequence[str], first: int
) -> None:
    """Raise ``ValueError`` where an observed entry is NaN or infinite."""
    # One number that is not finite makes the sum so; it tells in a fraction of the time.
    sums = [values.sum().to(observed.device, torch.float32) for values in data.values()]
    if torch.stack(sums).isfinite().all():
        return
    rows = {name: observed[modalities.index(name)] for name in data}
    bad = torch.stack([nonfinite_samples(data[name]) & rows[name] for name in data])
    if not bad.any():  # one transfer from the device, whatever the number of modalities
        return
    for name, wrong in zip(data, bad, strict=True):
        if wrong.any():
            raise nonfinite_error(name, sample_list(wrong, first), MARK)
