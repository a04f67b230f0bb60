"""A decoder that knows of covariates: what they add to every column is learned at once."""

import torch
from torch import Tensor, nn

from cmvae.base.outputs import ModelOutput
from cmvae.networks.base import BaseDecoder


class ShiftedDecoder(BaseDecoder):
    """A decoder of vectors from [z, w, covariates], whose output covariates also shift directly.

    .. math:: o = f(z, w, s) + A s

    Of counts o are logarithms of rates or of shares up to a constant, so that A holds a factor for
    each column and category; f learns what more they change. A starts at 0.

    Args:
        decoder: f, of a vector.
        n_covariates: The size of s, which comes last.
        n_features: The number of columns.
    """

    def __init__(self, decoder: nn.Module, n_covariates: int, n_features: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.shift = nn.Parameter(torch.zeros(n_covariates, n_features))

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode [z, w, s], (B, dim): ``reconstruction`` (B, n_features)."""
        made = self.decoder(z).reconstruction
        return ModelOutput(reconstruction=made + z[:, -len(self.shift) :] @ self.shift)


def shifts_of(module: nn.Module) -> list[nn.Parameter]:
    """Return A of every such decoder within a module."""
    return [own.shift for own in module.modules() if isinstance(own, ShiftedDecoder)]
