"""Gathering what a report shows, from a run and samples."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from cmvae._version import __version__
from cmvae.base.settings import PositiveInt, Settings
from cmvae.data.checks import check_known
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.join import JoinedRows
from cmvae.metrics.predictive import checkable, predictive_check
from cmvae.report.averages import mean_draws
from cmvae.report.columns import LONGEST_NAME, describe_columns
from cmvae.report.content import Check, Cluster, Modality, ReportContent, Samples, Telling
from cmvae.report.counting import count_patterns, cross_covariates, read_labels, score_labels
from cmvae.report.differences import find_differences
from cmvae.report.drawing import project, shortened
from cmvae.report.pictures import BLANK, as_bytes, as_sheet, thumbnails
from cmvae.report.profiles import sort_profiles
from cmvae.report.samples import assign, generate, values_of
from cmvae.report.tables import TableSums
from cmvae.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

THUMBNAIL, PROTOTYPE = 40, 96  # pixels
SHEET_BYTES, PROTOTYPE_BYTES = 4_000_000, 1_500_000  # of all image modalities together
N_TELLING = 5
LONGEST_TEXT = 300
MOST_COLUMNS = 200
AT_ONCE = 256
REPLICATES, MOST_CHECKED = 20, 500  # of samples whose counts are made again
KINDS = {"table": "table", "array": "table", "images": "images", "text": "text"}  # by content


class Shown(Settings):
    """How much a report shows.

    Attributes:
        max_points: At most so many samples are shown in the plane.
        n_features: At most so many features that set a cluster apart.
        n_nearest: Members of each cluster closest to its centre.
        n_draws: Images drawn from each cluster, besides the one at its centre.
        batch_size: Samples read at a time.
        seed: Seed of the draws and of the choice of the samples shown.
    """

    max_points: PositiveInt = 2000
    n_features: PositiveInt = 8
    n_nearest: PositiveInt = 6
    n_draws: PositiveInt = 5
    batch_size: PositiveInt = 1024
    seed: Annotated[int, Field(ge=0, lt=2**32, strict=True)] = 0


def gather_report(
    run: Run,
    rows: JoinedRows,
    labels: "pd.Series[str] | None" = None,
    *,
    title: str = "Clusters",
    shown: Shown = Shown(),  # noqa: B008  it is frozen
) -> ReportContent:
    """Gather what :func:`cmvae.report.write_report` shows; the model is left as it is.

    All samples are assigned and counted; the plane shows at most ``max_points`` of them, those
    closest to the centre of each cluster among them: the means of q(z|X), projected as in
    :func:`cmvae.report.embedding_figure`.

    Args:
        run: A run: its model, preprocessing, rule, curves and evidence.
        rows: n samples, as the preprocessing of the run encodes them.
        labels: What to compare clusters with, by id; others than those of the samples are passed
            over. Samples without a label, or with ``'(none)'``, are counted, not scored.
        title: Heading of the page.
        shown: How much is shown.

    Raises:
        KeyError: For a modality that the run does not have.
        TypeError: For arguments of another kind.
        ValueError: For samples that a dataset refuses, labels that repeat ids or have none of them.
    """
    if not isinstance(run, Run):
        raise TypeError(f"run must be a Run, got {type(run).__name__}")
    check_known(rows.data, run.model.modalities, "rows")
    named = None if labels is None else read_labels(labels, list(rows.ids))
    found = _Gathering(run, run.preprocessing.dataset(rows), shown)
    places, clusters = found.rows, found.assigned.clusters
    patterns, pattern_of = count_patterns(found.assigned.observed, clusters, run.n_clusters)
    plane, axes = project(found.assigned.latents[places])
    samples = Samples(
        ids=tuple(rows.ids[place] for place in places),
        x=tuple(plane[:, 0].tolist()),
        y=tuple(plane[:, 1].tolist()),
        cluster=tuple(clusters[places].tolist()),
        probability=tuple(found.assigned.probability[places].tolist()),
        pattern=tuple(pattern_of[places].tolist()),
        label=() if named is None else tuple(named[1][places].tolist()),
        telling=found.telling(),
    )
    return ReportContent(
        title=title,
        version=__version__,
        n_samples=len(rows.ids),
        projection=axes,
        rule=run.config.recipe.rule,
        modalities=tuple(map(found.modality, run.model.modalities)),
        columns=tuple(found.columns[:MOST_COLUMNS]),
        n_columns=len(found.columns),
        clusters=tuple(map(found.cluster, range(run.n_clusters))),
        patterns=patterns,
        samples=samples,
        agreement=None if named is None else score_labels(*named, clusters, run.n_clusters),
        history=_history(run),
        evidence=run.evidence,
        profiles=found.profiles(),
        covariates=cross_covariates(
            run.preprocessing.covariates, rows, clusters, found.assigned.latents, run.n_clusters
        ),
        checks=found.checks(),
    )


def _history(run: Run) -> dict[str, tuple[float | None, ...]]:
    """Return the curves of the log: a row is an epoch, of one phase or the other."""
    log = run.log.drop(columns=["phase", "epoch"], errors="ignore").astype(float)
    curves = {str(name): log[name].tolist() for name in log}
    return {m: tuple(v if math.isfinite(v) else None for v in own) for m, own in curves.items()}


def _text(text: str) -> str:
    return shortened(str(text), LONGEST_TEXT)


class _Gathering:
    """A run's samples, read and assigned, and the pieces of a report that are made from them."""

    def __init__(self, run: Run, data: IncompleteDataset, shown: Shown) -> None:
        self.run, self.data, self.shown = run, data, shown
        self.modalities, self.codecs = run.model.modalities, run.preprocessing.codecs
        self.kinds = {m: KINDS[codec.content] for m, codec in self.codecs.items()}
        self.prototypes = generate(run, shown.n_draws, shown.seed)
        self.assigned = assign(run, data, shown.batch_size)
        self.rows, self.nearest = self._choose()
        self.tables = {
            name: TableSums(run, data, name, self.assigned.clusters, shown.batch_size)
            for name, kind in self.kinds.items()
            if kind == "table"
        }
        self.differences = find_differences(
            self.tables,
            mean_draws(run, self.tables, shown.seed),
            {name: place for place, name in enumerate(self.modalities)},
            run.n_clusters,
            shown.n_features,
        )
        understood = run.preprocessing.understood
        seen = dict(zip(self.modalities, self.assigned.observed.sum(0).tolist(), strict=True))
        self.columns = [
            column
            for name, table in self.tables.items()
            for column in describe_columns(table, seen[name], understood.get(name))
        ]

    def profiles(self) -> "pd.DataFrame":
        """Return what sets all clusters apart, with the names of those that have one."""
        clusters, tables = range(self.run.n_clusters), self.tables.values()
        lines = sort_profiles([table.profile(c) for c in clusters for table in tables])
        if self.run.names:
            place = list(lines).index("cluster") + 1
            lines.insert(place, "cluster_name", lines["cluster"].map(self.run.name_of))
        return lines

    def checks(self) -> tuple[Check, ...]:
        """Return how counts that the model makes of samples compare to theirs."""
        enough = [
            m
            for place, m in enumerate(self.modalities)
            if checkable(self.run.model, m) and self.assigned.observed[:, place].sum() > 1
        ]
        found = {m: self._check(m) for m in enough}
        return tuple(Check(m, n, **own) for m, each in found.items() for n, own in each.items())

    def _check(self, modality: str) -> dict[str, dict[str, float]]:
        model, data, seed = self.run.model, self.data, self.shown.seed
        how = {"replicates": REPLICATES, "most_samples": MOST_CHECKED, "seed": seed}
        return predictive_check(model, data, modality, **how).summary()

    def _choose(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Return the samples that are shown, sorted, and those closest to each cluster's centre."""
        assigned, shown, nearest = self.assigned, self.shown, []
        for cluster in range(self.run.n_clusters):
            members = np.flatnonzero(assigned.clusters == cluster)
            order = np.argsort(-assigned.closeness[members], kind="stable")
            nearest.append(members[order[: shown.n_nearest]])
        anyone = np.random.default_rng(shown.seed).permutation(len(assigned.clusters))
        wanted = np.concatenate([*nearest, anyone])
        first = np.sort(np.unique(wanted, return_index=True)[1])[: shown.max_points]
        rows = np.sort(wanted[first])
        return rows, [members[np.isin(members, rows)] for members in nearest]

    def _values(self, modality: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield places among the samples shown, and the values of a modality there."""
        return values_of(self.run, self.data, modality, self.rows, AT_ONCE)

    def modality(self, name: str) -> Modality:
        """Return what is shown of a modality, beside its values in the clusters."""
        shape, observed = self.codecs[name].input_shape, self.assigned.observed
        seen = self.assigned.clusters[observed[:, self.modalities.index(name)]]
        counts = tuple(np.bincount(seen, minlength=self.run.n_clusters).tolist())
        about = Modality(name, self.kinds[name], shape, (), counts)
        if about.kind == "table":
            table = self.tables[name]
            names = tuple(shortened(entry.name, LONGEST_NAME) for entry in table.entries)
            total = table.libraries[0][2] if table.libraries else None
            return replace(about, features=names, scaled_to=total)
        if about.kind == "text":
            texts = [""] * len(self.rows)
            for part, values in self._values(name):
                for row, text in zip(part, values.tolist(), strict=True):
                    texts[row] = _text(text)
            return replace(about, texts=tuple(texts))
        share = list(self.kinds.values()).count("images")
        shown, generated = self._pictures(name)
        sheet = as_sheet(shown, SHEET_BYTES // share)
        prototypes = as_sheet(generated, PROTOTYPE_BYTES // share)
        return replace(about, sheet=sheet, prototypes=prototypes)

    def _pictures(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the pictures of the samples shown, and those that clusters generate, as bytes."""
        centres, draws = self.prototypes.centres[name], self.prototypes.draws[name]
        pictures = np.concatenate([centres[:, None], draws], 1).reshape(-1, *centres.shape[1:])
        prototypes = thumbnails(as_bytes(pictures), PROTOTYPE)
        size = thumbnails(prototypes[:1], THUMBNAIL).shape[1:]
        small = np.full((len(self.rows), *size), BLANK, np.uint8)
        for part, values in self._values(name):
            small[part] = thumbnails(as_bytes(values), THUMBNAIL)
        return small, prototypes

    def cluster(self, number: int) -> Cluster:
        """Return what is shown of a cluster."""
        probability = self.assigned.probability[self.assigned.clusters == number]
        texts = [m for m in self.modalities if self.kinds[m] == "text"]
        return Cluster(
            name=self.run.called(number),
            size=len(probability),
            certainty=float(probability.mean()) if len(probability) else None,
            unsure=int((probability < 0.5).sum()),
            weight=float(self.run.model.pc_params.detach()[number]),
            stability=self.run.metrics["stability"][number],
            nearest=tuple(np.searchsorted(self.rows, self.nearest[number]).tolist()),
            differences=self.differences[number],
            texts={m: _text(self.prototypes.centres[m][number]) for m in texts},
        )

    def telling(self) -> tuple[tuple[Telling, ...], ...]:
        """Return the most telling values of the samples shown, of all tables together."""
        found: list[list[Telling]] = [[] for _ in self.rows]
        for m, table in self.tables.items():
            place, told = self.modalities.index(m), table.told
            for part, values in self._values(m):
                flat = values.reshape(len(values), -1)
                best = table.plain.telling(flat, N_TELLING, told)
                for row, entries in zip(part, best, strict=True):
                    found[row] += [(place, *entry) for entry in entries]
        order = [sorted(own, key=lambda entry: -abs(entry[3])) for own in found]
        return tuple(tuple(own[:N_TELLING]) for own in order)
