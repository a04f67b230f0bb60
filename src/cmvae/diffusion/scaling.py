"""The scale on which a diffusion decoder works: data and reconstructions brought to about [−1, 1], and back."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

__all__ = ["Scaling"]


class Scaling(nn.Module):
    """x → (x − shift) / scale, with both stored.

    Args:
        shape: Shape of one sample.
        kind: ``'unit'``: 2x − 1, for data in [0, 1]. ``'standard'``: by mean and standard deviation, once
            :meth:`estimate` has seen data; of each channel for (channels, height, width), else of each entry.
    """

    def __init__(self, shape: Sequence[int], kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.shape = tuple(shape)
        size = (shape[0], 1, 1) if len(shape) == 3 else self.shape
        start = 0.5 if kind == "unit" else 0.0
        self.register_buffer("shift", torch.full(size, start))
        self.register_buffer("scale", torch.full(size, start or 1.0))
        self.register_buffer("known", torch.tensor(kind == "unit"))

    shift: Tensor
    scale: Tensor
    known: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return data (B, *shape) on the scale of the diffusion.

        Raises:
            ValueError: If the scale is not known yet.
        """
        if not bool(self.known):
            raise ValueError(
                "the scale of the data is not known yet: train with cmvae.fit, or call estimate_scaling(data) before"
            )
        return (x - self.shift) / self.scale

    def inverse(self, x: Tensor) -> Tensor:
        """Return scaled data (B, *shape) on their own scale."""
        return x * self.scale + self.shift

    def estimate(self, chunks: Iterable[Tensor], modality: str) -> None:
        """Estimate mean and standard deviation, or with ``'unit'`` check that the data are in [0, 1].

        An entry that never changes gets scale 1. A scale that is known already stays.

        Args:
            chunks: The data, a chunk (n, *shape) at a time; n may be 0.
            modality: Its name, for the errors.

        Raises:
            ValueError: If there are no data, or with ``'unit'`` values outside [0, 1].
        """
        from sklearn.preprocessing import StandardScaler  # takes long to import

        scaler, seen = StandardScaler(), 0
        for chunk in chunks:
            if not len(chunk):
                continue
            seen += len(chunk)
            if self.kind == "unit":
                self._check_unit(chunk, modality)
            elif not bool(self.known):
                scaler.partial_fit(self._columns(chunk).double().cpu().numpy())
        if not seen:
            raise ValueError(f"modality {modality!r}: it is observed in no training sample, so nothing can be learned")
        if not bool(self.known):
            self.shift.copy_(torch.as_tensor(scaler.mean_).reshape(self.shift.shape))
            self.scale.copy_(torch.as_tensor(scaler.scale_).reshape(self.scale.shape))
            self.known.fill_(True)

    def _columns(self, chunk: Tensor) -> Tensor:
        """Return the chunk as rows whose columns are scaled each on its own."""
        return chunk.movedim(1, -1).flatten(0, -2) if len(self.shape) == 3 else chunk.flatten(1)

    def _check_unit(self, chunk: Tensor, modality: str) -> None:
        low, high = float(chunk.min()), float(chunk.max())
        if low < 0 or high > 1:
            raise ValueError(
                f"modality {modality!r}: scaling 'unit' is for values in [0, 1]; got values from {low:.4g} to "
                f"{high:.4g}: scale them, or use DiffusionConfig(scaling='standard')"
            )
