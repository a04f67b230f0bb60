"""Samples of several modalities, which of them are observed, and batches of them."""

from cmvae.data.batches import Batch, Inputs, iterate, read_inputs
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.data.masks import random_masks
from cmvae.data.stored import ByteImages, SparseRows, StandardisedRows, Stored

__all__ = [
    "Batch",
    "ByteImages",
    "IncompleteDataset",
    "Inputs",
    "MultimodalBaseDataset",
    "SparseRows",
    "StandardisedRows",
    "Stored",
    "iterate",
    "random_masks",
    "read_inputs",
]
