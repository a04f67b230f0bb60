"""The model and its settings, under the name other libraries of this field use."""

from cmvae.config import CMVAEConfig
from cmvae.model import CMVAE

__all__ = ["CMVAE", "CMVAEConfig"]
