"""A likelihood given as a function."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cmvae.likelihoods.base import Likelihood, at_least_float32


class Custom(Likelihood):
    """A likelihood given as a function.

    Args:
        function: Maps a reconstruction (B, *input shape) and a target to log-probabilities
            (B, ...), elementwise or summed over any axes but the first. A floating target is cast
            to the reconstruction's dtype. A module may be given, to be trained with the model.
    """

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return what the function returns.

        Raises:
            TypeError: If that is no tensor.
            ValueError: If its first axis is not that of the reconstruction.
        """
        reconstruction = at_least_float32(reconstruction)
        if target.is_floating_point():
            target = target.to(reconstruction.dtype)
        result = self.function(reconstruction, target)
        if not isinstance(result, Tensor):
            kind = type(result).__name__
            raise TypeError(f"a custom likelihood must return a tensor; got {kind}")
        if result.shape[:1] != reconstruction.shape[:1] or result.dim() == 0:
            raise ValueError(
                f"a custom likelihood must return log-probabilities ({len(reconstruction)}, ...), "
                f"not averaged over the batch; got shape {tuple(result.shape)}"
            )
        if result.numel() > reconstruction.numel():
            raise ValueError(
                f"a custom likelihood returned {tuple(result.shape)}, more values than the "
                f"reconstruction {tuple(reconstruction.shape)} has: shapes were broadcast"
            )
        return at_least_float32(result)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Refuse: a log-probability alone cannot be drawn from.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a likelihood given as a callable has no samples; use its mean")

    def check(self, target: Tensor, modality: str, shape: Sequence[int] | None = None) -> None:
        """Allow any data: the support of a function is not known."""
