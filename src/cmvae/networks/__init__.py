"""Encoders and decoders by kind of input, and what builds them from the shape of a modality."""

from cmvae.networks.base import BaseDecoder, BaseMultilatentEncoder
from cmvae.networks.build import (
    NETWORKS,
    NetworkPair,
    build_decoder,
    build_encoder,
    check_network,
    choose_networks,
)
from cmvae.networks.calling import run_decoder, run_encoder
from cmvae.networks.conv import ConvDecoder, ConvEncoder
from cmvae.networks.log_counts import LogCountEncoder
from cmvae.networks.mlp import MLPDecoder, MLPEncoder
from cmvae.networks.residual import ResidualConvDecoder
from cmvae.networks.resnet import ResNetDecoder, ResNetEncoder
from cmvae.networks.sequence import SequenceDecoder, SequenceEncoder
from cmvae.networks.shifted import ShiftedDecoder

__all__ = [
    "NETWORKS",
    "BaseDecoder",
    "BaseMultilatentEncoder",
    "ConvDecoder",
    "ConvEncoder",
    "LogCountEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "NetworkPair",
    "ResNetDecoder",
    "ResNetEncoder",
    "ResidualConvDecoder",
    "SequenceDecoder",
    "SequenceEncoder",
    "ShiftedDecoder",
    "build_decoder",
    "build_encoder",
    "check_network",
    "choose_networks",
    "run_decoder",
    "run_encoder",
]
