"""Multi-layer perceptrons, for vectors and for any shape that has no network of its own."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from cmvae.base.outputs import ModelOutput
from cmvae.base.words import shown
from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder, PosteriorHead
from cmvae.networks.shapes import check_input, check_sizes, holds_indices, one_hot


class MLPEncoder(BaseMultilatentEncoder):
    """A perceptron on the flattened input, with ReLU and one head for both posteriors.

    Args:
        input_shape: Shape of one sample, without the batch; () for a single number.
        hidden_dims: Sizes of the hidden layers; ``()`` leaves the head alone, a linear map.
        one_hot: Whether integers without the last axis are class indices, to be one-hot encoded.

    Raises:
        ValueError: If a size is no positive integer, or ``one_hot`` comes with an empty shape.

    Example:
        >>> import torch
        >>> from cmvae.networks import MLPEncoder
        >>> MLPEncoder((3, 4), latent_dim=2, style_dim=1)(torch.zeros(5, 3, 4)).embedding.shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        latent_dim: int,
        style_dim: int,
        hidden_dims: Sequence[int] = (256, 256),
        one_hot: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(input_shape=input_shape, latent_dim=latent_dim, hidden_dims=hidden_dims)
        if one_hot and not input_shape:
            wanted = "an input_shape whose last axis is the classes"
            raise ValueError(f"one_hot needs {wanted}; got {shown(input_shape)}")
        self.input_shape = tuple(input_shape)
        self.one_hot = one_hot
        sizes = [prod(input_shape), *hidden_dims]
        self.trunk = _perceptron(sizes)
        self.head = PosteriorHead(sizes[-1], latent_dim, style_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        """Encode ``x``, (B, *input_shape), or class indices; another shape is a ``ValueError``."""
        if self.one_hot and holds_indices(x, self.input_shape):
            x = one_hot(x, self.input_shape[-1], self.head.dtype)
        check_input(x, self.input_shape, or_indices=self.one_hot)
        output: ModelOutput = self.head(self.trunk(x.to(self.head.dtype).reshape(x.shape[0], -1)))
        return output


class MLPDecoder(BaseDecoder):
    """A perceptron with ReLU whose last layer is linear and takes the shape of the modality.

    Args:
        output_shape: Shape of one sample, without the batch.
        hidden_dims: Sizes of the hidden layers.
        sigmoid: Whether a sigmoid follows, so that every value lies between 0 and 1.
    """

    def __init__(
        self,
        latent_dim_total: int,
        output_shape: Sequence[int],
        hidden_dims: Sequence[int] = (256, 256),
        sigmoid: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(latent_dim_total=latent_dim_total, output_shape=output_shape)
        check_sizes(hidden_dims=hidden_dims)
        self.output_shape = tuple(output_shape)
        sizes = [latent_dim_total, *hidden_dims]
        self.trunk = _perceptron(sizes)
        self.head = nn.Linear(sizes[-1], prod(output_shape))
        self.sigmoid = sigmoid

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode ``z``, (B, latent_dim_total), to ``reconstruction`` (B, *output_shape)."""
        values = self.head(self.trunk(z))
        values = values.sigmoid() if self.sigmoid else values
        return ModelOutput(reconstruction=values.reshape(z.shape[0], *self.output_shape))


def _perceptron(sizes: Sequence[int]) -> nn.Sequential:
    """Stack linear layers of these sizes, each followed by ReLU."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)
