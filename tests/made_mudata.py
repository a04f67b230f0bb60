"""A made-up MuData of three groups, some cells of which lack a modality."""

import warnings
from contextlib import contextmanager

import anndata
import mudata
import numpy as np
import pandas as pd
import scipy.sparse

N, GENES, PROTEINS = 90, 30, 6
CELLS = np.array([f"c{i:02d}" for i in range(N)])
GROUPS = np.arange(N) % 3
RNA, PROTEIN = np.arange(N) < 80, np.arange(N) >= 6  # which cells have the modality


def counts(features, seed):
    """Return counts of all cells, (N, features) float32; cell 20 has none."""
    rng = np.random.default_rng(seed)
    rates = np.where(np.arange(features) % 3 == np.arange(3)[:, None], 12.0, 1.5)
    values = rng.poisson(rates[GROUPS] * rng.lognormal(0, 0.2, (N, 1))).astype(np.float32)
    values[20] = 0
    return values


RNA_COUNTS, PROTEIN_COUNTS = counts(GENES, 0), counts(PROTEINS, 1)


@contextmanager
def plain_strings():
    """Keep strings as objects: anndata below 0.13 cannot write those of pandas 3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # mudata announces its next version at every step
        with pd.option_context("future.infer_string", False):
            yield


def as_adata(values, cells, prefix, **layers):
    var = pd.DataFrame(index=[f"{prefix}{i}" for i in range(values.shape[1])])
    obs = pd.DataFrame(
        {"batch": ["u", "v"] * (len(cells) // 2) + ["u"] * (len(cells) % 2)}, index=cells
    )
    return anndata.AnnData(values, obs=obs, var=var, layers=layers)


def make_mudata():
    """Return counts as RNA, and as protein log counts with the counts by columns as ``raw``."""
    protein = PROTEIN_COUNTS[PROTEIN][::-1]  # in another order than the cells of RNA
    with plain_strings():
        mdata = mudata.MuData(
            {
                "rna": as_adata(scipy.sparse.csr_matrix(RNA_COUNTS[RNA]), CELLS[RNA], "g"),
                "protein": as_adata(
                    scipy.sparse.csr_matrix(np.log1p(protein)),
                    CELLS[PROTEIN][::-1],
                    "p",
                    raw=scipy.sparse.csc_matrix(protein),
                    dense=np.log1p(protein),
                ),
            }
        )
        mdata.obs["group"] = pd.Categorical(
            [f"group {int(name[1:]) % 3}" for name in mdata.obs_names]
        )
        mdata.obs["donor"] = [None if name == "c05" else "d" for name in mdata.obs_names]
    return mdata


def write_mudata(path, make=make_mudata):
    """Write the MuData that a function makes; return the path."""
    with plain_strings():
        make().write(path)
    return path


def read_mudata(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mudata.read_h5mu(path)
