"""Multimodal generative clustering: the clustering multimodal VAE (CMVAE; Palumbo et al., ICLR 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmvae.config import CMVAEConfig
    from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
    from cmvae.diffusion.config import DiffusionConfig
    from cmvae.diffusion.dcmvae import DCMVAE
    from cmvae.diffusion.decoder import DiffusionDecoder
    from cmvae.estimator import CMVAEClusterer
    from cmvae.initialization import initialize_clusters
    from cmvae.model import CMVAE
    from cmvae.multivae import install_as_multivae
    from cmvae.networks import BaseDecoder, BaseMultilatentEncoder
    from cmvae.outputs import ModelOutput
    from cmvae.training import CMVAEModule, NonFiniteLossError, fit

__all__ = [
    "CMVAE",
    "DCMVAE",
    "BaseDecoder",
    "BaseMultilatentEncoder",
    "CMVAEClusterer",
    "CMVAEConfig",
    "CMVAEModule",
    "DiffusionConfig",
    "DiffusionDecoder",
    "IncompleteDataset",
    "ModelOutput",
    "MultimodalBaseDataset",
    "NonFiniteLossError",
    "fit",
    "initialize_clusters",
    "install_as_multivae",
]

__version__ = "0.1.0"

# Loaded when first asked for: importing Lightning or scikit-learn takes seconds, and many users need neither.
_HOMES = {
    "CMVAE": "cmvae.model",
    "DCMVAE": "cmvae.diffusion.dcmvae",
    "BaseDecoder": "cmvae.networks",
    "BaseMultilatentEncoder": "cmvae.networks",
    "CMVAEClusterer": "cmvae.estimator",
    "CMVAEConfig": "cmvae.config",
    "CMVAEModule": "cmvae.training",
    "DiffusionConfig": "cmvae.diffusion.config",
    "DiffusionDecoder": "cmvae.diffusion.decoder",
    "IncompleteDataset": "cmvae.data.datasets",
    "ModelOutput": "cmvae.outputs",
    "MultimodalBaseDataset": "cmvae.data.datasets",
    "NonFiniteLossError": "cmvae.training",
    "fit": "cmvae.training",
    "initialize_clusters": "cmvae.initialization",
    "install_as_multivae": "cmvae.multivae",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmvae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
