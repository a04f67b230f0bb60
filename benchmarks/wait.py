"""How long one waits for a small table: `python benchmarks/wait.py` runs `cmvae fit` by phase.

A table of 300 rows and 15 columns, from the shell, a process of one thread. CPU seconds: what else
runs on the machine hardly weighs on them.
"""

import argparse
import builtins
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd

ROWS, COLUMNS, GROUPS, TARGET = 300, 15, 3, 15
PHASES = {
    "reading": ("cmvae.runs.reading", "read_files"),
    "training": ("cmvae.training.clustering", "train"),
    "start of the clusters": ("cmvae.training.callbacks", "initialize_clusters"),
    "writing": ("cmvae.runs.fitting", "write_run"),
}


def main() -> None:
    from timing import table, write_record

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(by_phase(arguments.one)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_table(Path(folder))
        found = [json.loads(in_process(folder)) for _ in range(arguments.runs)]
    rows = [
        {"phase": phase, "CPU s": statistics.median(run[phase] for run in found)}
        for phase in found[0]
    ]
    totals = [sum(run.values()) for run in found]
    spread = f"{min(totals):.3g} to {max(totals):.3g}"
    total = {"phase": "all", "CPU s": statistics.median(totals), "spread": spread}
    rows.append({**total, "target": f"≤ {TARGET}"})
    lines = table(rows, ["phase", "CPU s", "spread", "target"])
    write_record("wait", "python benchmarks/wait.py", rows, lines)


def write_table(folder: Path) -> None:
    """Write a table of numbers around three centres."""
    rng = np.random.default_rng(0)
    values = (
        rng.normal(size=(ROWS, COLUMNS))
        + 2 * rng.normal(size=(GROUPS, COLUMNS))[rng.integers(GROUPS, size=ROWS)]
    )
    frame = pd.DataFrame(values.round(4), columns=[f"x{j}" for j in range(COLUMNS)])
    frame.to_csv(folder / "table.csv", index=False)


def in_process(folder: str) -> str:
    """Return the last line that a fit in a process of its own prints."""
    own = [sys.executable, __file__, "--one", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(own, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()[-1]


class Clock:
    """CPU seconds by phase; while one runs within another only the inner one counts."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running, self._since = ["the rest"], 0.0

    def enter(self, phase: str) -> None:
        self._charge()
        self._running.append(phase)

    def leave(self) -> None:
        self._charge()
        self._running.pop()

    def _charge(self) -> None:
        now = time.process_time()
        self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def timed(self, phase: str, function: Callable) -> Callable:
        """Return the function with its time charged to a phase."""

        def call(*arguments, **keywords):
            self.enter(phase)
            try:
                return function(*arguments, **keywords)
            finally:
                self.leave()

        return call


def by_phase(folder: Path) -> dict[str, float]:
    """Fit in this process, and return the CPU seconds of each phase."""
    clock, load = Clock(), builtins.__import__
    clock.enter("imports")  # the start of Python with it, and what is looked for beside
    from cmvae.cli import main as cmvae

    for phase, (module, name) in PHASES.items():
        home = import_module(module)
        setattr(home, name, clock.timed(phase, getattr(home, name)))
    clock.leave()
    builtins.__import__ = clock.timed("imports", load)
    options = ["--modality", f"table={folder / 'table.csv'}", "--out", str(folder / "run")]
    sys.argv = ["cmvae", "fit", *options, "--seed", "0", "--overwrite"]
    try:
        cmvae()
    except SystemExit as end:
        if end.code:
            raise
    builtins.__import__ = load
    clock.enter("the rest")
    return {phase: clock.seconds[phase] for phase in ("imports", *PHASES, "the rest")}


if __name__ == "__main__":
    main()
