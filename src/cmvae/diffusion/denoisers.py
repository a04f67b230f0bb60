"""The networks of diffusion decoders: a U-Net for images, a residual perceptron for the rest."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.library import from_diffusers

MAX_GROUPS = 32  # of a group normalisation
LEAST_IN_GROUP = 4  # channels, as in 32 groups of the 128 of Ho et al. (2020)
HEAD_DIM = 8  # of the attention
TIME_WIDTH = 4  # first channels that diffusers' U-Net embeds a step in


class ImageDenoiser(nn.Module):
    """diffusers' U-Net on x_t, x̂ and a channel that is 1 where x̂ is given and 0 elsewhere.

    z of ``latent_dim`` entries, if not 0, is embedded and added to the embedding of t, which then
    scales and shifts every channel (Dhariwal and Nichol, 2021) instead of shifting alone. Images
    (channels, height, width) whose sides the U-Net cannot halve as often as it must are padded at
    the right and bottom by their border pixels, and its output is cropped.
    """

    def __init__(self, shape: Sequence[int], config: DiffusionConfig, latent_dim: int = 0) -> None:
        super().__init__()
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"shape must be (channels, height, width), got {tuple(shape)}")
        channels, *size = shape
        levels = len(config.channels)
        self.patch = config.patch
        self.multiple = self.patch * 2 ** (levels - 1)
        padded = [math.ceil(side / self.multiple) * self.multiple for side in size]
        self.unet = from_diffusers("UNet2DModel")(
            sample_size=tuple(side // self.patch for side in padded),
            in_channels=(2 * channels + 1) * self.patch**2,
            out_channels=channels * self.patch**2,
            block_out_channels=config.channels,
            layers_per_block=config.layers_per_block,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            add_attention=config.attention,
            attention_head_dim=math.gcd(HEAD_DIM, config.channels[-1]),
            norm_num_groups=_groups(config.channels),
            dropout=config.dropout,
            class_embed_type="identity" if latent_dim else None,
            resnet_time_scale_shift="scale_shift" if latent_dim else "default",
        )
        width = TIME_WIDTH * config.channels[0]
        self.latents = _embedding(latent_dim, width) if latent_dim else None

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        given: Tensor,
        steps: Tensor,
        z: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction, (B, C, H, W), from x_t and x̂ of that shape and steps, (B,) int64.

        ``given``, (B,), is 1 where x̂ (and z, (B, latent_dim), where it is taken) is given and 0
        where both are withheld, and zero.
        """
        height, width = x.shape[-2:]
        flag = given.reshape(-1, 1, 1, 1).expand(-1, 1, height, width).to(x)
        inputs = torch.cat([x, condition, flag], 1)
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        if any(padding):
            inputs = functional.pad(inputs, padding, mode="replicate")
        embedded = {} if self.latents is None else {"class_labels": self.latents(z)}
        folded = functional.pixel_unshuffle(inputs, self.patch)
        found = self.unet(folded, steps, **embedded).sample
        return functional.pixel_shuffle(found, self.patch)[..., :height, :width]


class VectorDenoiser(nn.Module):
    """A residual perceptron on x_t, x̂, z and whether they are given; blocks add t's embedding.

    Samples of any shape are flattened.
    """

    def __init__(self, shape: Sequence[int], config: DiffusionConfig, latent_dim: int = 0) -> None:
        super().__init__()
        embeddings = "diffusers.models.embeddings"
        size, width = math.prod(shape), config.hidden_dim
        even = width + width % 2
        form = {"flip_sin_to_cos": True, "downscale_freq_shift": 0}
        self.time = from_diffusers("Timesteps", embeddings)(even, **form)
        self.embedding = from_diffusers("TimestepEmbedding", embeddings)(even, width)
        self.first = nn.Linear(2 * size + latent_dim + 1, width)
        self.blocks = nn.ModuleList(_Block(width, config.dropout) for _ in range(config.n_blocks))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, size))

    def forward(
        self,
        x: Tensor,
        condition: Tensor,
        given: Tensor,
        steps: Tensor,
        z: Tensor | None = None,
    ) -> Tensor:
        """Return the prediction, of the shape of ``x``; arguments as of :class:`ImageDenoiser`."""
        latents = [] if z is None else [z]
        flag = given.reshape(-1, 1).to(x)
        flat = torch.cat([x.flatten(1), condition.flatten(1), *latents, flag], -1)
        embedded = self.embedding(self.time(steps).to(self.first.weight.dtype))
        hidden = self.first(flat)
        for block in self.blocks:
            hidden = block(hidden, embedded)
        return self.last(hidden).reshape(x.shape)


class _Block(nn.Module):
    """A residual layer: normalisation, the step's embedding, two linear maps."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.step = nn.Linear(width, width)
        into, out = nn.Linear(width, width), nn.Linear(width, width)
        self.layers = nn.Sequential(nn.SiLU(), into, nn.SiLU(), nn.Dropout(dropout), out)

    def forward(self, hidden: Tensor, embedded: Tensor) -> Tensor:
        return hidden + self.layers(self.norm(hidden) + self.step(functional.silu(embedded)))


def build_denoiser(shape: Sequence[int], config: DiffusionConfig, latent_dim: int = 0) -> nn.Module:
    """Build a U-Net for images (channels, height, width), a perceptron for the rest."""
    kind = ImageDenoiser if len(shape) == 3 else VectorDenoiser
    return kind(shape, config, latent_dim)


def _embedding(size: int, width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(size, width), nn.SiLU(), nn.Linear(width, width))


def _groups(channels: Sequence[int]) -> int:
    """Return the largest number of groups, up to 32, that divides all numbers of channels.

    Each has ``LEAST_IN_GROUP`` channels, where there are so many: what the step's embedding adds to
    the only channel of a group would be normalised away.
    """
    common, most = math.gcd(*channels), max(1, min(channels) // LEAST_IN_GROUP)
    return max(n for n in range(1, min(MAX_GROUPS, most) + 1) if common % n == 0)
