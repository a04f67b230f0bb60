"""D-CMVAE: a frozen CMVAE, and denoising models that refine its output (extra ``diffusion``)."""

from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.dcmvae import DCMVAE
from cmvae.diffusion.decoder import DiffusionDecoder
from cmvae.diffusion.sampling import SAMPLERS

__all__ = ["DCMVAE", "SAMPLERS", "DiffusionConfig", "DiffusionDecoder"]
