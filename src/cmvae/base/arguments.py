"""Scalar arguments, refused by every member in the same words, and generators passed on."""

from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmvae.base.plain import LARGEST, LEAST, MOST, finite_or_none
from cmvae.base.words import shown

if TYPE_CHECKING:
    import torch
    from torch import Generator

LONGEST_NAME = 255  # bytes of a file's name


def positive_int(name: str, value: object) -> int:
    """Return ``value`` as an int.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is below 1, or above 2^63 − 1.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a positive integer, got {shown(value)}")
    number = int(value)
    if number < 1:
        raise ValueError(f"{name} must be a positive integer, got {shown(value)}")
    if number > MOST:
        raise ValueError(f"{name} must be at most {MOST}, got {shown(value)}")
    return number


def natural_int(name: str, value: object) -> int:
    """Return ``value`` as an int; ``ValueError`` for anything but an integer from 0."""
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else -1
    if not 0 <= number <= MOST:
        raise ValueError(f"{name} must be an integer from 0, got {shown(value)}")
    return number


def positive_float(name: str, value: object) -> float:
    """Return ``value`` as a float.

    Raises:
        TypeError: If it is no real number.
        ValueError: If it is not positive, or beyond what single precision holds.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a positive number, got {shown(value)}")
    number = finite_or_none(value) or 0.0
    if number <= 0:
        raise ValueError(f"{name} must be a positive finite number, got {shown(value)}")
    if not LEAST <= number <= LARGEST:
        allowed = f"a number from {LEAST:g} to {LARGEST:g}"
        raise ValueError(f"{name} must be {allowed}, got {shown(value)}")
    return number


def as_path(name: str, value: object) -> Path:
    """Return ``value`` as a path.

    Raises:
        TypeError: If it is neither a string nor a path.
        ValueError: If it is empty, or no file can have such a name.
    """
    if not isinstance(value, str | Path):
        raise TypeError(f"{name} must be a path, a string or a pathlib.Path, got {shown(value)}")
    try:
        parts = [part.encode() for part in Path(value).parts]
    except UnicodeEncodeError:
        parts = []
    if not str(value) or not parts or any(b"\0" in p or len(p) > LONGEST_NAME for p in parts):
        raise ValueError(f"{name} must be a folder, got {shown(value)}")
    return Path(value)


def check_flags(**flags: object) -> None:
    """Raise ``TypeError`` for arguments, by their names, that are neither True nor False."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {shown(value)}")


def check_generator(generator: object) -> None:
    """Raise ``TypeError`` for a source of randomness that is not one of PyTorch's."""
    from torch import Generator

    if generator is not None and not isinstance(generator, Generator):
        raise TypeError(f"generator must be a torch.Generator or None, got {shown(generator)}")


def seeded(seed: object, device: "torch.device | str" = "cpu") -> "Generator":
    """Return a source of randomness with a seed.

    Raises:
        TypeError: If the seed is no integer.
        ValueError: If it is negative or above 2^63 − 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be an integer from 0 to 2**63 - 1, got {shown(seed)}")
    number = int(seed)
    if not 0 <= number < 2**63:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {shown(seed)}")
    from torch import Generator

    return Generator(device).manual_seed(number)


def generator_keyword(generator: "Generator | None") -> dict[str, Any]:
    """Return the keyword for a source of randomness; left out where there is none.

    With ``generator=None`` written out, PyTorch does not compile a random function for sizes that
    change.
    """
    return {} if generator is None else {"generator": generator}
