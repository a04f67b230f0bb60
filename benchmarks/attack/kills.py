"""SIGKILL at 40 moments of every command that writes; what is left, and how it goes on.

Half of the moments are right before a change of the disk, which repeats exactly; half are drawn
evenly over the command's time. Then the command is given again, and what a refusal says is
followed, half of the times with ``--resume`` where both are offered. In the end every file is as if
nothing had happened, the user's own files are where they were, and there is nothing else.
"""

import random
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from children import Ended, kill_at, run
from commands import SIDES, Command, Known, Tree, known_commands, tree
from outcome import Outcome

PART, MOMENTS = "kill -9", 40
MOST_ANSWERS = 4  # of a command that says what to do instead


@dataclass(frozen=True)
class Kill:
    """A try: when a command is killed, and how it goes on.

    Attributes:
        known: The command.
        number: Of the try.
        at_change: Before which change of the disk it is killed; None: after ``share``.
        share: Of the command's time.
        again: The share of it after which the next one is killed as well.
        resumes: Whether to resume where that is one of two ways.
    """

    known: Known
    number: int
    at_change: int | None
    share: float
    again: float | None
    resumes: bool

    @property
    def case(self) -> str:
        """What was tried, in words."""
        first = f"after {self.share:.3f} of its time"
        if self.at_change is not None:
            first = f"before change {self.at_change} of {self.known.changes} on the disk"
        second = "" if self.again is None else f", again after {self.again:.3f}"
        return f"killed {first}{second}; then {'--resume' if self.resumes else '--overwrite'}"


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Yield what becomes of every command at every moment."""
    every = known_commands(share).values()
    tries = [kill for known in every for kill in moments(known, share, seed)]
    with get_context("fork").Pool(SIDES) as pool:
        yield from pool.imap(partial(outcome, work=work), tries, chunksize=1)


def moments(known: Known, share: float, seed: int) -> list[Kill]:
    """Return when to kill a command."""
    rng = random.Random(f"{seed} {known.command.name}")
    n = max(2, round(MOMENTS * known.command.weight * share))
    exact = min(known.changes, (n + 1) // 2)
    offset = rng.random()
    numbers = [int((k + offset) * known.changes / exact) for k in range(exact)]
    ways: list[int | None] = [*numbers, *[None] * (n - exact)]
    found = []
    for number, way in enumerate(ways):
        again = rng.random() if rng.random() < 0.25 else None
        found.append(Kill(known, number, way, rng.random(), again, number % 2 == 0))
    return found


def outcome(kill: Kill, work: Path) -> Outcome:
    """Kill a command, go on, and return what became of it."""
    name = kill.known.command.name
    folder = work / "kills" / f"{name}, {kill.number}"
    return Outcome(PART, name, kill.case, fault_in_copy(kill.known, folder, partial(faults, kill)))


def fault_in_copy(known: Known, folder: Path, faults: Callable[[Path], Iterator[str]]) -> str:
    """Return the faults in a copy of where a command starts; the copy stays where there are any."""
    shutil.copytree(known.start, folder)
    fault = "; ".join(filter(None, faults(folder)))
    if not fault:
        shutil.rmtree(folder)
    return fault


def faults(kill: Kill, folder: Path) -> Iterator[str]:
    """Yield what went otherwise than promised."""
    known, seconds = kill.known, kill.known.seconds
    exact = kill.at_change is not None
    ended = run(
        known.arguments,
        folder,
        kill_at(kill.at_change) if kill.at_change is not None else None,
        [] if exact else [(kill.share * seconds, signal.SIGKILL)],
    )
    if ended.status > 0:
        yield f"ended with {ended.status} before it was killed: {ended.said[-300:]}"
    yield lost(known, tree(folder))
    is_done = known.is_done(tree(folder))
    if kill.again is not None and not is_done:
        way = resumed(known) if kill.resumes else known.arguments
        run(way, folder, signals=[(kill.again * seconds, signal.SIGKILL)])
        yield lost(known, tree(folder))
        is_done = known.is_done(tree(folder))
    yield readable(known, folder)
    yield go_on(known, folder, kill.resumes)
    yield differences(tree(folder), known.twice if is_done else known.after)


def lost(known: Known, now: Tree) -> str:
    """Say which files are neither as they were, nor as they will be, nor elsewhere."""
    there = set(now.values())
    gone = [
        name
        for name, content in known.before.items()
        if content and content not in there and now.get(name) != known.after.get(name)
    ]
    return f"lost after the kill: {gone}" if gone else ""


def readable(known: Known, folder: Path) -> str:
    """Say where a run that was there can neither be read, nor is it said where it is."""
    if "run/manifest.json" not in known.before:
        return ""
    ended = run(["evaluate", "run", "--labels", str(known.data / "labels.csv")], folder)
    if ended.status and "broken off, the run before is in" not in ended.error:
        return f"the run cannot be read after the kill: {ended.said[-300:]}"
    return "" if len(ended.said.splitlines()) <= 2 else f"many lines: {ended.said[-300:]}"


def resumed(known: Known) -> list[str]:
    """Return the arguments that go on with an interrupted command, or start it again."""
    if not known.command.resumes:
        return known.arguments
    return ["fit", "--out", "run", "--resume"]


def go_on(known: Known, folder: Path, resumes: bool) -> str:
    """Give a command again and do what it says until it succeeds; say where that leads nowhere."""
    arguments, said = known.arguments, list[str]()
    if resumes and known.command.resumes:
        arguments = resumed(known)
    for _ in range(MOST_ANSWERS):
        ended = run(arguments, folder)
        if ended.status == 0:
            return ""
        said.append(f"{' '.join(arguments)} ended with {ended.status}: {ended.said[-300:]}")
        following = answer(known.command, known.arguments, ended, resumes)
        if following is None or following == arguments:
            break
        arguments = following
    return "no way on: " + " | ".join(said)


def answer(command: Command, arguments: list[str], ended: Ended, resumes: bool) -> list[str] | None:
    """Return the arguments that a refusal leads to, or None."""
    if len(ended.said.strip().splitlines()) > 2 or not ended.error:
        return None
    offers = [way for way in ("--resume", "--overwrite") if f"pass {way}" in ended.error]
    offers += ["--overwrite"] if ", --overwrite" in ended.error else []
    if "no interrupted run to go on with" in ended.error or "holds no run to go on" in ended.error:
        return arguments
    if "--resume" in offers and (resumes or len(offers) == 1):
        if command.name == "demo":
            return ["demo", "--out", "demo", "--resume"]
        return ["fit", "--out", "run", "--resume"]
    return [*arguments, "--overwrite"] if "--overwrite" in offers else None


def differences(found: Tree, wanted: Tree) -> str:
    """Say which files are other than wanted."""
    odd = {
        "missing": [name for name in wanted if name not in found],
        "left over": [name for name in found if name not in wanted],
        "different": [name for name in wanted if found.get(name, wanted[name]) != wanted[name]],
    }
    return "; ".join(f"{what}: {names[:6]}" for what, names in odd.items() if names)
