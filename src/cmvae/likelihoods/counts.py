"""Counts: Poisson and negative binomial, with or without a library-size offset.

Log-masses are not computed as sums of ``lgamma``, whose terms are about x log x and cancel: in
float32 one count of 10⁶ would lose a unit. They are computed from deviances, as in Loader, "Fast
and accurate computation of binomial probabilities" (2000): from logarithms of ratios that are near
1 where the rate fits the count, and from e(y) = log y! − y log y + y, which grows like ½ log y.
"""

import math
from abc import abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmvae.base.words import shown
from cmvae.likelihoods.base import CountBlock, Likelihood, at_least_float32, check_same_shape
from cmvae.likelihoods.zeros import (
    BLOCK_VALUES,
    Nonzeros,
    Rates,
    rare_counts,
    unexpanded,
    zeros_and_rates,
)

_DEFAULT_SIZE = 1e4
_MAX_LOG_RATE = 30.0  # e³⁰ ≈ 10¹³: beyond it float32 has no use for squares of gradients
_LEARNED = ("feature", "modality")
_DISPERSIONS = (1e-6, 1e9)  # beyond them float32 has too few digits
_SMALL_RATE = math.exp(-50)  # division by smaller ones would overflow in float32


class _Counts(Likelihood):
    """A likelihood of counts whose rate μ comes from the decoder's output o.

    Without the library size μ = m exp(o), the canonical link, with ``means`` m, 1 where none are
    given; a log-rate above 30 counts as 30, and keeps its gradient. A network starts near o = 0:
    with means of the data a column of large counts is described from the start, while from m = 1
    its loss would drown all others for thousands of steps.

    With a library size μ_j = ℓ softmax(o)_j, over all values of a sample, with ℓ the sample's own
    total, as in scVI (Lopez, Regier, Cole, Jordan, Yosef, "Deep generative modeling for single-cell
    transcriptomics", Nature Methods 2018): log-probabilities are conditional on the total. A sample
    whose total is 0 has rate 0 and log-probability 0. Where cells are missing, ℓ is the total and
    softmax(o) the shares of those that are there, as of a multinomial whose other counts are not
    looked at.

    Results are at least float32, where an integer above 2²⁴ may be rounded before it arrives. For
    rates and counts up to 10⁶ float32 is good to 1.3·10⁻³ within five standard deviations, mostly
    to 3·10⁻⁴, and to a relative 3·10⁻⁵ beyond.

    """

    options: ClassVar[tuple[str, ...]] = ("library_size", "size", "means")
    takes_shape = True

    def __init__(
        self,
        library_size: bool = False,
        size: float | None = None,
        means: Sequence[float] | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(library_size, bool):
            raise ValueError(f"library_size must be True or False; got {shown(library_size)}")
        if size is not None and not _is_positive(size):
            raise ValueError(f"size must be a positive finite number; got {shown(size)}")
        if size is not None and not library_size:
            raise ValueError("size is given, but library_size is False")
        self.shape = None if shape is None else tuple(shape)
        if library_size and self.shape is not None and math.prod(self.shape) < 2:
            raise ValueError(f"library_size needs two values a sample; got the shape {self.shape}")
        self.size = (_DEFAULT_SIZE if size is None else float(size)) if library_size else None
        self.means = _read_means(means, library_size, self.shape)
        self.log_means: Tensor | None
        logs = torch.tensor(list(map(math.log, self.means))) if self.means else None
        if logs is not None and self.shape is not None:
            logs = logs.reshape(self.shape)
        # A setting, which the config keeps: it is no part of the weights.
        self.register_buffer("log_means", logs, persistent=False)

    @property
    def counts(self) -> list[CountBlock]:
        """All values of a sample; ``ValueError`` if its shape is not known."""
        if self.shape is None:
            raise ValueError("the likelihood was built without the modality's shape")
        return [CountBlock(0, math.prod(self.shape), self.size, self.means)]

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-probability; see ``Likelihood.log_prob``."""
        return self._log_prob(reconstruction, target)

    def log_prob_of_samples(
        self, reconstruction: Tensor, target: Tensor, axes: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return the summed log-probability; see ``Likelihood.log_prob_of_samples``."""
        if cells is None and self.shape is not None:
            check_same_shape(reconstruction, target)
            counts = unexpanded(target, axes)
            own = torch.arange(counts.shape[:axes].numel(), device=counts.device)
            rows = own.reshape(counts.shape[:axes]).expand(target.shape[:axes]).flatten()
            data = counts.reshape(len(own), target.shape[axes:].numel())
            above = rare_counts(data, rows)
            if above is not None:
                return self._log_prob_of_few(reconstruction, above, axes)
        if cells is None or self.size is None:
            return super().log_prob_of_samples(reconstruction, target, axes, cells)
        values = self._log_prob(reconstruction, torch.where(cells, target, 0), cells)
        return torch.where(cells, values, 0).flatten(axes).sum(-1)

    def log_prob_of_rows(
        self, reconstruction: Tensor, data: Tensor, rows: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        """Return that of rows of data; see ``Likelihood.log_prob_of_rows``."""
        if cells is None and self.shape is not None:
            if reconstruction.shape[2:] != data.shape[1:]:
                check_same_shape(reconstruction, data)
            above = rare_counts(data, rows.repeat_interleave(reconstruction.shape[1]))
            if above is not None:
                return self._log_prob_of_few(reconstruction, above, 2)
        return super().log_prob_of_rows(reconstruction, data, rows, cells)

    def _log_prob_of_few(self, output: Tensor, above: Nonzeros, axes: int) -> Tensor:
        """Return the summed log-probability, given the counts above zero of the rows."""
        output = at_least_float32(output)
        flat, counts = output.reshape(-1, output.shape[axes:].numel()), above.counts.to(output)
        totals = None
        if self.size is not None:
            totals = above.summed(counts)
        shift = None if self.log_means is None else self.log_means.to(flat).flatten()
        log_r = self._log_inverse_dispersion(flat)
        if log_r is not None:
            log_r = log_r.flatten().expand(flat.shape[1])
        how = Rates(totals, shift, _MAX_LOG_RATE)
        sums, log_rates = zeros_and_rates(flat, above, how, log_r)
        parts = [part.split(BLOCK_VALUES) for part in (log_rates, counts, above.columns)]
        masses = [self._log_mass(rate, x, log_r, j) for rate, x, j in zip(*parts, strict=True)]
        return (sums + above.summed(torch.cat(masses))).reshape(output.shape[:axes])

    @property
    def filling(self) -> Tensor | float:
        """The means, where there are any."""
        if self.log_means is None:
            return 0.0
        return self.log_means.new_tensor(self.means).view_as(self.log_means)

    def _log_prob(
        self, reconstruction: Tensor, target: Tensor, cells: Tensor | None = None
    ) -> Tensor:
        check_same_shape(reconstruction, target)
        reconstruction = at_least_float32(reconstruction)
        counts = unexpanded(target).to(reconstruction.dtype)
        log_r = self._log_inverse_dispersion(reconstruction)
        if self.size is None:
            return self._log_mass(self._log_rate(reconstruction), counts, log_r)
        log_total = counts.sum(self._feature_axes, keepdim=True).log()
        if cells is not None:
            # Not minus infinity: nothing may be there, and shares of nothing are no numbers.
            lowest = torch.finfo(reconstruction.dtype).min / 2
            reconstruction = reconstruction.masked_fill(~cells, lowest)
        return self._log_mass(self._log_shares(reconstruction) + log_total, counts, log_r)

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the rate, of a sample of the total ``size`` where there is a library size."""
        reconstruction = at_least_float32(reconstruction)
        if self.size is None:
            return self._log_rate(reconstruction).exp()
        return self._log_shares(reconstruction).exp() * self.size

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts, floating; see ``Likelihood.sample``."""
        return self.sample_of_rates(self.mean(reconstruction), generator)

    @abstractmethod
    def sample_of_rates(self, rates: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts of rates, floating, of their shape."""

    def check(
        self,
        target: Tensor,
        modality: str,
        shape: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        """Refuse anything but integers of at least 0, of any dtype; see ``Likelihood.check``."""
        super().check(target, modality, shape, cells)
        step = max(1, BLOCK_VALUES // max(1, math.prod(target.shape[1:])))
        odd = torch.cat([_no_counts(part) for part in target.split(step)])
        if len(odd):
            got = f"{odd[0].item():.6g} and {len(odd) - 1} other values that are not"
            what = f"modality {modality!r}: counts must be integers of at least 0"
            raise ValueError(f"{what}; got {got}")

    @abstractmethod
    def _log_mass(
        self, log_rate: Tensor, counts: Tensor, log_r: Any, columns: Tensor | None = None
    ) -> Tensor:
        """Return log p(counts), of the rate's shape, which counts and log r broadcast to.

        With the ``columns`` of rates and counts, (N,), log r is that of all columns, (D,).
        """

    def _log_inverse_dispersion(self, like: Tensor) -> Any:
        """Return log r of the dtype and device of ``like``, None where there is none."""
        return None

    @property
    def _feature_axes(self) -> list[int]:
        return [-1] if self.shape is None else list(range(-len(self.shape), 0))

    def _log_rate(self, output: Tensor) -> Tensor:
        if self.log_means is not None:
            output = output + self.log_means.to(output.dtype)
        # The value is clamped, the gradient is not: else the rate would stay there for ever.
        return output + (output.clamp_max(_MAX_LOG_RATE) - output).detach()

    def _log_shares(self, output: Tensor) -> Tensor:
        flat = output.flatten(self._feature_axes[0])
        return functional.log_softmax(flat, dim=-1).reshape(output.shape)


class Poisson(_Counts):
    """log p(x) = x log μ − μ − log x!, with the rate μ from the reconstruction, of variance μ.

    Args:
        library_size: False: μ = means · exp(reconstruction). True: μ = total of the sample ·
            softmax(reconstruction), as in scVI (Lopez et al., 2018).
        size: With ``library_size``, the total of generated samples, and of what built-in encoders
            see: best the median total of the training data. 10,000 where it is None.
        means: Without ``library_size``, the rates at a reconstruction of 0, one for each value of a
            sample: best the means of the training data. 1 where it is None.
        shape: The modality's input shape, over which shares sum to 1; None: over the last axis.

    Raises:
        ValueError: For a value that is not allowed.

    Example:
        >>> import torch
        >>> from cmvae.likelihoods import Poisson
        >>> Poisson().log_prob(torch.zeros(1, 3), torch.tensor([[0.0, 1.0, 2.0]]))
        tensor([[-1.0000, -1.0000, -1.6931]])
    """

    def sample_of_rates(self, rates: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts of rates, floating, of their shape."""
        return torch.poisson(rates, generator=generator)

    def _log_mass(
        self, log_rate: Tensor, counts: Tensor, log_r: Any, columns: Tensor | None = None
    ) -> Tensor:
        found: Tensor = _PoissonMass.apply(log_rate, counts)
        return found


class NegativeBinomial(_Counts):
    """log p(x) = log Γ(x+r)/(Γ(r) x!) + r log r/(r+μ) + x log μ/(r+μ), of variance μ + μ²/r.

    Args:
        inverse_dispersion: r: ``'feature'``, one learned for each value of the input shape;
            ``'modality'``, one learned for all; or a number from 10⁻⁶ to 10⁹. Learned ones are
            stored as ``log_inverse_dispersion``, start at 1, count as between 10⁻⁶ and 10⁹ and keep
            their gradient outside.
        library_size: As for :class:`Poisson`.
        size: Likewise.
        means: Likewise.
        shape: The modality's input shape; needed for ``'feature'``.

    Raises:
        ValueError: For a value that is not allowed, or a shape that is needed and None.
    """

    options = ("inverse_dispersion", *_Counts.options)

    def __init__(
        self,
        inverse_dispersion: float | Literal["feature", "modality"] = "feature",
        library_size: bool = False,
        size: float | None = None,
        means: Sequence[float] | None = None,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__(library_size, size, means, shape)
        self.log_inverse_dispersion: nn.Parameter | None = None
        self._fixed = 0.0
        lowest, highest = _DISPERSIONS
        if _is_positive(inverse_dispersion) and lowest <= float(inverse_dispersion) <= highest:
            self._fixed = math.log(float(inverse_dispersion))
        elif not isinstance(inverse_dispersion, str) or inverse_dispersion not in _LEARNED:
            allowed = f"'feature', 'modality' or a number from {lowest:g} to {highest:g}"
            raise ValueError(
                f"inverse_dispersion must be {allowed}; got {shown(inverse_dispersion)}"
            )
        elif inverse_dispersion == "feature" and shape is None:
            needed = "the modality's shape in input_dims; or take 'modality'"
            raise ValueError(f"inverse_dispersion 'feature' needs {needed}")
        else:
            own = tuple(shape or ()) if inverse_dispersion == "feature" else ()
            self.log_inverse_dispersion = nn.Parameter(torch.zeros(own))

    @property
    def inverse_dispersion(self) -> Tensor:
        """The present r, detached: of the input shape, or a scalar."""
        learned = self.log_inverse_dispersion
        like = torch.zeros(()) if learned is None else learned
        return self._log_inverse_dispersion(like).detach().exp()

    def sample_of_rates(self, rates: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts of rates μ, floating, of their shape: Poisson of μ g / r, g of Gamma(r)."""
        inverse_dispersion = self._log_inverse_dispersion(rates).exp().expand_as(rates)
        # PyTorch's only gamma sampler that takes a generator; torch.distributions.Gamma calls it.
        gamma = torch._standard_gamma(inverse_dispersion.contiguous(), generator=generator)
        return torch.poisson(rates * gamma / inverse_dispersion, generator=generator)

    def _log_inverse_dispersion(self, like: Tensor) -> Tensor:
        """Return log r of the dtype and device of ``like``, a scalar or of the input shape."""
        if self.log_inverse_dispersion is None:
            return torch.full((), self._fixed, dtype=like.dtype, device=like.device)
        raw = self.log_inverse_dispersion.to(like.dtype)
        return raw + (raw.clamp(*map(math.log, _DISPERSIONS)) - raw).detach()

    def _log_mass(
        self, log_rate: Tensor, counts: Tensor, log_r: Tensor, columns: Tensor | None = None
    ) -> Tensor:
        found: Tensor = _NegativeBinomialMass.apply(log_rate, counts, log_r, columns)
        return found


# Masses, with gradients in closed form
# --------------------------------------------------------------------------------------------------


class _PoissonMass(torch.autograd.Function):
    """log p(x) = x − μ − x log(x/μ) − e(x). Its slope along log μ is x − μ.

    To x there is no gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(log_rate: Tensor, counts: Tensor) -> Tensor:
        """Return the log-mass, of the rate's shape."""
        rate = log_rate.exp()
        difference = counts - rate
        ratio = _log_ratio(difference, counts.clamp_min(1), rate.clamp_min(_SMALL_RATE))
        ratio = ratio + _below_small(log_rate)
        return difference - counts * ratio - _excess(counts) * (counts > 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient to log μ, of which there are derivatives too."""
        log_rate, counts = ctx.saved_tensors
        return gradient * (counts - log_rate.exp()), None


class _NegativeBinomialMass(torch.autograd.Function):
    """log p(x) = log(r/n) + e(n) − e(r) − e(x) + r s − x log(x m / n μ); of no event r s.

    With n = x + r, their mean m = μ + r, s = log(n/m) and v = (x−μ)/m. Its slope along log μ is
    r v, along log r it is x/n + r (e'(n) − e'(r) + s − v). To x there is no gradient.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(log_rate: Tensor, counts: Tensor, log_r: Tensor, columns: Tensor | None) -> Tensor:
        """Return the log-mass, of the rate's shape."""
        rate, r = log_rate.exp(), log_r.exp()
        excess = _at(columns, _excess(r))
        r = _at(columns, r)
        n, mean, difference = counts + r, rate + r, counts - rate
        s = _log_ratio(difference, n, mean)
        # x m − n μ = r (x − μ); all is divided by r, for products with it would overflow.
        parts = mean * (counts.clamp_min(1) / r), rate.clamp_min(_SMALL_RATE) * (n / r)
        ratio = _log_ratio(difference, *parts) + _below_small(log_rate)
        constant = (r / n).log() + _excess(n) - excess - _excess(counts)
        return r * s - counts * ratio + constant * (counts > 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the inputs."""
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients to log μ and log r, of which there are derivatives too."""
        log_rate, counts, log_r, columns = ctx.saved_tensors
        every, rate = log_r.exp(), log_rate.exp()
        r = _at(columns, every)
        n, mean, difference = counts + r, rate + r, counts - rate
        relative, of_log_r = difference / mean, None
        if ctx.needs_input_grad[2]:
            s = _log_ratio(difference, n, mean)
            slopes = _excess_slope(n) - _at(columns, _excess_slope(every))
            of_log_r = gradient * (counts / n + r * (slopes + s - relative))
            if columns is not None:
                of_log_r = torch.zeros_like(log_r).index_add(0, columns, of_log_r)
            of_log_r = of_log_r.sum_to_size(log_r.shape)
        return gradient * r * relative, None, of_log_r, None


def _at(columns: Tensor | None, values: Tensor) -> Tensor:
    """Return the values, (D,), of some columns, (N,); all of them, of any shape, for None."""
    return values if columns is None else values.index_select(0, columns)


def _log_ratio(difference: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return log(a/b) for a, b > 0, from their difference a − b too, so exact for close ones."""
    above, below = difference.clamp_min(0), functional.relu(-difference)  # slopes 1 and 0 at 0
    return (above / b).log1p() - (below / a).log1p()


def _below_small(log_rate: Tensor) -> Tensor:
    """Return how far log-rates lie below that of the smallest rate that is divided by."""
    log_rate = log_rate.clamp_min(torch.finfo(log_rate.dtype).min)  # 0 counts times it must be 0
    return (math.log(_SMALL_RATE) - log_rate).clamp_min(0)


# Of y! and its slope the factors y + 1 to y + 8 are taken one by one, in pairs y (y + 9) + k, and
# Stirling's series stands for the rest: exact to 1e-12 for every y.
_PAIRS = (8, 14, 18, 20)


def _excess(y: Tensor) -> Tensor:
    """Return e(y) = log y! − y log y + y for y ≥ 0."""
    z = y + 8
    pair, inverse = y * (y + 9), 1 / z
    square = inverse.square()
    shares: Any = math.prod([(pair + k) * square for k in _PAIRS])
    series = 1 / 1260 - square * (1 / 1680 - square / 1188)
    series = inverse * (1 / 12 - square * (1 / 360 - square * series))
    y_log = y * (8 / y.clamp_min(_SMALL_RATE)).log1p()
    return y_log - shares.log() + 0.5 * z.log() + series + (0.5 * math.log(2 * math.pi) - 8)


def _excess_slope(y: Tensor) -> Tensor:
    """Return e'(y) = ψ(y + 1) − log y for y > 0, ψ the digamma function."""
    z = y + 9
    pair, inverse = y * z, 1 / z
    square = inverse.square()
    factors = (y + z) * sum([1 / (pair + k) for k in _PAIRS])
    series = 1 / 12 - square * (1 / 120 - square * (1 / 252 - square / 240))
    return (9 / y).log1p() - factors - inverse * (1 / 2 + inverse * series)


def _no_counts(values: Tensor) -> Tensor:
    """Return those of the values (*) that are no integers of at least 0, (N,), floating."""
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    return values[(values.frac() != 0) | (values < 0)]  # of infinity frac() is no number


def _read_means(means: Any, library_size: bool, shape: tuple[int, ...] | None) -> tuple[float, ...]:
    """Return the means as numbers, none where they are None; ``ValueError`` for anything else."""
    if means is None:
        return ()
    if library_size:
        raise ValueError("means are given, but library_size is True")
    many = isinstance(means, Sequence) and not isinstance(means, str) and len(means) > 0
    if not many or not all(map(_is_positive, means)):
        raise ValueError(f"means must be a list of positive finite numbers; got {shown(means)}")
    if shape is not None and len(means) != math.prod(shape):
        wanted = f"means must be {math.prod(shape)}, one for each value of the shape {shape}"
        raise ValueError(f"{wanted}; got {len(means)}")
    return tuple(map(float, means))


def _is_positive(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 < float(value) < math.inf
