"""How training starts: the plan of it, as plain settings."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from cmvae.base.settings import Flag, PositiveInt, Settings, Share, Weight, as_positive_int

PHASES = ("warm-up", "alignment", "clusters")
ALIGNMENT_WEIGHT = 100.0
ALIGNMENT_BETA = 1.0
INFORMATION_WEIGHT = 40.0
PATIENCE, LEAST_GAIN = 10, 1e-3
STILL_FALLING = 0.05


def _integer_or_auto(value: object) -> object:
    if isinstance(value, str) and value == "auto":
        return value
    try:
        return as_positive_int(value)
    except ValueError as error:
        raise ValueError(f"{error} or 'auto'") from None


def as_pair(value: object) -> tuple[int, int]:
    """Return two positive integers; ``ValueError`` for anything else."""
    try:
        first, second = map(as_positive_int, value if isinstance(value, list | tuple) else ())
    except ValueError:
        raise ValueError("must be two positive integers") from None
    return first, second


def _natural(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 0:
        raise ValueError("must be an integer from 0")
    return int(value)


IntegerOrAuto = Annotated[Any, BeforeValidator(_integer_or_auto)]
Pair = Annotated[tuple[int, int], BeforeValidator(as_pair)]
Natural = Annotated[int, BeforeValidator(_natural)]


class Start(Settings):
    """The plan of how training starts: with one cluster, or with the encoders alone; then clusters.

    A mixture trained from random centres settles in poor clusters (VaDE, Jiang et al., 2017). So
    the first ``warmup_epochs`` have a single cluster, fixed at zero with scale 1; then the clusters
    start where the latents lie (:func:`cmvae.initialize_clusters`); at once with 0.

    Where modalities share little but the cluster, as images of the same class do, the objective
    leaves z unused for long: no decoder can read it, so no encoder learns to write it. With
    ``alignment_epochs`` = (a, r) instead

    1. for a epochs the encoders learn by :func:`cmvae.models.alignment.alignment_loss` alone, and
       the clusters start, ``'auto'`` of them being as many as modalities agree on;
    2. for r more, decoders, private latents and clusters learn by the objective with β at most 1,
       the shared latent by the alignment alone;
    3. for as many again β rises to its value.

    Then, the encoders having learned more, the clusters start once more; where they are counted, no
    fewer than at first. The alignment stays beside the objective, which by itself would give z up
    step by step: where z lies is learned from it alone. In it encoders see images moved and noisy,
    without which they learn small data by heart. Decoders are told to show z, whatever the private
    latents are (:func:`cmvae.models.information.information_loss`). With ``lasting=False`` the
    objective is the model's own after the third part.

    Args:
        warmup_epochs: So many epochs with one cluster.
        patience: End them early, once the loss of training has not fallen by more than 0.001 for so
            many epochs; as many follow as without.
        alignment_epochs: (a, r), instead of a warm-up.
        longest_alignment: Let the clusters start later than after a epochs, up to after so many:
            the alignment goes on by a quarter of a at a time while more groups are found than two
            quarters before, or a single one. A trainer's ``max_epochs`` has these epochs too; a
            learning rate along a cosine stands still meanwhile.
        lasting: Whether the alignment stays to the end.
        views: Whether the alignment sees images moved and noisy.
        information: Weight of the information loss, while there is an alignment; None: without.
        held_out: Share of the samples that the alignment does not see, so that ``'auto'`` counts
            groups among them: pairs of images that encoders have learned by heart look like groups
            of their own. At 0 a number that is too large for this at first stays, as no fewer
            start later.
        initial_clusters: How many clusters start: a number, ``'auto'``, or None for all.
        method: Of :func:`cmvae.initialize_clusters`; ``'auto'`` is ``'shared'`` with alignment,
            else ``'consensus'``.
        keep: Train on so that the samples' probabilities stay near to the shares of competing
            partitions that had them in each cluster (of a consensus), by their cross entropy.
        seed: Seed of that.
        batch_size: Samples encoded at a time for it.
        fresh_optimizer: Make the optimiser anew when the clusters start.

    Example:
        >>> plan = Start(alignment_epochs=(3, 2))
        >>> plan.before_clusters, plan.before_objective, plan.initialization["method"]
        (3, 7, 'shared')
        >>> plan.replace(lasting=False).options(3.0, beta=2.5)  # β is half way up
        {'beta': 1.75}
    """

    warmup_epochs: Natural = 0
    patience: PositiveInt | None = None
    alignment_epochs: Pair | None = None
    longest_alignment: PositiveInt | None = None
    lasting: Flag = True
    views: Flag = True
    information: Weight | None = INFORMATION_WEIGHT
    held_out: Share = 0.0
    initial_clusters: IntegerOrAuto | None = None
    method: Literal["auto", "consensus", "spectral", "shared", "gmm"] = "auto"
    keep: Flag = True
    seed: Natural | None = None
    batch_size: PositiveInt = 512
    fresh_optimizer: Flag = False

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.alignment_epochs and self.warmup_epochs:
            raise ValueError("warmup_epochs and alignment_epochs are two ways to begin: give one")
        if self.alignment_epochs and self.patience:
            raise ValueError("patience ends a warm-up: leave it where alignment_epochs are given")
        first = self.alignment_epochs[0] if self.alignment_epochs else math.inf
        if self.longest_alignment is not None and self.longest_alignment < first:
            raise ValueError(
                f"longest_alignment is at least the first of alignment_epochs; got "
                f"{self.longest_alignment} and {self.alignment_epochs}"
            )
        return self

    @property
    def spare(self) -> int:
        """Epochs that an alignment may take beyond those planned."""
        return (self.longest_alignment or self.before_clusters) - self.before_clusters

    @property
    def before_clusters(self) -> int:
        """Epochs until the clusters start, unless fewer by patience or some spare ones."""
        return self.alignment_epochs[0] if self.alignment_epochs else self.warmup_epochs

    @property
    def reading(self) -> int:
        """Epochs in which decoders learn to read z; in as many more β rises."""
        return self.alignment_epochs[1] if self.alignment_epochs else 0

    @property
    def before_objective(self) -> int:
        """Epochs until the last part, with all clusters and β at its value, likewise."""
        return self.before_clusters + 2 * self.reading

    @property
    def restarts(self) -> bool:
        """Whether the clusters start once more, before the last part of training."""
        return self.lasting and self.alignment_epochs is not None

    @property
    def initialization(self) -> dict[str, Any]:
        """The arguments of :func:`cmvae.initialize_clusters` beside model and data."""
        return {
            "n_clusters": self.initial_clusters,
            "method": self.chosen_method,
            "seed": self.seed,
            "batch_size": self.batch_size,
        }

    @property
    def chosen_method(self) -> str:
        """The method, ``'auto'`` resolved."""
        auto = "shared" if self.alignment_epochs else "consensus"
        return auto if self.method == "auto" else self.method

    @property
    def takes_companions(self) -> bool:
        """Whether other models warm up beside it, to propose groups too."""
        return self.warmup_epochs > 0 and self.chosen_method == "consensus"

    def phase(self, epoch: int, started: bool) -> str:
        """Return which of PHASES an epoch belongs to; ``started``: whether the clusters have."""
        if self.alignment_epochs:
            return "alignment" if epoch < self.before_objective else "clusters"
        return "clusters" if started else "warm-up"

    def options(self, progress: float, beta: float) -> dict[str, Any]:
        """Return arguments of ``CMVAE.forward``, ``progress`` epochs after the clusters started."""
        options: dict[str, Any] = {}
        if progress < 2 * self.reading:
            lowest, share = min(ALIGNMENT_BETA, beta), max(0.0, progress / self.reading - 1)
            options["beta"] = lowest + share * (beta - lowest)
        reads = progress < self.reading
        if reads or (self.lasting and self.alignment_epochs):
            options |= {"alignment": ALIGNMENT_WEIGHT, "narrowed": reads}
            options |= {"information": self.information} if self.information else {}
        return options


def still_falling(losses: Sequence[float]) -> bool:
    """Tell whether more epochs would have lowered a loss by much.

    So it is where its mean over the last tenth of the epochs is lower than over the tenth before by
    more than a twentieth of what it has fallen in all.
    """
    last = max(1, len(losses) // 10)
    if len(losses) <= last:
        return False
    gain = sum(losses[-2 * last : -last]) / last - sum(losses[-last:]) / last
    return gain > STILL_FALLING * max(0.0, losses[0] - losses[-1])
