"""Zeros and ones, and classes: Bernoulli and categorical."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cmvae.likelihoods.base import Likelihood, at_least_float32, is_integer, paired

_SUM_TOLERANCE = 1e-3  # of one-hot vectors and soft labels, whose entries sum to 1


class Bernoulli(Likelihood):
    """log p(x) = x l + log σ(−l), with the reconstruction as the logit l and σ the logistic.

    Targets between 0 and 1 are allowed, as is usual for grey images, though the density then is not
    normalised.
    """

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-probability; see ``Likelihood.log_prob``."""
        logits, target = paired(reconstruction, target)
        return target * logits + functional.logsigmoid(-logits)

    @property
    def filling(self) -> Tensor | float:
        """Half: it could be either."""
        return 0.5

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the probability of 1."""
        return torch.sigmoid(at_least_float32(reconstruction))

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw zeros and ones, floating; see ``Likelihood.sample``."""
        return torch.bernoulli(self.mean(reconstruction), generator=generator)

    def check(
        self,
        target: Tensor,
        modality: str,
        shape: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        """Refuse values outside [0, 1]; see ``Likelihood.check``."""
        super().check(target, modality, shape, cells)
        values = target.float()
        if not ((values >= 0) & (values <= 1)).all():
            got = f"got values from {values.min():.4g} to {values.max():.4g}"
            allowed = "the bernoulli likelihood allows values in [0, 1]"
            raise ValueError(f"modality {modality!r}: {allowed}; {got}")


class Categorical(Likelihood):
    """log p(x = v) = l_v − log Σ_u exp l_u, with logits l, the reconstruction, on the last axis.

    A vector is one cell: its values are there, or missing, together.
    """

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return log-probabilities (*), in nats; of soft labels, their expectation.

        Args:
            reconstruction: Logits (*, V), floating.
            target: One-hot vectors or soft labels (*, V) of any real dtype, or class indices (*) of
                an integer dtype.

        Raises:
            ValueError: If the target has neither shape.
        """
        logits = at_least_float32(reconstruction)
        log_p = functional.log_softmax(logits, dim=-1)
        if target.shape == logits.shape:
            # A class with logit −inf and target 0 contributes nothing, and not 0 · inf.
            return (target.to(logits.dtype) * log_p.masked_fill(target == 0, 0.0)).sum(-1)
        if target.shape == logits.shape[:-1] and is_integer(target):
            return log_p.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
        got = f"categorical target of shape {tuple(target.shape)} and {target.dtype}"
        allowed = "allowed: that shape, or integers without the last axis"
        raise ValueError(f"{got} for logits of shape {tuple(logits.shape)}; {allowed}")

    @property
    def filling(self) -> Tensor | float:
        """No class: the encoder learns what that means."""
        return 0.0

    def units(self, cells: Tensor) -> Tensor:
        """Return which vectors are there, (*); see ``Likelihood.units``."""
        return cells.all(-1)

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the probabilities of the classes, (*, V)."""
        return torch.softmax(at_least_float32(reconstruction), dim=-1)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one-hot vectors (*, V), floating; see ``Likelihood.sample``."""
        probabilities = self.mean(reconstruction)
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        drawn = torch.multinomial(flat, num_samples=1, generator=generator)
        return torch.zeros_like(flat).scatter_(-1, drawn, 1.0).reshape(probabilities.shape)

    def check(
        self,
        target: Tensor,
        modality: str,
        shape: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        """Refuse class indices outside 0..V−1 and vectors that are negative or do not sum to 1.

        Rows are (n, *shape), or integer class indices (n, *shape[:-1]). Without a shape integers
        are taken for indices with unknown V, floating rows for vectors; see ``Likelihood.check``.
        """
        if is_integer(target) and (shape is None or tuple(target.shape[1:]) == tuple(shape[:-1])):
            indices, last = target.long(), None if shape is None else shape[-1] - 1
            if (indices < 0).any() or (last is not None and (indices > last).any()):
                allowed = "from 0" if last is None else f"from 0 to {last}"
                wanted = f"modality {modality!r}: class indices {allowed} are allowed"
                got = f"values from {int(indices.min())} to {int(indices.max())}"
                raise ValueError(f"{wanted}; got {got}")
            return
        super().check(target, modality, shape, cells)
        vectors = target.to(torch.promote_types(target.dtype, torch.float32))
        if cells is not None:
            _check_whole(cells, modality)
            vectors = vectors[cells.all(-1)]
        sums = vectors.sum(-1)
        if not ((vectors >= 0).all() and ((sums - 1).abs() <= _SUM_TOLERANCE).all()):
            wanted = "categorical targets must be nonnegative and sum to 1 on the last axis"
            got = f"values from {vectors.min():.4g}, sums from {sums.min():.4g} to {sums.max():.4g}"
            raise ValueError(f"modality {modality!r}: {wanted}; got {got}")


def _check_whole(cells: Tensor, modality: str) -> None:
    """Refuse vectors, (*, V), of which some values are there and others missing."""
    partly = cells.any(-1) & ~cells.all(-1)
    if partly.any():
        whole = "the values of a category are one cell, there or missing together"
        got = f"got {int(partly.sum())} of which only some are there"
        raise ValueError(f"modality {modality!r}: {whole}; {got}")
