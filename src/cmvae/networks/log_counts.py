"""What an encoder sees of counts: their logarithms."""

from collections.abc import Sequence
from math import log1p, prod

import torch
from torch import Tensor

from cmvae.base.outputs import ModelOutput
from cmvae.likelihoods import CountBlock
from cmvae.networks.base import BaseMultilatentEncoder
from cmvae.networks.shapes import check_input


class LogCountEncoder(BaseMultilatentEncoder):
    """An encoder that sees log(1 + x) of counts x, and everything else as it is.

    Counts span orders of magnitude, which no layer of a network is scaled for. A block with a size
    is scaled to this total first, so that the encoder sees shares and not how much was measured.
    Of a block with means it sees the logarithms minus those of the means: that of an income would
    stand beside standardised numbers as a constant of ten.

    Args:
        encoder: The encoder of what comes out, of the same shape.
        input_shape: Shape of one sample, without the batch.
        counts: The blocks of counts among the values of a flattened sample, in order.
    """

    shift: Tensor

    def __init__(
        self,
        encoder: BaseMultilatentEncoder,
        input_shape: Sequence[int],
        counts: Sequence[CountBlock],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.input_shape = tuple(input_shape)
        self.counts = tuple(counts)
        shift = torch.zeros(prod(input_shape))
        for start, stop, _, means in self.counts:
            if means:
                shift[start:stop] = torch.tensor([log1p(mean) for mean in means])
        # It follows from the likelihood's settings: no part of the weights.
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, x: Tensor) -> ModelOutput:
        """Encode ``x``, (B, *input_shape) of any real dtype; another shape is a ``ValueError``."""
        check_input(x, self.input_shape)
        dtype = next(self.encoder.parameters()).dtype
        # Half precision has room for the logarithms of counts, but none for large counts.
        flat = x.to(torch.promote_types(dtype, torch.float32)).reshape(x.shape[0], -1)
        parts, done = [], 0
        for start, stop, size, _ in self.counts:
            parts += [flat[:, done:start], _log_counts(flat[:, start:stop], size)]
            done = stop
        parts = [part for part in [*parts, flat[:, done:]] if part.shape[1]]
        seen = torch.cat(parts, -1) if len(parts) > 1 else parts[0]
        if any(block.means for block in self.counts):
            seen = seen - self.shift.to(flat)
        output: ModelOutput = self.encoder(seen.to(dtype).reshape(x.shape))
        return output


def _log_counts(counts: Tensor, size: float | None) -> Tensor:
    """Return log(1 + x) of counts (B, n), scaled to a sum of ``size`` where it is given."""
    if size is not None:
        counts = counts * (size / counts.sum(-1, keepdim=True).clamp_min(1))
    return counts.log1p()
