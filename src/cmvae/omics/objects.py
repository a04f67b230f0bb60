"""The MuData or AnnData that is given, its modalities and cells, and what is refused of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cmvae.base.extras import from_extra
from cmvae.base.words import listed, quoted, shown
from cmvae.files.cell_places import places_in, tell_left_out, variables_at
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.cells import LIKELIHOODS, CellCodec


def check_anndata(adata: Any) -> None:
    """Refuse what is no AnnData, and cells named twice."""
    kind = from_extra("anndata", "omics", "AnnData").AnnData
    if not isinstance(adata, kind):
        way = "; a MuData goes to from_mudata and to_mudata" * hasattr(adata, "mod")
        raise TypeError(f"adata: expected an anndata.AnnData, got {type(adata).__name__}{way}")
    check_unique("adata", adata.obs_names)


def check_mudata(mdata: Any) -> None:
    """Refuse what is no MuData of modalities that share cells, and cells named twice."""
    kind = from_extra("mudata", "omics", "MuData").MuData
    if not isinstance(mdata, kind):
        way = "; it goes to from_anndata and to_anndata" * (type(mdata).__name__ == "AnnData")
        raise TypeError(f"mdata: expected a mudata.MuData, got {type(mdata).__name__}{way}")
    if mdata.axis == 1:
        raise ValueError(
            "mdata: expected modalities that share cells (axis=0), got axis=1, where they share "
            "variables"
        )
    check_unique("mdata", mdata.obs_names)


def check_unique(what: str, names: pd.Index) -> None:
    """Refuse cells named twice, with a ``ValueError`` that names them."""
    if not names.is_unique:
        repeated = names[names.duplicated()].unique()
        shown = listed(map(repr, repeated))
        raise ValueError(
            f"{what}: the cells {shown} are named more than once; make obs_names unique"
        )


def known_modalities(
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
    for argument, own in (("layers", layers), ("likelihoods", likelihoods)):
        if own is not None and not isinstance(own, Mapping):
            got = shown(own)
            raise TypeError(f"{argument}: expected a mapping of modalities to names, got {got}")
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


def tell_lacking(mdata: Any, coding: Preprocessing) -> None:
    """Warn of modalities that were learned and that a MuData lacks."""
    for name, codec in coding.codecs.items():
        if isinstance(codec, CellCodec) and name not in mdata.mod:
            tell_left_out(name, name, "mdata")


def known_places(adata: Any, coding: Preprocessing) -> dict[str, str | None]:
    """Return the modalities of a coding that an AnnData has, name to place.

    The modalities of a MuData lie each in ``X`` of an AnnData of its own: of those at one place are
    meant the ones whose variables are there.

    Raises:
        KeyError: For an AnnData that has none of the places.
    """
    there = places_in(adata)
    codecs = {n: own for n, own in coding.codecs.items() if isinstance(own, CellCodec)}
    places = {n: own.layer for n, own in codecs.items() if (own.layer or "X") in there}
    if not places:
        wanted = quoted(own.layer or "X" for own in codecs.values())
        raise KeyError(f"adata has {quoted(there)}; the coding's modalities lie in {wanted}")
    for name in [name for name in codecs if name not in places]:
        tell_left_out(name, codecs[name].layer, "adata")
    layers = list(places.values())
    found = {
        name: layer
        for name, layer in places.items()
        if layers.count(layer) == 1
        or variables_at(adata, there[layer or "X"]).isin(codecs[name].var_names).any()
    }
    return found or places
