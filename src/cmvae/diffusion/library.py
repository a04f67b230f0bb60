"""diffusers, imported where it is first used."""

from importlib import import_module
from typing import Any

__all__ = ["from_diffusers"]


def from_diffusers(name: str, module: str = "diffusers") -> Any:
    """Return a class of diffusers.

    Args:
        name: The name of the class.
        module: Where it is.

    Raises:
        ImportError: If diffusers is not installed, naming the extra.
    """
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"diffusion decoders need diffusers, of which {error.name} is missing: pip install 'cmvae[diffusion]'"
        ) from error
