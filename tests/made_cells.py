"""Cells of three kinds, some of them without one of their modalities, and a model of them."""

import anndata
import mudata
import numpy as np
import pandas as pd
import scipy.sparse
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.omics import from_mudata

N = 90
GROUPS = np.arange(N) % 3
NAMES = [f"c{i}" for i in range(N)]


def as_adata(values, names, variables, **layers):
    """Return an AnnData of values, with the names of cells and variables."""
    obs, var = (pd.DataFrame(index=list(own)) for own in (names, variables))
    return anndata.AnnData(values, obs, var, layers=layers)


def cells_of(covariates=()):
    """Return cells of three kinds: counts, of which g0 marks the first, peaks, real numbers."""
    rng = np.random.default_rng(0)
    shares = np.full((3, 5), 0.2)
    shares[0, 0] = 2.0
    rates = shares[GROUPS] * rng.lognormal(3, 0.5, (N, 1))
    rna = scipy.sparse.csr_matrix(rng.poisson(rates).astype(np.float32))
    peaks = (rng.random((N, 3)) < np.where(GROUPS == 1, 0.9, 0.3)[:, None]).astype(np.float32)
    image = rng.normal(5, 2, (N - 6, 2)) + (GROUPS == 2)[6:, None]
    mdata = mudata.MuData(
        {
            "rna": as_adata(rna, NAMES, [f"g{i}" for i in range(5)]),
            "atac": as_adata(peaks, NAMES, [f"p{i}" for i in range(3)]),
            "image": as_adata(image, NAMES[6:], ["size", "shape"]),
        }
    )
    mdata.obs["batch"] = np.array(["a", "b"])[np.arange(N) % 2]
    return mdata, from_mudata(mdata, covariates=covariates)


def model_of(cells):
    torch.manual_seed(0)
    own = {"latent_dim": 3, "modalities_specific_dim": 2, "hidden_dims": (8,)}
    model = CMVAE(CMVAEConfig(**cells.coding.settings, **own))
    if model.covariates is not None:
        model.fit_covariates(cells.dataset)
    return model
