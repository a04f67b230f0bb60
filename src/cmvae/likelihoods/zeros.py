"""Counts most of which are zero: sums of log-masses, a few rows at a time.

No count has the log-mass −μ (Poisson) or −r log(1 + μ/r) (negative binomial, of the inverse
dispersion r), which is all that has to be calculated of almost every value. Forward and backward go
through the rows in blocks that fit into a processor's cache: of all arrays there are, only the
decoder's output, the shares or rates that follow from it, and its gradient have the size of the
output.
"""

from collections.abc import Iterator
from itertools import pairwise
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

    def summed(self, values: Tensor) -> Tensor:
        """Return the sums of values of these counts, (N,), over each row, (R,)."""
        if values.device.type not in ("cpu", "cuda"):  # PyTorch has it for these
            return values.new_zeros(len(self.bounds) - 1).index_add(0, self.rows, values)
        sums: Tensor = torch.segment_reduce(values, "sum", offsets=self.bounds)
        return sums

    def at(self, rows: Tensor) -> "Nonzeros":
        """Return those of some of the rows, (R,) int64, any of which may occur repeatedly."""
        starts = self.bounds.index_select(0, rows)
        lengths = self.bounds.index_select(0, rows + 1) - starts
        bounds = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        places = torch.arange(int(bounds[-1]), device=rows.device)
        places += (starts - bounds[:-1]).repeat_interleave(lengths)
        columns = self.columns.index_select(0, places)
        return Nonzeros(bounds, columns, self.counts.index_select(0, places))


def rare_counts(data: Tensor, rows: Tensor) -> Nonzeros | None:
    """Return the counts above zero of some rows of data, (B, *), one for each of ``rows``, (R,).

    None where they are not rare, or there are so few values that all are calculated as fast. What
    other rows hold changes nothing.
    """
    flat = data.flatten(1)
    width = flat.shape[1]
    size = len(rows) * width
    if size < MANY or torch.compiler.is_compiling():
        return None
    if flat.count_nonzero(1).index_select(0, rows).sum() > RARE * size:
        return None
    values = flat.flatten()
    places = values.nonzero().squeeze(1)
    bounds = torch.searchsorted(places, torch.arange(len(flat) + 1, device=flat.device) * width)
    return Nonzeros(bounds, places % width, values.index_select(0, places)).at(rows)


def unexpanded(target: Tensor, axes: int | None = None) -> Tensor:
    """Return the target with axes that only repeat it cut to size 1: draws share its terms.

    Of the first ``axes`` axes; None: of all.
    """
    for axis, stride in enumerate(target.stride()[:axes]):
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
        log_r: log r, (D,); None: Poisson.
    """
    with _exactly(output):
        found: tuple[Tensor, Tensor] = _ZerosAndRates.apply(output.contiguous(), log_r, above, how)
    return found


def _exactly(like: Tensor) -> Any:
    """Return a context in which no sum is taken in half precision."""
    return torch.autocast(like.device.type, enabled=False)


class _ZerosAndRates(torch.autograd.Function):
    """What :func:`zeros_and_rates` returns, with gradients to the output and to log r."""

    @staticmethod
    def forward(
        ctx: Any, output: Tensor, log_r: Tensor | None, above: Nonzeros, how: Rates
    ) -> tuple[Tensor, Tensor]:
        """Sum block by block."""
        r = None if log_r is None else log_r.exp()
        kept = torch.empty_like(output) if any(ctx.needs_input_grad[:2]) else None
        sums = output.new_empty(len(output))
        log_rates = output.new_empty(len(above.columns))
        blocks = list(_blocks(output, above))
        for rows, own, places in blocks:
            part = output[rows]
            # Shares, or rates where there is no total.
            base = torch.empty_like(part) if kept is None else kept[rows]
            if how.totals is None:
                log_rate = _shifted(part, how)
                log_rates[own] = log_rate.flatten().index_select(0, places)
                rate = torch.exp(log_rate, out=base).clone()
            else:
                torch.softmax(part, 1, out=base)
                total = how.totals[rows, None]
                offset = total.log() + base.amax(1, True).log() - part.amax(1, True)
                log_rates[own] = (part + offset).flatten().index_select(0, places)
                rate = base * total
            rate.view(-1).index_fill_(0, places, 0)
            sums[rows] = -(rate.sum(1) if r is None else rate.div_(r).log1p_() @ r)
        ctx.blocks, ctx.how = blocks, how
        ctx.save_for_backward(kept, r)
        return sums, log_rates

    @staticmethod
    def backward(ctx: Any, of_sums: Tensor, of_rates: Tensor) -> tuple[Tensor | None, ...]:
        """Go through the same blocks: the gradient of log μ, and of the softmax behind it."""
        if torch.is_grad_enabled():
            what = "rare counts, of a million values or more, have no second derivatives"
            raise RuntimeError(f"{what}: take fewer samples at a time")
        kept, r = ctx.saved_tensors
        gradient, how = torch.empty_like(kept), ctx.how
        of_log_r = torch.zeros_like(r) if ctx.needs_input_grad[1] else None
        for rows, own, places in ctx.blocks:
            base, weight = kept[rows], of_sums[rows]
            slope = base.clone() if how.totals is None else base * how.totals[rows, None]
            slope.view(-1).index_fill_(0, places, 0)
            if r is not None:
                odds = slope / r
                slope = slope.div_(odds + 1)
                if of_log_r is not None:
                    with _exactly(odds):
                        of_log_r += weight @ slope - r * (weight @ odds.log1p_())
            slope.mul_(-weight[:, None]).view(-1).index_copy_(0, places, of_rates[own])
            if how.totals is not None:
                slope.addcmul_(base, slope.sum(1, keepdim=True), value=-1)
            gradient[rows] = slope
        return gradient if ctx.needs_input_grad[0] else None, of_log_r, None, None


def _shifted(output: Tensor, how: Rates) -> Tensor:
    """Return log-rates without totals, (R, D)."""
    return (output if how.shift is None else output + how.shift).clamp_max(how.most)


def _blocks(output: Tensor, above: Nonzeros) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield rows of the output, the counts above zero that are theirs, and the places of these.

    Places are those among the values of the rows.
    """
    width = output.shape[1]
    step = max(1, BLOCK_VALUES // width)
    places = above.rows * width + above.columns
    ends = torch.cat([above.bounds[:-1:step], above.bounds[-1:]]).tolist()
    for i, (first, last) in enumerate(pairwise(ends)):
        block = slice(i * step, min((i + 1) * step, len(output)))
        yield block, slice(first, last), places[first:last] - block.start * width
