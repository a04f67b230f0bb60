"""diffusers, imported where it is first used."""

from typing import Any

from cmvae.base.extras import from_extra


def from_diffusers(name: str, module: str = "diffusers") -> Any:
    """Return a class of diffusers; ``ImportError`` names the extra where it is not installed."""
    return getattr(from_extra(module, "diffusion", "a diffusion decoder"), name)
