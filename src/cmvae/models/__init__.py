"""The clustering multimodal VAE, its settings, and what it is made of."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmvae.models.cmvae import CMVAE
    from cmvae.models.config import CMVAEConfig

__all__ = ["CMVAE", "CMVAEConfig"]

_HOMES = {"CMVAE": "cmvae.models.cmvae", "CMVAEConfig": "cmvae.models.config"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmvae.models' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
