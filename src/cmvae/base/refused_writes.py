"""What is said where a file cannot be written: which file, and why."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT)
OF_WRITING = (*FULL, errno.EFBIG, errno.EIO, errno.EROFS)
HIDDEN = r"\w{8}\.(?:partial|old)(?:\.\w+)?"  # ends of the names of temporary files and folders
_RESERVED = 1 << 20  # bytes at a time


def words_of(error: OSError) -> str:
    """Return an error of the system in words, with the file that it names."""
    words = "the disk is full" if error.errno in FULL else str(error.strerror)
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join(filter(None, [" -> ".join(names), words]))


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of the system name the file that cannot be written, not the temporary one.

    Those that libraries hide in errors of their own are found, and a disk that is full.

    Raises:
        OSError: Naming ``path``, unless the error names another file.
    """
    try:
        yield
    except Exception as error:
        number = _number(error, path)
        named = error.filename if isinstance(error, OSError) else None
        if number is None or not isinstance(named, str | None):
            raise
        hidden = re.escape(f".{path.name}-") + HIDDEN
        own = str(path) if named is None else re.sub(hidden, lambda _: path.name, named)
        if named == own:
            raise
        raise OSError(number, os.strerror(number), own) from error


def _number(error: BaseException, path: Path) -> int | None:
    """Return the number of the system's error, that an error is or hides; None: there is none."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    seen: BaseException | None = error
    while seen is not None:
        for number in OF_WRITING:
            own = isinstance(seen, OSError) and seen.errno == number
            if own or os.strerror(number) in str(seen):
                return number
        seen = seen.__cause__ or seen.__context__
    is_short = isinstance(error, OSError) and shutil.disk_usage(path.parent).free == 0
    return errno.ENOSPC if is_short else None  # NumPy says how much was written, and not why


def reserve(path: Path, size: int) -> None:
    """Append zeros to a file, for a library to write over that cannot bear a full disk.

    Raises:
        OSError: If there is no room.
    """
    with path.open("ab") as file:
        for start in range(0, size, _RESERVED):
            file.write(bytes(min(_RESERVED, size - start)))
