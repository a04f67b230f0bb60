"""The scale on which a diffusion decoder works: data brought to about [−1, 1], and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cmvae.base.arrays import restore, standardise


class Scaling(nn.Module):
    """x → (x − shift) / scale, with both stored, of samples of a ``shape``.

    The ``kind`` ``'unit'`` is 2x − 1, for data in [0, 1]; ``'standard'`` by mean and standard
    deviation, once a :class:`ScaleEstimate` has seen data, of each channel for (channels, height,
    width), else of each entry.
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
        """Return data (B, *shape) on the scale of the diffusion, which must be known."""
        if not bool(self.known):
            way = "train with cmvae.fit, or call estimate_scaling(data) before"
            raise ValueError(f"the scale of the data is not known yet: {way}")
        return standardise(x, self.shift, self.scale)

    def inverse(self, x: Tensor) -> Tensor:
        """Return scaled data (B, *shape) on their own scale."""
        return restore(x, self.shift, self.scale)

    def columns(self, chunk: Tensor) -> Tensor:
        """Return a chunk (n, *shape) as rows whose columns are scaled each on its own."""
        return chunk.movedim(1, -1).flatten(0, -2) if len(self.shape) == 3 else chunk.flatten(1)


class ScaleEstimate:
    """Learns a modality's scale from data, a chunk at a time, or that all are in [0, 1].

    A scale that is known already stays. An entry that never changes gets scale 1.
    """

    def __init__(self, scaling: Scaling, modality: str) -> None:
        from sklearn.preprocessing import StandardScaler  # takes long to import

        self.scaling, self.modality = scaling, modality
        self.n_seen = 0
        self._scaler = StandardScaler()

    def update(self, chunk: Tensor) -> None:
        """Take in a chunk (n, *shape), n from 0; ``'unit'`` refuses values outside [0, 1]."""
        self.n_seen += len(chunk)
        if not len(chunk):
            return
        if self.scaling.kind == "unit":
            low, high = float(chunk.min()), float(chunk.max())
            if low < 0 or high > 1:
                what = f"modality {self.modality!r}: scaling 'unit' is for values in [0, 1]"
                way = "scale them, or use DiffusionConfig(scaling='standard')"
                raise ValueError(f"{what}; got values from {low:.4g} to {high:.4g}: {way}")
        elif not bool(self.scaling.known):
            self._scaler.partial_fit(self.scaling.columns(chunk).double().cpu().numpy())

    def finish(self) -> None:
        """Store the scale; ``ValueError`` if there were no data."""
        if not self.n_seen:
            reason = "it is observed in no training sample, so nothing can be learned"
            raise ValueError(f"modality {self.modality!r}: {reason}")
        if not bool(self.scaling.known):
            for name, found in (("shift", self._scaler.mean_), ("scale", self._scaler.scale_)):
                stored = getattr(self.scaling, name)
                stored.copy_(torch.as_tensor(found).reshape(stored.shape))
            self.scaling.known.fill_(True)
