"""Whether two processes find the clusters of one, with the same samples in every step.

    python benchmarks/devices.py [--work FOLDER]

Handwritten digits in six views, ten clusters asked for, three seeds. Each fit is a script of its
own, which the estimator starts again in the second process. What is in the folder already is not
fitted anew. Digits score the labels and do nothing else.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score
from timing import write_record

from cmvae import CMVAEClusterer
from cmvae.datasets import load_mfeat

SEEDS, TARGET = (0, 1, 2), 0.98


def fit(devices, seed, path):
    """Fit in so many processes, and write the labels from the first one."""
    tables, _ = load_mfeat()
    found = CMVAEClusterer(10, device="cpu", devices=devices, random_state=seed).fit(tables)
    if os.environ.get("LOCAL_RANK", "0") == "0":
        np.save(path, found.labels_)


def labels_of(devices, seed, folder):
    """Return the labels of a fit, which is done unless they are in the folder."""
    path = folder / f"labels-{devices}-{seed}.npy"
    if not path.exists():
        command = [sys.executable, __file__, "--fit", devices, seed, path]
        subprocess.run([str(word) for word in command], check=True)
    return np.load(path)


def measure(folder):
    """Return a row for each seed."""
    _, digits = load_mfeat()
    rows = []
    for seed in SEEDS:
        one, two = (labels_of(devices, seed, folder) for devices in (1, 2))
        scores = {
            "two against one": adjusted_rand_score(one, two),
            "one against digits": adjusted_rand_score(digits, one),
            "two against digits": adjusted_rand_score(digits, two),
        }
        rows.append({"seed": seed, **{name: round(own, 4) for name, own in scores.items()}})
    return rows


def table(rows):
    """Return the Markdown: seeds, then their medians."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    lines += ["| " + " | ".join(f"{row[name]}" for name in names) + " |" for row in rows]
    medians = [f"{statistics.median(row[name] for row in rows):.4f}" for name in names[1:]]
    lines.append(f"| median | {' | '.join(medians)} |")
    lines += ["", f"Adjusted Rand indices; two against one is to reach {TARGET}."]
    return lines


def main():
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, help="Folder of the labels, kept.")
    parser.add_argument("--fit", nargs=3, metavar=("DEVICES", "SEED", "PATH"))
    chosen = parser.parse_args()
    if chosen.fit:
        devices, seed, path = chosen.fit
        fit(int(devices), int(seed), path)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.work or Path(scratch)
        folder.mkdir(exist_ok=True)
        rows = measure(folder)
    write_record("devices", "python benchmarks/devices.py", rows, table(rows))


if __name__ == "__main__":
    main()
