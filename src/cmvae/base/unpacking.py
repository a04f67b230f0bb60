"""How much a packed file may hold: so many times its own size, that none exhausts memory."""

import io
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

FACTOR = 100  # which numbers and texts hardly ever reach; what is made of zeros has 1000
FREE = 1 << 25  # bytes that any file may hold


def check_unpacked(size: int, path: Path, free: int = FREE) -> None:
    """Refuse a file that is packed so tightly that it seems made to exhaust memory.

    Args:
        size: How many bytes it holds, or is about to.
        path: The file.
        free: How many any such file may hold.

    Raises:
        ValueError: Naming the file.
    """
    own = path.stat().st_size
    if size > max(free, FACTOR * own):
        raise ValueError(
            f"{path} holds more than {FACTOR} times its {max(1, own >> 10)} KiB: if that is what "
            "it is to hold, unpack it first"
        )


def check_archive(archive: zipfile.ZipFile, path: Path, names: Iterable[str] | None = None) -> None:
    """Refuse a zip file whose members, or some of them, are packed too tightly.

    What a member says of its size is not exceeded when it is read.
    """
    wanted = archive.namelist() if names is None else names
    check_unpacked(sum(archive.getinfo(name).file_size for name in wanted), path)


def bounded(file: IO[bytes], path: Path) -> IO[bytes]:
    """Return a file that is unpacked while it is read, and refused once it holds too much."""
    return io.BufferedReader(_Bounded(file, path))


class _Bounded(io.RawIOBase):
    """An unpacked file that counts."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__()
        self._file, self._path = file, path

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        count = int(self._file.readinto(buffer))
        check_unpacked(self.tell(), self._path)
        return count
