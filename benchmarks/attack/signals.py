"""Signals that ask a command to end, at random moments, and outputs that nobody reads any longer.

A command ends with the signal's status, in few words; what it leaves goes on to the same bits. With
its output closed it either does its work or says by its status that it has not.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from children import LONGEST, Ended, run
from commands import SIDES, Known, known_commands, tree
from kills import differences, fault_in_copy, go_on, lost
from outcome import Outcome

PART, MOMENTS = "signals", 8
START = 0.05  # seconds until a command is at its work
KINDS = {
    "SIGTERM": ((0.0, signal.SIGTERM),),
    "SIGINT": ((0.0, signal.SIGINT),),
    "SIGINT twice": ((0.0, signal.SIGINT), (0.03, signal.SIGINT)),
    "SIGHUP": ((0.0, signal.SIGHUP),),
}
COMMAND = "from cmvae.cli import main; main()"
CLOSED = {
    "| head -1": "{} | head -1; exit ${{PIPESTATUS[0]}}",
    "| true": "{} | true; exit ${{PIPESTATUS[0]}}",
    ">&-": "{} >&-",
    "2>&-": "{} 2>&-",
    "> /dev/full": "{} > /dev/full",
}
CLOSABLE = ("evaluate", "predict, .csv", "report", "fit", "select --clusters")


@dataclass(frozen=True)
class Sent:
    """A try: what is sent to a command, and after which share of its time."""

    known: Known
    number: int
    kind: str
    share: float

    @property
    def case(self) -> str:
        """What was tried, in words."""
        return f"{self.kind} after {self.share:.3f} of its time"


@dataclass(frozen=True)
class Closed:
    """A try: a command whose output nobody reads."""

    known: Known
    kind: str

    @property
    def case(self) -> str:
        """What was tried, in words."""
        return f"cmvae … {self.kind}"


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Yield what becomes of every command."""
    every = {name: known for name, known in known_commands(share).items() if name != "demo"}
    sent = [one for known in every.values() for one in moments(known, share, seed)]
    names = CLOSABLE[: max(1, round(len(CLOSABLE) * share))]
    closed = [Closed(every[name], kind) for name in names for kind in CLOSED]
    with get_context("fork").Pool(SIDES) as pool:
        yield from pool.imap(partial(outcome, work=work), sent, chunksize=1)
        yield from pool.imap(partial(outcome_of_closed, work=work), closed, chunksize=1)


def moments(known: Known, share: float, seed: int) -> Iterator[Sent]:
    """Yield signals of each kind, at moments evenly over a command's time."""
    rng = random.Random(f"{seed} {known.command.name}")
    for kind in KINDS:
        n = max(1, round(MOMENTS * share * (1.0 if known.command.resumes else 0.25)))
        for k in range(n):
            yield Sent(known, k, kind, (k + rng.random()) / n)


def outcome(sent: Sent, work: Path) -> Outcome:
    """Send a command signals, go on, and return what became of it."""
    name = sent.known.command.name
    folder = work / "signals" / f"{name}, {sent.kind} {sent.number}"
    return Outcome(PART, name, sent.case, fault_in_copy(sent.known, folder, partial(faults, sent)))


def faults(sent: Sent, folder: Path) -> Iterator[str]:
    """Yield what went otherwise than promised."""
    known, kind = sent.known, KINDS[sent.kind]
    moment = START + sent.share * known.seconds
    ended = run(known.arguments, folder, signals=[(moment + s, number) for s, number in kind])
    is_done = known.is_done(tree(folder))
    number = kind[0][1]
    if ended.status not in (-number, 128 + number) and not (ended.status == 0 and is_done):
        yield f"ended with {ended.status}: {ended.said[-400:]}"
    yield wordy(ended)
    yield lost(known, tree(folder))
    yield go_on(known, folder, resumes=sent.number % 2 == 0)
    yield differences(tree(folder), known.twice if is_done else known.after)


def wordy(ended: Ended) -> str:
    """Say where a command ends in more than a line, warnings apart."""
    lines = [line for line in ended.said.splitlines() if not line.startswith("Warning: ")]
    is_long = len(lines) > 1 or "Traceback" in ended.said or "Exception ignored" in ended.said
    return f"says {ended.said[-400:]}" if is_long else ""


def outcome_of_closed(closed: Closed, work: Path) -> Outcome:
    """Run a command as a shell does, with its output closed, and return what became of it."""
    known, name = closed.known, closed.known.command.name
    places = "".join(c if c.isalnum() else "_" for c in closed.kind)
    folder = work / "closed" / f"{name}, {places}"
    shutil.copytree(known.start, folder)
    line = " ".join(["exec", '"$PYTHON"', "-c", '"$COMMAND"', '"$@"'])
    script = CLOSED[closed.kind].format(f"({line})" if "|" in closed.kind else line)
    done = subprocess.run(
        ["bash", "-c", script, "bash", *known.arguments],
        cwd=folder,
        env={**os.environ, "PYTHON": sys.executable, "COMMAND": COMMAND},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    ended = Ended(done.returncode, done.stdout, done.stderr, 0.0)
    is_done = known.is_done(tree(folder))
    found = [wordy(ended), lost(known, tree(folder))]
    if ended.status == 0 and not is_done:
        found.append("success was told, and it is not there")
    if ended.status < 0:
        found.append(f"ended with {ended.status}")
    found.append(go_on(known, folder, resumes=True))
    found.append(differences(tree(folder), known.twice if is_done else known.after))
    return Outcome(PART, f"{name}, output closed", closed.case, "; ".join(filter(None, found)))
