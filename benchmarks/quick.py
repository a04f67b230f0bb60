"""How quick the answers are: CPU seconds of imports and of commands that train nothing.

Usage: python benchmarks/quick.py. Writes records/quick.json and .md.

Each runs in a process of its own, once to warm the disk's cache and then five times; the record has
the median of user and system time, child processes included.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import timing

from cmvae import CMVAEClusterer

ROUNDS = 5
COMMAND = "import sys; sys.argv[0] = 'cmvae'; from cmvae.cli import main; main()"


def cpu_seconds(program: str, arguments: list[str], cwd: Path, expected: int) -> float:
    """Run a program in a process of its own; return its user and system time, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != expected:
        raise SystemExit(f"{arguments or program} ended with {done.returncode}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_run(folder: Path) -> None:
    """Write a run of two tables of 60 samples, and ten rows of one of them."""
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    index = pd.Index([f"s{i:02d}" for i in range(60)], name="id")
    lengths = pd.DataFrame(rng.normal(size=(60, 4)) + 5 * np.eye(3, 4)[labels], index=index)
    counts = rng.poisson(np.where(np.eye(3, 5)[labels] > 0, 40.0, 4.0))
    tables = {"lengths": lengths.rename(columns=str), "counts": pd.DataFrame(counts, index=index)}
    tables["lengths"]["colour"] = np.array(["red", "blue", "green"])[labels]
    settings = {"max_epochs": 20, "device": "cpu", "random_state": 0}
    CMVAEClusterer(3, **settings).fit(tables).save(folder / "run")
    tables["lengths"].iloc[:10].to_csv(folder / "ten.csv")
    tables["lengths"].assign(note="about " + index).to_csv(folder / "notes.csv")


def sides() -> dict[str, tuple[str, list[str], int, str]]:
    """Return by name: the program, its arguments, its exit status, and the target."""
    wrong = ["fit", "--modality", "a=notes.csv", "--modality", "b=none.csv", "--out", "out"]
    ten = ["predict", "run", "--modality", "lengths=ten.csv", "--out", "found.csv", "--overwrite"]
    made = ["generate", "run", "--samples", "10", "--out", "made", "--overwrite"]
    return {
        "import torch": ("import torch", [], 0, ""),
        "import cmvae": ("import cmvae", [], 0, ""),
        "cmvae fit, wrong files refused": (COMMAND, wrong, 2, "≤ 1.2"),
        "cmvae predict, ten rows": (COMMAND, ten, 0, "≤ 2"),
        "cmvae select": (COMMAND, ["select", "run"], 0, ""),
        "cmvae generate, ten samples a cluster": (COMMAND, made, 0, ""),
    }


def measure(rounds: int) -> list[dict]:
    """Return a row for each side, in turns, so that noise of the machine weighs on all alike."""
    own = sides()
    seconds: dict[str, list[float]] = {name: [] for name in own}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_run(folder)
        for turn in range(rounds + 1):
            for side, (program, arguments, expected, _) in own.items():
                spent = cpu_seconds(program, arguments, folder, expected)
                if turn:
                    seconds[side].append(spent)
    return [
        {"what": side, "CPU s": statistics.median(seconds[side]), "target": own[side][3]}
        for side in own
    ]


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="measured runs of each")
    rounds = parser.parse_args().rounds
    rows = measure(rounds)
    command = "python benchmarks/quick.py" + ("" if rounds == ROUNDS else f" --rounds {rounds}")
    versions = {"pandas": pd.__version__, "numpy": np.__version__}
    versions["python"] = sys.version.split()[0]
    lines = [
        f"User and system time of a process, median of {rounds} after one to warm up; "
        f"load average at the end {os.getloadavg()[0]:.1f}.",
        "",
        *timing.table(rows, ["what", "CPU s", "target"]),
    ]
    timing.write_record("quick", command, rows, lines, **versions)


if __name__ == "__main__":
    main()
