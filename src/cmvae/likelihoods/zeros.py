"""Counts most of which are zero: sums of log-masses, a few rows at a time.

No count has the log-mass −μ (Poisson) or −r log(1 + μ/r) (negative binomial, of the inverse
dispersion r), which is all that has to be calculated of almost every value. Forward and backward go
through the rows in blocks that fit into a processor's cache: of all arrays there are, only the
decoder's output and its gradient have the size of the output.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

BLOCK_VALUES = 1 << 19
MANY, RARE = 1 << 20, 0.25  # values of targets, and the share above zero, from which it pays


class Nonzeros(NamedTuple):
    """The counts above zero of R rows, row by row, as in a CSR matrix.

    Attributes:
        bounds: Where those of each row begin, and the end of the last, (R + 1,) int64.
        columns: The column of each, (N,) int64.
        counts: How many it counts, (N,).
    """

    bounds: Tensor
    columns: Tensor
    counts: Tensor

    @property
    def rows(self) -> Tensor:
        """The row of each, (N,) int64."""
        lengths = self.bounds.diff()
        return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)

    def at(self, rows: Tensor) -> "Nonzeros":
        """Return those of some of the rows, (R,) int64, any of which may occur repeatedly."""
        starts = self.bounds.index_select(0, rows)
        lengths = self.bounds.index_select(0, rows + 1) - starts
        bounds = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        places = torch.arange(int(bounds[-1]), device=rows.device)
        places += (starts - bounds[:-1]).repeat_interleave(lengths)
        return Nonzeros(bounds, self.columns[places], self.counts[places])


def rare_counts(target: Tensor, axes: int) -> Nonzeros | None:
    """Return the counts above zero of targets, one row for each index of the first ``axes`` axes.

    None where they are not rare, or there are so few values that all are calculated as fast.
    """
    if target.numel() < MANY or axes == 0 or torch.compiler.is_compiling():
        return None
    counts = unexpanded(target)
    flat = counts.reshape(-1, target[(0,) * axes].numel())
    if torch.count_nonzero(flat) > RARE * flat.numel():
        return None
    rows, columns = flat.nonzero(as_tuple=True)
    bounds = torch.searchsorted(rows, torch.arange(len(flat) + 1, device=flat.device))
    own = torch.arange(len(flat), device=flat.device).reshape(counts.shape[:axes])
    every = Nonzeros(bounds, columns, flat[rows, columns])
    return every.at(own.expand(target.shape[:axes]).flatten())


def unexpanded(target: Tensor) -> Tensor:
    """Return the target with axes that only repeat it cut to size 1: draws share its terms."""
    for axis, stride in enumerate(target.stride()):
        if stride == 0 and target.shape[axis] > 1:
            target = target.narrow(axis, 0, 1)
    return target


class Rates(NamedTuple):
    """How log-rates follow from a decoder's output o: o + ``shift``, or those of shares.

    Attributes:
        totals: (R,), with which μ = total · softmax(o); None: μ = exp(o + shift).
        shift: (D,), or None for 0.
        most: What log-rates without totals count as at most, while they keep their gradient.
    """

    totals: Tensor | None
    shift: Tensor | None
    most: float


def zeros_and_rates(
    output: Tensor, above: Nonzeros, how: Rates, log_r: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the log-masses of zeros, summed over each row, (R,), and log μ of the others, (N,).

    Args:
        output: The decoder's, (R, D), at least float32.
        above: The counts that are not zero.
        how: What rates are.
        log_r: log r, (D,) or a scalar; None: Poisson.
    """
    found: tuple[Tensor, Tensor] = _ZerosAndRates.apply(output, log_r, above, how)
    return found


class _ZerosAndRates(torch.autograd.Function):
    """What :func:`zeros_and_rates` returns, with gradients to the output and to log r."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, log_r: Tensor | None, above: Nonzeros, how: Rates
    ) -> tuple[Tensor, Tensor]:
        """Sum block by block."""
        r = None if log_r is None else log_r.exp()
        lse, sums = output.new_zeros(len(output), 1), output.new_empty(len(output))
        log_rates = output.new_empty(len(above.columns))
        for rows, own, places in _blocks(output, above):
            part = output[rows]
            if how.totals is not None:
                total = how.totals[rows, None]
                lse[rows] = part.logsumexp(1, keepdim=True)
                log_rate = part - (lse[rows] - total.log())
            else:
                log_rate = _shifted(part, how)
            log_rates[own] = log_rate[places]
            mass = log_rate.exp_()
            if r is not None:
                mass = mass.div_(r).log1p_().mul_(r)
            mass[places] = 0
            sums[rows] = -mass.sum(1)
        ctx.above, ctx.how = above, how
        ctx.save_for_backward(output, lse, r)
        return sums, log_rates

    @staticmethod
    def backward(ctx: Any, of_sums: Tensor, of_rates: Tensor) -> tuple[Tensor | None, ...]:
        """Go through the same blocks: the gradient of log μ, and of the softmax behind it."""
        if torch.is_grad_enabled():
            what = "rare counts, of a million values or more, have no second derivatives"
            raise RuntimeError(f"{what}: take fewer samples at a time")
        output, lse, r = ctx.saved_tensors
        gradient, how = torch.empty_like(output), ctx.how
        of_log_r = None if r is None or not ctx.needs_input_grad[1] else torch.zeros_like(r)
        for rows, own, places in _blocks(output, ctx.above):
            weight = of_sums[rows, None]
            if how.totals is None:
                share = None
                rate = _shifted(output[rows], how).exp_()
            else:
                share = (output[rows] - lse[rows]).exp_()
                rate = share * how.totals[rows, None]
            if r is not None:
                odds = rate / r
                rate = rate.div_(odds + 1)
                if of_log_r is not None:
                    mass = rate - odds.log1p_().mul_(r)
                    mass[places] = 0
                    of_log_r += (weight * mass).sum(0).sum_to_size(r.shape)
            slope = rate.mul_(-weight)
            slope[places] = of_rates[own]
            if share is not None:
                slope -= share.mul_(slope.sum(1, keepdim=True))
            gradient[rows] = slope
        return gradient, of_log_r, None, None


def _shifted(output: Tensor, how: Rates) -> Tensor:
    """Return log-rates without totals, (R, D)."""
    return (output if how.shift is None else output + how.shift).clamp_max(how.most)


def _blocks(
    output: Tensor, above: Nonzeros
) -> Iterator[tuple[slice, slice, tuple[Tensor, Tensor]]]:
    """Yield rows of the output, the counts above zero that are theirs, and the places of these."""
    step = max(1, BLOCK_VALUES // output.shape[1])
    rows = above.rows
    for start in range(0, len(output), step):
        block = slice(start, min(start + step, len(output)))
        first, last = above.bounds[[block.start, block.stop]].tolist()
        own = slice(first, last)
        yield block, own, (rows[own] - start, above.columns[own])
