"""A decoder of images with residual blocks where they cost little."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from cmvae.base.outputs import ModelOutput
from cmvae.networks.base import BaseDecoder, keep_signal
from cmvae.networks.conv import enlarging, smallest_image, stage_channels
from cmvae.networks.shapes import check_sizes, halved_sizes, image_size

_BRANCH_WEIGHT = 0.3  # of what a residual block adds


class ResidualConvDecoder(BaseDecoder):
    """Dense layers, and transposed convolutions with a residual block before each.

    At the full size there is one convolution alone, which makes the channels. It draws sharper
    shapes than :class:`cmvae.networks.ConvDecoder` after as many steps, and a training step of a
    CMVAE with it takes about four times as long on a CPU. The last layer is linear: its output is a
    location, or logits.

    Args:
        output_shape: (channels, height, width) in pixels; odd and unequal sizes come back exactly.
        channels: Of the stages, the smallest image first, as :class:`cmvae.networks.ConvDecoder`
            takes them.
        hidden_dim: Size of the dense layer.
    """

    def __init__(
        self,
        latent_dim_total: int,
        output_shape: Sequence[int],
        channels: Sequence[int] = (128, 64, 32),
        hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        sizes = halved_sizes(image_size(output_shape))[::-1]
        check_sizes(latent_dim_total=latent_dim_total, channels=channels, hidden_dim=hidden_dim)
        widths = stage_channels(channels[::-1], len(sizes) - 1)[::-1] or [channels[-1]]
        layers = smallest_image(latent_dim_total, hidden_dim, widths[0], sizes[0])
        stages = zip(pairwise([*widths, widths[-1]]), pairwise(sizes), strict=False)
        for (n_in, n_out), (small, large) in stages:
            layers += [_ResidualBlock(n_in), nn.ReLU(), enlarging(n_in, n_out, small, large)]
        self.layers = nn.Sequential(*layers).apply(keep_signal)
        self.last = nn.Conv2d(widths[-1], output_shape[0], kernel_size=3, padding=1)

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode ``z``, (B, latent_dim_total), to ``reconstruction`` (B, *output_shape)."""
        return ModelOutput(reconstruction=self.last(functional.relu(self.layers(z))))


class _ResidualBlock(nn.Module):
    """x + 0.3 · f(x), f two 3×3 convolutions behind rectifiers."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.second(functional.relu(self.first(functional.relu(x))))
        total: Tensor = x + _BRANCH_WEIGHT * branch
        return total
