"""Hostile files and folders, each read in a process of its own."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import hostile_arrays
import hostile_cells
import hostile_diffusion
import hostile_models
import hostile_runs
import hostile_sheets
import hostile_tables
from bounded import watched
from cases import SECRET, Case, command, fault_of
from outcome import Outcome

from cmvae.base.extras import from_extra

PART = "hostile files"
# Imported once, and some of them ask the system for something then.
LIBRARIES = (
    *(("cmvae.cli.fit", ""), ("cmvae.estimator", ""), ("cmvae.runs.fitting", "")),
    *(
        ("anndata.io", "omics"),
        ("openpyxl", "excel"),
        ("diffusers.models.unets.unet_2d", "diffusion"),
    ),
)
PARTS = (
    *(hostile_models, hostile_diffusion, hostile_runs),
    *(hostile_tables, hostile_sheets, hostile_arrays, hostile_cells),
)


def attack(share: float, work: Path, seed: int) -> Iterator[Outcome]:
    """Read hostile files and folders.

    Args:
        share: Which share of them; of each kind one at least.
        work: A folder to work in.
        seed: Chooses them.
    """
    good, closed = work / "good", work / "closed"
    closed.mkdir(parents=True)
    (closed / "secret.txt").write_text(f"{SECRET},1\n" * 20)
    good.mkdir()
    made = watched(lambda: _make_good(good), good, closed, seconds=300)
    if made.status:
        raise RuntimeError(f"the run to be damaged was not made: {made.said[-1000:]}")
    for module, extra in LIBRARIES:
        from_extra(module, extra, "a hostile file")
    for place, case in enumerate(_chosen(_cases(good), share, seed)):
        folder = work / f"{place:03d}"
        folder.mkdir()
        yield Outcome(PART, case.of, case.name, fault_of(case, folder, closed))
        shutil.rmtree(folder)


def _cases(good: Path) -> list[Case]:
    return [case for part in PARTS for case in part.cases(good)]


def _chosen(cases: list[Case], share: float, seed: int) -> list[Case]:
    """Return a share of the cases, drawn from each kind."""
    kinds: dict[str, list[Case]] = {}
    for case in cases:
        kinds.setdefault(case.of, []).append(case)
    draw = random.Random(seed)
    return [
        case
        for own in kinds.values()
        for case in draw.sample(own, min(len(own), max(1, round(share * len(own)))))
    ]


def _make_good(folder: Path) -> None:
    """Write three files, and a run of them."""
    import numpy as np
    import pandas as pd
    from PIL import Image

    files, n = folder / "files", 48
    files.mkdir()
    draw = np.random.default_rng(0)
    kind = np.arange(n) % 3
    ids = [f"s{i}" for i in range(n)]
    table = pd.DataFrame(
        {
            "x": 6 * kind + draw.normal(size=n),
            "y": draw.normal(size=n),
            "count": draw.poisson(4 + 20 * (kind == 1)),
            "colour": np.array(["red", "blue", "green"])[kind],
            "day": pd.date_range("2020-01-01", periods=n).astype(str),
        },
        index=pd.Index(ids, name="id"),
    )
    table.to_csv(files / "a.csv")
    words = np.array(["cold rain falls", "hot sun shines", "wind blows hard"])[kind]
    notes = [f"{own} {'today' if i % 2 else 'again'}" for i, own in enumerate(words)]
    pd.DataFrame({"note": notes}, index=table.index).to_csv(files / "t.csv")
    (files / "i").mkdir()
    for name, own in zip(ids, kind, strict=True):
        pixels = draw.integers(0, 60, (8, 8, 3), dtype=np.uint8)
        pixels[..., own] += 180
        Image.fromarray(pixels).save(files / "i" / f"{name}.png")
    named = [
        f"{name}={path}"
        for name, path in (("a", files / "a.csv"), ("i", files / "i"), ("t", files / "t.csv"))
    ]
    given = [text for own in named for text in ("--modality", own)]
    options = ("--epochs", 1, "--device", "cpu")
    command("fit", *given, "--kind", "t.note=text", "--out", folder / "run", *options)
    from cmvae import CMVAEClusterer

    names = ["x", "y", "colour"]
    CMVAEClusterer(2, max_epochs=1, random_state=0).fit(table[names]).save(folder / "saved")
    hostile_diffusion.write_good(folder / "run" / "model", folder / "diffusion")
