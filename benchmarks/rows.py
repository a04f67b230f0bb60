"""Rows of results that a benchmark can be cut off between, and how they are made and shown."""

import json
import logging
import subprocess
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

import cmvae
from cmvae.base.files import atomic_write
from cmvae.metrics import clustering_scores

SCORES = ("ACC", "NMI", "ARI")


def quiet():
    """Make a process use one thread and tell nothing."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")


def scored(labels, clusters):
    """Return ACC, NMI and ARI in %."""
    return {name: 100 * value for name, value in clustering_scores(labels, clusters).items()}


def timed(labels, method, *arguments):
    """Return the scores of the groups that a method finds, their number, and its seconds."""
    start = time.perf_counter()
    found = np.asarray(method(*arguments))
    seconds = time.perf_counter() - start
    return {**scored(labels, found), "clusters": len(np.unique(found)), "seconds": seconds}


def source_state():
    """Return version and commit of the package, of the commit also whether it was changed."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return {"cmvae": cmvae.__version__, "commit": done.stdout.strip() or "unknown"}


class Rows:
    """Finished rows in a JSON-lines file, each appended as soon as it is known.

    A row is known by its table, method and seed.
    """

    def __init__(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        self.path, self.known = folder / "rows.jsonl", {}
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        *lines, cut_off = text.split("\n")
        for row in map(json.loads, lines):
            self.known[self.key(row)] = row
        if cut_off:
            self.forget(())

    @staticmethod
    def key(row):
        return row["table"], row["method"], row["seed"]

    def add(self, row):
        """Append a row."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.known[self.key(row)] = row

    def forget(self, keys):
        """Remove rows."""
        self.known = {key: row for key, row in self.known.items() if key not in keys}
        with atomic_write(self.path) as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in self.known.values()))


def grouped(rows, *names):
    """Return values of these names → the rows that have them, in the order of first appearance."""
    groups = defaultdict(list)
    for row in rows:
        groups[tuple(row[name] for name in names)].append(row)
    return dict(groups)


def middle(rows, name="ACC"):
    """Return the median of a score over rows, NaN where there are none."""
    return float(np.median([row[name] for row in rows])) if rows else np.nan


def spread_of(rows, name="ACC"):
    """Return the least and the most of a score."""
    values = [row[name] for row in rows]
    return min(values), max(values)


def medians(rows, place, shown=str):
    """Return Markdown lines: medians over seeds, ACC's spread, the numbers of clusters, seconds."""
    lines = [
        "| data | method | ACC | (least–most) | NMI | ARI | clusters | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (where, method), found in grouped(rows, place, "method").items():
        acc, nmi, ari = (f"{middle(found, name):.2f}" for name in SCORES)
        low, high = spread_of(found)
        counts = " ".join(str(row["clusters"]) for row in found if "clusters" in row)
        seconds = [row for row in found if "seconds" in row]
        took = f"{middle(seconds, 'seconds'):.3g}" if seconds else ""
        lines.append(
            f"| {shown(where)} | {method} | {acc} | {low:.2f}–{high:.2f} | {nmi} | {ari} | "
            f"{counts} | {took} |"
        )
    return lines
