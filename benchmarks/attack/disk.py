"""Every command that writes, on disks that are full sooner or later; and then there is room again.

12 disks of several sizes, where memory can be mounted as a disk. Anywhere, half as often each:
writers are refused from the n-th change of the disk on, and files may not grow beyond a size.
"""

import errno
import os
import random
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from children import Ended, at_changes, run
from commands import SIDES, Known, known_commands, tree
from kills import differences, go_on, lost
from outcome import Outcome

PART, SIZES = "disk full", 12
PAGE, ROOM = 4096, 1 << 27
LEAST_FILE = 2 * PAGE  # what is printed goes into files too
SAYS = {"disk": "the disk is full", "change": "the disk is full", "file": "File too large"}


@dataclass(frozen=True)
class Full:
    """A try: what kind of limit there is, and where."""

    known: Known
    number: int
    kind: str
    limit: int
    resumes: bool

    @property
    def case(self) -> str:
        """What was tried, in words."""
        what = {
            "disk": f"a disk of {self.limit} bytes",
            "change": f"refused from change {self.limit} of {self.known.changes} on",
            "file": f"files of at most {self.limit} bytes",
        }
        return f"{what[self.kind]}; then {'--resume' if self.resumes else '--overwrite'}"


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Yield what becomes of every command at every limit."""
    every = known_commands(share).values()
    kinds = {"change": SIZES // 2, "file": SIZES // 2}
    if can_mount(work):
        kinds["disk"] = SIZES
    tries = [full for known in every for full in limits(known, kinds, share, seed)]
    with get_context("fork").Pool(SIDES) as pool:
        yield from pool.imap(partial(outcome, work=work), tries, chunksize=1)


def limits(known: Known, kinds: dict[str, int], share: float, seed: int) -> Iterator[Full]:
    """Yield limits of each kind, evenly from nothing to all that is needed."""
    rng = random.Random(f"{seed} {known.command.name}")
    ranges = {
        "disk": (known.least_bytes, known.most_bytes),
        "change": (0, known.changes),
        "file": (LEAST_FILE, max(LEAST_FILE, known.longest)),
    }
    for kind, sizes in kinds.items():
        n = max(1, round(sizes * known.command.weight * share))
        low, high = ranges[kind]
        for k in range(n):
            limit = low + int((high - low) * (k + rng.random()) / n)
            yield Full(known, k, kind, limit, rng.random() < 0.5)


def outcome(full: Full, work: Path) -> Outcome:
    """Run a command where there is too little room, then again, and return what became of it."""
    name = full.known.command.name
    folder = work / "disk" / f"{name}, {full.kind} {full.number}"
    with _place(full, folder) as make_room:
        shutil.copytree(full.known.start, folder, dirs_exist_ok=True)
        found = "; ".join(filter(None, faults(full, folder, make_room)))
    if not found:
        shutil.rmtree(folder)
    return Outcome(PART, name, full.case, found)


@contextmanager
def _place(full: Full, folder: Path) -> Iterator[Callable[[], None]]:
    """Make the folder, on a disk of its own where that is the limit; give what enlarges it."""
    folder.mkdir(parents=True)
    if full.kind != "disk":
        yield lambda: None
        return
    mount(folder, f"size={full.limit}")
    try:
        yield lambda: mount(folder, f"remount,size={ROOM}")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def mount(folder: Path, options: str) -> None:
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def can_mount(work: Path) -> bool:
    if shutil.which("mount") is None or os.geteuid() != 0:
        return False
    place = work / "disk"
    place.mkdir()
    try:
        mount(place, f"size={ROOM}")
    except subprocess.CalledProcessError:  # in a container, say
        return False
    subprocess.run(["umount", str(place)], check=True)
    return True


def faults(full: Full, folder: Path, make_room: Callable[[], None]) -> Iterator[str]:
    """Yield what went otherwise than promised."""
    known = full.known
    harm = {"disk": None, "change": _refuse_from(full.limit), "file": _limit_files(full.limit)}
    ended = run(known.arguments, folder, harm[full.kind])
    is_done = known.is_done(tree(folder))
    yield wrong_words(ended, SAYS[full.kind])
    if ended.status == 0 and not is_done:
        yield "success was told, and it is not there"
    yield lost(known, tree(folder))
    make_room()
    yield go_on(known, folder, full.resumes)
    yield differences(tree(folder), known.twice if is_done else known.after)


def wrong_words(ended: Ended, says: str) -> str:
    """Say what is wrong with the words of a command that failed."""
    if ended.status == 0:
        return ""
    lines = [line for line in ended.said.splitlines() if not line.startswith("Warning: ")]
    if ended.status < 0 or len(lines) != 1 or "Traceback" in ended.said:
        return f"ended with {ended.status}: {ended.said[-400:]}"
    # Rows wait in the folder of temporary files.
    places = ("run", "cells", "made", "found", "clusters", "demo", tempfile.gettempdir())
    named = any(name in ended.error for name in places)
    return "" if named and says in ended.error else f"says {ended.error}"


def _refuse_from(number: int) -> Callable[[], None]:
    def refuse(now: int, event: str, path: str) -> None:
        if now >= number and event in ("open", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    return lambda: at_changes(refuse)


def _limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
