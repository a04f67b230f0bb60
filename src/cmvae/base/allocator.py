"""What the C library does with freed memory while a model trains."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Of malloc.h: how much may lie free before it is given back, and what is mapped by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1  # bytes: an int
_LARGEST = 1 << 25  # bytes: glibc takes no larger one of the latter
_OWN_WORD = ("MALLOC_", "GLIBC_TUNABLES")


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have freed memory kept for what comes next, and give it back at the end.

    The GNU C library gives back to the system what is free at the end of its heap as soon as it is
    twice the largest block so far, of which a step on images frees hundreds: the next step gets
    tens of thousands of pages anew, each emptied first. Other C libraries are let be, and so is
    this one where an environment variable of it, such as ``MALLOC_TRIM_THRESHOLD_``, is set.
    """
    told = any(name.startswith(_OWN_WORD) for name in os.environ)
    library: Any = None if told or sys.platform != "linux" else ctypes.CDLL(None)
    if not (hasattr(library, "mallopt") and hasattr(library, "malloc_trim")):
        yield
        return
    library.mallopt(_MMAP_THRESHOLD, _LARGEST)
    library.mallopt(_TRIM_THRESHOLD, _MOST)
    try:
        yield
    finally:
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)  # what it would set itself at most
        library.malloc_trim(0)
