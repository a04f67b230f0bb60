"""Scalar arguments, refused by every member in the same words, and generators passed on."""

from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from cmvae.base.plain import finite_or_none

if TYPE_CHECKING:
    import torch
    from torch import Generator


def positive_int(name: str, value: object) -> int:
    """Return ``value`` as an int.

    Raises:
        TypeError: If it is no integer.
        ValueError: If it is below 1.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a positive integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be a positive integer, got {value!r}")
    return int(value)


def positive_float(name: str, value: object) -> float:
    """Return ``value`` as a float.

    Raises:
        TypeError: If it is no real number.
        ValueError: If it is not positive and finite.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a positive number, got {value!r}")
    number = finite_or_none(value) or 0.0
    if number <= 0:
        raise ValueError(f"{name} must be a positive finite number, got {value!r}")
    return number


def seeded(seed: object, device: "torch.device | str" = "cpu") -> "Generator":
    """Return a source of randomness with a seed.

    Raises:
        TypeError: If the seed is no integer.
        ValueError: If it is negative or above 2^63 − 1.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
    number = int(seed)
    if not 0 <= number < 2**63:
        raise ValueError(f"seed must be an integer from 0 to 2**63 - 1, got {seed!r}")
    from torch import Generator

    return Generator(device).manual_seed(number)


def generator_keyword(generator: "Generator | None") -> dict[str, Any]:
    """Return the keyword for a source of randomness; left out where there is none.

    With ``generator=None`` written out, PyTorch does not compile a random function for sizes that
    change.
    """
    return {} if generator is None else {"generator": generator}
