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

    def log_prob_of_samples(
        self, reconstruction: Tensor, target: Tensor, axes: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return the summed log-probability; see ``Likelihood.log_prob_of_samples``.

        The function gets rows of its own, which it may write to.

        Raises:
            ValueError: If cells are missing, but the function gives none for each of them.
        """
        lead, last = reconstruction.shape[:axes], axes - 1
        rows, target = reconstruction.flatten(0, last), target.flatten(0, last).clone()
        if cells is None:
            return self.log_prob(rows, target).reshape(*lead, -1).sum(-1)
        cells = cells.flatten(0, last)
        # Its support is not known: a missing cell gets what another row has there.
        other = target.gather(0, cells.int().argmax(0, keepdim=True))
        values = self.log_prob(rows, torch.where(cells, target, other))
        if values.shape != cells.shape:
            got = f"got shape {tuple(values.shape)} for cells {tuple(cells.shape)}"
            wanted = "must return one log-probability for each cell where cells are missing"
            raise ValueError(f"a custom likelihood {wanted}; {got}")
        return torch.where(cells, values, 0).reshape(*lead, -1).sum(-1)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Raise ``TypeError``: a log-probability alone cannot be drawn from."""
        raise TypeError("a likelihood given as a callable has no samples; use its mean")

    def check(
        self,
        target: Tensor,
        modality: str,
        shape: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        """Allow any data: the support of a function is not known."""
