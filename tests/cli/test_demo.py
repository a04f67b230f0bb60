import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import cmvae
from cmvae.base.files import sole_writer
from made_files import refused

COMMAND = [sys.executable, "-c", "from cmvae.cli import main; main()"]
ENVIRONMENT = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def run(*arguments, cwd):
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    result = run(
        "demo",
        "--out",
        "run",
        "--epochs",
        "5",
        "--warmup-epochs",
        "3",
        "--clusters",
        "10",
        cwd=folder,
    )
    assert result.returncode == 0, result.stderr
    return folder / "run", result


def test_demo_prints_clusters_found_and_both_tables(demo):
    _, result = demo
    assert re.search(r"\d+ clusters found", result.stdout)
    for word in (
        "CMVAE",
        "k-means, 10 given",
        "Gaussian mixture, 10 given",
        "ACC",
        "NMI",
        "ARI",
        "(real images)",
    ):
        assert word in result.stdout
    assert result.stderr == ""


def test_demo_writes_model_predictions_figures(demo):
    folder, _ = demo
    for name in ("embedding", "selection", "translations"):
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2000
    assert set(rows[0]) == {"sample", "cluster", "probability", "modalities", "digit"}
    incomplete = sum(row["modalities"] != "fac+fou+kar+mor+pix+zer" for row in rows)
    assert incomplete == 600
    assert all(0 < float(row["probability"]) <= 1 for row in rows)
    with np.load(folder / "generated.npz") as generated:
        assert generated["pix_from_fac"].shape == (10, 240)
        assert generated["mor_from_pix"].shape == (10, 6)
        assert list(generated["digits"]) == list(range(10))


def test_demo_metrics_agree_with_what_is_saved(demo):
    from cmvae import CMVAE
    from cmvae.datasets import mfeat
    from cmvae.metrics import clustering_scores

    folder, result = demo
    metrics = json.loads((folder / "metrics.json").read_text())
    data = mfeat(0.3, 0)
    model = CMVAE.from_pretrained(folder / "model")
    found = model.predict_clusters(data).clusters
    assert clustering_scores(data.labels, found) == pytest.approx(metrics["scores"]["CMVAE"])
    assert model.n_clusters == metrics["n_clusters"]
    sizes = found.bincount(minlength=model.n_clusters)
    assert sizes.tolist() == sorted(sizes.tolist(), reverse=True)
    assert f"{metrics['n_clusters']} clusters found" in result.stdout
    assert metrics["shares"]["fac"] > 0.3


def test_results_are_kept_unless_asked(demo):
    folder, _ = demo
    before = (folder / "metrics.json").read_bytes()
    result = run("demo", "--out", "run", cwd=folder.parent)
    assert result.returncode == 1
    assert (
        result.stderr.strip()
        == "Error: --out: run holds the results of a run; pass --overwrite to replace them"
    )
    assert (folder / "metrics.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["demo", "--out", "file.txt"], 1, "Error: --out must be a folder, got the file file.txt"),
        (["demo", "--resume", "--out", "none"], 1, "holds no run to go on with"),
        (["demo", "--resume", "--overwrite"], 1, "exclude each other"),
        (
            ["demo", "--epochs", "3", "--warmup-epochs", "3", "--out", "new"],
            1,
            "--warmup-epochs must be less than --epochs",
        ),
        (["demo", "--missing-rate", "1.5"], 2, "Invalid value for '--missing-rate'"),
        (["demo", "--clusters", "1"], 2, "Invalid value for '--clusters'"),
        (["demo", "--no-such-option"], 2, "--no-such-option"),
        (["dance"], 2, "dance"),
        (["demo", "--device", "abacus", "--out", "new2"], 1, "abacus"),
    ],
)
def test_bad_input_is_told_in_one_line(tmp_path, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    refused(message, *arguments, status=status)


def test_bad_input_is_told_without_a_traceback(tmp_path):
    result = run("demo", "--resume", "--out", "none", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr + result.stdout
    assert len(result.stderr.strip().splitlines()) == 1


def test_interrupted_demo_says_what_it_leaves_and_can_be_resumed(tmp_path):
    options = ["demo", "--out", "run", "--epochs", "3", "--warmup-epochs", "2", "--clusters", "10"]
    process = subprocess.Popen(
        [*COMMAND, *options],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs inherit that the signal is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    deadline = time.monotonic() + 1800
    while not best.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=1800)
    assert process.returncode == 130
    assert "Interrupted: the last checkpoint is in run/checkpoints; go on with" in stderr
    assert "Traceback" not in stderr
    resumed = run("demo", "--out", "run", "--resume", cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "clusters found" in resumed.stdout


def test_a_run_that_never_started_does_not_take_the_folder(tmp_path):
    assert run("demo", "--out", "run", "--device", "abacus", cwd=tmp_path).returncode == 1
    result = run("demo", "--out", "run", "--device", "abacus", cwd=tmp_path)
    assert "pass --overwrite" not in result.stderr
    assert "abacus" in result.stderr


@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_files_that_are_of_no_demo_stay(tmp_path, options):
    mine = tmp_path / "mine"
    (mine / "model").mkdir(parents=True)
    for name in ("settings.json", "predictions.csv", "model/config.json"):
        (mine / name).write_text("mine")
    result = run("demo", "--out", "mine", "--device", "abacus", *options, cwd=tmp_path)
    assert "settings.json, predictions.csv, model, which are of no demo" in result.stderr
    assert (mine / "settings.json").read_text() == "mine"


def test_one_demo_writes_a_folder(tmp_path):
    with sole_writer(tmp_path / "run"):
        result = run("demo", "--out", "run", "--device", "abacus", cwd=tmp_path)
    assert "another process is writing to" in result.stderr
    assert not (tmp_path / "run").exists()


def test_damaged_runs_are_told_in_one_line(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / "checkpoints" / "last.ckpt").write_bytes(b"")
    (tmp_path / "run" / "settings.json").write_text('{"sed": 1}')
    result = run("demo", "--out", "run", "--resume", cwd=tmp_path)
    assert "settings.json: not the settings of a demo" in result.stderr
    (tmp_path / "run" / "settings.json").write_text("{}")
    checkpoints = tmp_path / "run" / "checkpoints"
    (checkpoints / "last.ckpt").rename(checkpoints / "before-last.ckpt")
    result = run("demo", "--out", "run", "--device", "cpu", cwd=tmp_path)
    assert "run holds the results of a run" in result.stderr
    (checkpoints / "before-last.ckpt").rename(checkpoints / "last.ckpt")
    result = run("demo", "--out", "run", "--resume", cwd=tmp_path)
    assert "last.ckpt is no checkpoint, or damaged" in result.stderr
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1


def test_help_explains_every_option():
    result = run("demo", "--help", cwd=".")
    for option in (
        "--out",
        "--seed",
        "--missing-rate",
        "--clusters",
        "--epochs",
        "--warmup-epochs",
        "--device",
    ):
        assert option in result.stdout
    assert "Example" in result.stdout
    assert run("--version", cwd=".").stdout.startswith(f"cmvae {cmvae.__version__}")
