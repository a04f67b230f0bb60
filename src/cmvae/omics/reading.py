"""Cells of a MuData or an AnnData as a dataset."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.arrays import is_sparse
from cmvae.base.extras import from_extra
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.cell_places import TYPES, cells_of, feature_types
from cmvae.files.ids import match_ids
from cmvae.files.join import JoinedRows
from cmvae.omics.objects import (
    check_anndata,
    check_mudata,
    check_unique,
    known_modalities,
    known_places,
    tell_lacking,
)
from cmvae.omics.obs import covariates_of_cells, labels_of_cells
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.cells import CellCodec
from cmvae.preprocessing.covariates import learn_covariates, warn_of_covariates
from cmvae.preprocessing.differences import Differences


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
            lacks are unobserved, with a warning.

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
    check_mudata(mdata)
    found = _read(mdata, modalities, layers, likelihoods, labels, covariates, coding)
    if coding is not None:
        tell_lacking(mdata, coding)
    return found


def from_anndata(
    adata: Any,
    modalities: Mapping[str, str | None] | None = None,
    *,
    likelihoods: Mapping[str, str] | None = None,
    labels: str | None = None,
    covariates: Mapping[str, str] | Sequence[str] = (),
    coding: Preprocessing | None = None,
) -> OmicsData:
    """Read the cells of an AnnData, whose modalities are places in it; it is not changed.

    A place is the name of a layer, ``'raw'``, ``'obsm:KEY'`` (an array or a DataFrame),
    ``'feature_types:TYPE'`` for the variables of one type, or ``'X'``, which None is too. A cell
    all of whose values are NaN in a place lacks that modality. All else is as in
    :func:`from_mudata`.

    Args:
        adata: An ``anndata.AnnData``, a view of one, or one that is backed.
        modalities: Name to place; None: where ``.var["feature_types"]`` has several types, each of
            them, ``'rna'``, ``'protein'`` and ``'atac'`` being those that 10x names; else ``X``,
            as ``'rna'``.
        likelihoods: Modality to likelihood, as there.
        labels: Column of ``adata.obs`` with a label of every cell.
        covariates: Columns of ``adata.obs`` that are not to make clusters, as there.
        coding: That of an earlier call, of :func:`from_mudata` too; modalities whose place, or
            none of whose variables, is there are unobserved.

    Raises:
        TypeError: For what is no AnnData.
        KeyError: For a place that is not there, with those that are.
        ValueError: As in :func:`from_mudata`.

    Example:
        >>> places = {"rna": "counts", "protein": "obsm:protein_expression"}  # doctest: +SKIP
        >>> cells = from_anndata(adata, places, covariates=["batch"])  # doctest: +SKIP
    """
    check_anndata(adata)
    if modalities is not None and not isinstance(modalities, Mapping):
        got = type(modalities).__name__
        raise TypeError(f"modalities: expected a mapping of names to places, got {got}")
    if coding is None:
        places = dict(default_places(feature_types(adata)) if modalities is None else modalities)
        if not places:
            raise ValueError("modalities: expected at least one name and its place, got none")
        named = list(places)
    else:
        if modalities is not None:
            raise ValueError("coding is given, which holds the places: leave modalities out")
        places, named = known_places(adata, coding), None
    # A MuData of one AnnData under several names.
    cells = SimpleNamespace(
        mod=dict.fromkeys(places, adata), obs=adata.obs, obs_names=adata.obs_names
    )
    layers = None if coding is not None else places
    return _read(cells, named, layers, likelihoods, labels, covariates, coding)


def default_places(types: Sequence[str]) -> dict[str, str | None]:
    """Return the modalities of an AnnData by its feature types: name to place."""
    if len(types) < 2:
        return {"rna": None}
    known = {"Gene Expression": "rna", "Antibody Capture": "protein", "Peaks": "atac"}
    return {known.get(own, own): f"{TYPES}:{own}" for own in types}


def _read(
    cells: Any,
    modalities: Sequence[str] | None,
    layers: Mapping[str, str | None] | None,
    likelihoods: Mapping[str, str] | None,
    labels: str | None,
    covariates: Mapping[str, str] | Sequence[str],
    coding: Preprocessing | None,
) -> OmicsData:
    """Read what has ``mod``, ``obs`` and ``obs_names``, as a MuData has."""
    codecs = known_modalities(cells, modalities, layers, likelihoods, coding)
    places = _joined({name: _places(cells, name) for name in codecs}, cells.obs_names)
    kept = np.any([rows >= 0 for rows in places.values()], axis=0)
    learned, data, masks = {}, {}, {}
    for name, codec in codecs.items():
        layer = (layers or {}).get(name) if codec is None else codec.layer
        rows = cells_of(cells.mod[name], layer, f"modality {name!r}")
        learned[name] = codec or CellCodec.learn(rows, name, (likelihoods or {}).get(name))
        own, met = places[name][kept], Differences(name)
        values, observed = learned[name].encode(met.matched(rows, learned[name]), name)
        for remark in met.settle(learned[name]):
            warnings.warn(remark, stacklevel=2)
        data[name] = _in_order(values, own)
        masks[name] = (own >= 0) & observed[own]
    given = covariates_of_cells(cells, covariates, places)
    known = {name: column[kept] for name, column in given.items()}
    own_labels = None if labels is None else labels_of_cells(cells, labels, kept)
    names, found = tuple(map(str, cells.obs_names[kept])), coding
    if found is None:
        codings = learn_covariates(known)
        known = {name: column for name, column in known.items() if name in codings}
        found = Preprocessing(codecs=dict(learned), covariates=codings)
    joined = JoinedRows(list(names), data, masks, covariates=known)
    if coding is None:
        warn_of_covariates(found.covariates, joined)
    return OmicsData(found.dataset(joined, own_labels), names, found)


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


def _places(mdata: Any, name: str) -> np.ndarray:
    """Return for every cell its row in a modality, (n,) int64, −1 where it is absent."""
    names = mdata.mod[name].obs_names
    check_unique(f"modality {name!r}", names)
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


def _in_order(values: Any, rows: np.ndarray) -> Any:
    """Return values in the order of the cells, (n,) of their rows; absent cells hold anything."""
    if np.array_equal(rows, np.arange(values.shape[0])):
        return values
    if not is_sparse(values):
        return values[rows]
    from scipy.sparse import csr_array  # slow to import

    seen = rows >= 0
    ones, bounds = np.ones(int(seen.sum()), dtype=values.dtype), np.append(0, np.cumsum(seen))
    chosen: Any = csr_array((ones, rows[seen], bounds), shape=(len(rows), values.shape[0]))
    return chosen @ values
