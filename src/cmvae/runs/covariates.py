"""Covariates of a run: read from files, joined to its samples, and what is to be said of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmvae.base.words import raise_all
from cmvae.files.join import JoinedRows
from cmvae.files.labels import labels_of, read_labels
from cmvae.files.modality import CovariateFile
from cmvae.metrics.covariates import covariate_scores
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.covariates import CovariateCodec, encode_covariates


def read_covariate_files(
    files: Mapping[str, CovariateFile], ids: Sequence[str]
) -> dict[str, pd.Series]:
    """Return covariates of samples by id, None where one is missing; ids as for labels.

    Raises:
        ValueError: For files that cannot be read, or that share no id with the samples.
    """
    found, errors = {}, list[Exception]()
    for name, file in files.items():
        if file.path is None:
            continue
        path = Path(file.path)
        try:
            own = read_labels(path, file.id, file.column, f"covariate {name!r}")
            found[name] = labels_of(own, ids)[0].reindex(list(ids))
            if found[name].isna().all():
                first = f"the first ids are {own.index[:3].tolist()} and {list(ids[:3])}"
                raise ValueError(f"covariate {name!r}: {path} shares no id with the data; {first}")
        except (ValueError, KeyError) as error:
            errors.append(error)
    raise_all(errors)
    return found


def check_named(files: Mapping[str, CovariateFile] | None, preprocessing: Preprocessing) -> None:
    """Refuse covariates that a run was not trained with, by ``KeyError``."""
    encode_covariates(preprocessing.covariates, {name: [] for name in files or {}})


def measure_covariates(
    codecs: Mapping[str, CovariateCodec],
    rows: JoinedRows,
    clusters: np.ndarray,
    latents: np.ndarray,
) -> dict[str, dict[str, float]]:
    """Return what clusters (n,) and latents (n, d) tell of each covariate that samples have."""
    found = {}
    known = encode_covariates(codecs, rows.covariates)
    for name, values in known.items():
        seen = ~np.isnan(values)
        if not seen.any():
            continue
        kind = np.int64 if codecs[name].categories else np.float64
        found[name] = covariate_scores(values[seen].astype(kind), clusters[seen], latents[seen])
    return found
