"""Settings of training that need no tuning: those of the estimator and of the command line."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, TypeAdapter

from cmvae.base.plain import finite_or_none
from cmvae.base.settings import PositiveInt, Settings, Sizes, Weight
from cmvae.clusters.evidence import MOST
from cmvae.training.start import PATIENCE, IntegerOrAuto, Start, as_pair

WARMUP_STEPS = 480
ALIGNMENT_STEPS, READING_STEPS = 1200, 450
RATE, ALIGNED_RATE = 1e-3, 2e-3
LEAST_PAIRS = 64  # samples seen in two ways, below which a contrast has nothing to tell apart
MOST_LONGER = 3  # times the steps of an alignment, where samples lack modalities or groups grow
HELD_OUT = 0.2  # of the samples, from an alignment
IMAGE_BATCH = 64  # images cost most: more steps are worth more than larger ones
FEWEST_EPOCHS, MOST_EPOCHS = 10, 300
BATCH, LARGEST_BATCH = 128, 1024
STEPS_AN_EPOCH = 160  # beyond which batches grow
MANY_ROWS = BATCH * STEPS_AN_EPOCH  # samples, beyond which training is counted in steps
MANY_STEPS = 2400  # which a warm-up then has
MIXTURE_SHARE = 6
FEWEST_HIDDEN, MOST_HIDDEN = 64, 256
FIRST_WEIGHTS = 2**20  # of all encoders together, beyond which hidden layers get smaller
MANY_MODALITIES, TARGETS = 12, 4  # from so many on so many others are reconstructed from each

_SIZES = TypeAdapter(Sizes)
_WEIGHT = TypeAdapter(Weight)


def _scale(value: object) -> object:
    if isinstance(value, str) and value == "learned":
        return value
    number = finite_or_none(value) or 0.0
    if number <= 0:
        raise ValueError("must be a positive number or 'learned'")
    return number


def _alignment(value: object) -> object:
    if value is None or (isinstance(value, str) and value == "auto"):
        return value
    if isinstance(value, list | tuple) and list(value) == [0, 0]:
        return None
    first, *most = (value[:2], *value[2:]) if isinstance(value, list | tuple) else (value,)
    try:
        pair = as_pair(first)
        if most and as_pair([pair[0], *most])[1] < pair[0]:
            raise ValueError("must be two positive integers, and a third is no less than the first")
    except ValueError as error:
        raise ValueError(f"{error}, (0, 0) for none, or 'auto'") from None
    return (*pair, *most)


def _rate(value: object) -> object:
    if not isinstance(value, str):
        return _WEIGHT.validate_python(value)
    if value != "auto":
        raise ValueError("must be a positive number or 'auto'")
    return value


def _layers(value: object) -> object:
    return value if isinstance(value, str) and value == "auto" else _SIZES.validate_python(value)


class Recipe(Settings):
    """Settings of model and training; each is explained at :class:`cmvae.CMVAEClusterer`.

    With ``alignment_epochs`` = (a, r) training has a epochs of the encoders alone, r in which
    decoders learn to read z, r in which β rises (:class:`cmvae.training.start.Start`), and then as
    many with β at its value as a warm-up would have; with (a, r, m) up to m of the encoders alone,
    while these find more groups. ``'auto'`` is none until :meth:`suited_to` has been told what the
    data are.

    Example:
        >>> recipe = Recipe(n_clusters=3)
        >>> recipe.largest(150), recipe.samples_per_step(150), recipe.warmup_epochs(150)
        (3, 16, 48)
    """

    n_clusters: IntegerOrAuto = "auto"
    max_clusters: PositiveInt = MOST
    latent_dim: PositiveInt = 24
    private_dim: PositiveInt = 10
    hidden_dims: Annotated[Any, BeforeValidator(_layers)] = "auto"
    covariance: Literal["full", "diagonal", "identity"] = "full"
    latent_family: Literal["normal_with_softplus", "normal", "laplace_with_softmax"] = (
        "normal_with_softplus"
    )
    scale: Annotated[Any, BeforeValidator(_scale)] = "learned"
    beta: Weight = 1.0
    start: Literal["auto", "consensus", "spectral", "shared", "gmm"] = "auto"
    rule: Literal["joint", "mean", "vote"] = "joint"
    alignment_epochs: Annotated[Any, BeforeValidator(_alignment)] = "auto"
    max_epochs: IntegerOrAuto = "auto"
    batch_size: IntegerOrAuto = "auto"
    learning_rate: Annotated[Any, BeforeValidator(_rate)] = "auto"
    forgetting: Weight | None = None

    @property
    def alignment(self) -> tuple[int, int] | None:
        """The epochs of an alignment, (a, r), or None."""
        found = self.alignment_epochs
        return None if found is None or found == "auto" else found[:2]

    @property
    def longest_alignment(self) -> int | None:
        """The most epochs of the encoders alone, None without an alignment."""
        if self.alignment is None:
            return None
        first, _, *most = self.alignment_epochs
        return int(most[0] if most else first)

    def counts_steps(self, n_samples: int) -> bool:
        """Whether there are so many samples that steps count, not epochs, and batches grow."""
        return n_samples > MANY_ROWS and self.alignment is None

    def decays(self, n_samples: int, warm: bool = False) -> bool:
        """Whether the learning rate falls: with an alignment or many samples, unless given."""
        falls = self.alignment is not None or self.counts_steps(n_samples)
        return self.learning_rate == "auto" and falls and not warm

    def step_size(self, n_samples: int, warm: bool = False) -> float:
        """Return the learning rate: where it is not given and does not fall 0.001.

        Where it falls, 0.002 at first with an alignment, else 0.001 for each 128 of a batch.
        """
        if self.learning_rate != "auto":
            return float(self.learning_rate)
        if not self.decays(n_samples, warm):
            return RATE
        if self.alignment is not None:
            return ALIGNED_RATE
        return RATE * max(1.0, self.samples_per_step(n_samples) / BATCH)

    def suited_to(self, n_samples: int, n_pairs: int, share: float = 1.0) -> Self:
        """Return the recipe as images need it, unless ``alignment_epochs`` is None.

        Images of the same group share little else: by a warm-up z stays unused for long. They get
        batches of 64 at most and, where it is ``'auto'``, an alignment of about 1200 steps, up to
        thrice as many where samples lack some of them or more groups are found, and 450 more of
        reading, of no more epochs than ``max_epochs`` (300 unless given) and half of it.

        Args:
            n_samples: How many samples there are.
            n_pairs: How many of them are seen in two images at least, or an image and a text; with
                fewer than 64 nothing changes.
            share: How many of all pairs of modalities of a sample are there, on average.
        """
        if self.alignment_epochs is None or n_pairs < LEAST_PAIRS:
            return self
        size = min(IMAGE_BATCH, self.samples_per_step(n_samples))
        size = size if self.batch_size == "auto" else int(self.batch_size)
        if self.alignment_epochs != "auto":
            return self.replace(batch_size=size)
        steps = math.ceil(n_samples / size)
        most = MOST_EPOCHS if self.max_epochs == "auto" else int(self.max_epochs)
        longer = min(1 / share, MOST_LONGER)
        first = min(most, math.ceil(longer * ALIGNMENT_STEPS / steps))
        longest = min(most, MOST_LONGER * math.ceil(ALIGNMENT_STEPS / steps))
        reading = min(max(1, most // 2), math.ceil(READING_STEPS / steps))
        epochs = (first, reading, longest) if longest > first else (first, reading)
        return self.replace(alignment_epochs=epochs, batch_size=size)

    def hidden_layers(self, n_columns: int) -> tuple[int, ...]:
        """Return the sizes of hidden layers: of 256 units, fewer where there are many columns."""
        if self.hidden_dims != "auto":
            return tuple(self.hidden_dims)
        return (min(MOST_HIDDEN, max(FEWEST_HIDDEN, FIRST_WEIGHTS // n_columns)),)

    def model_settings(self, n_columns: int, n_modalities: int) -> dict[str, Any]:
        """Return the arguments of ``CMVAEConfig`` that follow from the data's size alone.

        From 12 modalities on a step reconstructs four others, drawn at random, from each modality,
        and not all: the same objective in expectation. All pairs would take most of the time.

        Args:
            n_columns: How many numbers a sample has, of all its modalities.
            n_modalities: How many modalities there are.
        """
        return {
            "latent_dim": self.latent_dim,
            "modalities_specific_dim": self.private_dim,
            "prior_and_posterior_dist": self.latent_family,
            "covariance": self.covariance,
            "hidden_dims": self.hidden_layers(n_columns),
            "beta": self.beta,
            "K": 1,
            "cross_modal_targets": TARGETS if n_modalities >= MANY_MODALITIES else None,
            **({"forgetting": self.forgetting} if self.forgetting else {}),
        }

    def largest(self, n_samples: int) -> int:
        """Return C, the number of clusters that a model of so many samples has room for.

        Raises:
            ValueError: If ``n_clusters`` exceeds the samples.
        """
        if self.n_clusters == "auto":
            return max(1, min(self.max_clusters, n_samples // 4))
        if self.n_clusters > n_samples:
            wanted = f"n_clusters = {self.n_clusters} clusters"
            raise ValueError(f"{wanted} cannot be found in n_samples = {n_samples}")
        return int(self.n_clusters)

    def warmup_epochs(self, n_samples: int) -> int:
        """Return the epochs with one cluster, unless training stops improving before.

        480 steps and at least 10 epochs; of more than 20,480 samples 2400 steps.
        """
        if self.max_epochs != "auto":
            return int(self.max_epochs)
        steps = math.ceil(n_samples / self.samples_per_step(n_samples))
        if self.counts_steps(n_samples):
            return math.ceil(MANY_STEPS / steps)
        return min(max(math.ceil(WARMUP_STEPS / steps), FEWEST_EPOCHS), MOST_EPOCHS)

    def final_epochs(self, n_samples: int, warm: bool = False) -> int:
        """Return the epochs of the last part, with all clusters and β: most after an alignment."""
        epochs = self.warmup_epochs(n_samples)
        return epochs if self.alignment and not warm else max(1, epochs // MIXTURE_SHARE)

    def start_of_training(self, n_samples: int, warm: bool = False) -> Start:
        """Return the plan; ``warm``: the networks are trained already, the clusters start at once.

        Adam begins again with the clusters, unless β has still to rise.
        """
        aligns = self.alignment is not None and not warm
        return Start(
            warmup_epochs=0 if warm or aligns else self.warmup_epochs(n_samples),
            patience=None if aligns else PATIENCE,
            alignment_epochs=self.alignment if aligns else None,
            longest_alignment=self.longest_alignment if aligns else None,
            held_out=HELD_OUT if aligns else 0.0,
            initial_clusters=self.n_clusters,
            method=self.start,
            fresh_optimizer=not aligns,
        )

    def samples_per_step(self, n_samples: int) -> int:
        """Return the batch size: a fifteenth of the samples, 16 to 128, of many up to 1024."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        if self.counts_steps(n_samples):
            return min(LARGEST_BATCH, n_samples // STEPS_AN_EPOCH)
        return min(BATCH, max(16, n_samples // 15))
