"""What is asked of cells once they are clustered: markers, and expression without noise."""

from cmvae.cells.denoised import add_denoised, denoised
from cmvae.cells.markers import markers

__all__ = ["add_denoised", "denoised", "markers"]
