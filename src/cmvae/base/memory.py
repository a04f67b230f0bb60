"""How much memory there is: asked before what is larger is made, and refused by name."""

import os
from pathlib import Path

_LITTLE = 1 << 28  # bytes that there always are
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_limit() -> int | None:
    """Return how many bytes this process can have at most; None where that cannot be told.

    It is the least of the machine's memory, its container's and the process's own limit.
    """
    known = [*_of_machine(), *_of_container(), *_of_process()]
    return min(known) if known else None


def check_memory(what: str, n_bytes: int, way: str) -> None:
    """Refuse what takes more memory than there is.

    Args:
        what: What takes it, such as ``N = 9000 draws of 40 samples``.
        n_bytes: How many bytes it takes.
        way: What to do, such as ``lower N``.

    Raises:
        ValueError: Saying how much it takes, how much there is, and the way.
    """
    limit = memory_limit() if n_bytes > _LITTLE else None
    if limit is not None and n_bytes > limit:
        took = f"{what} would take {said_bytes(n_bytes)} of memory"
        raise ValueError(f"{took}, there are {said_bytes(limit)}: {way}")


def said_bytes(number: int) -> str:
    """Return ``512 MiB`` for a number of bytes, as a whole number of the largest unit below it."""
    units = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
    place = min(max(0, (number.bit_length() - 1) // 10), len(units) - 1)
    amount = number // (1 << 10 * place)
    return f"{amount} {units[place]}" if amount < 10**6 else f"more than 10^6 {units[place]}"


def _of_machine() -> list[int]:
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PAGE_SIZE", "SC_PHYS_PAGES"} <= set(names):
        return []
    return [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]


def _of_container() -> list[int]:
    found = []
    for path in map(Path, _LIMITS):
        try:
            text = path.read_text(encoding="ascii").strip()
        except OSError:
            continue
        found += [int(text)] if text.isdecimal() else []
    return found


def _of_process() -> list[int]:
    try:
        import resource
    except ImportError:  # there is none on Windows
        return []
    own = resource.getrlimit(resource.RLIMIT_AS)[0]
    return [] if own == resource.RLIM_INFINITY else [own]
