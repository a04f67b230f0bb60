import errno
import json
import shutil
from unittest import mock

import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from cmvae import CMVAE
from cmvae.cli.select import worth_showing
from cmvae.metrics import clustering_scores
from cmvae.runs.folder import read_record
from cmvae.training.module import CMVAEModule
from made_files import LABELS, contents, given, refused, run


def test_scores_are_shown_and_another_number_set(fitted, files, tmp_path):
    status, out, _ = run("select", fitted[0])
    assert status == 0
    assert "3 clusters found (next best: " in out
    evidence = read_record(fitted[0]).evidence
    scores = dict(zip(evidence.numbers, evidence.scores, strict=True))
    for size, mark in ((3, "chosen"), (evidence.runner_up, "next best")):
        (line,) = (line for line in out.splitlines() if mark in line and "█" in line)
        assert f" {size} " in line
        assert f" {scores[size]:.2f} " in line
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
    assert json.loads((changed / "metrics.json").read_text())["evidence"] is None
    samples = pd.read_csv(changed / "clusters.csv", dtype={"id": str})
    assert clustering_scores(LABELS[samples["id"].astype(int)], samples["cluster"])["NMI"] > 0.7
    assert run("select", changed, "--clusters", 1)[0] == 0
    assert "1 cluster\nthe number was given: none compared" in run("select", changed)[1]
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
        refused("the disk is full", "select", changed, "--clusters", 2)
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


def test_of_many_numbers_the_best_and_the_neighbours_are_shown():
    scores = {size: -float(size) for size in range(2, 100)}
    shown = worth_showing(scores, 90)
    assert shown == [*range(2, 22), *range(88, 93)]
    assert worth_showing({2: 0.0, 3: 1.0}, 3) == [2, 3]


def test_another_number_gives_the_groups_that_a_fit_with_it_gives(tmp_path):
    rng = np.random.default_rng(0)
    groups, ids = rng.integers(0, 5, 100), [f"s{i}" for i in range(100)]
    for name, size in (("a", 4), ("b", 6)):
        values = 2 * rng.normal(size=(5, size))[groups] + rng.normal(size=(100, size))
        pd.DataFrame(values, ids).to_csv(tmp_path / f"{name}.csv", index_label="id")
    options = given(a=tmp_path / "a.csv", b=tmp_path / "b.csv")
    options += ["--seed", 3, "--epochs", 20, "--device", "cpu"]
    assert run("fit", *options, "--out", tmp_path / "found")[0] == 0
    assert read_record(tmp_path / "found").n_clusters != 3
    assert run("select", tmp_path / "found", "--clusters", 3)[0] == 0
    assert run("fit", *options, "--clusters", 3, "--out", tmp_path / "given")[0] == 0
    found, known = (read_record(tmp_path / name) for name in ("found", "given"))
    assert adjusted_rand_score(found.samples["cluster"], known.samples["cluster"]) > 0.95
    for ours, theirs in zip(found.latents, known.latents, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
