"""Samples of several modalities, which of them are observed, and batches of them."""

from cmvae.data.batches import Batch, Inputs, iterate, read_inputs
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.data.masks import random_masks

__all__ = [
    "Batch",
    "IncompleteDataset",
    "Inputs",
    "MultimodalBaseDataset",
    "iterate",
    "random_masks",
    "read_inputs",
]
