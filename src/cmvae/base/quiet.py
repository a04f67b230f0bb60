"""Training without the framework's own voice."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_training() -> Iterator[None]:
    """Keep Lightning's notices and advice, and its use of what is outdated, to itself."""
    notices = [logging.getLogger(f"lightning.{name}") for name in ("pytorch", "fabric")]
    levels = [own.level for own in notices]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        for own in notices:
            own.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for own, level in zip(notices, levels, strict=True):
                own.setLevel(level)
