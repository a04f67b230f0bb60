"""What is known of a run without its model."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from cmvae.clusters.evidence import NumberEvidence
from cmvae.files.modality import CovariateFile
from cmvae.preprocessing import Preprocessing
from cmvae.runs.config import RunConfig
from cmvae.runs.drift import Drift
from cmvae.runs.reference import FitReference


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a run was made from and what it found.

    Attributes:
        config: What it was made from.
        preprocessing: How rows become the model's inputs.
        samples: id, cluster, probability and modalities of the training samples.
        metrics: Figures of the run.
        log: The terms of the loss, a row for each epoch.
        extras: What :class:`cmvae.CMVAEClusterer` keeps beside, as JSON can hold it; else empty.
        index: The index of its samples, where they have one.
        names: Names that people gave to clusters, by number.
        latents: Where several models had samples when the clusters started, (n, d) each.
        reference: How well the training samples fit; None where that was not measured.
    """

    config: RunConfig
    preprocessing: Preprocessing
    samples: pd.DataFrame
    metrics: dict[str, Any]
    log: pd.DataFrame
    extras: dict[str, Any] = field(default_factory=dict)
    index: pd.Index | None = None
    names: dict[int, str] = field(default_factory=dict)
    latents: tuple[np.ndarray, ...] = ()
    reference: FitReference | None = None

    @property
    def covariate_files(self) -> dict[str, CovariateFile]:
        """Where the covariates are that the model was given."""
        kept = self.preprocessing.covariates
        return {name: own for name, own in self.config.covariates.items() if name in kept}

    def drift(self) -> Drift:
        """Return what compares samples as a whole with those of training."""
        margins = {} if self.reference is None else self.reference.margins
        return Drift(margins, self.preprocessing.numbers)

    @property
    def n_clusters(self) -> int:
        """The number of clusters."""
        return len(self.metrics["sizes"])

    def name_of(self, cluster: int) -> str:
        """Return the name of a cluster; where it has none, its number."""
        return self.names.get(int(cluster), str(cluster))

    def called(self, cluster: int) -> str:
        """Return the number of a cluster, and its name where it has one: ``0 (young)``."""
        name = self.names.get(int(cluster))
        return str(cluster) if name is None else f"{cluster} ({name})"

    @property
    def evidence(self) -> NumberEvidence | None:
        """What speaks for the number of clusters; None where it was given, or not counted so."""
        plain = self.metrics["evidence"]
        if plain is None:
            return None
        listed = {name: tuple(plain[name]) for name in ("numbers", "scores")}
        return NumberEvidence(**{**plain, **listed})
