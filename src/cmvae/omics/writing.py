"""What a model finds of cells, written into their MuData or AnnData."""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from cmvae._version import __version__
from cmvae.base.arguments import positive_int
from cmvae.base.words import quoted
from cmvae.clusters.evidence import NumberEvidence
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.mudata_results import cell_rows, placed, placed_results
from cmvae.omics.objects import check_anndata, check_mudata
from cmvae.omics.reading import OmicsData
from cmvae.preprocessing import Preprocessing

if TYPE_CHECKING:
    from cmvae.models.cmvae import CMVAE


def to_mudata(
    mdata: Any,
    model: "CMVAE",
    cells: OmicsData,
    *,
    key: str = "cmvae",
    rule: str = "joint",
    impute: Sequence[str] = (),
    evidence: NumberEvidence | None = None,
    copy: bool = False,
    batch_size: int = 1024,
) -> Any:
    """Write a model's embedding and clusters of cells into their MuData, and nothing else.

    - ``.obsm["X_cmvae"]``: the mean of q(z|X), float32;
    - ``.obs["cmvae_cluster"]``: the cluster, as categorical of the model's numbers, of which those
      without cells are left out (:func:`cmvae.number_clusters` makes 0 the largest);
    - ``.obs["cmvae_probability"]``: its probability;
    - ``.obsm["cmvae_probabilities"]``: those of all active clusters, in the order of their numbers;
    - ``.obsm["cmvae_MODALITY"]``, of the modalities that ``impute`` names: their values in the
      units of the data, a DataFrame of their variables; what is observed as it is, the rest the
      mean that the model expects (``CMVAE.impute``), of counts for a cell of median total;
    - ``.uns["cmvae"]``: ``config`` and ``coding`` (JSON), ``rule``, ``versions``,
      ``active_clusters`` (their numbers), ``weights`` (π of all clusters) and ``evidence``.

    Cells of ``mdata`` that ``cells`` does not have get NaN.

    Args:
        mdata: The MuData that ``cells`` was read from, or one with at least these cells.
        model: The trained model.
        cells: What :func:`from_mudata` returned.
        key: What the names start with, in place of ``cmvae``.
        rule: The assignment rule of ``CMVAE.predict_clusters``.
        impute: Modalities whose values are completed.
        evidence: What spoke for the number of clusters, to be kept: of a run, say
            (``CMVAEClusterer.number_evidence_``).
        copy: Write into a copy instead.
        batch_size: So many cells are made dense at a time.

    Returns:
        The copy, or None where ``mdata`` itself was written into.

    Raises:
        ImportError: If mudata is not installed.
        TypeError: For what is not a MuData.
        KeyError: For modalities to impute that the model does not know.
        ValueError: For cells that ``mdata`` does not have, cells named twice, or an unknown rule.
    """
    check_mudata(mdata)
    return _write(mdata, "mdata", model, cells, key, rule, impute, evidence, copy, batch_size)


def to_anndata(
    adata: Any,
    model: "CMVAE",
    cells: OmicsData,
    *,
    key: str = "cmvae",
    rule: str = "joint",
    impute: Sequence[str] = (),
    evidence: NumberEvidence | None = None,
    copy: bool = False,
    batch_size: int = 1024,
) -> Any:
    """Write a model's embedding and clusters of cells into their AnnData, as :func:`to_mudata`.

    Args:
        adata: The AnnData that ``cells`` was read from, or one with at least these cells.
        model: The trained model.
        cells: What :func:`from_anndata` returned.
        key: What the names start with.
        rule: The assignment rule.
        impute: Modalities whose values are completed.
        evidence: What spoke for the number of clusters.
        copy: Write into a copy instead.
        batch_size: So many cells are made dense at a time.

    Returns:
        The copy, or None where ``adata`` itself was written into.

    Raises:
        ImportError: If anndata is not installed.
        TypeError: For what is not an AnnData.
        KeyError, ValueError: As there.
    """
    check_anndata(adata)
    return _write(adata, "adata", model, cells, key, rule, impute, evidence, copy, batch_size)


def _write(
    given: Any,
    name: str,
    model: "CMVAE",
    cells: OmicsData,
    key: str,
    rule: str,
    impute: Sequence[str],
    evidence: NumberEvidence | None,
    copy: bool,
    batch_size: int,
) -> Any:
    """Write into what has ``obs_names``, ``obs``, ``obsm`` and ``uns``."""
    chosen = [impute] if isinstance(impute, str) else list(impute)
    # Of all that the model knows: cells may lack a modality altogether.
    if unknown := [own for own in chosen if own not in cells.coding.codecs]:
        there = quoted(cells.coding.codecs)
        raise KeyError(f"impute: unknown modalities {quoted(unknown)}; there are {there}")
    cell_rows(given.obs_names, cells.obs_names, name)
    size = positive_int("batch_size", batch_size)
    found = _assigned(model, cells.dataset, rule, size)
    frames = {own: _completed(model, cells, own, size) for own in chosen}
    target = given.copy() if copy else given
    # Copies of views may be in another order.
    rows = cell_rows(target.obs_names, cells.obs_names, name)
    clusters, probabilities, embedding = found
    taken = probabilities[np.arange(len(clusters)), clusters]
    columns, values = placed_results(rows, target.n_obs, clusters, taken, embedding)
    active = model.active_clusters.nonzero().flatten().cpu().numpy()
    target.obsm[f"X_{key}"] = values
    target.obsm[f"{key}_probabilities"] = placed(rows, target.n_obs, probabilities[:, active])
    for own, frame in frames.items():
        whole = placed(rows, target.n_obs, frame.to_numpy())
        # Of objects: there are versions of anndata that cannot write the strings of pandas 3.
        names = pd.Index(frame.columns, dtype=object)
        target.obsm[f"{key}_{own}"] = pd.DataFrame(whole, target.obs_names, names)
    for own, column in columns.items():
        target.obs[f"{key}_{own}"] = column
    target.uns[key] = account_of(model, cells.coding, rule, evidence)
    return target if copy else None


@torch.no_grad()
def _assigned(
    model: "CMVAE", dataset: IncompleteDataset, rule: str, batch_size: int
) -> list[np.ndarray]:
    """Return cluster (n,), probabilities (n, C) and embedding (n, d), some cells at a time."""
    parts = []
    for start in range(0, len(dataset), batch_size):
        # Made dense once, for both.
        batch = dataset.batch(range(start, min(start + batch_size, len(dataset))))
        found = model.predict_clusters(batch, rule=rule)
        z = model.encode(batch, return_mean=True).z[:, 0]
        parts.append((found.clusters, found.probabilities, z))
    return [torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True)]


@torch.no_grad()
def _completed(model: "CMVAE", cells: OmicsData, modality: str, batch_size: int) -> pd.DataFrame:
    """Return the values of a modality of all cells, in the units of the data."""
    parts = []
    for start in range(0, len(cells.dataset), batch_size):
        batch = cells.dataset.batch(range(start, min(start + batch_size, len(cells.dataset))))
        values = model.impute(batch)[modality].cpu().numpy()
        parts.append(cells.coding.restore(modality, values))
    names = cells.coding.codecs[modality].names
    return pd.DataFrame(np.concatenate(parts), cells.obs_names, names)


def account_of(
    model: "CMVAE", coding: Preprocessing, rule: str, evidence: NumberEvidence | None
) -> dict[str, Any]:
    """Return what the results came from, of kinds that HDF5 can hold."""
    versions = {
        "cmvae": __version__,
        "torch": str(torch.__version__),
        **{name: version(name) for name in ("anndata", "mudata")},
    }
    account: dict[str, Any] = {
        "config": model.model_config.to_json(),
        "coding": coding.to_json(),
        "rule": rule,
        "versions": versions,
        "active_clusters": model.active_clusters.nonzero().flatten().cpu().numpy(),
        "weights": model.pc_params.detach().double().cpu().numpy(),
    }
    if evidence is not None:
        known = {name: value for name, value in asdict(evidence).items() if value is not None}
        lists = {"numbers": np.int64, "scores": np.float64}
        arrays = {name: np.array(known[name], dtype=kind) for name, kind in lists.items()}
        account["evidence"] = known | arrays
    return account
