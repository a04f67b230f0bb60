"""What many rows cost: `python benchmarks/scale.py predict` measures `cmvae predict`.

A run is trained on a thousand rows of two tables (four numbers and a category; five numbers). Then
each line is a process of its own: rows by CPU second, start and imports included, and the most
memory that it held.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet as pq
from timing import table, write_record

ROWS_AT_ONCE = 100_000
CENTRES = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
COLOURS = np.array(["red", "blue", "green", "white"])
SIZES = {"parquet": (1_000_000, 8_000_000), "csv": (1_000_000,)}
TARGETS = {"parquet": 150_000, "csv": 80_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["predict", "one"])
    parser.add_argument("--work", type=Path, help="where tables are made, and kept")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows")
    parser.add_argument("--command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "one":
        print(json.dumps(one(arguments.command)))
        return
    with tempfile.TemporaryDirectory() as folder:
        predict(arguments.work or Path(folder), arguments.share)


def predict(work: Path, share: float) -> None:
    """Measure predictions of tables in Parquet and CSV, with and without the fit."""
    work.mkdir(parents=True, exist_ok=True)
    train, run = write_tables(work, 1000, "csv"), work / "run"
    if not run.exists():
        measured(["fit", *train, "--clusters", "4", "--seed", "0", "--out", str(run)])
    rows = []
    for suffix, sizes in SIZES.items():
        for n in sizes:
            given = write_tables(work, int(n * share), suffix)
            for fit in ("--no-fit", "--fit") if n == min(sizes) else ("--no-fit",):
                out = work / f"out.{suffix}"
                own = ["predict", str(run), *given, "--out", str(out), "--overwrite", fit]
                found = measured(own)
                row = {"format": suffix, "rows": int(n * share), "fit": fit == "--fit"}
                row["rows per CPU second"] = round(row["rows"] / found["cpu"])
                row["peak MiB"] = found["peak"]
                row["target"] = "" if fit == "--fit" else f">= {TARGETS[suffix]}"
                print(row, flush=True)
                rows.append(row)
    write_record(
        "scale-predict", "python benchmarks/scale.py predict", rows, table(rows, [*rows[0]])
    )


def measured(command: list[str]) -> dict[str, float]:
    """Run a command of cmvae in a process of one thread; return CPU seconds and the peak in MiB."""
    own = [sys.executable, __file__, "one", "--command", *command]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(own, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def one(command: list[str]) -> dict[str, float]:
    """Run a command of cmvae in this process."""
    from cmvae.cli import main as cmvae

    sys.argv = ["cmvae", *command]
    try:
        cmvae()
    except SystemExit as end:
        if end.code:
            raise
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"cpu": time.process_time(), "peak": peak}


def write_tables(work: Path, n: int, suffix: str) -> list[str]:
    """Write both tables, unless they are there; return the options that name them."""
    paths = {name: work / f"{name}-{n}.{suffix}" for name in ("a", "b")}
    if not all(path.exists() for path in paths.values()):
        rng, writers = np.random.default_rng(0), {}
        kind = pq.ParquetWriter if suffix == "parquet" else pyarrow.csv.CSVWriter
        for first in range(0, n, ROWS_AT_ONCE):
            for name, part in make(rng, first, min(ROWS_AT_ONCE, n - first)).items():
                if name not in writers:
                    writers[name] = kind(str(paths[name]), part.schema)
                writers[name].write_table(part)
        for writer in writers.values():
            writer.close()
    return [text for name, path in paths.items() for text in ("--modality", f"{name}={path}")]


def make(rng: np.random.Generator, first: int, n: int) -> dict[str, pyarrow.Table]:
    """Return rows of both tables, in four groups."""
    groups = rng.integers(4, size=n)
    ids = pyarrow.array([f"s{place:09d}" for place in range(first, first + n)])
    noise = rng.normal(size=(9, n)).round(5)
    numbers = [CENTRES[groups, place % 2] + own for place, own in enumerate(noise)]
    colours = np.where(rng.random(n) < 0.8, COLOURS[groups], "red")
    a = {"id": ids, **{f"x{j}": numbers[j] for j in range(4)}, "colour": pyarrow.array(colours)}
    b = {"id": ids, **{f"y{j}": numbers[4 + j] for j in range(5)}}
    return {"a": pyarrow.table(a), "b": pyarrow.table(b)}


if __name__ == "__main__":
    main()
