"""Expression without noise: what decoders expect of a cell, at one total and in chosen batches."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cmvae.base.arguments import positive_int
from cmvae.base.words import quoted, shown
from cmvae.cells.arguments import check_cells
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
    """Write :func:`denoised` into the layer ``cmvae_denoised`` of a modality of a MuData.

    Args:
        mdata: The MuData that the cells were read from; its cells that ``cells`` lacks get NaN.
        model: The trained model.
        cells: What :func:`cmvae.omics.from_mudata` returned.
        modality: Which.
        key: What the layer's name starts with.
        **how: As for :func:`denoised`; ``features`` are not among them.

    Raises:
        TypeError: For ``features``: a layer has all variables.
        KeyError, ValueError: As :func:`denoised`.
    """
    if "features" in how:
        raise TypeError("features: a layer has all variables; leave it out, or use denoised()")
    target, found = mdata.mod[modality], denoised(model, cells, modality, **how)
    # The cells' names may be spelt as another modality spells them.
    places = cell_rows(mdata.obs_names, cells.obs_names, "mdata")
    whole = found.set_axis(mdata.obs_names[places]).reindex(target.obs_names)
    target.layers[f"{key}_denoised"] = whole[list(target.var_names)].to_numpy()


def at_library_size(
    model: "CMVAE", modality: str, means: Tensor, library_size: float | None
) -> Tensor:
    """Return means (n, D) of counts for cells of another total; None: as they are.

    Raises:
        ValueError: For a total that is not positive, or a modality whose counts have none.
    """
    if library_size is None:
        return means
    if not 0 < library_size < float("inf"):
        raise ValueError(f"library_size must be positive and finite, got {shown(library_size)}")
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
    for values in product(*lists.values()):
        own = chosen_covariates(cells.coding.covariates, dict(zip(lists, values, strict=True)))
        yield own or {}


def _means(
    model: "CMVAE", batch: Any, modality: str, given: Any, covariates: dict[str, float]
) -> Tensor:
    own = model.predict(batch, given, modality, return_mean=True, covariates=covariates or None)
    return model.to_data(own)[modality][:, 0]
