"""MuData in and out: modalities and layers as a dataset, embedding and clusters back into it."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from scipy.sparse import csr_array

from cmvae._version import __version__
from cmvae.base.arguments import positive_int
from cmvae.base.arrays import is_sparse
from cmvae.base.extras import from_extra
from cmvae.base.words import listed, quoted
from cmvae.clusters.evidence import NumberEvidence
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.ids import match_ids
from cmvae.files.join import JoinedRows
from cmvae.files.mudata import CellRows
from cmvae.files.mudata_results import cell_rows, placed_results
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.cells import LIKELIHOODS, CellCodec
from cmvae.preprocessing.covariates import learn_covariates, warn_of_covariates
from cmvae.preprocessing.differences import Differences

if TYPE_CHECKING:
    from cmvae.models.cmvae import CMVAE


@dataclass(frozen=True)
class OmicsData:
    """Cells of a MuData as a model takes them.

    Attributes:
        dataset: The cells, with masks of the modalities they have; sparse modalities stay sparse.
        obs_names: The cells' names, in the order of the dataset.
        coding: How the modalities became numbers; ``coding.settings`` are arguments of
            ``CMVAEConfig``.
    """

    dataset: IncompleteDataset
    obs_names: tuple[str, ...]
    coding: Preprocessing

    @property
    def var_names(self) -> dict[str, tuple[str, ...]]:
        """Modality to the names of its variables, in the order of the dataset."""
        return {name: tuple(self.coding.codecs[name].names) for name in self.dataset.data}


def from_mudata(
    mdata: Any,
    modalities: Sequence[str] | None = None,
    *,
    layers: Mapping[str, str | None] | None = None,
    likelihoods: Mapping[str, str] | None = None,
    labels: str | None = None,
    covariates: Mapping[str, str] | Sequence[str] = (),
    coding: Preprocessing | None = None,
) -> OmicsData:
    """Read the cells of a MuData; it is not changed.

    The cells are those that any of the modalities has, in the order of ``mdata``; a cell that one
    of them lacks is not observed there. Sparse matrices, those of files opened with ``backed`` too,
    are kept as CSR and become dense a batch at a time. Names of one cell that modalities spell in
    different ways (``AAAC-1``, ``AAAC``) are joined with a warning, where this is one to one, under
    the first of them: see :func:`cmvae.files.ids.match_ids`.

    The likelihood follows from the values: whole numbers of at least 0 are counts,
    ``'negative_binomial'`` with the cell's total as library size; only 0 and 1 ``'bernoulli'``; all
    others are taken for normalised, ``'normal'`` with a learned scale, each variable standardised
    over the cells that have the modality. NaN is a missing value, in arrays alone:
    ``CMVAEConfig(missing_cells=list(dataset.cells))`` lets encoders see which.

    Args:
        mdata: A ``mudata.MuData`` whose modalities share cells (``axis=0``), or a view of one.
        modalities: Names of the modalities to read; None: all.
        layers: Modality to layer; ``X`` where none is given.
        likelihoods: Modality to ``'negative_binomial'``, ``'poisson'``, ``'bernoulli'``,
            ``'normal'`` or ``'laplace'``, where the values shall not decide. The last two are
            standardised.
        labels: Column of ``mdata.obs`` with a label of every cell.
        covariates: What is not to make clusters, such as a batch: columns of ``mdata.obs``, or
            ``MODALITY:COLUMN`` of that of a modality; a mapping gives them names. Texts and few
            whole numbers are categories, others numbers; a cell without a value is drawn one.
        coding: That of an earlier call: these cells are then read in the same way, for the same
            model. Variables are found by name, others passed over, with a warning; those that
            ``mdata`` lacks are missing cells, which makes the modality dense; modalities that it
            lacks are unobserved.

    Raises:
        ImportError: If mudata is not installed.
        TypeError: For what is not a MuData, or values that are no numbers.
        KeyError: For a modality, layer or column that is not there, with those that are.
        ValueError: For cells named twice, names that match in another spelling and not one to one,
            an empty modality, infinity, NaN in a sparse matrix, cells of which nothing is observed,
            values that the likelihood does not allow, whole numbers some of which are negative
            (name their likelihood), cells without a label, a likelihood that is unknown, and with
            a ``coding`` a category that was not learned, variables named twice, and fewer than
            half of those that were learned.

    Example:
        >>> mdata = read_h5mu("cells.h5mu")  # doctest: +SKIP
        >>> cells = from_mudata(mdata, layers={"rna": "counts"})  # doctest: +SKIP
        >>> own = {"modalities_specific_dim": 5, **cells.coding.settings}  # doctest: +SKIP
        >>> config = CMVAEConfig(**own)  # doctest: +SKIP
        >>> model = CMVAE(config)  # doctest: +SKIP
        >>> cmvae.fit(model, cells.dataset, warmup_epochs=50)  # doctest: +SKIP
        >>> to_mudata(mdata, model, cells)  # doctest: +SKIP
    """
    _check_mudata(mdata)
    codecs = _known(mdata, modalities, layers, likelihoods, coding)
    places = _joined({name: _places(mdata, name) for name in codecs}, mdata.obs_names)
    kept = np.any([rows >= 0 for rows in places.values()], axis=0)
    learned, data, masks = {}, {}, {}
    for name, codec in codecs.items():
        layer = (layers or {}).get(name) if codec is None else codec.layer
        rows = _rows(mdata, name, layer)
        learned[name] = codec or CellCodec.learn(rows, name, (likelihoods or {}).get(name))
        own, met = places[name][kept], Differences(name)
        values, observed = learned[name].encode(met.matched(rows, learned[name]), name)
        for remark in met.settle(learned[name]):
            warnings.warn(remark, stacklevel=2)
        data[name] = _in_order(values, own)
        masks[name] = (own >= 0) & observed[own]
    known = {name: column[kept] for name, column in _covariates(mdata, covariates).items()}
    own_labels = None if labels is None else _labels(mdata, labels, kept)
    names = tuple(map(str, mdata.obs_names[kept]))
    if coding is None:
        codings = learn_covariates(known)
        known = {name: column for name, column in known.items() if name in codings}
        coding = Preprocessing(codecs=dict(learned), covariates=codings)
    found, joined = coding, JoinedRows(list(names), data, masks, covariates=known)
    warn_of_covariates(found.covariates, joined)
    dataset = found.dataset(joined, own_labels)
    return OmicsData(dataset, names, found)


def to_mudata(
    mdata: Any,
    model: "CMVAE",
    cells: OmicsData,
    *,
    key: str = "cmvae",
    rule: str = "joint",
    evidence: NumberEvidence | None = None,
    copy: bool = False,
    batch_size: int = 1024,
) -> Any:
    """Write a model's embedding and clusters of cells into their MuData, and nothing else.

    ``.obsm["X_cmvae"]``: the mean of q(z|X), float32; ``.obs["cmvae_cluster"]``: the cluster, as
    categorical of the model's numbers, of which those without cells are left out;
    ``.obs["cmvae_probability"]``: its probability; ``.uns["cmvae"]``: ``config`` and ``coding``
    (JSON), ``rule``, ``versions``, ``active_clusters`` (their numbers), ``weights`` (π of all
    clusters) and ``evidence``. Cells of ``mdata`` that ``cells`` does not have get NaN.

    Args:
        mdata: The MuData that ``cells`` was read from, or one with at least these cells.
        model: The trained model.
        cells: What :func:`from_mudata` returned.
        key: What the names start with, in place of ``cmvae``.
        rule: The assignment rule of ``CMVAE.predict_clusters``.
        evidence: What spoke for the number of clusters, to be kept: of a run, say
            (``CMVAEClusterer.number_evidence_``).
        copy: Write into a copy instead.
        batch_size: So many cells are made dense at a time.

    Returns:
        The copy, or None where ``mdata`` itself was written into.

    Raises:
        ImportError: If mudata is not installed.
        TypeError: For what is not a MuData.
        ValueError: For cells that ``mdata`` does not have, cells named twice, or an unknown rule.
    """
    _check_mudata(mdata)
    cell_rows(mdata.obs_names, cells.obs_names, "mdata")
    found = _assigned(model, cells.dataset, rule, positive_int("batch_size", batch_size))
    target = mdata.copy() if copy else mdata
    # Copies of views may be in another order.
    rows = cell_rows(target.obs_names, cells.obs_names, "mdata")
    columns, embedding = placed_results(rows, target.n_obs, *found)
    target.obsm[f"X_{key}"] = embedding
    for name, values in columns.items():
        target.obs[f"{key}_{name}"] = values
    target.uns[key] = account_of(model, cells.coding, rule, evidence)
    return target if copy else None


def read_h5mu(path: str | Path, *, backed: bool = False) -> Any:
    """Read an .h5mu file.

    Args:
        path: The file.
        backed: Leave ``X`` of the modalities in the file until it is asked for.

    Returns:
        The ``mudata.MuData``.

    Raises:
        ImportError: If mudata is not installed.
        ValueError: If there is no such file, or it is something else or damaged, naming it.
    """
    mudata = from_extra("mudata", "omics", "MuData")
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        return mudata.read_h5mu(str(path), backed="r" if backed else None)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{path}: not an .h5mu file that can be read: {type(error).__name__}: {reason}"
        ) from error


def _check_mudata(mdata: Any) -> None:
    kind = from_extra("mudata", "omics", "MuData").MuData
    if not isinstance(mdata, kind):
        wrapped = (
            "; give mudata.MuData({'NAME': adata})" if type(mdata).__name__ == "AnnData" else ""
        )
        raise TypeError(f"mdata: expected a mudata.MuData, got {type(mdata).__name__}{wrapped}")
    if mdata.axis == 1:
        raise ValueError(
            "mdata: expected modalities that share cells (axis=0), got axis=1, where they share "
            "variables"
        )
    _check_unique("mdata", mdata.obs_names)


def _known(
    mdata: Any,
    modalities: Sequence[str] | None,
    layers: Mapping[str, str | None] | None,
    likelihoods: Mapping[str, str] | None,
    coding: Preprocessing | None,
) -> dict[str, CellCodec | None]:
    """Return the modalities to read, with their coding where it is known already."""
    available = list(mdata.mod)
    if coding is not None:
        if modalities is not None or layers is not None or likelihoods is not None:
            raise ValueError(
                "coding is given, which holds modalities, layers and likelihoods: leave these out"
            )
        codings: Any = {n: codec for n, codec in coding.codecs.items() if n in available}
        if not codings:
            raise KeyError(
                f"mdata has modalities {quoted(available)}, coding others: {quoted(coding.codecs)}"
            )
        return dict(codings)
    if isinstance(modalities, str):
        raise TypeError(f"modalities: expected a sequence of names, got the string {modalities!r}")
    chosen = available if modalities is None else list(dict.fromkeys(modalities))
    if not chosen:
        raise ValueError(f"modalities: expected at least one of {quoted(available)}, got none")
    for argument, names in (
        ("modalities", chosen),
        ("layers", layers or {}),
        ("likelihoods", likelihoods or {}),
    ):
        allowed = available if argument == "modalities" else chosen
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise KeyError(
                f"{argument}: unknown modalities {quoted(unknown)}; there are {quoted(allowed)}"
            )
    wrong = [name for name in (likelihoods or {}).values() if name not in LIKELIHOODS]
    if wrong:
        raise ValueError(f"likelihoods: expected {quoted(LIKELIHOODS)}, got {quoted(wrong)}")
    return dict.fromkeys(chosen)


def _check_unique(what: str, names: pd.Index) -> None:
    if not names.is_unique:
        repeated = names[names.duplicated()].unique()
        shown = listed(map(repr, repeated))
        raise ValueError(
            f"{what}: the cells {shown} are named more than once; make obs_names unique"
        )


def _places(mdata: Any, name: str) -> np.ndarray:
    """Return for every cell its row in a modality, (n,) int64, −1 where it is absent."""
    names = mdata.mod[name].obs_names
    _check_unique(f"modality {name!r}", names)
    # Names, not mdata.obsmap, which is out of date when a modality was changed.
    strangers = names.difference(mdata.obs_names, sort=False)
    if len(strangers):
        raise ValueError(
            f"modality {name!r}: mdata lacks {len(strangers)} of its cells, such as "
            f"{strangers[0]!r}: mdata.update()"
        )
    return names.get_indexer(mdata.obs_names)


def _joined(places: dict[str, np.ndarray], obs_names: pd.Index) -> dict[str, np.ndarray]:
    """Return places, (n,) each, with cells put together that modalities spell differently."""
    matching = match_ids({name: obs_names[own >= 0].tolist() for name, own in places.items()})
    for remark in matching.remarks:
        warnings.warn(remark, stacklevel=3)
    for name, renamed in matching.renamed.items():
        before, after = (
            obs_names.get_indexer(pd.Index(list(own), dtype=object))
            for own in (renamed, renamed.values())
        )
        places[name][after], places[name][before] = places[name][before], -1
    return places


def _rows(mdata: Any, name: str, layer: str | None) -> CellRows:
    """Return X or a layer of a modality, its cells in its own order."""
    adata = mdata.mod[name]
    if not hasattr(adata, "layers"):
        raise TypeError(f"modality {name!r}: expected an AnnData, got {type(adata).__name__}")
    if layer is not None and layer not in adata.layers:
        raise KeyError(
            f"modality {name!r}: unknown layer {layer!r}; there are {quoted(adata.layers)}"
        )
    values = adata.X if layer is None else adata.layers[layer]
    if values is None:
        raise ValueError(
            f"modality {name!r} has no X; give one of its layers: {quoted(adata.layers)}"
        )
    # A sparse matrix that is still in its file.
    values = values.to_memory() if hasattr(values, "to_memory") else values
    values = values.tocsr() if is_sparse(values) else np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"modality {name!r}: expected numbers, got dtype {values.dtype}")
    if 0 in values.shape:
        raise ValueError(
            f"modality {name!r} is empty: {values.shape[0]} cells, {values.shape[1]} variables"
        )
    return CellRows(values, adata.obs_names, tuple(map(str, adata.var_names)), layer)


def _in_order(values: Any, rows: np.ndarray) -> Any:
    """Return values in the order of the cells, (n,) of their rows; absent cells hold anything."""
    if np.array_equal(rows, np.arange(values.shape[0])):
        return values
    if not is_sparse(values):
        return values[rows]
    seen = rows >= 0
    ones, bounds = np.ones(int(seen.sum()), dtype=values.dtype), np.append(0, np.cumsum(seen))
    chosen: Any = csr_array((ones, rows[seen], bounds), shape=(len(rows), values.shape[0]))
    return chosen @ values


def _labels(mdata: Any, column: str, kept: np.ndarray) -> Any:
    """Return a column of obs as labels of the cells that are kept."""
    if column not in mdata.obs:
        raise KeyError(
            f"labels: mdata.obs has no column {column!r}; "
            f"it has {quoted(map(str, mdata.obs.columns))}"
        )
    labels = mdata.obs[column][kept]
    if labels.isna().any():
        lacking = labels.index[labels.isna()]
        raise ValueError(
            f"labels: {column!r} has no value for {len(lacking)} cells, such as {lacking[0]!r}"
        )
    if pd.api.types.is_numeric_dtype(labels.dtype):
        return np.asarray(labels.tolist())
    return [str(label) for label in labels]


def _covariates(mdata: Any, columns: Mapping[str, str] | Sequence[str]) -> dict[str, np.ndarray]:
    """Return columns of obs by the names of covariates, (n,) of all cells; None where missing."""
    if isinstance(columns, str):
        raise TypeError(f"covariates: expected a list of columns of obs, got {columns!r}")
    named = columns if isinstance(columns, Mapping) else {name: name for name in columns}
    found = {}
    for name, column in named.items():
        modality, _, own = column.partition(":")
        table = mdata.obs
        if own and column not in table and modality in mdata.mod:
            table, column = mdata.mod[modality].obs, own
        if column not in table:
            there = quoted(map(str, table.columns))
            raise KeyError(f"covariates: obs has no column {column!r}; it has {there}")
        values = table[column].reindex(mdata.obs_names)
        found[name] = values.astype(object).where(values.notna(), None).to_numpy()
    return found


@torch.no_grad()
def _assigned(
    model: "CMVAE", dataset: IncompleteDataset, rule: str, batch_size: int
) -> list[np.ndarray]:
    """Return cluster (n,), its probability (n,) and embedding (n, d), some cells at a time."""
    parts = []
    for start in range(0, len(dataset), batch_size):
        # Made dense once, for both.
        batch = dataset.batch(range(start, min(start + batch_size, len(dataset))))
        found = model.predict_clusters(batch, rule=rule)
        probability = found.probabilities.gather(-1, found.clusters[:, None])[:, 0]
        z = model.encode(batch, return_mean=True).z[:, 0]
        parts.append((found.clusters, probability, z))
    return [torch.cat(values).cpu().numpy() for values in zip(*parts, strict=True)]


def account_of(
    model: "CMVAE", coding: Preprocessing, rule: str, evidence: NumberEvidence | None
) -> dict[str, Any]:
    """Return what the results came from, of kinds that HDF5 can hold."""
    versions = {
        "cmvae": __version__,
        "torch": str(torch.__version__),
        "mudata": from_extra("mudata", "omics", "MuData").__version__,
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
