"""Expression without noise: what decoders expect of a cell, at one total and in chosen batches."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.words import quoted, shown
from cmvae.cells.arguments import check_cells, check_names
from cmvae.files.cell_places import CellPlace, columns_at, places_in, variables_at
from cmvae.files.mudata_results import cell_rows
from cmvae.models.inference import likelihood_of
from cmvae.omics import OmicsData
from cmvae.preprocessing.covariates import chosen_covariates

if TYPE_CHECKING:
    from cmvae.models.cmvae import CMVAE


def denoised(
    model: "CMVAE",
    cells: OmicsData,
    modality: str,
    *,
    features: Sequence[str] | None = None,
    given: str | Sequence[str] = "all",
    library_size: float | None = None,
    covariates: Mapping[str, Any] | None = None,
    batch_size: int = 512,
) -> pd.DataFrame:
    """Return the means of a modality that the model expects of each cell, without noise.

    They are the decoder's at the means of q(z|X) and q(w|x): counts of a cell with the total
    ``library_size``, probabilities of ones, other values in units of the data. Cells that lack the
    modality have theirs too, from the others. This is what Lopez et al. (Nature Methods 2018) call
    normalised expression.

    Args:
        model: The trained model.
        cells: What :func:`cmvae.omics.from_mudata` returned.
        modality: Which.
        features: Variables to return; None: all.
        given: Names of the modalities to infer from; 'all': those that a cell has.
        library_size: The total of each cell; None: the median total of the training cells.
        covariates: Name to value: as if all cells had been measured so. Of several values in a
            list, all batches say, the means over them. Else the cell's own, or the most frequent.
        batch_size: Cells at a time.

    Returns:
        A frame of float32, by the names of cells and variables.

    Raises:
        TypeError: For cells that are none, such as a MuData.
        KeyError: For an unknown modality, variable or covariate.
        ValueError: For a total that is not positive, or of a modality that has none, and for an
            unknown category.
    """
    check_cells(cells)
    check_names("features", features)
    if modality not in cells.coding.codecs or modality not in model.modalities:
        raise KeyError(f"modality: unknown {modality!r}; there are {quoted(model.modalities)}")
    names = list(cells.coding.codecs[modality].names)
    chosen = names if features is None else list(features)
    columns = pd.Index(names).get_indexer(pd.Index(chosen))
    if lacking := [name for name, place in zip(chosen, columns, strict=True) if place < 0]:
        raise KeyError(f"features: {modality!r} has no {quoted(lacking)}")
    settings = list(_settings(cells, covariates))
    parts = []
    size = positive_int("batch_size", batch_size)
    for start in range(0, len(cells.obs_names), size):
        batch = cells.dataset[np.arange(start, min(start + size, len(cells.obs_names)))]
        means = [_means(model, batch, modality, given, own) for own in settings]
        mean = at_library_size(model, modality, torch.stack(means).mean(0), library_size)
        values = cells.coding.codecs[modality].readable(mean.cpu().numpy())
        parts.append(np.asarray(values, dtype=np.float32)[:, columns])
    return pd.DataFrame(np.concatenate(parts), list(cells.obs_names), chosen)


def add_denoised(
    mdata: Any, model: "CMVAE", cells: OmicsData, modality: str, *, key: str = "cmvae", **how: Any
) -> None:
    """Write :func:`denoised` into the layer ``cmvae_denoised`` of a MuData's modality.

    Or of an AnnData. Of modalities that lie in ``raw`` or ``obsm``, whose variables are not those
    of layers, it is the DataFrame ``.obsm["cmvae_denoised_MODALITY"]``.

    Args:
        mdata: The MuData or AnnData that the cells were read from. Its cells that ``cells`` lacks
            get NaN, and so do variables that the modality lacks; those of other modalities of the
            AnnData stay as they are in the layer.
        model: The trained model.
        cells: What :func:`cmvae.omics.from_mudata` or ``from_anndata`` returned.
        modality: Which.
        key: What the layer's name starts with.
        **how: As for :func:`denoised`; ``features`` are not among them.

    Raises:
        TypeError: For ``features``: a layer has all variables.
        KeyError: As :func:`denoised`, and for a modality that the MuData lacks.
        ValueError: As :func:`denoised`.
    """
    if "features" in how:
        raise TypeError("features: a layer has all variables; leave it out, or use denoised()")
    found = denoised(model, cells, modality, **how)
    if modality not in getattr(mdata, "mod", {modality}):
        there = quoted(mdata.mod)
        raise KeyError(f"modality: mdata has no {modality!r} but {there}; denoised() returns it")
    target = mdata.mod[modality] if hasattr(mdata, "mod") else mdata
    # The cells' names may be spelt as another modality spells them.
    places = cell_rows(mdata.obs_names, cells.obs_names, "mdata")
    whole = found.set_axis(mdata.obs_names[places]).reindex(target.obs_names)
    layer = getattr(cells.coding.codecs[modality], "layer", None)
    known = places_in(target)
    if (layer or "X") not in known:
        what = f"modality: {modality!r} was learned from {layer or 'X'!r}, which is not there"
        raise KeyError(f"{what}; denoised() returns it")
    place = CellPlace.read(layer, f"modality {modality!r}", known)
    columns, name = columns_at(target, place), f"{key}_denoised"
    if columns is None:
        # Of objects: there are versions of anndata that cannot write the strings of pandas 3.
        named = whole.set_axis(pd.Index(list(found), dtype=object), axis=1)
        target.obsm[f"{name}_{modality}"] = named
        return
    held = target.layers[name] if name in target.layers else np.full(target.shape, np.nan)
    values = np.array(held, dtype=np.float32)
    values[:, columns] = whole.reindex(columns=variables_at(target, place)).to_numpy()
    target.layers[name] = values


def at_library_size(
    model: "CMVAE", modality: str, means: Tensor, library_size: float | None
) -> Tensor:
    """Return means (n, D) of counts for cells of another total; None: as they are.

    Raises:
        ValueError: For a total that is not positive, or a modality whose counts have none.
    """
    if library_size is None:
        return means
    library_size = positive_float("library_size", library_size)
    size = own_library_size(model, modality)
    if size is None:
        raise ValueError(f"library_size: modality {modality!r} has no counts with a library size")
    return means * (library_size / size)


def own_library_size(model: "CMVAE", modality: str) -> float | None:
    """Return the total that counts of a modality are generated with; None: they have none."""
    blocks = likelihood_of(model, modality).counts
    return blocks[0].size if len(blocks) == 1 else None


def _settings(cells: OmicsData, chosen: Mapping[str, Any] | None) -> Iterator[dict[str, float]]:
    """Yield each combination of the values of covariates, as the model's numbers."""
    if chosen is not None and not isinstance(chosen, Mapping):
        raise TypeError(f"covariates must be a mapping of names to values, got {shown(chosen)}")
    lists = {
        n: [v] if isinstance(v, str) or np.ndim(v) == 0 else list(v)
        for n, v in (chosen or {}).items()
    }
    if empty := [name for name, own in lists.items() if not own]:
        raise ValueError(f"covariates: no values are given of {quoted(empty)}; leave it out")
    for values in product(*lists.values()):
        own = chosen_covariates(cells.coding.covariates, dict(zip(lists, values, strict=True)))
        yield own or {}


def _means(
    model: "CMVAE", batch: Any, modality: str, given: Any, covariates: dict[str, float]
) -> Tensor:
    own = model.predict(batch, given, modality, return_mean=True, covariates=covariates or None)
    return model.to_data(own)[modality][:, 0]
