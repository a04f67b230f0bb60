"""How long one row takes: through the estimator, and as an exported file.

Two runs: a table of 20 numbers, and two tables of numbers, categories, counts and answers. The
sides take turns, fifty calls each, in one process with one thread.
"""

import argparse
import os
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from rows import quiet
from timing import write_record

from cmvae import CMVAEClusterer, export, load_exported

CALLS, ROUNDS = 50, 40
TARGETS = {"estimator, array": 0.4, "estimator, frame": 1.0, "ONNX Runtime": 0.05}
FEW = ("cluster", "probabilities")


def numbers(n=600):
    """Return one table of numbers around three centres."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(n, 20)) + 2 * rng.integers(0, 3, n)[:, None]
    return pd.DataFrame(values, columns=[f"c{i}" for i in range(20)])


def mixed(n=600):
    """Return two tables of columns of all kinds."""
    rng = np.random.default_rng(0)
    group = rng.integers(0, 3, n)
    values = rng.normal(size=(n, 8)) + 2 * group[:, None]
    table = pd.DataFrame(values, columns=[f"c{i}" for i in range(8)])
    table["income"] = np.exp(3 * rng.normal(size=n) + group)
    table["site"] = np.array(["north", "south", "west"])[group]
    table["smokes"] = rng.random(n) < 0.2 + 0.3 * group
    table["visits"] = rng.poisson(5 + 10 * group)
    other = rng.normal(size=(n, 6)) + group[:, None]
    return {"a": table, "b": pd.DataFrame(other, columns=[f"d{i}" for i in range(6)])}


def fitted(tables):
    """Return a clusterer; how good it is does not matter here."""
    return CMVAEClusterer(3, max_epochs=3, device="cpu", random_state=0).fit(tables)


def raw(frame, columns):
    """Return a frame as an exported file takes it."""
    values = np.full((len(frame), len(columns)), np.nan)
    for j, column in enumerate(columns):
        cells = frame[column["name"]]
        if "codes" in column:
            cells = cells.map(dict(zip(column["values"], column["codes"], strict=True)))
        values[:, j] = cells.to_numpy(dtype=float)
    return values


def sides_of(frames, folder):
    """Return what is compared: name to a call with one row, and with a thousand."""
    one = {"x": frames} if isinstance(frames, pd.DataFrame) else frames
    by_frame = fitted(frames)
    by_frame.save(folder / "run")
    sides = {"estimator, frame": lambda rows: by_frame.predict_proba(cut(frames, rows))}
    if isinstance(frames, pd.DataFrame):
        by_array, values = fitted(frames.to_numpy()), frames.to_numpy()
        sides["estimator, array"] = lambda rows: by_array.predict_proba(values[rows])
    for name, file, outputs in (
        ("ONNX Runtime", "few.onnx", FEW),
        ("ONNX Runtime, all outputs", "all.onnx", None),
        ("torch.export", "few.pt2", FEW),
    ):
        exported = load_exported(export(folder / "run", folder / file, outputs=outputs))
        inputs = {
            own["name"]: raw(one[own["name"]], own["columns"]) for own in exported.about["inputs"]
        }
        sides[name] = lambda rows, exported=exported, inputs=inputs: exported.run(
            {key: values[rows] for key, values in inputs.items()}
        )
    return sides


def cut(frames, rows):
    """Return some rows of one frame or of several."""
    if isinstance(frames, pd.DataFrame):
        return frames.iloc[rows]
    return {name: frame.iloc[rows] for name, frame in frames.items()}


def measured(sides, rows, calls, rounds):
    """Return the seconds of each side's calls, sorted; they take turns, so many calls each."""
    seconds = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            for _ in range(calls):
                start = time.perf_counter()
                side(rows)
                seconds[name].append(time.perf_counter() - start)
    return {name: sorted(own) for name, own in seconds.items()}


def main():
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    quiet()
    rows = []
    for name, frames in (("20 numbers", numbers()), ("two mixed tables", mixed())):
        with tempfile.TemporaryDirectory() as folder:
            sides = sides_of(frames, Path(folder))
            one = measured(sides, slice(0, 1), CALLS, rounds)
            many = measured(sides, slice(0, 500), 3, max(1, rounds // 8))
        for side, seconds in one.items():
            target = TARGETS.get(side) if name == "20 numbers" else None
            rows.append(
                {
                    "run": name,
                    "side": side,
                    "one row, ms": 1e3 * statistics.median(seconds),
                    "fastest tenth, ms": 1e3 * seconds[len(seconds) // 10],
                    "target, ms": target,
                    "rows per second, 500 at a time": 500 / statistics.median(many[side]),
                }
            )
    lines = [
        "| run | | one row, p50 | p10 | to reach | 500 rows at a time |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['run']} | {row['side']} | {row['one row, ms']:.3f} ms "
            f"| {row['fastest tenth, ms']:.3f} ms | "
            + ("" if row["target, ms"] is None else f"{row['target, ms']:g} ms")
            + f" | {row['rows per second, 500 at a time']:,.0f} rows/s |"
            for row in rows
        ),
    ]
    versions = {name: version(name) for name in ("onnx", "onnxruntime", "pandas")}
    load = f"{os.getloadavg()[0]:.1f}"  # others on the machine slow what has many small steps
    more = {"load average": load}
    write_record("serving", "python benchmarks/serving.py", rows, lines, more=more, **versions)


if __name__ == "__main__":
    main()
