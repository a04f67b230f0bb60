"""Datasets of several modalities, complete or with modalities missing."""

import copy
import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cmvae.base.outputs import ModelOutput
from cmvae.base.words import shown
from cmvae.data.checks import (
    MARK,
    any_cell,
    as_cells,
    as_mask,
    as_tensor,
    check_known,
    check_lengths,
    check_masks,
    check_names,
    check_observed,
    nonfinite_error,
    nonfinite_samples,
    sample_list,
)
from cmvae.data.covariates import as_covariates
from cmvae.data.stored import CellsReadLater, Stored, as_values


class Sample(ModelOutput):
    """One sample of a dataset: its tensors have no axis of samples, which models add.

    A copy of it is a plain ``ModelOutput``: to copy a sample and to fill the copy is how PyTorch
    makes a batch of samples.
    """

    def __copy__(self) -> ModelOutput:
        return ModelOutput(self)


class MultimodalBaseDataset(Dataset[ModelOutput]):
    """Samples of which every modality is observed.

    ``ds[i]`` with an integer is one sample: a ``ModelOutput`` with ``data`` ({modality: tensor})
    and, where there are any, ``labels``; models read it as a batch of one. ``ds[slice, list or
    array]`` is a dataset of the same kind; slices share memory.

    A subclass may set ``data``, and ``labels`` and ``masks``, itself, without calling ``__init__``:
    then nothing is checked before a model reads it, sample by sample.

    Args:
        data: modality -> tensor or array (n, *) of any real dtype; dtype and memory are kept, and
            arrays may be memory-mapped. Or what is kept compact and becomes float32 in samples and
            batches only: ``ByteImages``, or a SciPy sparse matrix (n, features).
        labels: n numbers (tensor, array or list) or n strings, or None.
        covariates: name -> n numbers, of a category its index from 0; NaN where it is missing. For
            models with ``CMVAEConfig(covariates=...)``.

    Attributes:
        data: modality -> (n, *) tensor, or ``Stored`` for what is kept compact.
        masks: empty: nothing is missing.
        cells: likewise.
        labels: (n, *) tensor, (n,) NumPy array of strings, or None.
        covariates: name -> (n,) float32 tensor; empty where none are given.
        is_checked: whether ``__init__`` has checked all of it.

    Raises:
        TypeError: where data is not a mapping from strings to numeric arrays, or labels mix kinds.
        ValueError: where there is no modality, a scalar, lengths that differ, or NaN or infinity in
            an entry.

    Example:
        >>> import torch
        >>> from cmvae import MultimodalBaseDataset
        >>> data = {"a": torch.zeros(4, 2), "b": torch.zeros(4, 3, 8, 8)}
        >>> MultimodalBaseDataset(data, labels=[0, 1, 0, 1])
        MultimodalBaseDataset(4 samples, a (2,), b (3, 8, 8), labels)
        >>> len(MultimodalBaseDataset(data)[1:])
        3
    """

    data: Mapping[str, Any]
    masks: Mapping[str, Tensor] = MappingProxyType({})
    cells: Mapping[str, Tensor] = MappingProxyType({})
    covariates: Mapping[str, Tensor] = MappingProxyType({})
    labels: Tensor | np.ndarray | None = None
    is_checked = False

    def __init__(
        self,
        data: Mapping[str, Any],
        labels: Any = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> None:
        self._store(data, labels, covariates)
        self.masks = {}
        self.cells = {}
        self._refuse_nonfinite("missing modalities go in IncompleteDataset")
        self.is_checked = True

    def _store(self, data: Mapping[str, Any], labels: Any, covariates: Any) -> None:
        """Keep data, labels and covariates, lengths checked."""
        check_names(data)
        self.data = {m: as_values(x, f"modality {m!r}") for m, x in data.items()}
        n = check_lengths(self.data)
        self.labels = None if labels is None else _as_labels(labels, n)
        given = {} if covariates is None else covariates
        self.covariates: dict[str, Tensor] = as_covariates(given, n)

    def _refuse_nonfinite(self, advice: str) -> None:
        """Raise ``ValueError`` where a sample holds NaN or infinity in an observed entry."""
        for name, values in self.data.items():
            compact = isinstance(values, Stored) and name not in self.cells
            bad = values.nonfinite() if compact else nonfinite_samples(values, self.cells.get(name))
            if name in self.masks:
                bad = bad & self.masks[name].to(bad.device)
            if bad.any():
                raise nonfinite_error(name, sample_list(bad), advice)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the order of ``data``."""
        return tuple(self.data)

    def __len__(self) -> int:
        """Return the number of samples."""
        if not self.is_checked:
            return check_lengths(self.data)
        return next(iter(self.data.values())).shape[0]  # which is found sooner than a length

    def __repr__(self) -> str:
        if not self.is_checked:
            data = getattr(self, "data", None)
            held = ", ".join(map(str, data)) if isinstance(data, Mapping) else "no data"
            return f"{type(self).__name__}({held})"
        parts = [f"{len(self)} samples"]
        for name, tensor in self.data.items():
            missing = int((~self.masks[name]).sum()) if self.masks else 0
            lacking = f" missing in {missing}" if missing else ""
            if name in self.cells:
                share = float((~self.cells[name][self.masks[name]]).double().mean())
                lacking += f" {share:.2g} of its cells missing"
            parts.append(f"{name} {tuple(tensor.shape[1:])}{lacking}")
        parts += ["labels"] if self.labels is not None else []
        parts += [f"covariates {', '.join(self.covariates)}"] if self.covariates else []
        return f"{type(self).__name__}({', '.join(parts)})"

    def __getitem__(self, index: Any) -> Any:
        """Return one sample for an integer, a dataset for a slice, list or array.

        Args:
            index: integer; or slice, range, list, array or tensor of integers or (n,) booleans.

        Raises:
            IndexError: out of range, or of a wrong shape.
            TypeError: for any other index.
        """
        row = _as_row(index, len(self))
        if row is not None:
            label = None if self.labels is None else self.labels[row]
            return Sample(self._output(row, str(label) if isinstance(label, np.str_) else label))
        rows = _as_rows(index, len(self))
        # What a subclass added stays; what was checked is not checked again.
        selected = copy.copy(self)
        selected.data = {
            name: values.cut(rows) if isinstance(values, Stored) else values[rows]
            for name, values in self.data.items()
        }
        selected.masks = {name: mask[rows] for name, mask in self.masks.items()}
        selected.cells = {name: cells[rows] for name, cells in self.cells.items()}
        selected.covariates = {name: own[rows] for name, own in self.covariates.items()}
        selected.labels = None if self.labels is None else self._labels_at(rows)
        return selected

    def batch(self, indices: Any) -> ModelOutput:
        """Return ``default_collate([ds[i] for i in indices])``, by one indexing of each tensor.

        A slice of tensors shares their memory. Indices and errors are those of ``ds[indices]``.

        Returns:
            ``data`` {modality: (B, *)}, and, where there are any, ``masks`` {modality: (B,) bool},
            ``cells`` {modality: (B, *) bool}, ``covariates`` {name: (B,)} and ``labels``, a tensor
            (B, *) or a list of B strings.
        """
        rows = _as_rows(indices, len(self))
        labels = None if self.labels is None else self._labels_at(rows)
        return self._output(rows, labels.tolist() if isinstance(labels, np.ndarray) else labels)

    def _output(self, rows: Any, labels: Any) -> ModelOutput:
        """Return data and masks at some rows, with their labels."""
        output = ModelOutput(data={name: tensor[rows] for name, tensor in self.data.items()})
        for field in ("masks", "cells", "covariates"):
            if own := getattr(self, field):
                output[field] = {name: mask[rows] for name, mask in own.items()}
        if labels is not None:
            output["labels"] = labels
        return output

    def _labels_at(self, rows: slice | Tensor) -> Tensor | np.ndarray:
        """Return the labels at some rows."""
        if isinstance(self.labels, np.ndarray):
            return self.labels[rows if isinstance(rows, slice) else rows.cpu().numpy()]
        assert self.labels is not None
        return self.labels[rows]


class IncompleteDataset(MultimodalBaseDataset):
    """Samples some of whose modalities, or single cells of them, are missing.

    As ``MultimodalBaseDataset``, with ``masks`` and ``cells`` beside ``data``. What ``data`` holds
    where a modality or a cell is not observed, NaN included, is kept and never looked at.

    Args:
        data: as for ``MultimodalBaseDataset``.
        masks: modality -> (n,) bool, or numbers that are 0 or 1; True = observed. A modality
            without a mask is observed everywhere.
        labels: as for ``MultimodalBaseDataset``.
        cells: modality -> (n, D) bool, the shape of its data, or numbers that are 0 or 1; True =
            there. For vectors alone; a modality without has all its cells. A sample without any
            cell of a modality has not observed it.
        covariates: as for ``MultimodalBaseDataset``.

    Attributes:
        masks: modality -> (n,) bool tensor, for every modality.
        cells: modality -> (n, D) bool tensor, for the vectors among those given.

    Raises:
        KeyError: where a mask names a modality that data does not hold.
        TypeError: as for ``MultimodalBaseDataset``, and where masks or cells are not a mapping.
        ValueError: likewise, but for NaN and infinity in observed entries only; where a mask has
            another shape, a sample has nothing observed, or single cells of images, sequences or
            other arrays are missing.

    Example:
        >>> import torch
        >>> from cmvae import IncompleteDataset
        >>> data = {"a": torch.zeros(2, 3), "b": torch.ones(2, 1)}
        >>> IncompleteDataset(data, {"b": [True, False]})[1].masks["b"]
        tensor(False)
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        masks: Mapping[str, Any],
        labels: Any = None,
        cells: Mapping[str, Any] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> None:
        self._store(data, labels, covariates)
        given = {} if cells is None else cells
        check_masks(masks)
        check_masks(given, "cells")
        check_known(masks, self.modalities, "masks")
        check_known(given, self.modalities, "cells")
        n, whole = len(self), torch.ones(len(self), dtype=torch.bool)
        self.masks = {name: as_mask(masks.get(name, whole), name, n) for name in self.modalities}
        self.cells: dict[str, Any] = {
            name: own
            if isinstance(own, CellsReadLater)
            else as_cells(own, name, self.data[name].shape)
            for name, own in given.items()
        }
        for name, own in self.cells.items():
            there = own.any_cell() if isinstance(own, CellsReadLater) else any_cell(own)
            self.masks[name] = self.masks[name] & there.to(self.masks[name].device)
        # What is no vector lacks all its cells or none, which the masks of samples say.
        self.cells = {name: own for name, own in self.cells.items() if len(own.shape) == 2}
        check_observed(torch.stack([mask.cpu() for mask in self.masks.values()]), self.modalities)
        self._refuse_nonfinite(MARK)
        self.is_checked = True


def dataset_of(
    data: Mapping[str, Any],
    labels: Any = None,
    masks: Mapping[str, Any] | None = None,
    cells: Mapping[str, Any] | None = None,
    covariates: Mapping[str, Any] | None = None,
) -> MultimodalBaseDataset:
    """Return a dataset, an ``IncompleteDataset`` where there are masks of samples or cells."""
    if masks or cells:
        return IncompleteDataset(data, masks or {}, labels, cells, covariates)
    return MultimodalBaseDataset(data, labels, covariates)


def _as_labels(labels: Any, n_samples: int) -> Tensor | np.ndarray:
    """Return labels as a tensor if they are numbers, as an array of ``str`` if they are strings."""
    array = None if isinstance(labels, Tensor) else np.asarray(labels)
    if array is not None and array.dtype.kind in "OUT":
        if not all(isinstance(label, str) for label in array.flat):
            raise TypeError("labels: expected all numbers or all strings, got a mixture or others")
        if array.ndim != 1:
            raise ValueError(f"labels: expected one string per sample, got shape {array.shape}")
        kept: Tensor | np.ndarray = array.astype(np.str_)
    else:
        kept = as_tensor(labels, "labels")
    if len(kept) != n_samples:
        raise ValueError(f"labels: expected {n_samples}, one per sample, got {len(kept)}")
    return kept


def _as_row(index: Any, n_samples: int) -> int | None:
    """Return an integer as an index in [-n_samples, n_samples), None for what is no integer."""
    if isinstance(index, bool | np.bool_):
        raise TypeError(f"an index must not be a single boolean, got {shown(index)}")
    if isinstance(index, Tensor | np.ndarray) and index.ndim:
        return None
    try:
        row = operator.index(index)
    except TypeError:
        return None
    if not -n_samples <= row < n_samples:
        raise IndexError(f"index {row} is out of range for {n_samples} samples")
    return row


def _as_rows(index: Any, n_samples: int) -> slice | Tensor:
    """Return a slice with a positive step, or (B,) int64 indices in [-n_samples, n_samples)."""
    if isinstance(index, slice):
        span = range(*index.indices(n_samples))
        return torch.tensor(span, dtype=torch.int64) if span.step < 0 else index
    if not isinstance(index, list | range | np.ndarray | Tensor):
        kinds = "an integer, slice, range, list, array or tensor"
        raise TypeError(f"an index must be {kinds}, got {type(index).__name__}")
    if isinstance(index, list | range) and not index:
        return torch.zeros(0, dtype=torch.int64)
    rows = index if isinstance(index, Tensor) else torch.from_numpy(np.array(index))
    if rows.is_floating_point() or rows.is_complex():
        raise TypeError(f"an index must hold integers or booleans, got dtype {rows.dtype}")
    if rows.dtype == torch.bool:
        got, wanted = tuple(rows.shape), (n_samples,)
        if got != wanted:
            raise IndexError(f"a boolean index must have shape {wanted}, got {got}")
        return rows.nonzero().flatten()
    if rows.ndim != 1:
        raise IndexError(f"an index must have one axis, got shape {tuple(rows.shape)}")
    rows = rows.to(torch.int64)
    outside = (rows < -n_samples) | (rows >= n_samples)
    if outside.any():
        raise IndexError(f"index {int(rows[outside][0])} is out of range for {n_samples} samples")
    return rows
