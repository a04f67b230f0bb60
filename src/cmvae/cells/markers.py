"""Markers: the variables in which the cells of a cluster differ from all others, with a test."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.words import SHOWN, quoted, shown
from cmvae.cells.arguments import check_cells, check_names
from cmvae.data.observed import coded_values
from cmvae.metrics.contrasts import adjusted, log_fold_change, welch_test
from cmvae.metrics.moments import Moments
from cmvae.omics import OmicsData
from cmvae.preprocessing.cells import COUNTS, REALS

MARKERS = (
    *("cluster", "modality", "feature", "mean_in", "mean_out", "log2_fold_change"),
    *("p_value", "p_adjusted", "n_in", "n_out"),
)
"""The columns of :func:`markers`."""


def markers(
    cells: OmicsData,
    clusters: Any,
    *,
    modalities: Sequence[str] | None = None,
    library_size: float | None = None,
    batch_size: int = 1024,
) -> pd.DataFrame:
    """Return what sets each cluster apart from all other cells, the most significant first.

    Counts of a cell are scaled to one total first. The means are of these; the fold change is log₂
    (mean_in + ε) / (mean_out + ε) with ε one count in the smaller of the two groups; the test is
    Welch's, of log(1 + count), as ``scanpy.tl.rank_genes_groups`` has it by default. Of binary
    values the means are shares, of others standard units are tested and there is no fold change.
    p-values are adjusted for all variables of a modality (Benjamini and Hochberg, 1995).

    The clusters were found in these cells: a small p orders variables, and does not tell that there
    is a cluster. Cells are read ``batch_size`` at a time, what is sparse stays so.

    Args:
        cells: What :func:`cmvae.omics.from_mudata` returned.
        clusters: A Series by the cells' names, as ``mdata.obs["cmvae_cluster"]``, or n values in
            the order of the cells; cells without a cluster are passed over.
        modalities: Names of the modalities; None: all.
        library_size: Total to scale counts to; None: the median total of the training cells.
        batch_size: So many cells are made dense at a time.

    Returns:
        Columns ``cluster``, ``modality``, ``feature``, ``mean_in``, ``mean_out``,
        ``log2_fold_change``, ``p_value``, ``p_adjusted``, ``n_in``, ``n_out``.

    Raises:
        TypeError: For cells that are none, such as a MuData, and clusters that are no values.
        KeyError: For a modality that ``cells`` does not have.
        ValueError: For clusters of another number of cells, or fewer than two clusters, and for a
            total that is not positive.
    """
    check_cells(cells)
    check_names("modalities", modalities)
    if library_size is not None:
        library_size = positive_float("library_size", library_size)
    names, places = _read_clusters(cells, clusters)
    known = list(cells.dataset.data)
    chosen = known if modalities is None else list(dict.fromkeys(modalities))
    if unknown := [name for name in chosen if name not in known]:
        raise KeyError(f"modalities: unknown {quoted(unknown)}; there are {quoted(known)}")
    size = positive_int("batch_size", batch_size)
    parts = [own for name in chosen for own in _of(cells, name, names, places, library_size, size)]
    found = pd.concat(parts, ignore_index=True)
    far = found["log2_fold_change"].abs().fillna((found["mean_in"] - found["mean_out"]).abs())
    # By cluster, then modality, in the order in which they came.
    keys = [-far, found["p_value"].fillna(2), pd.factorize(found["modality"])[0]]
    order = np.lexsort([*keys, pd.Index(names).get_indexer(found["cluster"])])
    return found.iloc[order].reset_index(drop=True)


def _read_clusters(cells: OmicsData, clusters: Any) -> tuple[list[Any], np.ndarray]:
    """Return the names of clusters, and the place of each cell's among them, −1 of none."""
    n = len(cells.obs_names)
    if isinstance(clusters, pd.Series):
        if not clusters.index.is_unique:
            twice = quoted(clusters.index[clusters.index.duplicated()].unique()[:SHOWN])
            raise ValueError(f"clusters: the cells {twice} are named more than once")
        clusters = clusters.reindex(list(cells.obs_names))
    if isinstance(clusters, torch.Tensor):
        clusters = clusters.cpu().numpy()
    if isinstance(clusters, str) or not hasattr(clusters, "__len__"):
        raise TypeError(f"clusters: expected one for each cell, got {shown(clusters)}")
    if len(clusters) != n:
        raise ValueError(f"clusters: expected those of {n} cells, got {len(clusters)}")
    found = pd.Categorical(clusters).remove_unused_categories()
    if len(found.categories) < 2:
        raise ValueError(
            f"clusters: markers tell clusters apart, got {len(found.categories)} with cells; give "
            "at least two"
        )
    return list(found.categories), np.asarray(found.codes, dtype=np.int64)


def _of(
    cells: OmicsData,
    modality: str,
    names: list[Any],
    places: np.ndarray,
    library_size: float | None,
    size: int,
) -> Iterator[pd.DataFrame]:
    """Yield the lines of each cluster in one modality."""
    codec: Any = cells.coding.codecs[modality]
    features = list(codec.names)
    plain, tested = (Moments(len(names), len(features)) for _ in range(2))
    rows = np.flatnonzero(places >= 0)
    for part, coded in coded_values(cells.dataset, modality, rows, size):
        values, total = codec.readable(coded), library_size or codec.size
        if codec.dist in COUNTS and codec.size is not None:
            own = np.nansum(values, axis=1, keepdims=True)
            values = values * (total / np.where(own > 0, own, 1))
        plain.add(values, places[rows[part]])
        tested.add(np.log1p(values) if codec.dist in COUNTS else values, places[rows[part]])
    for cluster, name in enumerate(names):
        inside, outside = plain.inside_and_outside(cluster)
        numbers = plain.numbers(cluster)
        fold = np.full(len(features), np.nan)
        if codec.dist not in REALS:
            fold = log_fold_change(inside, outside, np.minimum(*numbers))
        p = welch_test(tested, cluster)
        columns = (name, modality, features, inside, outside, fold, p, adjusted(p))
        lines = pd.DataFrame(dict(zip(MARKERS[:8], columns, strict=True)))
        yield lines.assign(n_in=numbers[0].astype(int), n_out=numbers[1].astype(int))
