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
            ValueError: If its first axis is not that of the reconstruction, or it has more values.
        """
        reconstruction = at_least_float32(reconstruction)
        if target.is_floating_point():
            target = target.to(reconstruction.dtype)
        result = self.function(reconstruction, target)
        must = "a custom likelihood must return"
        if not isinstance(result, Tensor):
            raise TypeError(f"{must} a tensor; got {type(result).__name__}")
        got, given = tuple(result.shape), tuple(reconstruction.shape)
        if got[:1] != given[:1] or not got:
            wanted = f"log-probabilities ({given[0]}, ...), not averaged over the batch"
            raise ValueError(f"{must} {wanted}; got shape {got}")
        if result.numel() > reconstruction.numel():
            why = "more values than the reconstruction: shapes were broadcast"
            raise ValueError(f"{must} {given} or less; got {got}, {why}")
        return at_least_float32(result)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Raise ``TypeError``: a log-probability alone cannot be drawn from."""
        raise TypeError("a likelihood given as a callable has no samples; use its mean")

    def check(self, target: Tensor, modality: str, shape: Sequence[int] | None = None) -> None:
        """Allow any data: the support of a function is not known."""
