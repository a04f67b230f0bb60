import errno
import json
import shutil
from unittest import mock

import pandas as pd

from cmvae import CMVAE
from cmvae.metrics import clustering_scores
from cmvae.training.module import CMVAEModule
from made_files import LABELS, contents, refused, run


def test_the_curve_is_shown_and_another_number_set(fitted, files, tmp_path):
    status, out, _ = run("select", fitted[0])
    assert status == 0
    values = json.loads((fitted[0] / "metrics.json").read_text())["h_values"]
    for size in (2, 3):
        assert any(
            f"{values[size]:.4f}" in line and f" {size} " in line for line in out.splitlines()
        )
    assert "the run's" in next(line for line in out.splitlines() if f"{values[3]:.4f}" in line)
    changed = tmp_path / "run"
    shutil.copytree(fitted[0], changed)
    for name in ("report.html", "notes.txt"):
        (changed / name).write_text("before")
    status, out, err = run("select", changed, "--clusters", 5)
    assert status == 0, err
    assert "5 clusters" in out
    assert f"{changed / 'report.html'} showed the clusters before and was removed" in out
    assert not (changed / "report.html").exists()
    assert (changed / "notes.txt").read_text() == "before"
    assert CMVAE.from_pretrained(changed / "model").n_clusters == 5
    assert len(pd.read_csv(changed / "log.csv")) == 16
    assert len(json.loads((changed / "metrics.json").read_text())["h_values"]) == 6
    samples = pd.read_csv(changed / "clusters.csv", dtype={"id": str})
    assert clustering_scores(LABELS[samples["id"].astype(int)], samples["cluster"])["NMI"] > 0.7
    assert run("select", changed, "--clusters", 1)[0] == 0
    assert "a curve needs at least two clusters" in run("select", changed)[1]
    before = contents(tmp_path)
    refused(
        "n_clusters = 61 clusters cannot be found in n_samples = 60",
        "select",
        changed,
        "--clusters",
        61,
    )
    with mock.patch(
        "cmvae.models.pretrained.save_model",
        side_effect=OSError(errno.ENOSPC, "No space left on device"),
    ):
        refused("No space left on device", "select", changed, "--clusters", 2)
    assert {
        name: value for name, value in contents(tmp_path).items() if name.startswith("run/")
    } == before


def test_an_interrupted_change_leaves_the_run_as_it_was(fitted, tmp_path):
    shutil.copytree(fitted[0], tmp_path / "run")
    before = contents(tmp_path / "run")
    own = CMVAEModule.on_train_epoch_end

    def stop(module):
        own(module)
        if module.current_epoch == 1:
            raise KeyboardInterrupt

    with mock.patch.object(CMVAEModule, "on_train_epoch_end", stop):
        status, _, err = run("select", tmp_path / "run", "--clusters", 4)
    assert status == 130
    assert "Interrupted: the run is as it was; the last checkpoint is in" in err
    assert contents(tmp_path / "run") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.partial"]
    shutil.copytree(tmp_path, tmp_path / "resumed")
    status, out, err = run("select", tmp_path / "run", "--clusters", 4)
    assert status == 0, err
    assert "4 clusters" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resumed", "run"]
    status, out, err = run("fit", "--resume", "--out", tmp_path / "resumed" / "run")
    assert status == 0, err
    assert contents(tmp_path / "resumed" / "run") == contents(tmp_path / "run")
