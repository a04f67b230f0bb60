"""The commands that write, what each starts from, and what it leaves when nothing disturbs it."""

import hashlib
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import Array
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from children import Ended, at_changes, run

ROWS, PAGE = 60, 4096
OWN = {  # files of the user, beside results and among them; one named much like ours
    "notes.txt": "mine, beside the run",
    "run/notes.txt": "mine, in the run",
    ".clusters-mine.csv": "mine, and hidden",
}
EXCEPTIONS: tuple[str, ...] = ()
"""Files that may differ between two runs of the same command."""

Tree = dict[str, str]
"""Paths under a folder to hashes of the files; of folders, to nothing."""


@dataclass(frozen=True)
class Command:
    """A command that writes.

    Attributes:
        name: A row of the table.
        arguments: Of the command line; ``DATA`` stands for the folder of the data.
        before: Commands that come before it, whose results it finds.
        resumes: Whether ``fit --resume`` goes on with it.
        weight: How many of the tries it gets; one that takes long gets fewer.
    """

    name: str
    arguments: str
    before: tuple[str, ...] = ()
    resumes: bool = False
    weight: float = 1.0


FIT = "fit --modality a=DATA/a.csv --modality b=DATA/b.csv --device cpu --out run"
RUN = (f"{FIT} --epochs 3 --clusters 3 --seed 1",)
CELLS = ("fit --data DATA/cells.h5mu --epochs 1 --clusters 2 --device cpu --out cells",)
PREDICT = "predict run --modality a=DATA/a.csv --modality b=DATA/b.csv --out"

COMMANDS = (
    Command("fit", f"{FIT} --epochs 4 --seed 3", resumes=True),
    Command("fit --overwrite", f"{FIT} --epochs 2 --seed 3 --overwrite", RUN, resumes=True),
    Command("select --clusters", "select run --clusters 2", (*RUN, "report run"), resumes=True),
    Command("predict, .csv", f"{PREDICT} clusters.csv", RUN),
    Command(
        "predict, .parquet",
        f"{PREDICT} clusters.parquet --overwrite",
        (*RUN, "predict run --modality a=DATA/a.csv --out clusters.parquet"),
    ),
    Command("predict, .h5mu", "predict cells --data DATA/cells.h5mu --out found.h5mu", CELLS),
    Command("generate", "generate run --out made", RUN),
    Command(
        "generate --overwrite",
        "generate run --impute --out made --overwrite --format parquet",
        (*RUN, "generate run --out made"),
    ),
    Command("report", "report run --labels DATA/labels.csv", RUN),
    Command(
        "report --overwrite",
        "report run --names 0=young,1=old --overwrite",
        (*RUN, "report run"),
    ),
    Command("evaluate", "evaluate run --labels DATA/labels.csv", RUN),
    Command(
        "demo",
        "demo --epochs 2 --warmup-epochs 1 --clusters 4 --device cpu --out demo",
        weight=0.2,
    ),
)


@dataclass(frozen=True)
class Known:
    """What is known of a command that nothing disturbs.

    Attributes:
        command: The command.
        arguments: Of the command line.
        start: A folder as the command finds it.
        before: What is in it.
        after: What the command leaves.
        twice: What it leaves where it had succeeded before.
        seconds: How long it takes.
        changes: How often it changes the disk.
        least_bytes: What the disk holds before.
        most_bytes: The most that it ever holds.
        longest: The size of the longest file that is ever written.
    """

    command: Command
    arguments: list[str]
    start: Path
    before: Tree
    after: Tree
    twice: Tree
    seconds: float
    changes: int
    least_bytes: int
    most_bytes: int
    longest: int

    def is_done(self, now: Tree) -> bool:
        """Whether what the command writes is all there."""
        written = {k: v for k, v in self.after.items() if self.before.get(k) != v}
        return all(now.get(name) == content for name, content in written.items())


def write_data(folder: Path) -> None:
    """Write two tables of three groups, labels, and cells of two modalities."""
    folder.mkdir(parents=True)
    rng, groups = np.random.default_rng(0), np.arange(ROWS) % 3
    ids = pd.Index([f"s{i:02d}" for i in range(ROWS)], name="id")
    for name, columns, rows in (("a", 5, ROWS), ("b", 4, ROWS - 9)):
        values = 4 * rng.normal(size=(3, columns))[groups] + rng.normal(size=(ROWS, columns))
        names = [f"{name}{i}" for i in range(columns)]
        pd.DataFrame(values, ids, names).iloc[:rows].to_csv(folder / f"{name}.csv")
    pd.Series(groups, ids, name="label").to_csv(folder / "labels.csv")
    with warnings.catch_warnings(), pd.option_context("future.infer_string", False):
        warnings.simplefilter("ignore")  # mudata announces its next version at every step
        _write_cells(folder / "cells.h5mu", groups, rng)


def _write_cells(path: Path, groups: np.ndarray, rng: np.random.Generator) -> None:
    import anndata
    import mudata

    parts = {}
    for name, columns in (("rna", 8), ("protein", 5)):
        counts = rng.poisson(4.0 + 6.0 * (np.arange(columns) % 3 == groups[:, None]))
        obs = pd.DataFrame(index=[f"c{i:02d}" for i in range(len(groups))])
        var = pd.DataFrame(index=[f"{name}{i}" for i in range(columns)])
        parts[name] = anndata.AnnData(counts.astype(np.float32), obs=obs, var=var)
    mudata.MuData(parts).write(path)


def arguments_of(text: str, data: Path) -> list[str]:
    """Return the arguments that a command's text means."""
    return text.replace("DATA", str(data)).split()


def know(command: Command, work: Path) -> Known:
    """Run a command undisturbed, and again after it has succeeded."""
    start, again = work / "start" / command.name, work / "twice" / command.name
    start.mkdir(parents=True)
    for text in command.before:
        _succeed(arguments_of(text, work / "data"), start)
    for path, text in OWN.items():
        if (start / path).parent.is_dir():
            (start / path).write_text(text)
    arguments = arguments_of(command.arguments, work / "data")
    shutil.copytree(start, again)
    found = Array("q", [0, 0, 0])
    ended = run(arguments, again, lambda: at_changes(_measure(again, found)))
    _check(arguments, ended)
    after = tree(again)
    if run(arguments, again).status:  # what is there already is replaced only on demand
        _succeed([*arguments, "--overwrite"], again)
    least = sum(map(_on_disk, _sizes(start)))
    return Known(
        command,
        arguments,
        start,
        before=tree(start),
        after=after,
        twice=tree(again),
        seconds=ended.seconds,
        changes=found[0],
        least_bytes=least,
        most_bytes=max(found[1], least),
        longest=found[2],
    )


def _measure(folder: Path, found: Any) -> Callable[[int, str, str], None]:
    """Return what counts changes, and keeps the most bytes on the disk, and in a file."""

    def measure(number: int, *_: str) -> None:
        sizes = _sizes(folder)
        most, longest = sum(map(_on_disk, sizes)), max(sizes, default=0)
        found[:] = [number + 1, max(found[1], most), max(found[2], longest)]

    return measure


def _sizes(folder: Path) -> list[int]:
    return [path.stat().st_size for path in folder.rglob("*") if path.is_file()]


def _on_disk(size: int) -> int:
    """Return what a file takes on a disk of pages, the first of which is for its name."""
    return PAGE * (1 + -(-size // PAGE))


def _succeed(arguments: list[str], folder: Path) -> None:
    _check(arguments, run(arguments, folder))


def _check(arguments: list[str], ended: Ended) -> None:
    if ended.status:
        what = f"{' '.join(arguments)} ended with {ended.status}, undisturbed"
        raise SystemExit(f"{what}: {ended.said}")


def tree(folder: Path) -> Tree:
    """Return what is in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
        if path.name not in EXCEPTIONS
    }
