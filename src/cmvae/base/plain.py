"""Values as JSON can hold them, and back."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

MOST = 2**63 - 1  # a tensor's size has 64 bits
LEAST, LARGEST = 1e-37, 1e37  # positive numbers that single precision holds, ten times them too


def as_plain(value: Any) -> Any:
    """Return mappings, sequences and NumPy's numbers as JSON can hold them."""
    if isinstance(value, Mapping):
        return {name: as_plain(own) for name, own in value.items()}
    if hasattr(value, "tolist"):  # of NumPy or pandas
        return as_plain(value.tolist()) if np.ndim(value) else value.item()
    return [as_plain(own) for own in value] if isinstance(value, list | tuple | range) else value


def finite_or_none(value: object) -> float | None:
    """Return a real number as a float; None for what is none, not finite, or too large for one."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # of a whole number
        return None
    return number if math.isfinite(number) else None


def stored_state(random_state: Any) -> Any:
    """Return a random state as JSON can hold it: None, an integer, or the generator's state."""
    if random_state is np.random:  # what None stands for
        return None
    if not isinstance(random_state, np.random.RandomState):
        return as_plain(random_state)
    return as_plain(random_state.get_state(legacy=False))


def read_state(stored: Any) -> Any:
    """Return what :func:`stored_state` was given."""
    if not isinstance(stored, Mapping):
        return stored
    random_state = np.random.RandomState()
    random_state.set_state(dict(stored))
    return random_state
