"""A light convolutional pair for images of any channel count and size."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import Tensor, nn

from cmvae.base.outputs import ModelOutput
from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder, PosteriorHead, keep_signal
from cmvae.networks.shapes import check_input, check_sizes, halved_sizes, image_size


class ConvEncoder(BaseMultilatentEncoder):
    """Strided convolutions until the smaller side is 4 to 7 pixels, a dense layer and the head.

    There is no batch normalisation: the posterior of a sample depends on that sample alone, which a
    mixture of experts with missing modalities needs.

    Args:
        input_shape: (channels, height, width) in pixels, odd and unequal ones too.
        channels: Of the stages, the largest image first. Fewer stages take the first ones; further
            ones come before, where images cost most, each with half of the next and at least 8.
        hidden_dim: Size of the dense layer.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        latent_dim: int,
        style_dim: int,
        channels: Sequence[int] = (32, 64, 128),
        hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        sizes = halved_sizes(image_size(input_shape))
        check_sizes(latent_dim=latent_dim, channels=channels, hidden_dim=hidden_dim)
        self.input_shape = tuple(input_shape)
        widths = [input_shape[0], *stage_channels(channels, len(sizes) - 1)]
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, kernel_size=4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(widths[-1] * prod(sizes[-1]), hidden_dim), nn.ReLU()]
        self.trunk = nn.Sequential(*layers).apply(keep_signal)
        self.head = PosteriorHead(hidden_dim, latent_dim, style_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        """Encode images of any dtype; ``ValueError`` unless they are (B, *input_shape)."""
        check_input(x, self.input_shape)
        output: ModelOutput = self.head(self.trunk(x.to(self.head.dtype)))
        return output


class ConvDecoder(BaseDecoder):
    """The encoder turned round: dense layers, transposed convolutions to exactly the given size.

    The last layer is linear: its output is a location, or logits.

    Args:
        output_shape: (channels, height, width) in pixels.
        channels: Of the stages, the smallest image first: the encoder's the other way round.
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
        widths = [*stage_channels(channels[::-1], len(sizes) - 1)[::-1], output_shape[0]]
        layers = smallest_image(latent_dim_total, hidden_dim, widths[0], sizes[0])
        for stage, (n_in, n_out) in enumerate(pairwise(widths)):
            layers += [nn.ReLU(), enlarging(n_in, n_out, *sizes[stage : stage + 2])]
        self.layers = nn.Sequential(*layers)
        self.layers[:-1].apply(keep_signal)

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode ``z``, (B, latent_dim_total), to ``reconstruction`` (B, *output_shape)."""
        return ModelOutput(reconstruction=self.layers(z))


def smallest_image(
    latent_dim_total: int, hidden_dim: int, channels: int, size: tuple[int, ...]
) -> list[nn.Module]:
    """Return the dense layers from latents to an image of the smallest size."""
    first, dense = (
        nn.Linear(latent_dim_total, hidden_dim),
        nn.Linear(hidden_dim, channels * prod(size)),
    )
    return [first, nn.ReLU(), dense, nn.Unflatten(1, (channels, *size))]


def enlarging(
    n_in: int, n_out: int, small: tuple[int, ...], large: tuple[int, ...]
) -> nn.ConvTranspose2d:
    """Return the transposed convolution from a (height, width) to one about twice as large."""
    # Halving rounds down; the padding gives an odd side its last row or column back.
    lost = (large[0] - 2 * small[0], large[1] - 2 * small[1])
    return nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1, output_padding=lost)


def stage_channels(channels: Sequence[int], n_stages: int) -> list[int]:
    """Fit ``channels``, largest image first, to the number of stages; see ``ConvEncoder``."""
    if not channels:
        raise ValueError("channels must hold at least one positive integer; got none")
    fitted = list(channels[:n_stages])
    while len(fitted) < n_stages:
        fitted.insert(0, max(fitted[0] // 2, min(8, fitted[0])))
    return fitted
