"""A light convolutional pair for sequences of tokens, such as text."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from cmvae.base.outputs import ModelOutput
from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder, PosteriorHead, keep_signal
from cmvae.networks.shapes import check_input, check_sizes, halved_sizes, holds_indices


class SequenceEncoder(BaseMultilatentEncoder):
    """Embeddings of tokens and positions, convolutions that halve the length to 4 to 7, the head.

    Sequences shorter than 8 keep their length. A token's one-hot vector and its index give the same
    result.

    Args:
        input_shape: (length, vocabulary), in tokens, each at least 1.
        embedding_dim: Size of the token embedding.
        channels: Channels of every convolution.
        hidden_dim: Size of the dense layer before the head.
    """

    def __init__(
        self,
        input_shape: Sequence[int],
        latent_dim: int,
        style_dim: int,
        embedding_dim: int = 64,
        channels: int = 128,
        hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        length, vocabulary = _length_and_vocabulary(input_shape)
        check_sizes(embedding_dim=embedding_dim, channels=channels, hidden_dim=hidden_dim)
        self.input_shape = (length, vocabulary)
        self.tokens = nn.Parameter(torch.randn(vocabulary, embedding_dim))
        self.positions = nn.Parameter(torch.empty(length, embedding_dim).normal_(std=0.1))
        lengths = [size for (size,) in halved_sizes([length])]
        layers: list[nn.Module] = [nn.Conv1d(embedding_dim, channels, 3, padding=1), nn.ReLU()]
        for _ in lengths[1:]:
            layers += [nn.Conv1d(channels, channels, 4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(channels * lengths[-1], hidden_dim), nn.ReLU()]
        self.trunk = nn.Sequential(*layers).apply(keep_signal)
        self.head = PosteriorHead(hidden_dim, latent_dim, style_dim)

    def forward(self, x: Tensor) -> ModelOutput:
        """Encode ``x``: one-hot (B, length, vocabulary) of any dtype, or integers (B, length).

        Another shape is a ``ValueError``.
        """
        if holds_indices(x, self.input_shape):
            embedded = nn.functional.embedding(x.long(), self.tokens)
        else:
            check_input(x, self.input_shape, or_indices=True)
            embedded = x.to(self.tokens.dtype) @ self.tokens
        output: ModelOutput = self.head(self.trunk((embedded + self.positions).transpose(1, 2)))
        return output


class SequenceDecoder(BaseDecoder):
    """The encoder turned round: dense layers, transposed convolutions, logits of every token.

    All positions are decoded at once: a sampled sequence depends on nothing but z and w.

    Args:
        output_shape: (length, vocabulary), in tokens, each at least 1.
        embedding_dim: Size of the features from which the logits are computed.
        channels: Channels of every convolution.
        hidden_dim: Size of the dense layer.
    """

    def __init__(
        self,
        latent_dim_total: int,
        output_shape: Sequence[int],
        embedding_dim: int = 64,
        channels: int = 128,
        hidden_dim: int = 256,
    ) -> None:
        super().__init__()
        length, vocabulary = _length_and_vocabulary(output_shape)
        check_sizes(latent_dim_total=latent_dim_total, embedding_dim=embedding_dim)
        check_sizes(channels=channels, hidden_dim=hidden_dim)
        lengths = [size for (size,) in halved_sizes([length])][::-1]
        layers: list[nn.Module] = [nn.Linear(latent_dim_total, hidden_dim), nn.ReLU()]
        dense = nn.Linear(hidden_dim, channels * lengths[0])
        layers += [dense, nn.Unflatten(1, (channels, lengths[0])), nn.ReLU()]
        for short, long in pairwise(lengths):
            # Halving rounds down; the padding gives an odd length its last position back.
            lost = long - 2 * short
            up = nn.ConvTranspose1d(channels, channels, 4, stride=2, padding=1, output_padding=lost)
            layers += [up, nn.ReLU()]
        last = nn.Conv1d(channels, embedding_dim, kernel_size=3, padding=1)
        self.trunk = nn.Sequential(*layers, last).apply(keep_signal)
        self.positions = nn.Parameter(torch.empty(length, embedding_dim).normal_(std=0.1))
        self.head = nn.Linear(embedding_dim, vocabulary)

    def forward(self, z: Tensor) -> ModelOutput:
        """Decode ``z``, (B, latent_dim_total), to logits, ``reconstruction`` (B, *output_shape)."""
        features = self.trunk(z).transpose(1, 2) + self.positions
        return ModelOutput(reconstruction=self.head(torch.relu(features)))


def _length_and_vocabulary(shape: Sequence[int]) -> tuple[int, int]:
    """Unpack a sequence shape, or raise ``ValueError``."""
    if len(shape) != 2:
        raise ValueError(f"a sequence shape is (length, vocabulary); got {tuple(shape)}")
    check_sizes(shape=shape)
    length, vocabulary = map(int, shape)
    return length, vocabulary
