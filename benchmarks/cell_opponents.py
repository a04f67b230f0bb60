"""Embed cells by a model of scvi-tools: run by cell_peers.py, in an environment that has it.

Usage: python benchmarks/cell_opponents.py METHOD CELLS.h5mu SEED OUT.npz

Needs scvi-tools alone, not this package. Both models get the counts, the batch, and their own
defaults. totalVI knows a batch without proteins, but no cell without: cells that lack them are a
batch of their own. MultiVI takes a cell whose
proteins are all 0 for one without.
"""

import sys
import time
import warnings

import anndata
import mudata
import numpy as np
import pandas as pd
import scipy.sparse as sp
import scvi
import torch

warnings.simplefilter("ignore")


def read(path: str):
    """Return RNA as AnnData with the batch, proteins (n, P), 0 where lacking, and who has them."""
    whole = mudata.read_h5mu(path)
    names = whole.obs_names
    rna = whole["rna"][names].copy()
    proteins = whole["protein"].to_df().reindex(names)
    has = proteins.notna().all(axis=1).to_numpy()
    rna.obs["batch"] = whole.obs["batch"].astype(str).to_numpy()
    return rna, proteins.fillna(0), has


def total_vi(rna, proteins, has):
    """Train totalVI."""
    rna.obsm["protein_expression"] = proteins
    own = rna.obs["batch"] + pd.Series(np.where(has, "", " without"), rna.obs_names)
    rna.obs["own"] = pd.Categorical(own)
    scvi.model.TOTALVI.setup_anndata(
        rna, batch_key="own", protein_expression_obsm_key="protein_expression"
    )
    model = scvi.model.TOTALVI(rna)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model


def multi_vi(rna, proteins, _):
    """Train MultiVI on RNA and proteins, without peaks."""
    marks = anndata.AnnData(
        sp.csr_matrix(proteins.to_numpy(np.float32)),
        rna.obs[["batch"]].copy(),
        pd.DataFrame(index=proteins.columns),
    )
    whole = mudata.MuData({"rna": rna, "protein": marks})
    whole.obs["batch"] = rna.obs["batch"]
    scvi.model.MULTIVI.setup_mudata(
        whole, batch_key="batch", modalities={"rna_layer": "rna", "protein_layer": "protein"}
    )
    model = scvi.model.MULTIVI(whole)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model


def main() -> None:
    """Train; write the embedding, CPU seconds, and what totalVI imputes."""
    method, path, seed, out = sys.argv[1:]
    torch.set_num_threads(1)
    scvi.settings.seed = int(seed)
    start = time.process_time()
    rna, proteins, has = read(path)
    model = {"totalVI": total_vi, "MultiVI": multi_vi}[method](rna, proteins, has)
    points = model.get_latent_representation()
    seconds = time.process_time() - start
    names = np.array(list(rna.obs_names), dtype=str)
    imputed = np.zeros(0)
    if method == "totalVI":
        # As if measured in a batch that has proteins.
        batches = sorted(set(rna.obs["own"].astype(str)[has]))
        found = model.get_normalized_expression(
            transform_batch=batches, n_samples=25, return_mean=True, include_protein_background=True
        )
        imputed = np.asarray(found[1])
    np.savez(out, names=names, points=points, seconds=seconds, imputed=imputed)


if __name__ == "__main__":
    main()
