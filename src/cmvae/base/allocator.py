"""What the C library does with freed memory while a model trains."""

import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Of malloc.h: how much may lie free before it is given back, and what is mapped by itself.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_NEVER = -1
_LARGEST = 1 << 25  # bytes: up to here the latter grows by itself
_TOLD = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have freed memory kept for what comes next, and give it back at the end.

    The GNU C library gives back to the system what is free at the end of its heap as soon as that
    is twice the largest mapped block that was freed so far. A step on images frees hundreds of
    megabytes: the next one gets tens of thousands of pages anew, each emptied first. Afterwards the
    library stands where it comes to by itself once a block of 32 MiB was freed: it keeps 64 MiB.

    Nothing is done in threads but the main one, whose heaps are others; with other C libraries; and
    where the environment says how much is kept, by ``MALLOC_TRIM_THRESHOLD_`` and the like.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    is_gnu = hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
    is_main = threading.current_thread() is threading.main_thread()
    if not is_gnu or not is_main or _is_told():
        yield
        return
    try:
        library.mallopt(_MMAP_THRESHOLD, _LARGEST)
        library.mallopt(_TRIM_THRESHOLD, _NEVER)
        yield
    finally:
        library.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST)
        library.malloc_trim(0)


def _is_told() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in _TOLD)
