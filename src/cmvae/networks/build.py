"""The networks of a modality where none are given: a registry, and the rule that chooses."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from cmvae.likelihoods import CountBlock
from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder
from cmvae.networks.cells import CellEncoder
from cmvae.networks.conv import ConvDecoder, ConvEncoder
from cmvae.networks.log_counts import LogCountEncoder
from cmvae.networks.mlp import MLPDecoder, MLPEncoder
from cmvae.networks.residual import ResidualConvDecoder
from cmvae.networks.resnet import ResNetDecoder, ResNetEncoder
from cmvae.networks.sequence import SequenceDecoder, SequenceEncoder
from cmvae.networks.shapes import is_image
from cmvae.networks.shifted import ShiftedDecoder


class NetworkPair(NamedTuple):
    """An encoder and a decoder for one kind of input.

    Entries of ``NETWORKS`` are chosen by name with ``CMVAEConfig(networks=...)``. Register your own
    pair before settings that name it are made or loaded: a saved model holds the name alone.

    Attributes:
        encoder: Class, or any callable, taking (input_shape, latent_dim, style_dim): the shape of a
            sample, the dimensions of z and w. It raises ``ValueError`` for a shape that it cannot
            take and for a size that is no positive integer.
        decoder: Class, or any callable, taking (latent_dim_total, output_shape), z and w together
            first; likewise.
        takes_hidden_dims: Whether both also take ``hidden_dims``, the config's, for the decoder
            turned round.
        is_bounded: Whether what the decoder makes has bounds, so that nothing may be added to it.

    Example:
        >>> from functools import partial
        >>> from cmvae.networks import NETWORKS, NetworkPair, ResNetDecoder, ResNetEncoder
        >>> encoder = partial(ResNetEncoder, channels=8)
        >>> NETWORKS["small"] = NetworkPair(encoder, partial(ResNetDecoder, channels=8))
        >>> NETWORKS["small"].encoder((3, 8, 8), latent_dim=4, style_dim=2).input_shape
        (3, 8, 8)
    """

    encoder: Callable[..., BaseMultilatentEncoder]
    decoder: Callable[..., BaseDecoder]
    takes_hidden_dims: bool = False
    is_bounded: bool = False


_CLASS_ENCODER = partial(MLPEncoder, one_hot=True)
_SIGMOID_DECODER = partial(MLPDecoder, sigmoid=True)

NETWORKS: dict[str, NetworkPair] = {
    "mlp": NetworkPair(MLPEncoder, MLPDecoder, takes_hidden_dims=True),
    "mlp_classes": NetworkPair(_CLASS_ENCODER, MLPDecoder, takes_hidden_dims=True),
    "conv": NetworkPair(ConvEncoder, ConvDecoder),
    "conv_residual": NetworkPair(ConvEncoder, ResidualConvDecoder),
    "conv_small": NetworkPair(ConvEncoder, partial(ResidualConvDecoder, channels=(32, 16))),
    "resnet": NetworkPair(ResNetEncoder, ResNetDecoder),
    "sequence": NetworkPair(SequenceEncoder, SequenceDecoder),
    "mlp_sigmoid": NetworkPair(
        MLPEncoder, _SIGMOID_DECODER, takes_hidden_dims=True, is_bounded=True
    ),
}


def choose_networks(shape: Sequence[int], likelihood: str) -> str:
    """Choose the entry of ``NETWORKS`` for a modality.

    Args:
        shape: Shape of one sample, without the batch.
        likelihood: Name of its likelihood, 'custom' for a callable.

    Returns:
        'sequence' for categorical (length, vocabulary), 'mlp_classes' for other categorical shapes,
        'conv' for images (channels, height, width) of at least 8 by 8 pixels, 'mlp' for the rest.
    """
    if likelihood == "categorical":
        # The classes are the last axis: three axes are no image (channels, height, width) either.
        return "sequence" if len(shape) == 2 else "mlp_classes"
    return "conv" if is_image(shape) else "mlp"


def check_network(name: str) -> None:
    """Raise ``ValueError`` if ``name`` is not in ``NETWORKS``, with the names that are."""
    if name not in NETWORKS:
        way = "others are registered with cmvae.networks.NETWORKS[name] = NetworkPair(...)"
        there = f"registered are {list(NETWORKS)}, {way}"
        raise ValueError(f"no networks are registered as {name!r}; {there}")


def build_encoder(
    shape: Sequence[int],
    latent_dim: int,
    style_dim: int,
    likelihood: str,
    hidden_dims: Sequence[int] = (256, 256),
    network: str | None = None,
    counts: Sequence[CountBlock] = (),
    sees_cells: bool = False,
) -> BaseMultilatentEncoder:
    """Build the encoder of a modality, which sees the logarithms of the likelihood's ``counts``.

    With ``sees_cells`` it also sees which cells of a vector are there (:class:`CellEncoder`).
    ``network`` is an entry of ``NETWORKS``; without it :func:`choose_networks` chooses, by the
    shape of a sample and the name of its likelihood. ``hidden_dims`` are a perceptron's layers.

    Raises:
        ValueError: For a size that is no positive integer, an unknown name, a shape that the
            network cannot take.
    """
    if sees_cells and (len(shape) != 1 or likelihood == "categorical"):
        only = "only vectors may lack single cells, not images, sequences, other arrays or a class"
        raise ValueError(f"missing cells: {only}; got the shape {tuple(shape)} ({likelihood!r})")
    pair, options = _chosen(shape, likelihood, network, hidden_dims)
    seen = (2 * shape[0],) if sees_cells else shape
    encoder = pair.encoder(seen, latent_dim, style_dim, **options)
    if counts:
        encoder = LogCountEncoder(encoder, seen, counts)
    return CellEncoder(encoder) if sees_cells else encoder


def build_decoder(
    shape: Sequence[int],
    latent_dim_total: int,
    likelihood: str,
    hidden_dims: Sequence[int] = (256, 256),
    network: str | None = None,
    n_covariates: int = 0,
) -> BaseDecoder:
    """Build the decoder of a modality from [z, w]; the rest is as for :func:`build_encoder`.

    The last of ``hidden_dims`` is nearest to the latents here too. So many numbers that encode
    covariates come after the latents; they shift vectors directly (:class:`ShiftedDecoder`), unless
    these are bounded.
    """
    pair, options = _chosen(shape, likelihood, network, tuple(hidden_dims)[::-1])
    decoder = pair.decoder(latent_dim_total + n_covariates, shape, **options)
    shifts = n_covariates and len(shape) == 1 and not pair.is_bounded
    return ShiftedDecoder(decoder, n_covariates, shape[0]) if shifts else decoder


def _chosen(
    shape: Sequence[int], likelihood: str, network: str | None, hidden_dims: Sequence[int]
) -> tuple[NetworkPair, dict[str, Sequence[int]]]:
    name = choose_networks(shape, likelihood) if network is None else network
    check_network(name)
    pair = NETWORKS[name]
    return pair, {"hidden_dims": hidden_dims} if pair.takes_hidden_dims else {}
