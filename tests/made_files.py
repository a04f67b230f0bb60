"""Made-up files of three groups, and the command line run in this process."""

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import numpy as np
import pandas as pd
from PIL import Image

from cmvae.cli import main

N = 60
IDS = [f"{i:03d}" for i in range(N)]
LABELS = np.arange(N) % 3


def run(*arguments):
    """Run the command line; return exit status, what was printed, and what of it as an error."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["cmvae", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code
    return status, out.getvalue(), err.getvalue()


def refused(message, *arguments, status=2):
    """Run, and check that the error is one line with the message; return the line."""
    found, _, err = run(*arguments)
    assert found == status, err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert message in lines[0], lines[0]
    return lines[0]


def given(option="--modality", **paths):
    """Return the options that name files of modalities."""
    return [text for name, path in paths.items() for text in (option, f"{name}={path}")]


def table_a():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": IDS,
            "x": 6 * (LABELS == 0) + rng.normal(size=N),
            "y": 100 + 60 * (LABELS == 1) + 10 * rng.normal(size=N),
            "colour": np.array(["red", "blue", "green"])[LABELS],
            "smokes": rng.integers(0, 2, N),
        }
    )


def table_b():
    rng = np.random.default_rng(1)
    means = np.where(LABELS[:, None] == np.arange(2), 60, 4)
    return pd.DataFrame(rng.poisson(means), columns=["p", "q"], index=pd.Index(IDS, name="cell"))


def write_images(folder, ids=IDS, size=(10, 12)):
    folder.mkdir()
    rng = np.random.default_rng(2)
    for name in ids:
        pixels = rng.integers(0, 60, (*size, 3), dtype=np.uint8)
        pixels[..., int(name) % 3] += 180
        Image.fromarray(pixels).save(folder / f"{name}.png")


def write_files(folder):
    """Write a.csv without 10 samples, b.parquet without 5, img without some, and labels.csv."""
    table_a().iloc[:50].to_csv(folder / "a.csv", index=False)
    table_b().iloc[5:].sample(frac=1, random_state=0).to_parquet(folder / "b.parquet")
    write_images(folder / "img", [name for name in IDS if int(name) % 7])
    pd.DataFrame({"id": IDS, "label": LABELS, "other": "x"}).to_csv(
        folder / "labels.csv", index=False
    )
    return folder


def names(folder):
    """Return everything in a folder, at any depth."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def contents(folder):
    """Return the files of a folder and what they hold."""
    return {
        name: (folder / name).read_bytes() for name in names(folder) if (folder / name).is_file()
    }


def elsewhere(act, *arguments, **keywords):
    """Call a function in a thread of its own, as another process would, and return what it does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(act, *arguments, **keywords).result()
