"""The benchmark of CUBICC, on a small made-up folder of the published layout."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "cubicc.py"
N = 60


def run(*arguments, cwd):
    """Run the command in a process of its own."""
    command = [sys.executable, str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures of three colours, of 16 pixels a side, and five words of which one names it."""
    monkeypatch.setenv("CMVAE_CACHE", str(tmp_path / "cache"))
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(N) % 3
    images = 0.3 * torch.rand(N, 3, 16, 16, generator=generator)
    images[torch.arange(N), labels] += 0.6
    captions = torch.randint(3, 9, (N, 5), generator=generator)
    captions[:, 2] = labels
    folder = tmp_path / "published"
    folder.mkdir()
    for name, tensor in {"images": images, "captions": captions, "labels": labels}.items():
        torch.save(tensor, folder / f"{name}.pt")
    for split, rows in {
        "train": range(36),
        "validation": range(36, 42),
        "test": range(42, N),
    }.items():
        np.save(folder / f"{split}_split.npy", np.array(rows))
    return folder


@pytest.mark.parametrize(("way", "epochs"), [("paper", 1), ("ours", 31)])
def test_both_ways_train_score_and_write_a_record(folder, tmp_path, way, epochs):
    options = ["--way", way, "--epochs", epochs, "--seeds", 0, "--out", "records"]
    done = run("--data", folder, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    name = "cubicc" if way == "paper" else "cubicc-ours"
    (row,) = json.loads((tmp_path / "records" / f"{name}.json").read_text())["rows"]
    assert 1 <= row["clusters"] <= 35
    for measure in ("ACC image+caption", "ARI caption", "caption → image", "real images (ceiling)"):
        assert -1 <= row[measure] <= 1
    model = json.loads(
        (tmp_path / "runs" / "cubicc" / way / "seed-0" / "model" / "config.json").read_text()
    )
    assert model["input_dims"] == {"image": [3, 16, 16], "caption": [5, 9]}
    assert (model["K"], model["latent_dim"], model["number_of_clusters"])[1:] == (64, 35)
    if way == "paper":
        assert model["rescale_factors"] == {"image": 5 / 768, "caption": 5.0}
        assert model["dreg_estimator"] == "published"


def test_a_folder_without_the_files_is_refused_in_a_line(tmp_path):
    done = run("--data", tmp_path / "none", cwd=tmp_path)
    assert done.returncode == 1
    assert "labels.pt: the file does not exist" in done.stderr
    assert "Traceback" not in done.stderr
