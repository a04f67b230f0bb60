"""Gathering what a report shows, from a run and samples."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from cmvae._version import __version__
from cmvae.base.settings import PositiveInt, Settings
from cmvae.data.checks import check_known
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.join import JoinedRows
from cmvae.report.content import (
    Cluster,
    Difference,
    Modality,
    ReportContent,
    Samples,
    Telling,
)
from cmvae.report.counting import count_patterns, read_labels, score_labels
from cmvae.report.drawing import project, shortened
from cmvae.report.moments import Moments
from cmvae.report.pictures import BLANK, as_bytes, as_sheet, thumbnails
from cmvae.report.prototypes import Prototypes, generate
from cmvae.report.samples import Assigned, assign, telling_values, values_of
from cmvae.runs.run import Run

if TYPE_CHECKING:
    import pandas as pd

THUMBNAIL, PROTOTYPE = 40, 96  # pixels
SHEET_BYTES, PROTOTYPE_BYTES = 4_000_000, 1_500_000  # of all image modalities together
N_TELLING = 5
LONGEST_TEXT, LONGEST_NAME = 300, 80
AT_ONCE = 256
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
    closest to the centre of each cluster among them. Its projection is that of
    :func:`cmvae.report.embedding_figure`: t-SNE of the means of q(z|X), started from principal
    components, or the principal components themselves for fewer than 50 samples or two dimensions.

    Args:
        run: A run: its model, preprocessing, rule, curves and criterion.
        rows: n samples, as the preprocessing of the run encodes them.
        labels: What to compare clusters with, by id; others than those of the samples are passed
            over. Samples without a label, or with ``'(none)'``, are counted, not scored.
        title: Heading of the page.
        shown: How much is shown.

    Returns:
        The content, of plain numbers, texts and encoded pictures.

    Raises:
        KeyError: For a modality that the run does not have.
        TypeError: For arguments of another kind.
        ValueError: For samples that a dataset refuses, ids that repeat in ``labels``, or labels of
            none of the samples.
    """
    if not isinstance(run, Run):
        raise TypeError(f"run must be a Run, got {type(run).__name__}")
    check_known(rows.data, run.model.modalities, "rows")
    named = None if labels is None else read_labels(labels, rows.ids)
    found = _gather(run, run.preprocessing.dataset(rows), shown)
    clusters, modalities = found.assigned.clusters, run.model.modalities
    patterns, pattern_of = count_patterns(found.assigned.observed, clusters, run.n_clusters)
    plane, axes = project(found.assigned.latents[found.rows])
    samples = Samples(
        ids=tuple(rows.ids[row] for row in found.rows),
        x=tuple(plane[:, 0].tolist()),
        y=tuple(plane[:, 1].tolist()),
        cluster=tuple(clusters[found.rows].tolist()),
        probability=tuple(found.assigned.probability[found.rows].tolist()),
        pattern=tuple(pattern_of[found.rows].tolist()),
        label=() if named is None else tuple(named[1][found.rows].tolist()),
        telling=_telling(found),
    )
    return ReportContent(
        title=title,
        version=__version__,
        n_samples=len(rows.ids),
        projection=axes,
        rule=run.config.recipe.rule,
        modalities=tuple(_modality(found, i) for i in range(len(modalities))),
        clusters=tuple(_cluster(found, c, shown.n_features) for c in range(run.n_clusters)),
        patterns=patterns,
        samples=samples,
        agreement=None if named is None else score_labels(*named, clusters, run.n_clusters),
        history=_history(run),
        selection=tuple((k, h) for k, h in enumerate(run.h_values) if math.isfinite(h)),
    )


@dataclass(frozen=True)
class _Gathering:
    """What the pieces of a report are made from.

    ``moments`` are those of the tables, ``rows`` the samples shown, ``nearest`` those of them that
    are closest to each cluster's centre.
    """

    run: Run
    data: IncompleteDataset
    prototypes: Prototypes
    assigned: Assigned
    moments: dict[str, Moments]
    rows: np.ndarray
    nearest: list[np.ndarray]

    def kind(self, modality: str) -> str:
        return KINDS[self.run.preprocessing.codecs[modality].content]


def _gather(run: Run, data: IncompleteDataset, shown: Shown) -> _Gathering:
    prototypes = generate(run, shown.n_draws, shown.seed)
    assigned, moments = assign(run, data, shown.batch_size), {}
    every = np.arange(len(data))
    for name, codec in run.preprocessing.codecs.items():
        if KINDS[codec.content] == "table":
            moments[name] = own = Moments(run.n_clusters, math.prod(codec.input_shape))
            for part, values in values_of(data, name, codec, every, shown.batch_size):
                own.add(values.reshape(len(values), -1), assigned.clusters[part])
    rows, nearest = _choose(assigned, run.n_clusters, shown)
    return _Gathering(run, data, prototypes, assigned, moments, rows, nearest)


def _history(run: Run) -> dict[str, tuple[float | None, ...]]:
    """Return the curves of the log: a row is an epoch, of one phase or the other."""
    log = run.log.drop(columns=["phase", "epoch"], errors="ignore").astype(float)
    curves = {str(name): log[name].tolist() for name in log}
    return {m: tuple(v if math.isfinite(v) else None for v in own) for m, own in curves.items()}


def _choose(assigned: Assigned, n: int, shown: Shown) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the samples that are shown, sorted, and those closest to each of n clusters."""
    nearest = []
    for cluster in range(n):
        members = np.flatnonzero(assigned.clusters == cluster)
        order = np.argsort(-assigned.closeness[members], kind="stable")
        nearest.append(members[order[: shown.n_nearest]])
    anyone = np.random.default_rng(shown.seed).permutation(len(assigned.clusters))
    wanted = np.concatenate([*nearest, anyone])
    first = np.sort(np.unique(wanted, return_index=True)[1])[: shown.max_points]
    rows = np.sort(wanted[first])
    return rows, [members[np.isin(members, rows)] for members in nearest]


def _modality(found: _Gathering, index: int) -> Modality:
    name = found.run.model.modalities[index]
    codec, kind = found.run.preprocessing.codecs[name], found.kind(name)
    seen = found.assigned.clusters[found.assigned.observed[:, index]]
    counts = tuple(np.bincount(seen, minlength=found.run.n_clusters).tolist())
    about = Modality(name, kind, codec.input_shape, (), counts)
    if kind == "table":
        names = codec.names or [f"feature {i}" for i in range(math.prod(codec.input_shape))]
        return replace(about, features=tuple(shortened(own, LONGEST_NAME) for own in names))
    shown = values_of(found.data, name, codec, found.rows, AT_ONCE)
    if kind == "text":
        texts = [""] * len(found.rows)
        for part, values in shown:
            for row, text in zip(part, values.tolist(), strict=True):
                texts[row] = _text(text)
        return replace(about, texts=tuple(texts))
    share = sum(found.kind(m) == "images" for m in found.run.model.modalities)
    centres, draws = found.prototypes.centres[name], found.prototypes.draws[name]
    pictures = np.concatenate([centres[:, None], draws], 1).reshape(-1, *centres.shape[1:])
    prototypes = thumbnails(as_bytes(pictures), PROTOTYPE)
    size = thumbnails(prototypes[:1], THUMBNAIL).shape[1:]
    small = np.full((len(found.rows), *size), BLANK, np.uint8)
    for part, values in shown:
        small[part] = thumbnails(as_bytes(values), THUMBNAIL)
    sheets = as_sheet(small, SHEET_BYTES // share), as_sheet(prototypes, PROTOTYPE_BYTES // share)
    return replace(about, sheet=sheets[0], prototypes=sheets[1])


def _text(text: str) -> str:
    return shortened(str(text), LONGEST_TEXT)


def _cluster(found: _Gathering, cluster: int, n_features: int) -> Cluster:
    probability = found.assigned.probability[found.assigned.clusters == cluster]
    centres = {m: own[cluster] for m, own in found.prototypes.centres.items()}
    return Cluster(
        name=str(cluster),
        size=len(probability),
        certainty=float(probability.mean()) if len(probability) else None,
        unsure=int((probability < 0.5).sum()),
        weight=float(found.run.model.pc_params.detach()[cluster]),
        nearest=tuple(np.searchsorted(found.rows, found.nearest[cluster]).tolist()),
        differences=_differences(found, cluster, n_features),
        texts={m: _text(own) for m, own in centres.items() if found.kind(m) == "text"},
    )


def _differences(found: _Gathering, cluster: int, top: int) -> tuple[Difference, ...]:
    """Return the features in which a cluster differs most from all other samples."""
    differences = []
    for m, moments in found.moments.items():
        sizes, place = moments.differences(cluster), found.run.model.modalities.index(m)
        inside, outside = moments.inside_and_outside(cluster)
        prototype = found.prototypes.centres[m][cluster].reshape(-1)
        for j in np.argsort(-np.abs(sizes), kind="stable")[:top]:
            if sizes[j] != 0:
                numbers = map(float, (sizes[j], inside[j], outside[j], prototype[j]))
                differences.append(Difference(place, int(j), *numbers))
    return tuple(sorted(differences, key=lambda d: -abs(d.difference))[:top])


def _telling(found: _Gathering) -> tuple[tuple[Telling, ...], ...]:
    """Return the most telling values of the samples shown, of all tables together."""
    telling: list[list[Telling]] = [[] for _ in found.rows]
    for m, moments in found.moments.items():
        codec, place = found.run.preprocessing.codecs[m], found.run.model.modalities.index(m)
        for part, values in values_of(found.data, m, codec, found.rows, AT_ONCE):
            best = telling_values(values.reshape(len(values), -1), moments, N_TELLING)
            for row, entries in zip(part, best, strict=True):
                telling[row] += [(place, *entry) for entry in entries]
    order = [sorted(own, key=lambda entry: -abs(entry[3])) for own in telling]
    return tuple(tuple(own[:N_TELLING]) for own in order)
