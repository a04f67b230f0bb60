"""What stands in a report: plain numbers, texts and encoded pictures, gathered once."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cmvae.clusters.evidence import NumberEvidence

if TYPE_CHECKING:
    import pandas as pd

Telling = tuple[int, int, float, float]
"""Modality, feature, value in units of the data, standard deviations from the mean."""


@dataclass(frozen=True)
class Sheet:
    """Pictures of one size on one image, row by row."""

    uri: str  # the image, a ``data:`` address
    across: int  # pictures in a row
    count: int
    width: int  # of one picture, in pixels
    height: int


@dataclass(frozen=True)
class Modality:
    """One modality; what does not apply to its kind is empty."""

    name: str
    kind: str  # 'table', 'images' or 'text'
    shape: tuple[int, ...]  # of one sample as the model sees it
    features: tuple[str, ...]  # names of the values of a table
    observed: tuple[int, ...]  # how many samples of each cluster have it
    scaled_to: float | None = None  # the total of its counts in each sample, where they have one
    sheet: Sheet | None = None  # images of the samples shown, blank where one lacks it
    prototypes: Sheet | None = None  # for each cluster the decoded centre, then the draws from it
    texts: tuple[str, ...] = ()  # of the samples shown, empty where one lacks it


@dataclass(frozen=True)
class Histogram:
    """How many values lie where, in a cluster and in all others."""

    inside: tuple[int, ...]
    outside: tuple[int, ...]
    low: float  # between which numbers, in units of the data
    high: float


@dataclass(frozen=True)
class Difference:
    """A feature in which a cluster differs from all other samples."""

    modality: int  # its place
    feature: int  # its place in the modality's ``features``
    effect: float  # infinite where neither side varies
    symbol: str  # of the effect size
    p: float | None  # of a test of the means, adjusted; None where there is none
    is_share: bool  # whether the three numbers below are shares of samples
    inside: float  # the means in the cluster and of the others, in units of the data
    outside: float
    generated: float  # the mean of what the model generates from the cluster, likewise
    histogram: Histogram | None  # none of shares


@dataclass(frozen=True)
class Column:
    """What a column was taken for."""

    modality: str
    name: str
    kind: str
    note: str  # what was done with it, where that is not plain
    missing: float  # the share of samples that lack it, of those that have the modality
    values: str  # the range, or the most frequent values


@dataclass(frozen=True)
class Cluster:
    """One cluster."""

    name: str  # its number, and the name that it was given
    size: int  # samples assigned to it
    certainty: float | None  # mean probability with which they are; None where there are none
    unsure: int  # how many of them have a probability below one half
    weight: float  # π, the share that the model expects
    stability: float | None  # how well competing partitions agree on it; None where unknown
    nearest: tuple[int, ...]  # members closest to its centre, places among the samples shown
    differences: tuple[Difference, ...]  # the largest first
    texts: dict[str, str] = field(default_factory=dict)  # what is generated at its centre


@dataclass(frozen=True)
class Pattern:
    """A combination of modalities that samples have."""

    observed: tuple[bool, ...]  # by modality; empty for all the rarer combinations together
    counts: tuple[int, ...]  # samples with exactly it, by cluster


@dataclass(frozen=True)
class Samples:
    """The samples shown in the plane, all or some; cluster, pattern and label are places."""

    ids: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]
    cluster: tuple[int, ...]
    probability: tuple[float, ...]  # of that cluster
    pattern: tuple[int, ...]
    label: tuple[int, ...]  # empty without labels
    telling: tuple[tuple[Telling, ...], ...]  # the values furthest from the mean of all samples


@dataclass(frozen=True)
class Agreement:
    """How clusters and labels go together."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]  # for each label its samples by cluster
    scores: dict[str, float]  # ACC, NMI and ARI


@dataclass(frozen=True)
class Covariate:
    """How clusters go together with what is not to make them."""

    name: str
    levels: tuple[str, ...]  # its categories; empty of a number
    counts: tuple[tuple[int, ...], ...]  # for each of them its samples by cluster
    means: tuple[float | None, ...]  # of a number by cluster, None where none is known
    scores: dict[str, float]  # of :func:`cmvae.metrics.covariates.covariate_scores`


@dataclass(frozen=True)
class Check:
    """A statistic of a modality's counts, of the data and of what the model makes in its place."""

    modality: str
    statistic: str  # of :class:`cmvae.metrics.predictive.PredictiveCheck`
    data: float  # averages over counts, or pairs of them
    replicated: float
    error: float  # of one count, on average
    outside: float  # the share of which data lie outside all replicates
    expected: float  # that share of data that the model made


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows; see :func:`cmvae.report.gather_report`."""

    title: str
    version: str  # of this package
    n_samples: int  # of which ``samples`` may hold only some
    projection: str  # what the axes of the plane are
    rule: str  # by which samples were assigned
    modalities: tuple[Modality, ...]
    columns: tuple[Column, ...]  # of the tables, the first of them
    n_columns: int  # how many there are
    clusters: tuple[Cluster, ...]
    patterns: tuple[Pattern, ...]  # the most frequent first
    samples: Samples
    agreement: Agreement | None
    history: dict[str, tuple[float | None, ...]]  # by epoch; None where it was not measured
    evidence: NumberEvidence | None  # for the number of clusters; None where it was given
    profiles: "pd.DataFrame" = field(compare=False, repr=False)  # what sets clusters apart
    covariates: tuple[Covariate, ...] = ()
    checks: tuple[Check, ...] = ()
