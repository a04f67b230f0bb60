"""What an encoder and a decoder are, and the pieces that the built-in ones share."""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from cmvae.base.outputs import ModelOutput
from cmvae.networks.shapes import check_sizes

_WEIGHTED = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d


class BaseMultilatentEncoder(nn.Module, ABC):
    """An encoder of one modality: the parameters of q(z|x) and of q(w|x), from one pass over x.

    To derive from this class is a convenience: a model accepts any network that returns the four
    fields.

    Attributes:
        sees_cells: Whether ``forward(x, cells)`` also takes which cells are there, (B, *input
            shape) boolean: for modalities of which single cells are missing. What x holds at
            missing ones is their likelihood's filling, of a standardised column 0.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from cmvae import BaseMultilatentEncoder, ModelOutput
        >>> class Encoder(BaseMultilatentEncoder):
        ...     def __init__(self, n_features, latent_dim, style_dim):
        ...         super().__init__()
        ...         self.z = nn.Linear(n_features, 2 * latent_dim)
        ...         self.w = nn.Linear(n_features, 2 * style_dim)
        ...
        ...     def forward(self, x):
        ...         z, z_scale = self.z(x).chunk(2, dim=-1)
        ...         w, w_scale = self.w(x).chunk(2, dim=-1)
        ...         own = {"style_embedding": w, "style_log_covariance": w_scale}
        ...         return ModelOutput(embedding=z, log_covariance=z_scale, **own)
        >>> Encoder(5, latent_dim=3, style_dim=2)(torch.zeros(4, 5)).style_embedding.shape
        torch.Size([4, 2])
    """

    sees_cells: ClassVar[bool] = False

    @abstractmethod
    def forward(self, x: Tensor) -> ModelOutput:
        """Encode a batch.

        Args:
            x: Inputs of the modality, (B, *input shape).

        Returns:
            Floating tensors: ``embedding`` (B, latent_dim), the location of q(z|x);
            ``log_covariance`` (B, latent_dim), the raw scale, of which the latent family makes the
            scale; ``style_embedding`` and ``style_log_covariance`` (B, style_dim), those of q(w|x).
        """


class BaseDecoder(nn.Module, ABC):
    """A decoder of one modality: the parameters of p(x|z, w) from the concatenation [z, w].

    To derive from this class is a convenience: a model accepts any network that returns the field.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from cmvae import BaseDecoder, ModelOutput
        >>> class Decoder(BaseDecoder):
        ...     def __init__(self, latent_dim, style_dim, n_features):
        ...         super().__init__()
        ...         self.layer = nn.Linear(latent_dim + style_dim, n_features)
        ...
        ...     def forward(self, z):
        ...         return ModelOutput(reconstruction=self.layer(z))
        >>> Decoder(3, 2, n_features=5)(torch.zeros(4, 5)).reconstruction.shape
        torch.Size([4, 5])
    """

    @abstractmethod
    def forward(self, z: Tensor) -> ModelOutput:
        """Decode a batch.

        Args:
            z: Shared and private latent side by side, (B, latent_dim + style_dim), floating.

        Returns:
            ``reconstruction`` (B, *input shape), floating: the location of the likelihood, or its
            logits.
        """


class PosteriorHead(nn.Module):
    """One linear layer from features to the parameters of both posteriors.

    A single matrix product is faster than four small ones. The raw scales start near zero, so that
    at the start the posteriors have almost the same scale for every input.

    """

    def __init__(self, n_features: int, latent_dim: int, style_dim: int) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, style_dim=style_dim)
        self.sizes = [latent_dim, style_dim, latent_dim, style_dim]
        self.linear = nn.Linear(n_features, sum(self.sizes))
        start_near_zero(self.linear, latent_dim + style_dim)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the parameters, to which encoders cast what they are given."""
        return self.linear.weight.dtype

    def forward(self, features: Tensor) -> ModelOutput:
        """Map features (B, n_features) to the four fields of ``BaseMultilatentEncoder.forward``."""
        z, w, z_scale, w_scale = self.linear(features).split(self.sizes, dim=-1)
        return posteriors(z, z_scale, w, w_scale)


def posteriors(z: Tensor, z_scale: Tensor, w: Tensor, w_scale: Tensor) -> ModelOutput:
    """Name locations and raw scales of q(z|x) and q(w|x) as an encoder's output does."""
    own = {"style_embedding": w, "style_log_covariance": w_scale}
    return ModelOutput(embedding=z, log_covariance=z_scale, **own)


def start_near_zero(linear: nn.Linear, start: int) -> None:
    """Make outputs of a layer, those from index ``start`` on, almost zero: raw scales begin so."""
    with torch.no_grad():
        linear.weight[start:].mul_(0.01)
        linear.bias[start:].zero_()


def keep_signal(layer: nn.Module, slope: float = 0.0) -> None:
    """Give a layer He's initialisation, in place ("Delving deep into rectifiers", 2015).

    PyTorch's default shrinks the signal by about 0.4 at each layer with ReLU, which deep stacks
    without normalisation feel. The rectifier has a slope below zero: 1 where there is none.
    """
    if isinstance(layer, _WEIGHTED):
        nn.init.kaiming_normal_(layer.weight, a=slope)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
