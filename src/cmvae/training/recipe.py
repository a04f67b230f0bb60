"""Settings of training that need no tuning: those of the estimator and of the command line."""

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from cmvae.base.settings import PositiveFloat, PositiveInt, Settings, Shape, positive_int

WARMUP_STEPS = 480
FEWEST_EPOCHS, MOST_EPOCHS = 10, 300
MIXTURE_SHARE = 6


def _integer_or_auto(value: object) -> object:
    if value == "auto":
        return value
    try:
        return positive_int(value)
    except ValueError as error:
        raise ValueError(f"{error} or 'auto'") from None


def _scale(value: object) -> object:
    if value != "learned" and not (isinstance(value, int | float) and 0 < value < math.inf):
        raise ValueError("must be a positive number or 'learned'")
    return value


def _pair(value: object) -> object:
    if value is None:
        return value
    numbers = list(value) if isinstance(value, list | tuple) else []
    if len(numbers) != 2:
        raise ValueError("must be two positive integers")
    return tuple(positive_int(number) for number in numbers)


IntegerOrAuto = Annotated[Any, BeforeValidator(_integer_or_auto)]


class Recipe(Settings):
    """Settings of model and training; each is explained at :class:`cmvae.CMVAEClusterer`.

    Example:
        >>> recipe = Recipe(n_clusters=3)
        >>> recipe.largest(150), recipe.samples_per_step(150), recipe.warmup_epochs(150)
        (3, 16, 48)
    """

    n_clusters: IntegerOrAuto = "auto"
    max_clusters: PositiveInt = 30
    latent_dim: PositiveInt = 24
    private_dim: PositiveInt = 10
    hidden_dims: Shape = (256,)
    covariance: Literal["full", "diagonal", "identity"] = "full"
    latent_family: Literal["normal_with_softplus", "normal", "laplace_with_softmax"] = (
        "normal_with_softplus"
    )
    scale: Annotated[Any, BeforeValidator(_scale)] = "learned"
    beta: PositiveFloat = 1.0
    start: Literal["auto", "spectral", "shared", "gmm"] = "auto"
    rule: Literal["joint", "mean", "vote"] = "joint"
    alignment_epochs: Annotated[Any, BeforeValidator(_pair)] = None
    max_epochs: IntegerOrAuto = "auto"
    batch_size: IntegerOrAuto = "auto"
    learning_rate: PositiveFloat = 1e-3

    def largest(self, n_samples: int) -> int:
        """Return C, the number of clusters that a model of so many samples has room for.

        Raises:
            ValueError: If ``n_clusters`` exceeds the samples.
        """
        if self.n_clusters == "auto":
            return min(self.max_clusters, n_samples)
        if self.n_clusters > n_samples:
            raise ValueError(
                f"n_clusters = {self.n_clusters} clusters cannot be found in "
                f"n_samples = {n_samples}"
            )
        return int(self.n_clusters)

    def warmup_epochs(self, n_samples: int) -> int:
        """Return the epochs with one cluster, unless training stops improving before."""
        if self.max_epochs != "auto":
            return int(self.max_epochs)
        steps = math.ceil(n_samples / self.samples_per_step(n_samples))
        return min(max(math.ceil(WARMUP_STEPS / steps), FEWEST_EPOCHS), MOST_EPOCHS)

    def cluster_epochs(self, n_samples: int) -> int:
        """Return the epochs that follow, with all clusters."""
        return max(1, self.warmup_epochs(n_samples) // MIXTURE_SHARE)

    def samples_per_step(self, n_samples: int) -> int:
        """Return the batch size."""
        if self.batch_size != "auto":
            return int(self.batch_size)
        return min(128, max(16, n_samples // 15))
