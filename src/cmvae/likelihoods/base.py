"""What a likelihood is, and the pieces that the built-in ones share."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from cmvae.base.words import quoted


class CountBlock(NamedTuple):
    """Counts start..stop−1 among the values of a flattened sample, for the encoder.

    It sees their logarithms, scaled to the total ``size`` first unless that is None, and relative
    to those of ``means``, one for each of the counts, unless there are none.
    """

    start: int
    stop: int
    size: float | None
    means: tuple[float, ...] = ()


class LearnedScale(Protocol):
    """What has a learned scale, of which the most probable value is known in closed form."""

    def deviations(
        self, location: Tensor, target: Tensor, cells: Tensor | None = None
    ) -> tuple[Tensor, Tensor | int]:
        """Return the sum of the deviations that the scale is a mean of, and their number."""

    def set_scale(self, deviation: Tensor) -> None:
        """Set the scale to its most probable value, given the mean deviation."""


class Likelihood(nn.Module, ABC):
    """A distribution of a modality, its parameters the decoder's output, the ``reconstruction``.

    Shapes: a reconstruction is (*, *input shape), with any leading axes; a target must have the
    same shape, nothing is broadcast. Results have the dtype of the reconstruction, at least
    float32.

    Attributes:
        options: Names of the constructor's arguments, which a user may set per modality.
        takes_shape: Whether it also takes ``shape``, the modality's input shape or None.
    """

    options: ClassVar[tuple[str, ...]] = ()
    takes_shape: ClassVar[bool] = False

    @classmethod
    def build(cls, params: Mapping[str, Any], shape: Sequence[int] | None = None) -> Self:
        """Build the likelihood from its parameters by name, with the input shape if it wants that.

        Raises:
            ValueError: For an unknown parameter, or a value that is not allowed.
        """
        unknown = [name for name in params if name not in cls.options]
        if unknown:
            raise ValueError(f"got {unknown}; allowed: {quoted(cls.options)}")
        return cls(**params, shape=shape) if cls.takes_shape else cls(**params)

    @property
    def counts(self) -> list[CountBlock]:
        """Which values of a sample are counts; none, unless a subclass says so."""
        return []

    @abstractmethod
    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return log p(target | reconstruction) elementwise, not summed.

        Args:
            reconstruction: The decoder's output, floating, (*, *input shape).
            target: Data of the same shape and of any real dtype.

        Returns:
            Log-densities (*, *input shape), in nats.

        Raises:
            ValueError: If the shapes differ.
        """

    def log_prob_of_samples(
        self, reconstruction: Tensor, target: Tensor, axes: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return :meth:`log_prob` summed over all but the first ``axes`` axes.

        Missing ``cells``, of the target's shape, True = there, add nothing; the target is finite
        there all the same. The smallest cell is what has a log-probability of its own: the vector
        of a category, whose values are missing together.
        """
        values = self.log_prob(reconstruction, target)
        if cells is not None:
            values = torch.where(self.units(cells), values, 0)
        return values.reshape(*reconstruction.shape[:axes], -1).sum(-1)

    def log_prob_of_rows(
        self, reconstruction: Tensor, data: Tensor, rows: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        """Return that of K reconstructions, (R, K, *input shape), of each of some rows of data.

        Args:
            reconstruction: The decoder's output.
            data: (B, *input shape).
            rows: Which of these each reconstruction is of, (R,) int64, any of them repeatedly.
            cells: Those that are there, of the shape of the data.

        Returns:
            Log-probabilities, (R, K), as :meth:`log_prob_of_samples` returns them.
        """
        given = [data] if cells is None else [data, cells]
        draws = reconstruction.shape[1]
        each = [own.index_select(0, rows).unsqueeze(1) for own in given]
        repeated = [own.expand(-1, draws, *own.shape[2:]) for own in each]
        return self.log_prob_of_samples(reconstruction, repeated[0], 2, *repeated[1:])

    def units(self, cells: Tensor) -> Tensor:
        """Return which of the values of :meth:`log_prob` are there, given which cells are."""
        return cells

    @property
    def filling(self) -> Tensor | float:
        """What an encoder sees in place of a missing cell: a number, or one for each (*)."""
        return 0.0

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the mean of the distribution, of the reconstruction's shape."""
        return at_least_float32(reconstruction)

    @abstractmethod
    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one sample of the reconstruction's shape; the global generator if none is given."""

    @property
    def real(self) -> Tensor | bool:
        """Whether values are real numbers around the reconstruction, or for each (*) whether."""
        return False

    def learned_parts(
        self, reconstruction: Tensor, target: Tensor, cells: Tensor | None = None
    ) -> Iterator[tuple["LearnedScale", Tensor, Tensor, Tensor | None]]:
        """Yield each part with a learned scale, and what it sees of these; none, unless it has."""
        return iter(())

    def check(
        self,
        target: Tensor,
        modality: str,
        shape: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        """Refuse data outside the support.

        Args:
            target: Observed rows only, (n, *input shape); missing cells hold 0.
            modality: Name of the modality, for the errors.
            shape: The modality's input shape; None where it is not known.
            cells: Which cells of the target are there, boolean; None: all.

        Raises:
            ValueError: For rows of another shape, or values that the distribution cannot have.
        """
        got = tuple(target.shape[1:])
        if shape is not None and got != tuple(shape):
            what = f"modality {modality!r}: samples of shape {got}"
            raise ValueError(f"{what}, expected {tuple(shape)}")


def at_least_float32(tensor: Tensor) -> Tensor:
    """Raise half precision to float32: sums over a sample's elements need more digits."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_same_shape(reconstruction: Tensor, target: Tensor) -> None:
    """Raise ``ValueError`` where shapes differ."""
    if reconstruction.shape != target.shape:
        got, wanted = tuple(target.shape), tuple(reconstruction.shape)
        raise ValueError(f"target of shape {got} for a reconstruction {wanted}")


def paired(reconstruction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to one dtype, at least float32, or raise ``ValueError`` where shapes differ."""
    check_same_shape(reconstruction, target)
    reconstruction = at_least_float32(reconstruction)
    return reconstruction, target.to(reconstruction.dtype)


def is_integer(tensor: Tensor) -> bool:
    """Tell whether the dtype is an integer one; bool is not."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
