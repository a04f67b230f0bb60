"""Covariates of a run: read from files, joined to its samples, and what is to be said of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cmvae.base.words import raise_all
from cmvae.files.join import JoinedRows
from cmvae.files.labels import labels_of, read_labels
from cmvae.files.modality import CovariateFile
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
            if len(own) and found[name].isna().all():  # without a value: a batch that is not known
                first = f"the first ids are {own.index[:3].tolist()} and {list(ids[:3])}"
                raise ValueError(f"covariate {name!r}: {path} shares no id with the data; {first}")
        except (ValueError, KeyError) as error:
            errors.append(error)
    raise_all(errors)
    return found


def check_named(files: Mapping[str, CovariateFile] | None, preprocessing: Preprocessing) -> None:
    """Refuse covariates that a run was not trained with, by ``KeyError``."""
    encode_covariates(preprocessing.covariates, {name: [] for name in files or {}})


class CovariateFindings:
    """What clusters and latents tell of covariates, of samples that come a part after the other.

    Args:
        codecs: What was learned of the covariates.
        rows: All samples; of those that have a covariate at most 5000 are looked at.
    """

    def __init__(self, codecs: Mapping[str, CovariateCodec], rows: JoinedRows) -> None:
        from cmvae.metrics.covariates import drawn_samples

        self._values: dict[str, np.ndarray] = {}
        self._places: dict[str, np.ndarray] = {}
        for name, own in encode_covariates(codecs, rows.covariates).items():
            seen = np.flatnonzero(~np.isnan(own))
            if len(seen):
                seen = seen[drawn_samples(len(seen))]
                kind = np.int64 if codecs[name].categories else np.float64
                self._places[name], self._values[name] = seen, own[seen].astype(kind)
        none = np.zeros(0, dtype=np.int64)
        self._looked_at = np.unique(np.concatenate([none, *self._places.values()]))
        self._clusters: list[np.ndarray] = []
        self._latents: list[np.ndarray] = []

    def add(self, start: int, clusters: np.ndarray, latents: np.ndarray) -> None:
        """Add samples from ``start`` on: clusters (n,), and means of q(z|X), (n, d)."""
        bounds = np.searchsorted(self._looked_at, [start, start + len(clusters)])
        own = self._looked_at[slice(*bounds)] - start
        self._clusters.append(clusters[own])
        self._latents.append(latents[own])

    def scores(self) -> dict[str, dict[str, float]]:
        """Return :func:`cmvae.metrics.covariates.covariate_scores` of each, once all are there."""
        from cmvae.metrics.covariates import covariate_scores

        found = {}
        for name, values in self._values.items():
            own = np.searchsorted(self._looked_at, self._places[name])
            clusters, latents = np.concatenate(self._clusters), np.concatenate(self._latents)
            found[name] = covariate_scores(values, clusters[own], latents[own])
        return found
