"""The likelihoods p(x_m | z, w_m): elementwise log-densities of a modality given the decoder's output."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["LIKELIHOODS", "Bernoulli", "Categorical", "Custom", "Laplace", "Likelihood", "Normal", "build_likelihood"]

_MIN_LOG_SCALE = math.log(1e-3)
_SUM_TOLERANCE = 1e-3  # how far the entries of a one-hot vector or of soft labels may be from a sum of 1


class Likelihood(nn.Module, ABC):
    """A distribution of a modality whose parameters are the decoder's output, the ``reconstruction``.

    Shapes: a reconstruction is (*, *input shape), with any leading axes; a target must have the same shape,
    nothing is broadcast. Results have the dtype of the reconstruction, at least float32.

    Attributes:
        options: Names of the constructor's arguments, which a user may set per modality.
    """

    options: ClassVar[tuple[str, ...]] = ()

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

    def log_prob_of_samples(self, reconstruction: Tensor, target: Tensor, axes: int) -> Tensor:
        """Return :meth:`log_prob` summed over all but the first ``axes`` axes."""
        return self.log_prob(reconstruction, target).reshape(*reconstruction.shape[:axes], -1).sum(-1)

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the mean of the distribution, of the reconstruction's shape."""
        return _at_least_float32(reconstruction)

    @abstractmethod
    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one sample of the reconstruction's shape; the global generator if none is given."""

    def check(self, target: Tensor, modality: str, shape: Sequence[int] | None = None) -> None:
        """Refuse data outside the support.

        Args:
            target: Observed rows only, (n, *input shape).
            modality: Name of the modality, for the errors.
            shape: The modality's input shape; None where it is not known.

        Raises:
            ValueError: If the rows have another shape, or hold values that the distribution cannot have.
        """
        if shape is not None and tuple(target.shape[1:]) != tuple(shape):
            raise ValueError(
                f"modality {modality!r}: samples of shape {tuple(target.shape[1:])}, expected {tuple(shape)}"
            )


class _LocationScale(Likelihood):
    """A likelihood whose location is the reconstruction, with one scale for the whole modality.

    Args:
        scale: A positive number, or 'learned': one parameter, stored as ``log_scale`` and starting at scale
            1, as in σ-VAE (Rybkin, Daniilidis, Levine, "Simple and effective VAE training with calibrated
            decoders", ICML 2021). A learned scale is at least 1e-3, because the density of data that a
            decoder can repeat exactly has no bound. At this floor ``log_scale`` keeps its gradient, so that
            it can rise again.

    Raises:
        ValueError: If ``scale`` is neither.
    """

    options = ("scale",)

    def __init__(self, scale: float | Literal["learned"] = 1.0) -> None:
        super().__init__()
        self.log_scale: nn.Parameter | None = None
        self._log_scale = 0.0
        if isinstance(scale, str) and scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif isinstance(scale, Real) and not isinstance(scale, bool) and 0 < float(scale) < math.inf:
            self._log_scale = math.log(float(scale))
        else:
            raise ValueError(f"scale must be a positive finite number or 'learned'; got {scale!r}")

    @property
    def scale(self) -> float:
        """The present scale, in the unit of the data."""
        if self.log_scale is None:
            return math.exp(self._log_scale)
        return math.exp(max(float(self.log_scale.detach()), _MIN_LOG_SCALE))

    def extra_repr(self) -> str:
        """Show the scale when printed."""
        return f"scale={self.scale:.4g}" + (", learned" if self.log_scale is not None else "")

    def _scales(self, location: Tensor) -> tuple[Tensor, Tensor] | tuple[float, float]:
        """Return the scale and its logarithm: numbers, or where it is learned scalars of the location's dtype."""
        if self.log_scale is None:
            return math.exp(self._log_scale), self._log_scale
        log_scale = self._log_scale_like(location)
        return log_scale.exp(), log_scale

    def _log_scale_like(self, location: Tensor) -> Tensor:
        """Return the logarithm of the scale, a scalar of the location's dtype and device."""
        if self.log_scale is None:
            return torch.full((), self._log_scale, dtype=location.dtype, device=location.device)
        raw = self.log_scale.to(location.dtype)
        # The value is clamped and the gradient is not: a clamped gradient would hold the scale at its floor
        # for ever.
        return raw.detach().clamp_min(_MIN_LOG_SCALE) + (raw - raw.detach())


class Normal(_LocationScale):
    """log p(x) = −½ ((x − μ) / σ)² − log σ − ½ log 2π, with the reconstruction as μ and one σ.

    Args:
        scale: σ, a positive number or 'learned' (with floor 1e-3; see Rybkin et al., 2021).

    Example:
        >>> Normal(scale=2.0).log_prob(torch.zeros(1, 3), torch.ones(1, 3)).shape
        torch.Size([1, 3])
    """

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-density; see ``Likelihood.log_prob``."""
        location, target = _paired(reconstruction, target)
        log_scale = self._log_scale_like(location)
        standardised = (target - location) * torch.exp(-log_scale)
        return -0.5 * standardised.square() - (log_scale + 0.5 * math.log(2 * math.pi))

    def log_prob_of_samples(self, reconstruction: Tensor, target: Tensor, axes: int) -> Tensor:
        """Return the summed log-density, in one pass over the entries."""
        location, target = _paired(reconstruction, target)
        scale, log_scale = self._scales(location)
        squares = functional.mse_loss(location, target, reduction="none").flatten(axes)
        constant = squares.shape[-1] * (log_scale + 0.5 * math.log(2 * math.pi))
        return squares.sum(-1) * (-0.5 / scale**2) - constant

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw μ + σ ε; see ``Likelihood.sample``."""
        location = _at_least_float32(reconstruction)
        noise = torch.empty_like(location).normal_(generator=generator)
        return location + self._log_scale_like(location).exp() * noise


class Laplace(_LocationScale):
    """log p(x) = −|x − μ| / b − log 2b, with the reconstruction as μ and one b.

    Args:
        scale: b, a positive number or 'learned' (with floor 1e-3; see Rybkin et al., 2021).
    """

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-density; see ``Likelihood.log_prob``."""
        location, target = _paired(reconstruction, target)
        log_scale = self._log_scale_like(location)
        return -(target - location).abs() * torch.exp(-log_scale) - (log_scale + math.log(2))

    def log_prob_of_samples(self, reconstruction: Tensor, target: Tensor, axes: int) -> Tensor:
        """Return the summed log-density, in one pass over the entries."""
        location, target = _paired(reconstruction, target)
        scale, log_scale = self._scales(location)
        distances = functional.l1_loss(location, target, reduction="none").flatten(axes)
        return distances.sum(-1) * (-1 / scale) - distances.shape[-1] * (log_scale + math.log(2))

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw μ + b (e₁ − e₂), e₁ and e₂ exponential, which is Laplace; see ``Likelihood.sample``."""
        location = _at_least_float32(reconstruction)
        noise = torch.empty_like(location).exponential_(generator=generator)
        noise -= torch.empty_like(location).exponential_(generator=generator)
        return location + self._log_scale_like(location).exp() * noise


class Bernoulli(Likelihood):
    """log p(x) = x l + log σ(−l), with the reconstruction as the logit l and σ the logistic function.

    Targets between 0 and 1 are allowed, as is usual for grey images; the expression is then no normalised
    density.
    """

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-probability; see ``Likelihood.log_prob``."""
        logits, target = _paired(reconstruction, target)
        return target * logits + functional.logsigmoid(-logits)

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the probability of 1."""
        return torch.sigmoid(_at_least_float32(reconstruction))

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw zeros and ones, floating; see ``Likelihood.sample``."""
        return torch.bernoulli(self.mean(reconstruction), generator=generator)

    def check(self, target: Tensor, modality: str, shape: Sequence[int] | None = None) -> None:
        """Refuse values outside [0, 1]; see ``Likelihood.check``."""
        super().check(target, modality, shape)
        values = target.float()
        if not ((values >= 0) & (values <= 1)).all():
            raise ValueError(
                f"modality {modality!r}: the bernoulli likelihood allows values in [0, 1]; "
                f"got values from {values.min():.4g} to {values.max():.4g}"
            )


class Categorical(Likelihood):
    """log p(x = v) = l_v − log Σ_u exp l_u, with the reconstruction as logits l over the last axis."""

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-probability of a class, without the class axis.

        Args:
            reconstruction: Logits (*, V), floating.
            target: One-hot vectors or soft labels (*, V) of any real dtype, or class indices (*) of an
                integer dtype.

        Returns:
            Log-probabilities (*), in nats; of soft labels, their expectation.

        Raises:
            ValueError: If the target has neither shape.
        """
        logits = _at_least_float32(reconstruction)
        log_p = functional.log_softmax(logits, dim=-1)
        if target.shape == logits.shape:
            # A class with logit −inf and target 0 contributes nothing, and not 0 · inf.
            return (target.to(logits.dtype) * log_p.masked_fill(target == 0, 0.0)).sum(-1)
        if target.shape == logits.shape[:-1] and _is_integer(target):
            return log_p.gather(-1, target.long().unsqueeze(-1)).squeeze(-1)
        raise ValueError(
            f"categorical target of shape {tuple(target.shape)} and {target.dtype} for logits of shape "
            f"{tuple(logits.shape)}; allowed: that shape, or integers without the last axis"
        )

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the probabilities of the classes, (*, V)."""
        return torch.softmax(_at_least_float32(reconstruction), dim=-1)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one-hot vectors, floating, of the reconstruction's shape (*, V); see ``Likelihood.sample``."""
        probabilities = self.mean(reconstruction)
        flat = probabilities.reshape(-1, probabilities.shape[-1])
        drawn = torch.multinomial(flat, num_samples=1, generator=generator)
        return torch.zeros_like(flat).scatter_(-1, drawn, 1.0).reshape(probabilities.shape)

    def check(self, target: Tensor, modality: str, shape: Sequence[int] | None = None) -> None:
        """Refuse class indices outside 0..V−1 and vectors that are negative or do not sum to 1.

        Args:
            target: Observed rows only: (n, *shape), or integer class indices (n, *shape[:-1]).
            modality: Name of the modality, for the errors.
            shape: The modality's input shape, V last. Without it integers are taken for indices with unknown
                V, and floating targets for vectors.

        Raises:
            ValueError: See above, or if the rows have another shape.
        """
        if shape is None:
            indices = _is_integer(target)
        else:
            indices = _is_integer(target) and tuple(target.shape[1:]) == tuple(shape[:-1])
        if indices:
            _check_classes(target, modality, None if shape is None else shape[-1])
        else:
            super().check(target, modality, shape)
            _check_simplex(target, modality)


class Custom(Likelihood):
    """A likelihood given as a function.

    Args:
        function: Maps a reconstruction (B, *input shape) and a target to log-probabilities (B, ...),
            elementwise or summed over any axes but the first. The target is cast to the reconstruction's
            dtype where it is floating, and left alone where it holds integers. A module may be given, to be
            trained with the model.
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
        reconstruction = _at_least_float32(reconstruction)
        if target.is_floating_point():
            target = target.to(reconstruction.dtype)
        result = self.function(reconstruction, target)
        if not isinstance(result, Tensor):
            raise TypeError(f"a custom likelihood must return a tensor; got {type(result).__name__}")
        if result.shape[:1] != reconstruction.shape[:1] or result.dim() == 0:
            raise ValueError(
                f"a custom likelihood must return log-probabilities ({reconstruction.shape[0]}, ...), "
                f"not averaged over the batch; got shape {tuple(result.shape)}"
            )
        if result.numel() > reconstruction.numel():
            raise ValueError(
                f"a custom likelihood returned {tuple(result.shape)}, more values than the reconstruction "
                f"{tuple(reconstruction.shape)} has: shapes were broadcast"
            )
        return _at_least_float32(result)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Refuse: a log-probability alone cannot be drawn from.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a likelihood given as a callable has no samples; use its mean, the reconstruction")

    def check(self, target: Tensor, modality: str, shape: Sequence[int] | None = None) -> None:
        """Allow any data: the support of a function is not known."""


LIKELIHOODS: dict[str, type[Likelihood]] = {
    "normal": Normal,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
}


def build_likelihood(
    dist: str | Callable[[Tensor, Tensor], Tensor], params: Mapping[str, Any] | None, modality: str
) -> Likelihood:
    """Build the likelihood of a modality.

    Args:
        dist: A name of ``LIKELIHOODS``, or a function (reconstruction, target) → elementwise log-probability.
        params: Arguments of the likelihood, such as ``{"scale": 0.75}``; None or empty for its defaults.
        modality: Name of the modality, for the errors.

    Raises:
        ValueError: If the name, a parameter's name or its value is not allowed.
    """
    params = dict(params or {})
    if isinstance(dist, str) and dist in LIKELIHOODS:
        options = LIKELIHOODS[dist].options
    elif callable(dist):
        options = ()
    else:
        raise ValueError(
            f"likelihood of modality {modality!r}: got {dist!r}; "
            f"allowed: {', '.join(map(repr, LIKELIHOODS))} or a callable"
        )
    unknown = [name for name in params if name not in options]
    if unknown:
        allowed = ", ".join(map(repr, options)) or "none"
        raise ValueError(
            f"likelihood parameters of modality {modality!r} ({dist!r}): got {unknown}; allowed: {allowed}"
        )
    if not isinstance(dist, str):
        return Custom(dist)
    try:
        return LIKELIHOODS[dist](**params)
    except ValueError as error:
        raise ValueError(f"likelihood parameters of modality {modality!r} ({dist!r}): {error}") from error


def _at_least_float32(tensor: Tensor) -> Tensor:
    """Raise half precision to float32: a sum over the elements of a sample needs more digits than it has."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _paired(reconstruction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both to one dtype, at least float32, or raise ``ValueError`` where shapes differ."""
    if reconstruction.shape != target.shape:
        raise ValueError(f"target of shape {tuple(target.shape)} for a reconstruction {tuple(reconstruction.shape)}")
    reconstruction = _at_least_float32(reconstruction)
    return reconstruction, target.to(reconstruction.dtype)


def _is_integer(tensor: Tensor) -> bool:
    """Tell whether the dtype is an integer one; bool is not."""
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)


def _check_classes(indices: Tensor, modality: str, n_classes: int | None) -> None:
    """Raise ``ValueError`` for indices outside 0..n_classes−1, or negative ones where n_classes is None."""
    valid = indices >= 0 if n_classes is None else (indices >= 0) & (indices < n_classes)
    if not valid.all():
        highest = "" if n_classes is None else f" to {n_classes - 1}"
        raise ValueError(
            f"modality {modality!r}: class indices from 0{highest} are allowed; "
            f"got values from {int(indices.min())} to {int(indices.max())}"
        )


def _check_simplex(vectors: Tensor, modality: str) -> None:
    """Raise ``ValueError`` unless the vectors on the last axis are nonnegative and sum to 1."""
    vectors = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    sums = vectors.sum(-1)
    if not ((vectors >= 0).all() and ((sums - 1).abs() <= _SUM_TOLERANCE).all()):
        raise ValueError(
            f"modality {modality!r}: categorical targets must be nonnegative and sum to 1 on the last axis; "
            f"got values from {vectors.min():.4g}, sums from {sums.min():.4g} to {sums.max():.4g}"
        )
