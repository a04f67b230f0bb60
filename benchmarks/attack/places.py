"""Targets that are something else than a command expects, or elsewhere; nothing of them changes.

A command refuses them in one line that names them, or does its work.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from children import run, warm_up
from commands import COMMANDS, Known, Tree, know, tree, write_data
from disk import ROOM, can_mount, mount
from kills import SIDES, differences
from outcome import Outcome
from signals import wordy

PART = "places"
TARGETS = {  # what the commands write
    "fit": "run",
    "predict, .csv": "clusters.csv",
    "predict, .h5mu": "found.h5mu",
    "generate": "made",
    "report": "run/report.html",
    "select --clusters": "run",
}


def _folder(target: Path) -> None:
    target.mkdir()
    (target / "mine.txt").write_text("mine")


def _file(target: Path) -> None:
    target.write_text("mine")


def _broken_link(target: Path) -> None:
    target.symlink_to("nowhere/else")


def _partial_file(target: Path) -> None:
    target.with_name(target.name + ".partial").write_text("mine")


def _partial_folder(target: Path) -> None:
    _folder(target.with_name(target.name + ".partial"))


OBSTACLES: dict[str, Callable[[Path], None]] = {
    "a folder of the user": _folder,
    "a file of the user": _file,
    "a link to nowhere": _broken_link,
    "a file in the place of what is unfinished": _partial_file,
    "a folder in the place of what is unfinished": _partial_folder,
}


@dataclass(frozen=True)
class Place:
    """A try: a command, and what is wrong with its target."""

    known: Known
    kind: str


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Yield what becomes of every command at every place."""
    warm_up()
    write_data(work / "data")
    names = list(TARGETS)[: max(2, round(len(TARGETS) * share))]
    commands = [command for command in COMMANDS if command.name in names]
    kinds = [*OBSTACLES, "no folder", "over its input"]
    kinds += ["read-only", "another filesystem"] if can_mount(work) else []
    with get_context("fork").Pool(SIDES) as pool:
        every = pool.map(partial(know, work=work), commands, chunksize=1)
        tries = [Place(known, kind) for known in every for kind in kinds if _fits(known, kind)]
        yield from pool.imap(partial(outcome, work=work), tries, chunksize=1)


def _fits(known: Known, kind: str) -> bool:
    name = known.command.name
    if kind in OBSTACLES:
        return not known.start.joinpath(TARGETS[name]).exists()
    return kind != "over its input" or name == "predict, .csv"


def outcome(place: Place, work: Path) -> Outcome:
    """Run a command, and return what became of it."""
    name = place.known.command.name
    folder = work / "places" / f"{name}, {place.kind}"
    folder.mkdir(parents=True)
    with _mounted(place, folder) as close:
        shutil.copytree(place.known.start, folder, symlinks=True, dirs_exist_ok=True)
        arguments = list(place.known.arguments)
        target = TARGETS[name]
        if place.kind in OBSTACLES:
            OBSTACLES[place.kind](folder / target)
        if place.kind == "no folder":
            arguments = [
                a.replace(target, f"none/{target}") if a == target else a for a in arguments
            ]
        if place.kind == "over its input":
            shutil.copytree(work / "data", folder / "data")
            arguments = [a.replace(str(work), str(folder)) for a in arguments]
            arguments = [a.replace(target, "data/a.csv") for a in arguments] + ["--overwrite"]
        close()
        before = tree(folder)
        ended = run(arguments, folder)
        found = [wordy(ended), changed(place.known, before, tree(folder), ended.status)]
    return Outcome(PART, name, f"its target: {place.kind}", "; ".join(filter(None, found)))


def changed(known: Known, before: Tree, now: Tree, status: int) -> str:
    """Say what is other than before; where the command did its work, than it was and shall be."""
    if status == 0:
        lost = [name for name, content in before.items() if content and content not in now.values()]
        lost = [name for name in lost if known.before.get(name) != before[name]]
        return f"lost: {lost}" if lost else ""
    return differences(now, before)


@contextmanager
def _mounted(place: Place, folder: Path) -> Iterator[Callable[[], None]]:
    """Put the folder on a filesystem of its own where that is tried; give what closes it."""
    if place.kind not in ("read-only", "another filesystem"):
        yield lambda: None
        return
    mount(folder, f"size={ROOM}")
    try:
        is_closed = place.kind == "read-only"
        yield lambda: mount(folder, "remount,ro") if is_closed else None
    finally:
        subprocess.run(["umount", os.fspath(folder)], check=True)
