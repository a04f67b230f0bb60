"""Every page of the documentation does what it says."""

import sys
from pathlib import Path

import pytest

from pages import INSTALLATION, read_blocks, run_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
# What would take long is trained for less; tests/cli runs the demonstration itself.
FEW = r"CMVAEClusterer\(random_state=0\)"
SHORTENED = {
    "index.md": {
        r"```bash\ncmvae demo\n": "```bash\ncmvae demo --help\n",
        FEW: "CMVAEClusterer(3, max_epochs=1, random_state=0)",
    },
    "tutorial.md": {
        r"csv --out runs/wines\n": "csv --clusters 3 --epochs 4 --out runs/wines\n",
        FEW: "CMVAEClusterer(3, max_epochs=4, random_state=0)",
    },
    "tables.md": {
        r"parquet --out runs/patients": "parquet --epochs 10 --out runs/patients",
        FEW: "CMVAEClusterer(max_epochs=10, random_state=0)",
    },
    "single-cell.md": {
        "max_epochs=70": "max_epochs=36",
        "warmup_epochs=60": "warmup_epochs=30",
        "--epochs 30 --out runs/cells": "--clusters 3 --epochs 4 --out runs/cells",
    },
    "number-of-clusters.md": {
        r"--epochs 8 --out runs/found": "--epochs 4 --out runs/found",
        r"--epochs 8 --clusters 5": "--epochs 2 --clusters 5",
    },
    "devices.md": {"--epochs 5 --devices": "--epochs 2 --devices"},
    "images.md": {
        "--epochs 10 --out": "--epochs 2 --out",
        "max_epochs=12,\n    warmup_epochs=8": "max_epochs=4,\n    warmup_epochs=2",
        r"GenerationGrid\(6": "GenerationGrid(2",
        r"max_epochs=12,\n    alignment_epochs=\(3": "max_epochs=7,\n    alignment_epochs=(2",
    },
    "cells-to-figures.md": {"batch --out": "batch --clusters 3 --epochs 2 --out"},
    "covariates.md": {
        r"CMVAEClusterer\(max_epochs=20": "CMVAEClusterer(3, max_epochs=12",
        "--epochs 20": "--clusters 3 --epochs 2",
    },
    "scikit-learn.md": {
        r"max_epochs=5": "max_epochs=1, start='gmm'",
        r"max_epochs=3": "max_epochs=1, start='gmm'",
        r"max_epochs=2(?=.*set_fit_request)": "max_epochs=1, start='gmm'",
        r"max_epochs=2(?=.*set_callbacks)": "max_epochs=1, start='gmm'",
    },
    "model.md": {r"max_epochs=\d+, warmup_epochs=\d+": "max_epochs=2, warmup_epochs=1"},
}
NEEDED = {
    "serving.md": ("onnx", "onnxscript", "onnxruntime", "fastapi", "httpx2"),
    "scanpy.md": ("scanpy", "igraph", "muon"),
}


@pytest.fixture
def _own_modules():
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("multivae", "service")]:
        del sys.modules[name]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_own_modules")
@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs(page, tmp_path, monkeypatch):
    for package in NEEDED.get(page, ()):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    run_page(DOCS / page, SHORTENED.get(page))


def test_only_installations_are_left_out():
    allowed = (
        "make ",
        "#",
        "uvicorn ",
        "pip install ",
        ".venv/bin/pip install ",
        "source .venv/bin/activate",
        "python3 -m venv .venv",
    )
    for page in PAGES:
        for block in read_blocks((DOCS / page).read_text(encoding="utf-8")):
            if block.title == INSTALLATION:
                for line in filter(None, block.code.splitlines()):
                    assert line.startswith(allowed), (page, line)
