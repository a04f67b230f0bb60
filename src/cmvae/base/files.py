"""Files and folders that are written as a whole, and whether they may be."""

import os
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from shutil import rmtree

from filelock import FileLock, Timeout

from cmvae.base.refused_writes import naming

try:
    import fcntl
except ImportError:  # Windows: what killed writers left stays there
    fcntl = None  # type: ignore[assignment]

_HELD = threading.local()  # the locks of folders that a thread holds

PARTIAL, OLD = ".partial", ".old"  # ends of the names of what is written, and moved away


def may_write_file(path: Path, overwrite: bool, suffixes: tuple[str, ...]) -> None:
    """Refuse a file that is there already, unless it may be replaced, or has no known suffix.

    Raises:
        ValueError: Naming the path.
    """
    if path.suffix not in suffixes:
        raise ValueError(f"out must end in {', '.join(suffixes)}, got {path}")
    if path.is_dir():
        raise ValueError(f"out must be a file, got the folder {path}")
    if not path.parent.is_dir():
        raise ValueError(f"out: no such folder: {path.parent}")
    if path.exists() and not overwrite:
        raise ValueError(f"out: {path} exists; pass overwrite=True to replace it")


def may_write_folder(
    folder: Path,
    overwrite: bool,
    what: str,
    holds: Callable[[Path], bool],
    beside_others: bool = False,
) -> None:
    """Refuse a folder that holds results, unless they may be replaced, or something else.

    Args:
        folder: The folder, which may be missing.
        overwrite: Whether results may be replaced.
        what: What they are, for the message.
        holds: Tells whether a folder holds such results.
        beside_others: Whether other files may be there.

    Raises:
        ValueError: Naming the folder.
    """
    if not folder.name:
        raise ValueError(f"out must be a folder given by its name, got {str(folder)!r}")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"out must be a folder, got the file {folder}")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not holds(folder):
        if not beside_others:
            raise ValueError(f"out: {folder} holds something else than {what}; name another folder")
    elif not overwrite:
        raise ValueError(f"out: {folder} holds {what}; pass overwrite=True to replace them")


def link_target(folder: Path) -> Path:
    """Return a folder, or where a link leads."""
    return folder.resolve() if folder.is_symlink() else folder


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a path to write to, and rename it to ``path`` once it is on the disk and all went well.

    What writers of the same file have left that were killed is removed first.

    Example:
        >>> with atomic_write("notes.txt") as temporary:  # doctest: +SKIP
        ...     temporary.write_text("whole or not at all")
    """
    path = Path(path)
    for left in _temporaries(path, path.suffix):
        with _held(left) as is_ours:
            if is_ours:
                left.unlink(missing_ok=True)
    with naming(path):
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}-", suffix=PARTIAL + path.suffix, dir=path.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            with _held(temporary):
                yield temporary
                temporary.chmod(0o666 & ~_mask())
                _flush(temporary)
                temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _mask() -> int:
    """Return what the user denies others of new files."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _flush(path: Path) -> None:
    """Wait until what a file holds is on the disk."""
    with path.open("rb") as written:
        os.fsync(written.fileno())


@contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold a temporary file until this process ends, however; False where another holds it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:  # it was removed, or is not ours to read
        yield False
        return
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another holds it, or the filesystem knows no locks
        return False
    return True


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Give an empty folder where the system keeps what is temporary, removed at the end.

    Those of processes that were killed are removed first. The folder and what is in it are made
    with the first thing that is put there.
    """
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{escape(prefix)}*.lock"):
        with _held(left) as is_ours:
            if is_ours:
                rmtree(left.with_suffix(""), ignore_errors=True)
                left.unlink(missing_ok=True)
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=".lock")
    os.close(handle)
    lock = Path(name)
    try:
        with _held(lock):
            yield lock.with_suffix("")
    finally:
        rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path``, which takes its place when all went well."""
    with naming(path):
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=PARTIAL, dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_mask())
            with taking_place(temporary, path):
                pass
        finally:
            rmtree(temporary, ignore_errors=True)


def sweep(path: Path) -> None:
    """Remove what writers of a folder that were killed have left beside it, and nobody needs.

    The caller is its only writer.
    """
    for left in _temporaries(path):
        rmtree(left, ignore_errors=True)
    for empty in _places(path):
        with suppress(OSError):  # it holds what was moved away
            empty.rmdir()


def _temporaries(path: Path, suffix: str = "") -> list[Path]:
    """Return the temporary files or folders of a path, those of killed writers among them."""
    return list(path.parent.glob(f".{escape(path.name)}-????????{PARTIAL}{escape(suffix)}"))


@contextmanager
def taking_place(new: Path, path: Path) -> Iterator[Path]:
    """Put a folder in the place of another, which is there until then and is removed at the end.

    Gives where the other one is now, for what shall be taken out of it; there may be none. A kill,
    or a signal once both have moved, leaves it there, where :func:`moved_away` finds it.

    Raises:
        OSError: If it cannot be put there; the other one is in its place then.
    """
    for file in filter(Path.is_file, new.rglob("*")):
        _flush(file)
    place = Path(tempfile.mkdtemp(prefix=f".{path.name}-", suffix=OLD, dir=path.parent))
    old = place / path.name
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        with suppress(OSError):  # it holds what was moved away
            place.rmdir()
        raise
    yield old
    drop(place)


def drop(place: Path) -> None:
    """Remove a place of what was moved away, of which nothing is needed any longer.

    Under another name first, so that a kill leaves nothing that looks as if it were needed.
    """
    rmtree(place.rename(place.with_suffix(PARTIAL)), ignore_errors=True)


def _places(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f".{escape(path.name)}-????????{OLD}"))


def moved_away(path: Path) -> list[Path]:
    """Return where writers that were killed have left what was in a folder's place."""
    return [place / path.name for place in _places(path) if (place / path.name).is_dir()]


def put_back(path: Path, take_out: Callable[[Path, Path], list[str]], what: str) -> None:
    """Put back what a writer that was killed had moved out of a folder's place, with a warning.

    Args:
        path: The folder; the caller is its :func:`sole_writer`.
        take_out: Takes out of the former folder, for the one that is in its place already, what
            is needed of it; returns the names of what it must leave.
        what: What was there, for the message.
    """
    for old in moved_away(path):
        broken = f"the writing of {path} was broken off"
        if not path.exists():
            old.rename(path)
            old.parent.rmdir()
            warnings.warn(f"{broken}: {what} before is back in its place", stacklevel=2)
        elif left := take_out(old, path):
            way = "take out what you need, and remove it"
            warnings.warn(f"{broken}: {old} still holds {left}: {way}", stacklevel=2)
        else:
            drop(old.parent)


@contextmanager
def sole_writer(path: Path, argument: str = "out") -> Iterator[None]:
    """Keep other processes and threads from writing to a folder; ``ValueError`` where one does.

    It names the ``argument`` that the folder was given by. Who holds the folder may ask again.

    What others have left that were killed, and nobody needs, is removed.

    The lock is a file beside it that the operating system releases when its process ends, however.
    """
    lock = path.parent.resolve() / f".{path.name}.lock"
    held: set[Path] = vars(_HELD).setdefault("locks", set())
    if lock in held:
        yield
        return
    try:
        with FileLock(lock, timeout=0):
            sweep(path)
            held.add(lock)
            try:
                yield
            finally:
                held.remove(lock)
                lock.unlink(missing_ok=True)
    except Timeout:
        raise ValueError(f"{argument}: another process is writing to {path}") from None
