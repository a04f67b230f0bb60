"""Multimodal generative clustering: the clustering multimodal VAE (CMVAE; Palumbo et al., ICLR 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cmvae.config import CMVAEConfig
from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
from cmvae.initialization import initialize_clusters
from cmvae.model import CMVAE
from cmvae.multivae import install_as_multivae
from cmvae.networks import BaseDecoder, BaseMultilatentEncoder
from cmvae.outputs import ModelOutput

if TYPE_CHECKING:
    from cmvae.training import CMVAEModule, NonFiniteLossError, fit

__all__ = [
    "CMVAE",
    "BaseDecoder",
    "BaseMultilatentEncoder",
    "CMVAEConfig",
    "CMVAEModule",
    "IncompleteDataset",
    "ModelOutput",
    "MultimodalBaseDataset",
    "NonFiniteLossError",
    "fit",
    "initialize_clusters",
    "install_as_multivae",
]

__version__ = "0.1.0"

# Lightning takes seconds to import, so what needs it is loaded when first asked for.
_LAZY = {"CMVAEModule": "cmvae.training", "NonFiniteLossError": "cmvae.training", "fit": "cmvae.training"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'cmvae' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
