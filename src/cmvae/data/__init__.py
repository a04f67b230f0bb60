"""Samples of several modalities, which of them are observed, and batches of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cmvae.data.batches import Batch, Inputs, iterate, read_inputs
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.data.masks import random_masks
from cmvae.data.stored import ByteImages, SparseRows, StandardisedRows, Stored

if TYPE_CHECKING:
    from cmvae.omics import OmicsData, from_mudata, read_h5mu, to_mudata

__all__ = [
    "Batch",
    "ByteImages",
    "IncompleteDataset",
    "Inputs",
    "MultimodalBaseDataset",
    "OmicsData",
    "SparseRows",
    "StandardisedRows",
    "Stored",
    "from_mudata",
    "iterate",
    "random_masks",
    "read_h5mu",
    "read_inputs",
    "to_mudata",
]

# Loaded when first asked for: SciPy, pandas and scikit-learn are slow to import.
_OMICS = ("OmicsData", "from_mudata", "read_h5mu", "to_mudata")


def __getattr__(name: str) -> Any:
    if name not in _OMICS:
        raise AttributeError(f"module 'cmvae.data' has no attribute {name!r}")
    return getattr(import_module("cmvae.omics"), name)
