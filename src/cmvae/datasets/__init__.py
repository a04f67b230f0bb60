"""Data that are ready to use."""

from cmvae.datasets.mfeat import load_mfeat, mfeat

__all__ = ["load_mfeat", "mfeat"]
