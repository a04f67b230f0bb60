"""The residual pair for images, of the kind the paper uses for PolyMNIST."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn
from torch.nn import functional

from cmvae.base.outputs import ModelOutput
from cmvae.networks.base import (
    BaseDecoder,
    BaseMultilatentEncoder,
    keep_signal,
    posteriors,
    start_near_zero,
)
from cmvae.networks.shapes import check_input, check_sizes, halved_sizes, image_size

_SLOPE = 0.2  # of the leaky rectifiers, for negative values
_NO_RECTIFIER = 1.0  # as a slope
_BRANCH_WEIGHT = 0.1  # of what a residual block adds
_MOST_CHANNELS = 8  # times those at full size


class ResNetEncoder(BaseMultilatentEncoder):
    """Two separate trunks of residual blocks, one for q(z|x) and one for q(w|x).

    Each trunk is a 3×3 convolution and a residual block, then average pooling by two and a residual
    block of twice the channels until the smaller side is 4 to 7 pixels, and a linear layer: 28×28
    pixels become 64, 128 and 256 channels of 28×28, 14×14 and 7×7. The trunks share no parameters,
    so that what is private need not pass through features made for what is shared. There is no
    normalisation over the batch: the posterior of a sample depends on that sample alone.

    On a CPU a training step takes about 40 times that of the light pair at 28×28, with
    ``channels=16`` 4 times; :class:`cmvae.networks.NetworkPair` registers narrower ones.

    References:
        Palumbo et al., "MMVAE+", ICLR 2023, and Palumbo et al., ICLR 2024, for PolyMNIST.

    Args:
        input_shape: (channels, height, width) in pixels, odd and unequal ones too.
        channels: At full size; twice as many at each following size, up to 8 times as many.
    """

    def __init__(
        self, input_shape: Sequence[int], latent_dim: int, style_dim: int, channels: int = 64
    ) -> None:
        super().__init__()
        check_sizes(latent_dim=latent_dim, style_dim=style_dim)
        self.input_shape = tuple(input_shape)
        self.shared = _Trunk(input_shape, latent_dim, channels)
        self.private = _Trunk(input_shape, style_dim, channels)

    def forward(self, x: Tensor) -> ModelOutput:
        """Encode images of any dtype; ``ValueError`` unless they are (B, *input_shape)."""
        check_input(x, self.input_shape)
        x = x.to(self.shared.head.weight.dtype)
        return posteriors(*self.shared(x).chunk(2, dim=-1), *self.private(x).chunk(2, dim=-1))


class ResNetDecoder(BaseDecoder):
    """One trunk of the encoder turned round: residual blocks, each enlarged to the next size.

    The last layer is linear: its output is a location, or logits.

    Args:
        output_shape: (channels, height, width) in pixels; odd sizes come back exactly.
        channels: Channels at full size; see the encoder.
    """

    def __init__(
        self, latent_dim_total: int, output_shape: Sequence[int], channels: int = 64
    ) -> None:
        super().__init__()
        check_sizes(latent_dim_total=latent_dim_total)
        sizes = halved_sizes(image_size(output_shape), round_up=True)[::-1]
        widths = _stage_channels(channels, len(sizes))[::-1]
        dense = nn.Linear(latent_dim_total, widths[0] * prod(sizes[0]))
        layers: list[nn.Module] = [dense, nn.Unflatten(1, (widths[0], *sizes[0]))]
        for (n_in, n_out), size in zip(pairwise(widths), sizes[1:], strict=True):
            layers += [_ResidualBlock(n_in, n_out), nn.Upsample(size=size)]
        last = nn.Conv2d(channels, output_shape[0], kernel_size=3, padding=1)
        layers += [_ResidualBlock(channels, channels), nn.LeakyReLU(_SLOPE), last]
        self.layers = nn.Sequential(*layers)
        keep_signal(dense, _NO_RECTIFIER)
        keep_signal(last, _NO_RECTIFIER)

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode ``z``, (B, latent_dim_total), to ``reconstruction`` (B, *output_shape)."""
        return ModelOutput(reconstruction=self.layers(z))


class _Trunk(nn.Module):
    """From images (B, *shape) to location and raw scale of one latent, (B, 2 · dim)."""

    def __init__(self, shape: Sequence[int], dim: int, channels: int) -> None:
        super().__init__()
        sizes = halved_sizes(image_size(shape), round_up=True)
        widths = _stage_channels(channels, len(sizes))
        first = nn.Conv2d(shape[0], channels, kernel_size=3, padding=1)
        layers: list[nn.Module] = [first, _ResidualBlock(channels, channels)]
        for n_in, n_out in pairwise(widths):
            layers += [nn.AvgPool2d(3, stride=2, padding=1), _ResidualBlock(n_in, n_out)]
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(widths[-1] * prod(sizes[-1]), 2 * dim)
        start_near_zero(self.head, dim)
        keep_signal(first, _NO_RECTIFIER)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.head(self.layers(x))
        return features


class _ResidualBlock(nn.Module):
    """x + 0.1 · f(x), f two 3×3 convolutions with leaky rectifiers; x by 1×1 to other channels."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        hidden = min(n_in, n_out)
        self.first = nn.Conv2d(n_in, hidden, kernel_size=3, padding=1)
        self.second = nn.Conv2d(hidden, n_out, kernel_size=3, padding=1)
        same = n_in == n_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(n_in, n_out, 1, bias=False)
        keep_signal(self.first, _SLOPE)
        keep_signal(self.second, _SLOPE)
        keep_signal(self.shortcut, _NO_RECTIFIER)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.first(functional.leaky_relu(x, _SLOPE))
        branch = self.second(functional.leaky_relu(branch, _SLOPE))
        total: Tensor = self.shortcut(x) + _BRANCH_WEIGHT * branch
        return total


def _stage_channels(channels: int, n_stages: int) -> list[int]:
    """Return the channels of every stage, largest image first."""
    check_sizes(channels=channels)
    return [channels * min(2**stage, _MOST_CHANNELS) for stage in range(n_stages)]
