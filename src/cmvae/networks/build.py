"""Which networks a modality gets when the caller supplies none: a registry and the rule that chooses."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from cmvae.likelihoods import CountBlock
from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder
from cmvae.networks.conv import ConvDecoder, ConvEncoder
from cmvae.networks.log_counts import LogCountEncoder
from cmvae.networks.mlp import MLPDecoder, MLPEncoder
from cmvae.networks.sequence import SequenceDecoder, SequenceEncoder

__all__ = ["NETWORKS", "NetworkPair", "build_decoder", "build_encoder", "choose_networks"]


class NetworkPair(NamedTuple):
    """An encoder and a decoder for one kind of input.

    Attributes:
        encoder: Class, or any callable, taking (input_shape, latent_dim, style_dim).
        decoder: Class, or any callable, taking (latent_dim_total, output_shape).
    """

    encoder: Callable[..., BaseMultilatentEncoder]
    decoder: Callable[..., BaseDecoder]


NETWORKS: dict[str, NetworkPair] = {
    "mlp": NetworkPair(MLPEncoder, MLPDecoder),
    "mlp_classes": NetworkPair(partial(MLPEncoder, one_hot=True), MLPDecoder),
    "conv": NetworkPair(ConvEncoder, ConvDecoder),
    "sequence": NetworkPair(SequenceEncoder, SequenceDecoder),
}

_SMALLEST_IMAGE = 8  # pixels; below it a convolution has nothing to halve


def choose_networks(shape: Sequence[int], likelihood: str) -> str:
    """Choose the entry of ``NETWORKS`` for a modality.

    Args:
        shape: Shape of one sample, without the batch.
        likelihood: Name of its likelihood, 'custom' for a callable.

    Returns:
        'sequence' for categorical (length, vocabulary), 'mlp_classes' for other categorical shapes, 'conv'
        for images (channels, height, width) of at least 8 by 8 pixels, 'mlp' for the rest.
    """
    if likelihood == "categorical":
        # The classes are the last axis, so that three axes are no image (channels, height, width) either.
        return "sequence" if len(shape) == 2 else "mlp_classes"
    if len(shape) == 3 and min(shape[1:]) >= _SMALLEST_IMAGE:
        return "conv"
    return "mlp"


def build_encoder(
    shape: Sequence[int],
    latent_dim: int,
    style_dim: int,
    likelihood: str,
    hidden_dims: Sequence[int] = (256, 256),
    counts: Sequence[CountBlock] = (),
) -> BaseMultilatentEncoder:
    """Build the encoder of a modality.

    Args:
        shape: Shape of one sample, without the batch.
        latent_dim: Dimension of z.
        style_dim: Dimension of the modality's w.
        likelihood: Name of its likelihood, 'custom' for a callable.
        hidden_dims: Sizes of the hidden layers of a perceptron.
        counts: Which values are counts, as the likelihood's ``counts`` says; the encoder sees their logarithms.

    Raises:
        ValueError: If a size is no positive integer.
    """
    name = choose_networks(shape, likelihood)
    encoder = NETWORKS[name].encoder(shape, latent_dim, style_dim, **_options(name, hidden_dims))
    return LogCountEncoder(encoder, shape, counts) if counts else encoder


def build_decoder(
    shape: Sequence[int], latent_dim_total: int, likelihood: str, hidden_dims: Sequence[int] = (256, 256)
) -> BaseDecoder:
    """Build the decoder of a modality.

    Args:
        shape: Shape of one sample, without the batch.
        latent_dim_total: Dimension of z and the modality's w together.
        likelihood: Name of its likelihood, 'custom' for a callable.
        hidden_dims: Sizes of the hidden layers of a perceptron, the last one nearest to the latents, as in the
            encoder.

    Raises:
        ValueError: If a size is no positive integer.
    """
    name = choose_networks(shape, likelihood)
    return NETWORKS[name].decoder(latent_dim_total, shape, **_options(name, tuple(hidden_dims)[::-1]))


def _options(name: str, hidden_dims: Sequence[int]) -> dict[str, Sequence[int]]:
    return {"hidden_dims": hidden_dims} if name.startswith("mlp") else {}
