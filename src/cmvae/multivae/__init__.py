"""Coming from MultiVae, and going back: its import paths, its folders, its tools."""

from cmvae.multivae.adapting import adapt
from cmvae.multivae.converting import convert, export
from cmvae.multivae.installing import install_as_multivae

__all__ = ["adapt", "convert", "export", "install_as_multivae"]
