"""What an encoder and a decoder are, and the pieces that the built-in ones share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from cmvae.base.outputs import ModelOutput


class BaseMultilatentEncoder(nn.Module, ABC):
    """An encoder of one modality: the parameters of q(z|x) and of q(w|x), from one pass over x.

    Subclasses choose their own constructor and implement ``forward``. Deriving from this class is a
    convenience: a model accepts any network that returns the four fields.

    Example:
        >>> class Encoder(BaseMultilatentEncoder):
        ...     def __init__(self, n_features, latent_dim, style_dim):
        ...         super().__init__()
        ...         self.z = nn.Linear(n_features, 2 * latent_dim)
        ...         self.w = nn.Linear(n_features, 2 * style_dim)
        ...
        ...     def forward(self, x):
        ...         z, z_scale = self.z(x).chunk(2, dim=-1)
        ...         w, w_scale = self.w(x).chunk(2, dim=-1)
        ...         return ModelOutput(
        ...             embedding=z, log_covariance=z_scale, style_embedding=w, style_log_covariance=w_scale
        ...         )
        >>> Encoder(5, latent_dim=3, style_dim=2)(torch.zeros(4, 5)).style_embedding.shape
        torch.Size([4, 2])
    """

    @abstractmethod
    def forward(self, x: Tensor) -> ModelOutput:
        """Encode a batch.

        Args:
            x: Inputs of the modality, (B, *input shape).

        Returns:
            Floating tensors: ``embedding`` (B, latent_dim), the location of q(z|x);
            ``log_covariance`` (B, latent_dim), its raw scale, which the latent family turns into a
            scale; ``style_embedding`` and ``style_log_covariance`` (B, style_dim), the same for
            q(w|x).
        """


class BaseDecoder(nn.Module, ABC):
    """A decoder of one modality: the parameters of p(x|z, w) from the concatenation [z, w].

    Subclasses choose their own constructor and implement ``forward``. Deriving from this class is a
    convenience: a model accepts any network that returns the field.

    Example:
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
            z: The shared and the private latent side by side, (B, latent_dim + style_dim),
                floating.

        Returns:
            ``reconstruction`` (B, *input shape), floating: the location of the likelihood, or its
            logits.
        """


class PosteriorHead(nn.Module):
    """One linear layer from features to the parameters of both posteriors.

    A single matrix product is faster than four small ones. The raw scales start near zero, so that
    at the start the posteriors have almost the same scale for every input.

    Args:
        n_features: Size of the features.
        latent_dim: Dimension of z.
        style_dim: Dimension of w.
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
        return ModelOutput(
            embedding=z, log_covariance=z_scale, style_embedding=w, style_log_covariance=w_scale
        )


def start_near_zero(linear: nn.Linear, start: int) -> None:
    """Make the outputs of a layer from index ``start`` on almost zero, in place: the raw scales at the start."""
    with torch.no_grad():
        linear.weight[start:].mul_(0.01)
        linear.bias[start:].zero_()


def one_hot(indices: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Encode class indices (...) in 0..n_classes-1 as one-hot vectors (..., n_classes) of ``dtype``.

    Unlike ``torch.nn.functional.one_hot`` it gives the wanted dtype at once and does not
    synchronise a GPU.

    Raises:
        RuntimeError: (from PyTorch) for an index outside the classes.
    """
    encoded = torch.zeros(*indices.shape, n_classes, dtype=dtype, device=indices.device)
    return encoded.scatter_(-1, indices.long().unsqueeze(-1), 1.0)


def image_size(shape: Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of an image shape (channels, height, width), or raise ``ValueError``."""
    if len(shape) != 3:
        raise ValueError(f"an image shape is (channels, height, width); got {tuple(shape)}")
    check_sizes(shape=shape)
    return int(shape[1]), int(shape[2])


def halved_sizes(shape: Sequence[int], smallest: int = 8) -> list[tuple[int, ...]]:
    """Return the sizes a tensor takes while strided convolutions halve it, the given size first.

    Args:
        shape: Spatial sizes, in pixels or positions, each at least 1.
        smallest: Halving goes on while the smallest side is at least this, 2 or more.

    Returns:
        Sizes from ``shape`` down, each the floor of half the one before.
    """
    sizes = [tuple(shape)]
    while min(sizes[-1]) >= smallest:
        sizes.append(tuple(side // 2 for side in sizes[-1]))
    return sizes


def holds_indices(x: Tensor, shape: Sequence[int]) -> bool:
    """Tell whether ``x`` holds integer class indices (B, *shape[:-1]), rather than vectors (B, *shape)."""
    integer = not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)
    return integer and tuple(x.shape[1:]) == tuple(shape[:-1])


def check_input(x: Tensor, shape: Sequence[int], or_indices: bool = False) -> None:
    """Raise ``ValueError`` if ``x`` is not (B, *shape); with ``or_indices`` it names the other form too."""
    if tuple(x.shape[1:]) != tuple(shape):
        wanted = f"(B, {', '.join(map(str, shape))})"
        if or_indices:
            wanted += f", or integers (B, {', '.join(map(str, shape[:-1]))})"
        raise ValueError(f"input of shape {tuple(x.shape)} and {x.dtype}; allowed: {wanted}")


def check_sizes(**sizes: Sequence[int] | int) -> None:
    """Raise ``ValueError`` naming the first of ``sizes`` that holds anything but positive integers."""
    for name, value in sizes.items():
        entries = value if isinstance(value, Sequence) else [value]
        if any(
            isinstance(entry, bool) or not isinstance(entry, Integral) or entry < 1
            for entry in entries
        ):
            raise ValueError(f"{name} must hold positive integers; got {value!r}")


def count(shape: Sequence[int]) -> int:
    """Return the number of entries of a tensor of this shape."""
    return math.prod(shape)


def initialise_for_relu(layer: nn.Module) -> None:
    """Give a layer He's initialisation, in place.

    PyTorch's default shrinks the signal by about 0.4 at each layer with ReLU, which deep stacks
    without normalisation feel (He et al., "Delving deep into rectifiers", 2015).
    """
    if isinstance(
        layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
    ):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
