"""What stands in a report: plain numbers, texts and encoded pictures, gathered once."""

from dataclasses import dataclass, field

Telling = tuple[int, int, float, float]
"""Modality, feature, value in units of the data, standard deviations from the mean."""


@dataclass(frozen=True)
class Sheet:
    """Pictures of one size on one image, row by row.

    Attributes:
        uri: The image, a ``data:`` address.
        across: Pictures in a row.
        count: Pictures.
        width, height: Those of one, in pixels.
    """

    uri: str
    across: int
    count: int
    width: int
    height: int


@dataclass(frozen=True)
class Modality:
    """One modality.

    Attributes:
        name: Its name.
        kind: ``'table'``, ``'images'`` or ``'text'``.
        shape: Shape of one sample as the model sees it.
        features: Of a table the names of its values, else none.
        observed: How many samples of each cluster have it, in the order of the clusters.
        sheet: Of images those of the samples shown, in their order; blank where one lacks it.
        prototypes: Of images, for each cluster the decoded centre, then the draws from it.
        texts: Of texts those of the samples shown, empty where one lacks it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    features: tuple[str, ...]
    observed: tuple[int, ...]
    sheet: Sheet | None = None
    prototypes: Sheet | None = None
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """A feature in which a cluster differs from all other samples.

    Attributes:
        modality: Place of its modality.
        feature: Place of the feature in the modality's ``features``.
        difference: Mean in the cluster minus mean of the others, in the feature's deviations.
        inside, outside: The two means, in units of the data.
        prototype: What the model generates at the cluster's centre, likewise.
    """

    modality: int
    feature: int
    difference: float
    inside: float
    outside: float
    prototype: float


@dataclass(frozen=True)
class Cluster:
    """One cluster.

    Attributes:
        name: What it is called.
        size: Samples assigned to it.
        certainty: Mean probability with which they are, in [0, 1]; None where there are none.
        unsure: How many of them have a probability below one half.
        weight: π, the share that the model expects.
        nearest: Its members closest to its centre, places among the samples shown.
        differences: What sets it apart, the largest difference first.
        texts: Modality, of texts, to what the model generates at its centre.
    """

    name: str
    size: int
    certainty: float | None
    unsure: int
    weight: float
    nearest: tuple[int, ...]
    differences: tuple[Difference, ...]
    texts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Pattern:
    """A combination of modalities that samples have.

    Attributes:
        observed: For each modality whether it is among them; none at all stands for all the rarer
            combinations.
        counts: Samples with exactly it, by cluster.
    """

    observed: tuple[bool, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Samples:
    """The samples shown in the plane, all or some.

    Attributes:
        ids: What they are called.
        x, y: Their coordinates.
        cluster: Place of their cluster.
        probability: The probability of it.
        pattern: Place of their pattern.
        label: Place of their label, or none.
        telling: For each the values furthest from the mean of all samples, the furthest first.
    """

    ids: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    cluster: tuple[int, ...]
    probability: tuple[float, ...]
    pattern: tuple[int, ...]
    label: tuple[int, ...]
    telling: tuple[tuple[Telling, ...], ...]


@dataclass(frozen=True)
class Agreement:
    """How clusters and labels go together.

    Attributes:
        labels: Names of the labels.
        counts: For each label its samples by cluster.
        scores: ACC, NMI and ARI.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    scores: dict[str, float]


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows; see :func:`cmvae.report.gather_report`.

    Attributes:
        title: Heading of the page.
        version: Version of this package.
        n_samples: Samples, of which ``samples`` may hold only some.
        projection: What the axes of the plane are.
        rule: The rule by which samples were assigned.
        modalities: The modalities.
        clusters: The clusters.
        patterns: The combinations of modalities, the most frequent first.
        samples: The samples shown.
        agreement: With the labels, where there are any.
        history: Quantity to its values by epoch; None in an epoch in which it was not measured.
        selection: Numbers of clusters that were tried, with their criterion.
    """

    title: str
    version: str
    n_samples: int
    projection: str
    rule: str
    modalities: tuple[Modality, ...]
    clusters: tuple[Cluster, ...]
    patterns: tuple[Pattern, ...]
    samples: Samples
    agreement: Agreement | None
    history: dict[str, tuple[float | None, ...]]
    selection: tuple[tuple[int, float], ...]
