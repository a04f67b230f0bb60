"""The clustering multimodal VAE, its settings, and what it is made of."""

from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig

__all__ = ["CMVAE", "CMVAEConfig"]
