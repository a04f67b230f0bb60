"""What many rows cost: `python benchmarks/scale.py predict` measures `cmvae predict`.

A run is trained on a thousand rows of two tables (four numbers and a category; five numbers). Then
each line is a process of its own: rows by CPU second, start and imports included, and the most
memory that it held.

`python benchmarks/scale.py fit` does so for fits of two folders of Parquet shards: everything but
that an epoch has 50 steps of 1024 rows, for what is asked for is memory. The last line is of shards
three times as large as the memory that the process may have (`ulimit -d`). With `--line` one of the
lines is measured again, and put beside the others.

`python benchmarks/scale.py estimator` fits two arrays of 40 columns each, of one epoch, by
`CMVAEClusterer`: the most memory that the process held, over the bytes of both.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet as pq
from timing import RECORDS, table, write_record

ROWS_AT_ONCE = 100_000
CENTRES = np.array([[3.0, 0.0], [0.0, 3.0], [-3.0, 0.0], [0.0, -3.0]])
COLOURS = np.array(["red", "blue", "green", "white"])
SIZES = {"parquet": (1_000_000, 8_000_000), "csv": (1_000_000,)}
TARGETS = {"parquet": 150_000, "csv": 80_000}
STEPS, SHARD_CELLS = 50, 10_000_000
LIMIT, WIDE = 1280, 400  # MiB of data that a fit may have, for shards three times as large
GIVEN_BACK = {  # what is free, at once: addresses that are reserved count for a limit too
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
}
ARRAYS = (1_000_000, 4_000_000)  # rows
FITS = (  # rows, columns of each of two folders, their type, and the limit
    (1_000_000, 40, "float32", 0),
    (4_000_000, 40, "float32", 0),
    (LIMIT * 3 * 2**20 // (2 * WIDE * 8), WIDE, "float64", LIMIT),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["predict", "fit", "estimator", "one", "one-fit"])
    parser.add_argument("--work", type=Path, help="where tables are made, and kept")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows")
    parser.add_argument("--line", type=int, choices=range(len(FITS)), help="of the fits, alone")
    parser.add_argument("--array", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--command", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "one":
        print(json.dumps(one(arguments.command)))
        return
    if arguments.what == "one-fit":
        print(json.dumps(one_fit(*arguments.command)))
        return
    if arguments.what == "estimator":
        estimator(arguments.array, arguments.share)
        return
    with tempfile.TemporaryDirectory() as folder:
        work = arguments.work or Path(folder)
        if arguments.what == "predict":
            predict(work, arguments.share)
        else:
            lines = range(len(FITS)) if arguments.line is None else [arguments.line]
            fit(work, arguments.share, lines)


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


def fit(work: Path, share: float, lines: Iterable[int]) -> None:
    """Measure fits of one and four million rows, and of shards larger than memory."""
    record, measured_now = RECORDS / "scale-fit.json", dict[int, dict]()
    for line in lines:
        n, columns, dtype, limit = FITS[line]
        folder = write_shards(work, int(n * share), columns, dtype)
        found = fitted(folder, limit)
        size = sum(own.stat().st_size for own in folder.rglob("*.parquet"))
        measured_now[line] = {
            "rows": int(n * share),
            "columns": 2 * columns,
            "shards, MiB": size >> 20,
            "limit, MiB": limit or "",
            "peak MiB": found["peak"],
            "of its own": found["own"],
            "CPU seconds": round(found["cpu"]),
        }
        print(measured_now[line], flush=True)
    before = json.loads(record.read_text())["rows"] if record.exists() else [{} for _ in FITS]
    rows = [measured_now.get(line, before[line]) for line in range(len(FITS))]
    known = [row for row in rows if row]
    write_record("scale-fit", "python benchmarks/scale.py fit", rows, table(known, [*known[0]]))


def estimator(n: int | None, share: float) -> None:
    """Measure fits of arrays, each in a process of its own; or, of so many rows, in this one."""
    if n is not None:
        print(json.dumps(one_array(n)))
        return
    rows = []
    for n in (int(share * own) for own in ARRAYS):
        own = [sys.executable, __file__, "estimator", "--array", str(n)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(own, env=environment, check=True, stdout=subprocess.PIPE, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    command = "python benchmarks/scale.py estimator"
    write_record("scale-estimator", command, rows, table(rows, [*rows[0]]))


def one_array(n: int) -> dict[str, float]:
    """Fit arrays in this process; libraries are what it holds before there are any."""
    from cmvae import CMVAEClusterer

    def resident() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

    libraries, rng = resident(), np.random.default_rng(0)
    groups, tables = rng.integers(5, size=n), dict[str, np.ndarray]()
    for name in "ab":
        centres = rng.normal(0, 2, (5, 40)).astype(np.float32)
        tables[name] = np.empty((n, 40), np.float32)
        for first in range(0, n, ROWS_AT_ONCE):
            own = centres[groups[first : first + ROWS_AT_ONCE]]
            noise = rng.standard_normal(own.shape, dtype=np.float32)
            tables[name][first : first + ROWS_AT_ONCE] = own + noise
    raw = sum(own.nbytes for own in tables.values()) >> 20
    CMVAEClusterer(5, max_epochs=1, device="cpu", random_state=0).fit(tables)
    return {
        "rows": n,
        "arrays, MiB": raw,
        "libraries, MiB": libraries,
        "peak MiB": resident(),
        "peak / arrays": resident() / raw,
        "target": "<= 3",
        "CPU seconds": round(time.process_time()),
    }


def fitted(folder: Path, limit: int) -> dict[str, float]:
    """Fit a run in a process of one thread that may have so many MiB of data, 0: any number.

    Returns:
        CPU seconds, and in MiB the most resident memory, and the most of it that no file backs.
    """
    own = [sys.executable, __file__, "one-fit", "--command", str(folder)]
    bounds = (limit << 20, limit << 20)
    started = subprocess.Popen(
        own,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(GIVEN_BACK if limit else {})},
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_DATA, bounds)) if limit else None,
    )
    most = 0
    while started.poll() is None:
        status = Path(f"/proc/{started.pid}/status").read_text()
        resident = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
        most = max(most, *map(int, resident), 0)
        time.sleep(0.05)
    assert started.stdout is not None
    if started.returncode:
        raise RuntimeError(f"the fit of {folder} failed")
    return {**json.loads(started.stdout.read().splitlines()[-1]), "own": most >> 10}


def one_fit(folder: str) -> dict[str, float]:
    """Fit a run in this process, of few steps an epoch."""
    from cmvae.files.modality import ModalityFile
    from cmvae.runs.config import RunConfig
    from cmvae.runs.fitting import fit_run
    from cmvae.runs.reading import read_files
    from cmvae.runs.run import prepare
    from cmvae.training.recipe import Recipe

    files = {name: ModalityFile(path=f"{folder}/{name}") for name in ("a", "b")}
    recipe = Recipe(max_epochs=1, batch_size=1024)
    prepared = prepare(RunConfig(modalities=files, recipe=recipe), *read_files(files))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        fit_run(Path(out) / "run", prepared, limit_train_batches=STEPS)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"cpu": time.process_time(), "peak": peak}


def write_shards(work: Path, n: int, width: int, dtype: str) -> Path:
    """Write two folders of shards, unless they are there, in five groups; return their folder."""
    folder = work / f"shards-{n}-{width}-{dtype}"
    if folder.exists():
        return folder
    rng, making = np.random.default_rng(0), work / f"{folder.name}.partial"
    centres, step = rng.normal(0, 2, (2, 5, width)), SHARD_CELLS // width
    for number, first in enumerate(range(0, n, step)):
        rows = min(step, n - first)
        groups = rng.integers(5, size=rows)
        ids = pyarrow.array([f"s{place:09d}" for place in range(first, first + rows)])
        for name, own in zip("ab", centres, strict=True):
            (making / name).mkdir(parents=True, exist_ok=True)
            values = (own[groups] + rng.normal(size=(rows, width))).astype(dtype)
            columns = {f"{name}{j}": values[:, j] for j in range(width)}
            shard = pyarrow.table({"id": ids, **columns})
            pq.write_table(
                shard, making / name / f"part-{number}.parquet", row_group_size=2**22 // width
            )
    return making.rename(folder)


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
