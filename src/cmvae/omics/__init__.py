"""MuData and AnnData in and out: cells as a dataset, and what a model finds back into them."""

from cmvae.omics.reading import OmicsData, from_anndata, from_mudata, read_h5mu
from cmvae.omics.writing import account_of, to_anndata, to_mudata

__all__ = [
    "OmicsData",
    "account_of",
    "from_anndata",
    "from_mudata",
    "read_h5mu",
    "to_anndata",
    "to_mudata",
]
