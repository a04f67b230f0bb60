"""Files and folders that are written as a whole, and whether they may be."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree


def check_target(path: Path, overwrite: bool, suffixes: tuple[str, ...] = ()) -> None:
    """Refuse a target that is there already, unless it may be replaced, or has no known suffix.

    Raises:
        ValueError: Naming the path.
    """
    if suffixes and path.suffix not in suffixes:
        raise ValueError(f"--out must end in {', '.join(suffixes)}, got {path}")
    if suffixes and path.is_dir():
        raise ValueError(f"--out must be a file, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"--out: no such folder: {path.parent}")
    if path.exists() and not overwrite:
        raise ValueError(f"--out {path} exists; pass --overwrite to replace it")


def link_target(folder: Path) -> Path:
    """Return a folder, or where a link leads."""
    return folder.resolve() if folder.is_symlink() else folder


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to ``path`` when all went well: no half-written file is left.

    Example:
        >>> with atomic_write("notes.txt") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("whole or not at all")
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path``, which takes its place when all went well."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    old = temporary.with_name(temporary.name + ".old")
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            path.rename(old)
        try:
            temporary.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        rmtree(temporary, ignore_errors=True)
        rmtree(old, ignore_errors=True)
