"""What a trained run says of its samples, a part at a time: labels, and figures of them all."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cmvae.data.datasets import IncompleteDataset
from cmvae.files.join import JoinedRows
from cmvae.files.writing import open_rows
from cmvae.models.objectives import ACTIVE_UNIT_VARIANCE
from cmvae.runs.covariates import CovariateFindings

if TYPE_CHECKING:
    from cmvae.clusters.groups import Groups
    from cmvae.runs.run import Run

PART_SAMPLES = 1 << 17  # that are looked at together


@dataclass
class Findings:
    """What was found of samples; those of a part after the other are added.

    Attributes:
        n_clusters: How many clusters there are.
        sizes: How many samples are in each, (n_clusters,).
        certainty: The sum of the probabilities of the samples' clusters.
        kept: How many of the samples that were grouped are in the cluster that their group started.
        mean, squares: Of the latents, the mean and the sum of squares around it, (d,).
    """

    n_clusters: int
    sizes: np.ndarray = field(init=False)
    certainty: float = 0.0
    kept: int = 0
    mean: np.ndarray | None = None
    squares: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.sizes = np.zeros(self.n_clusters, dtype=np.int64)

    def add(self, clusters: np.ndarray, certainty: np.ndarray, latents: np.ndarray) -> None:
        """Add samples: clusters (n,), their probabilities (n,), and means of q(z|X), (n, d)."""
        before, n = int(self.sizes.sum()), len(clusters)
        self.sizes += np.bincount(clusters, minlength=self.n_clusters)
        self.certainty += float(certainty.sum())
        mean = latents.mean(0, dtype=np.float64)
        squares = ((latents - mean) ** 2).sum(0)
        if self.mean is None or self.squares is None:
            self.mean, self.squares = mean, squares
            return
        # Chan, Golub and LeVeque, "Updating formulae", 1979.
        step, total = mean - self.mean, before + n
        self.mean = self.mean + step * (n / total)
        self.squares = self.squares + squares + step**2 * (before * n / total)

    @property
    def active_units(self) -> int:
        """How many latents vary, as :func:`cmvae.models.objectives.active_units` counts them."""
        variances = np.asarray(self.squares) / self.sizes.sum()
        return int((variances > ACTIVE_UNIT_VARIANCE).sum())


@contextmanager
def _listing(path: Path | None, parts: list[pd.DataFrame]) -> Iterator[Any]:
    """Give what takes tables of samples: a file, or a list of them."""
    if path is None:
        yield parts.append
        return
    with open_rows(path, digits=None) as append:
        yield append


def completed(
    run: "Run",
    rows: JoinedRows,
    data: IncompleteDataset,
    groups: "Groups | None",
    order: np.ndarray,
    listing: Path | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the samples of a run, as :meth:`cmvae.runs.run.Run.table` has them, and its figures.

    Args:
        run: The run, which knows neither.
        rows: Its samples.
        data: The same as a dataset.
        groups: What the clusters started from.
        order: The places that the clusters had then, (C,).
        listing: Where the samples are written to instead, a part at a time; none are returned.
    """
    found, parts = Findings(run.model.n_clusters), list[pd.DataFrame]()
    started, told = _started(groups), CovariateFindings(run.preprocessing.covariates, rows)
    with _listing(listing, parts) as add:
        for start in range(0, len(rows.ids), PART_SAMPLES):
            stop = start + PART_SAMPLES
            part = data[start:stop]
            clusters, probabilities = run.assign(part)
            chosen = probabilities[np.arange(len(clusters)), clusters]
            latents = run.embed(part)
            found.add(clusters, chosen, latents)
            told.add(start, clusters, latents)
            if started is not None:
                own = (started[0] >= start) & (started[0] < stop)
                places = order[clusters[started[0][own] - start]]
                found.kept += int((places == started[1][own]).sum())
            add(samples_table(rows.part(start, stop), clusters, probabilities))
    samples = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    known = told.scores()
    return samples, {
        "n_samples": len(rows.ids),
        "n_clusters": run.model.n_clusters,
        "sizes": found.sizes.tolist(),
        "mean_probability": found.certainty / len(rows.ids),
        "observed": {name: int(mask.sum()) for name, mask in rows.masks.items()},
        "join": None if rows.join is None else rows.join.to_plain(),
        "evidence": asdict(groups.evidence) if groups and groups.evidence else None,
        "stability": _stability(groups, order[: run.model.n_clusters]),
        "kept": None if started is None else found.kept / len(started[0]),
        "active_units": found.active_units,
        **({"covariates": known} if known else {}),
    }


def samples_table(
    rows: JoinedRows, clusters: np.ndarray, probabilities: np.ndarray
) -> pd.DataFrame:
    """Return id, cluster, its probability and the modalities seen of n samples.

    Args:
        rows: The samples.
        clusters: Their clusters, (n,).
        probabilities: Those of all clusters, (n, clusters).
    """
    chosen = probabilities[np.arange(len(clusters)), clusters].round(6)
    columns = {"id": list(rows.ids), "cluster": clusters, "probability": chosen}
    return pd.DataFrame({**columns, "modalities": rows.patterns()})


def _started(groups: "Groups | None") -> tuple[np.ndarray, np.ndarray] | None:
    """Return which samples started clusters, (k,), and the places of these then, (k,).

    None where training was not to keep them there.
    """
    if groups is None or groups.consensus is None:
        return None
    return groups.known.rows, np.unique(groups.labels, return_inverse=True)[1]


def _stability(groups: "Groups | None", order: np.ndarray) -> list[float | None]:
    """Return the stability of each cluster, in the order of their numbers; None if unknown."""
    if groups is None or groups.consensus is None:
        return [None] * len(order)
    own = groups.consensus.stability[np.unique(groups.labels)]
    return [float(own[place]) if place < len(own) else None for place in order]
