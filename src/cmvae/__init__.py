"""Multimodal generative clustering by the clustering multimodal VAE (Palumbo et al., ICLR 2024)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cmvae._version import __version__ as __version__

if TYPE_CHECKING:
    from cmvae.base.outputs import ModelOutput
    from cmvae.data.datasets import IncompleteDataset, MultimodalBaseDataset
    from cmvae.diffusion.config import DiffusionConfig
    from cmvae.diffusion.dcmvae import DCMVAE
    from cmvae.diffusion.decoder import DiffusionDecoder
    from cmvae.estimator import CMVAEClusterer
    from cmvae.models.cmvae import CMVAE
    from cmvae.models.config import CMVAEConfig
    from cmvae.multivae import install_as_multivae
    from cmvae.networks import BaseDecoder, BaseMultilatentEncoder
    from cmvae.runs.exported import export, load_exported
    from cmvae.training.clustering import number_clusters
    from cmvae.training.fit import fit
    from cmvae.training.initialization import initialize_clusters
    from cmvae.training.module import CMVAEModule, NonFiniteLossError

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
    "export",
    "fit",
    "initialize_clusters",
    "install_as_multivae",
    "load_exported",
    "number_clusters",
]

# Loaded when first asked for: importing Lightning or scikit-learn takes seconds, and many users
# need neither.
_HOMES = {
    "CMVAE": "cmvae.models.cmvae",
    "DCMVAE": "cmvae.diffusion.dcmvae",
    "BaseDecoder": "cmvae.networks",
    "BaseMultilatentEncoder": "cmvae.networks",
    "CMVAEClusterer": "cmvae.estimator",
    "CMVAEConfig": "cmvae.models.config",
    "CMVAEModule": "cmvae.training.module",
    "DiffusionConfig": "cmvae.diffusion.config",
    "DiffusionDecoder": "cmvae.diffusion.decoder",
    "IncompleteDataset": "cmvae.data.datasets",
    "ModelOutput": "cmvae.base.outputs",
    "MultimodalBaseDataset": "cmvae.data.datasets",
    "NonFiniteLossError": "cmvae.training.module",
    "export": "cmvae.runs.exported",
    "fit": "cmvae.training.fit",
    "initialize_clusters": "cmvae.training.initialization",
    "install_as_multivae": "cmvae.multivae",
    "load_exported": "cmvae.runs.exported",
    "number_clusters": "cmvae.training.clustering",
}


def __getattr__(name: str) -> Any:
    if name == "multivae":  # a room, not a name: what its functions do shows with its name alone
        return import_module("cmvae.multivae")
    if name not in _HOMES:
        raise AttributeError(f"module 'cmvae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
