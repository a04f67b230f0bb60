"""Data that are ready to use."""

from cmvae.datasets.cubicc import cubicc
from cmvae.datasets.mfeat import load_mfeat, mfeat
from cmvae.datasets.polymnist import compose_polymnist, read_polymnist
from cmvae.datasets.polymnist_5k import polymnist_5k

__all__ = ["compose_polymnist", "cubicc", "load_mfeat", "mfeat", "polymnist_5k", "read_polymnist"]
