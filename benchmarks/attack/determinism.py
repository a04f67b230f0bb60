"""The same seed twice: to the bit on as many threads, the same labels on others."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from outcome import Outcome

import cmvae

PART = "determinism"
TABLES = ("two tables", "a NaN in ten", "counts and categories", "mfeat")
SEEDS = 2
SCRIPT = """
import hashlib, json, logging, sys, warnings
warnings.simplefilter("ignore")
logging.disable(logging.ERROR)
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(int(sys.argv[2]))
from determinism import table
from cmvae import CMVAEClusterer
found = {}
for name in json.loads(sys.argv[4]):
    many = 10 if name == "mfeat" else 3
    own = CMVAEClusterer(many, random_state=int(sys.argv[3]), max_epochs=12, device="cpu")
    own.fit(table(name))
    state = own.model_.state_dict().values()
    bits = b"".join(x.cpu().numpy().tobytes() for x in state)
    found[name] = [hashlib.sha256(bits).hexdigest(), own.labels_.tolist()]
print(json.dumps(found))
"""


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Fit each table in two processes of one thread and in one of two threads."""
    for turn in range(max(1, round(share * SEEDS))):
        with ThreadPoolExecutor(2) as pool:
            one, again = pool.map(_fitted, [work] * 2, [1] * 2, [seed + turn] * 2)
        two = _fitted(work, 2, seed + turn)
        for name in TABLES:
            case = f"{name}, seed {seed + turn}"
            bits = "" if one[name][0] == again[name][0] else "other weights"
            yield Outcome(PART, "the same threads", case, bits)
            labels = "" if one[name][1] == two[name][1] else "other labels"
            yield Outcome(PART, "one thread and two", case, labels)


def table(name: str, n: int = 120) -> Any:
    """Return one of the tables, of three clusters; every fifth row of mfeat has ten."""
    import numpy as np
    import pandas as pd

    from cmvae.datasets import load_mfeat

    if name == "mfeat":
        return {modality: own[::5] for modality, own in load_mfeat()[0].items()}
    generator, cluster = np.random.default_rng(5), np.arange(n) % 3
    tables = {
        m: generator.normal(0, 3, (3, d))[cluster] + generator.normal(size=(n, d))
        for m, d in (("a", 6), ("b", 9))
    }
    if name == "a NaN in ten":
        tables["a"][generator.random(tables["a"].shape) < 0.1] = np.nan
        tables["b"][::7] = np.nan
    if name == "counts and categories":
        counts = generator.poisson(np.array([[2, 9, 30], [12, 3, 8], [40, 40, 1]])[cluster])
        frame = pd.DataFrame(counts, columns=list("pqr"))
        letters = np.array(list("uvw"))[(cluster + (generator.random(n) < 0.1)) % 3]
        return {"a": frame.assign(letter=letters), "b": pd.DataFrame(tables["b"])}
    return tables


def _fitted(work: Path, threads: int, seed: int) -> dict[str, Any]:
    """Return hash of the weights and labels of every table, by a process of its own."""
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", SCRIPT, here, str(threads), str(seed), json.dumps(TABLES)]
    # Threads that wait for each other do so asleep: other processes may want the cores.
    passive = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
    package = str(Path(cmvae.__file__).parents[1])
    environment = {**os.environ, **passive, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": package}
    found = subprocess.run(
        command, cwd=work, env=environment, check=True, capture_output=True, text=True
    )
    return dict(json.loads(found.stdout))
