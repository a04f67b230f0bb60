"""What an encoder sees of a vector some of whose cells are missing: also which they are."""

from typing import ClassVar

import torch
from torch import Tensor

from cmvae.base.outputs import ModelOutput
from cmvae.networks.base import BaseMultilatentEncoder


class CellEncoder(BaseMultilatentEncoder):
    """An encoder of vectors that also sees which of their cells are missing.

    Beside the D values, those of missing cells filled in, stand D numbers, 1 where a cell is
    missing and else 0: of a complete sample they add nothing, and the first layer learns for each
    cell what its absence means, which a learned value in its place would be a special case of.

    Args:
        encoder: The encoder of what comes out, of shape (2 D,).
    """

    sees_cells: ClassVar[bool] = True

    def __init__(self, encoder: BaseMultilatentEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor, cells: Tensor | None = None) -> ModelOutput:
        """Encode ``x``, (B, D), of which ``cells``, (B, D) boolean, are there; None: all."""
        missing = torch.zeros_like(x) if cells is None else (~cells).to(x.dtype)
        output: ModelOutput = self.encoder(torch.cat([x, missing], -1))
        return output
