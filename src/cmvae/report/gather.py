"""Gathering what a report shows, from a model and data."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmvae._version import __version__
from cmvae.base.arguments import positive_int, seeded
from cmvae.data.checks import check_known
from cmvae.metrics.clustering import clustering_scores
from cmvae.metrics.reading import as_dataset
from cmvae.models.assignment import check_rule
from cmvae.models.cmvae import CMVAE
from cmvae.preprocessing.coding import TableCoding
from cmvae.preprocessing.kinds import KINDS
from cmvae.report.arguments import (
    NO_LABEL,
    Labels,
    read_cluster_names,
    read_features,
    read_history,
    read_ids,
    read_labels,
    read_selection,
)
from cmvae.report.content import (
    Agreement,
    Cluster,
    Difference,
    Modality,
    Pattern,
    ReportContent,
    Samples,
)
from cmvae.report.figures import _project
from cmvae.report.generated import IMAGES, TABLE, TEXT, Generated, Units, generate
from cmvae.report.moments import Moments
from cmvae.report.pictures import Scale, as_sheet, thumbnails
from cmvae.report.readings import Assigned, assign, telling_values, values_at

THUMBNAIL, PROTOTYPE = 40, 96  # pixels
SHEET_BYTES, PROTOTYPE_BYTES = 4_000_000, 1_500_000  # of all image modalities together
MOST_PATTERNS = 12
N_TELLING = 5
LONGEST_TEXT = 300


@dataclass(frozen=True)
class _Gathering:
    """What the pieces of a report are made from; ``rows`` are the samples shown, ``nearest`` those of each cluster."""

    data: Any
    units: Units
    generated: Generated
    assigned: Assigned
    features: dict[str, tuple[str, ...]]
    rows: np.ndarray
    nearest: list[np.ndarray]


def gather_report(
    model: CMVAE,
    data: Any,
    *,
    ids: Sequence[Any] | None = None,
    labels: Any = None,
    label_names: Mapping[Any, str] | Sequence[str] | None = None,
    history: Any = None,
    h_values: Sequence[float] | None = None,
    features: Mapping[str, Sequence[Any]] | None = None,
    to_units: Mapping[str, Callable[[np.ndarray], Any]] | None = None,
    images: Sequence[str] | None = None,
    cluster_names: Mapping[int, str] | None = None,
    title: str = "Clusters",
    rule: str = "mean",
    max_points: int = 2000,
    n_features: int = 8,
    n_nearest: int = 6,
    n_draws: int = 5,
    batch_size: int = 1024,
    seed: int = 0,
) -> ReportContent:
    """Gather what :func:`cmvae.report.write_report` shows; the model is left as it is.

    All samples are assigned and counted; the plane shows at most ``max_points`` of them, those
    closest to the centre of each cluster among them. Its projection is that of
    :func:`cmvae.report.embedding_figure`: t-SNE of the means of q(z|X), started from principal
    components, or the principal components themselves for fewer than 50 samples or two dimensions.

    Args:
        model: A trained model.
        data: n samples, anything that :func:`cmvae.metrics.reading.batches` takes.
        ids: What the samples are called, n of them; None: their numbers from 0.
        labels: n numbers or strings to compare clusters with; None: those of the data, if it has
            any. Samples whose label is ``'(none)'`` have none: they are counted, not scored.
        label_names: Label to name; a sequence for labels that are whole numbers from 0.
        history: Training curves, as :func:`cmvae.report.arguments.read_history` takes them: for
            instance ``pandas.read_csv`` of the ``metrics.csv`` that :func:`cmvae.fit` logs.
        h_values: What ``CMVAE.prune_clusters`` returned.
        features: Of tables, modality to the names of its values.
        to_units: Modality to a function that turns values as the model has them (n, *shape), data
            or means of what it generates, into values that people read: (n, *) numbers, images, or
            a list of n texts. For a :class:`cmvae.preprocessing.coding.TableCoding`,
            :func:`units_of_table` makes it.
        images: Modalities that are images, (n, H, W) or (n, C, H, W) after ``to_units``, in [0, 1]
            (other ranges are stretched to it); None: those of shape (C, H, W) with C from 1 to 4.
        cluster_names: Index of an active cluster to its name; the index where left out.
        title: Heading of the page.
        rule: The rule of ``CMVAE.predict_clusters``.
        max_points: At most so many samples are shown in the plane.
        n_features: At most so many features that set a cluster apart.
        n_nearest: Members of each cluster closest to its centre.
        n_draws: Images drawn from each cluster, besides the one at its centre.
        batch_size: Samples read and encoded at a time.
        seed: Seed of the draws and of the choice of the samples shown.

    Returns:
        The content, of plain numbers, texts and encoded pictures.

    Raises:
        KeyError: For a modality that the model does not have.
        TypeError: For arguments of another kind.
        ValueError: For no samples, lengths that differ, an unknown rule, or a number below 1.
    """
    if not isinstance(model, CMVAE):
        raise TypeError(f"model must be a CMVAE, got {type(model).__name__}")
    check_rule(rule)
    dataset, units = as_dataset(data), Units(dict(to_units or {}), images)
    units.check(model.modalities)
    check_known(features or {}, model.modalities, "features")
    labels = getattr(dataset, "labels", None) if labels is None else labels
    named, ids = read_labels(labels, label_names, len(dataset)), read_ids(ids, len(dataset))
    curves, selection = read_history(history), read_selection(h_values)
    for name, value in {
        "n_features": n_features,
        "n_nearest": n_nearest,
        "n_draws": n_draws,
        "max_points": max_points,
    }.items():
        positive_int(name, value)
    active = model.active_clusters.nonzero().flatten()
    called = read_cluster_names(cluster_names, active.tolist())
    generator = seeded(seed, active.device)
    generated = generate(model, units, active, n_draws, generator)
    widths = {
        m: int(np.prod(generated.centres[m].shape[1:]))
        for m, k in generated.kinds.items()
        if k == TABLE
    }
    names = {m: read_features((features or {}).get(m), width, m) for m, width in widths.items()}
    moments = {m: Moments(len(active), width) for m, width in widths.items()}
    assigned = assign(model, dataset, units, generated.kinds, moments, rule, batch_size)
    rows, nearest = _choose(assigned, len(active), n_nearest, max_points, seed)
    found = _Gathering(dataset, units, generated, assigned, names, rows, nearest)
    patterns, pattern_of = _patterns(assigned.observed, assigned.clusters, len(active))
    plane, axes = _project(assigned.latents[rows])
    return ReportContent(
        title=title,
        version=__version__,
        n_samples=len(dataset),
        projection=axes,
        rule=rule,
        modalities=tuple(_modality(found, model, i) for i in range(len(model.modalities))),
        clusters=tuple(
            _cluster(found, model, c, int(active[c]), called[c], n_features)
            for c in range(len(active))
        ),
        patterns=patterns,
        samples=_samples(found, list(model.modalities), plane, ids, pattern_of, named),
        agreement=_agreement(named, assigned.clusters, len(active)),
        history=curves,
        selection=selection,
    )


def units_of_table(coding: TableCoding) -> Callable[[np.ndarray], np.ndarray]:
    """Return what turns the numbers of a coded table, (n, D), into units of its columns.

    Categories stay shares, one number for each value. What each number is called, ``coding.names``
    tells.
    """
    columns = sorted(coding.columns, key=lambda column: KINDS.index(column.kind))
    center = np.repeat([column.center for column in columns], [column.width for column in columns])
    spread = np.repeat([column.spread for column in columns], [column.width for column in columns])
    return lambda values: values.astype(np.float64) * spread + center


def _choose(
    assigned: Assigned, n_clusters: int, n_nearest: int, max_points: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Choose the samples that are shown; return their rows, sorted, and those closest to each cluster's centre."""
    nearest = []
    for cluster in range(n_clusters):
        members = np.flatnonzero(assigned.clusters == cluster)
        order = np.argsort(-assigned.closeness[members], kind="stable")
        nearest.append(members[order[:n_nearest]])
    wanted = np.concatenate(
        [*nearest, np.random.default_rng(seed).permutation(len(assigned.clusters))]
    )
    first = np.sort(np.unique(wanted, return_index=True)[1])[:max_points]
    rows = np.sort(wanted[first])
    return rows, [members[np.isin(members, rows)] for members in nearest]


def _patterns(
    observed: np.ndarray, clusters: np.ndarray, n_clusters: int
) -> tuple[tuple[Pattern, ...], np.ndarray]:
    """Return the combinations of modalities by frequency, the rarest put together, and that of each sample, (n,)."""
    kinds, codes, counts = np.unique(observed, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = order if len(order) <= MOST_PATTERNS else order[: MOST_PATTERNS - 1]
    place = np.full(len(order), len(kept))
    place[kept] = np.arange(len(kept))
    of_sample = place[codes.reshape(-1)]
    n_patterns = int(of_sample.max()) + 1
    by_cluster = np.zeros((n_patterns, n_clusters), int)
    np.add.at(by_cluster, (of_sample, clusters), 1)
    patterns = [
        Pattern(tuple(map(bool, kinds[k])), tuple(by_cluster[i].tolist()))
        for i, k in enumerate(kept)
    ]
    patterns += [Pattern((), tuple(row.tolist())) for row in by_cluster[len(kept) :]]
    return tuple(patterns), of_sample


def _modality(found: _Gathering, model: CMVAE, index: int) -> Modality:
    name = model.modalities[index]
    kind, centres = found.generated.kinds[name], found.generated.centres[name]
    shape = (model.model_config.input_dims or {}).get(name) or centres.shape[1:]
    seen = found.assigned.clusters[found.assigned.observed[:, index]]
    counts = tuple(np.bincount(seen, minlength=len(centres)).tolist())
    about = Modality(name, kind, tuple(shape), (), counts)
    if kind == TABLE:
        return replace(about, features=found.features[name])
    if kind == TEXT:
        return replace(about, texts=_texts(found, name))
    low, high = found.assigned.ranges[name]
    scale = Scale(low, high) if low <= high else Scale(0.0, 1.0)
    share = list(found.generated.kinds.values()).count(IMAGES)
    pictures = np.concatenate([centres[:, None], found.generated.draws[name]], 1)
    prototypes = thumbnails(scale.bytes(pictures.reshape(-1, *centres.shape[1:])), PROTOTYPE)
    return replace(
        about,
        sheet=as_sheet(_thumbnails(found, name, scale, prototypes), SHEET_BYTES // share),
        prototypes=as_sheet(prototypes, PROTOTYPE_BYTES // share),
    )


def _thumbnails(found: _Gathering, modality: str, scale: Scale, like: np.ndarray) -> np.ndarray:
    """Return the pictures of the samples shown, (N, H, W, 3) bytes, blank where they lack the modality."""
    parts = []
    for seen, values in values_at(found.data, found.rows, modality, found.units):
        size = thumbnails(like[:1], THUMBNAIL).shape[1:]
        small = np.full((len(seen), *size), 255, np.uint8)
        if seen.any():
            small[seen] = thumbnails(scale.bytes(values), THUMBNAIL)
        parts.append(small)
    return np.concatenate(parts)


def _texts(found: _Gathering, modality: str) -> tuple[str, ...]:
    texts: list[str] = []
    for seen, values in values_at(found.data, found.rows, modality, found.units):
        own = iter(values.tolist())
        texts += [_shortened(str(next(own))) if there else "" for there in seen]
    return tuple(texts)


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 1]}…"


def _cluster(
    found: _Gathering, model: CMVAE, cluster: int, index: int, name: str, n_features: int
) -> Cluster:
    probability = found.assigned.probability[found.assigned.clusters == cluster]
    texts = {
        m: found.generated.centres[m][cluster]
        for m, kind in found.generated.kinds.items()
        if kind == TEXT
    }
    return Cluster(
        name=name,
        size=len(probability),
        certainty=float(probability.mean()) if len(probability) else None,
        unsure=int((probability < 0.5).sum()),
        weight=float(model.pc_params.detach()[index]),
        nearest=tuple(np.searchsorted(found.rows, found.nearest[cluster]).tolist()),
        differences=_differences(found, list(model.modalities), cluster, n_features),
        texts={m: _shortened(str(text)) for m, text in texts.items()},
    )


def _differences(
    found: _Gathering, modalities: list[str], cluster: int, top: int
) -> tuple[Difference, ...]:
    """Return the features in which a cluster differs most from all other samples."""
    differences = []
    for m, moments in found.assigned.moments.items():
        sizes = moments.differences(cluster)
        inside, outside = moments.inside_and_outside(cluster)
        prototype = found.generated.centres[m][cluster].reshape(-1)
        for j in np.argsort(-np.abs(sizes), kind="stable")[:top]:
            if sizes[j] != 0:
                numbers = map(float, (sizes[j], inside[j], outside[j], prototype[j]))
                differences.append(Difference(modalities.index(m), int(j), *numbers))
    return tuple(sorted(differences, key=lambda d: -abs(d.difference))[:top])


def _samples(
    found: _Gathering,
    modalities: list[str],
    plane: np.ndarray,
    ids: tuple[str, ...],
    pattern_of: np.ndarray,
    named: Labels | None,
) -> Samples:
    rows, assigned = found.rows, found.assigned
    return Samples(
        ids=tuple(ids[row] for row in rows),
        x=tuple(plane[:, 0].tolist()),
        y=tuple(plane[:, 1].tolist()),
        cluster=tuple(assigned.clusters[rows].tolist()),
        probability=tuple(assigned.probability[rows].tolist()),
        pattern=tuple(pattern_of[rows].tolist()),
        label=() if named is None else tuple(named[1][rows].tolist()),
        telling=_telling(found, modalities),
    )


def _telling(
    found: _Gathering, modalities: list[str]
) -> tuple[tuple[tuple[int, int, float, float], ...], ...]:
    """Return the most telling values of the samples shown, of all tables together."""
    telling: list[list[tuple[int, int, float, float]]] = [[] for _ in found.rows]
    for m, moments in found.assigned.moments.items():
        start = 0
        for seen, values in values_at(found.data, found.rows, m, found.units):
            if seen.any():
                best = telling_values(values.reshape(len(values), -1), moments, N_TELLING)
                for row, entries in zip(start + np.flatnonzero(seen), best, strict=True):
                    telling[row] += [(modalities.index(m), *entry) for entry in entries]
            start += len(seen)
    return tuple(
        tuple(sorted(entries, key=lambda entry: -abs(entry[3]))[:N_TELLING]) for entries in telling
    )


def _agreement(named: Labels | None, clusters: np.ndarray, n_clusters: int) -> Agreement | None:
    if named is None:
        return None
    labels, codes = named
    counts = np.zeros((len(labels), n_clusters), int)
    np.add.at(counts, (codes, clusters), 1)
    known = np.array([label != NO_LABEL for label in labels])[codes]
    scores = clustering_scores(codes[known], clusters[known])
    return Agreement(labels, tuple(tuple(row) for row in counts.tolist()), scores)
