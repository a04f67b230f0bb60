"""Steps counted from the data: `python benchmarks/steps.py` fits many rows in two ways.

Two tables of 40 columns each, in ten groups; 4000 further rows are held out. `before` takes batches
of 128, ten epochs and a constant learning rate, as small tables do; `by the data` is what
`CMVAEClusterer` does where nothing is given. Each fit is a process of its own with one thread, both
at the same time; CPU seconds are those of `fit` alone, of the clusters' start too.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
from rows import quiet
from sklearn.metrics import adjusted_rand_score
from timing import table, write_record

GROUPS, FACTORS, PRIVATE, COLUMNS, HELD_OUT = 10, 6, 4, 40, 4000
SIDES = {
    "before": {"batch_size": 128, "max_epochs": 10, "learning_rate": 1e-3},
    "by the data": {},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="of both ways")
    parser.add_argument("--many", type=int, default=1_000_000, help="of the second alone")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.rows, arguments.one)))
        return
    begun = [started(arguments.rows, side) for side in SIDES]
    rows = [result(process) for process in begun]
    rows.append(result(started(arguments.many, "by the data")))
    columns = ["rows", "steps", "CPU s", "peak MiB", "held-out bound", "ARI"]
    lines = table(rows, columns)
    write_record("scale-steps", "python benchmarks/steps.py", rows, lines)


def started(n: int, side: str) -> subprocess.Popen:
    """Start a fit in a process of its own."""
    own = [sys.executable, __file__, "--rows", str(n), "--one", side]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(own, env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen) -> dict:
    """Return what a fit found, once it has ended."""
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    return json.loads(text.splitlines()[-1])


def one(n: int, side: str) -> dict:
    """Fit, and score what was held out; labels score alone."""
    from cmvae import CMVAEClusterer

    quiet()
    seen, _ = make(n, 1)
    held, groups = make(HELD_OUT, 2)
    clusterer = CMVAEClusterer(GROUPS, device="cpu", random_state=0, **SIDES[side])
    start = time.process_time()
    clusterer.fit(seen)
    found = {"rows": n, "steps": side, "CPU s": time.process_time() - start}
    found["peak MiB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found["held-out bound"] = clusterer.score(held)
    found["ARI"] = adjusted_rand_score(groups, clusterer.predict(held))
    print(found, file=sys.stderr, flush=True)
    return found


def make(n: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return rows of both tables, of factors that they share and own ones, and their groups."""
    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(GROUPS, FACTORS))
    loadings = rng.normal(size=(2, FACTORS + PRIVATE, COLUMNS)) / 2
    rng = np.random.default_rng(seed)
    groups = rng.integers(GROUPS, size=n)
    shared = (centres[groups] + rng.normal(size=(n, FACTORS))).astype(np.float32)
    tables = {}
    for name, (common, own) in zip(
        "ab", (np.split(one, [FACTORS]) for one in loadings), strict=True
    ):
        private = rng.normal(size=(n, PRIVATE)) @ own
        noise = rng.normal(size=(n, COLUMNS))
        tables[name] = 2 * np.tanh(shared @ common) + 0.5 * private + 0.5 * noise
    return tables, groups


if __name__ == "__main__":
    main()
