import errno
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from sklearn.metrics import adjusted_rand_score

from cmvae import CMVAE, CMVAEClusterer
from cmvae.cli.fit import how_many, show_clusters
from cmvae.clusters.evidence import NumberEvidence
from cmvae.runs.folder import read_run
from cmvae.training.module import CMVAEModule
from cmvae.training.recipe import Recipe
from made_files import (
    IDS,
    LABELS,
    N,
    contents,
    given,
    names,
    refused,
    run,
    table_a,
    table_b,
    write_images,
)

QUICK = ["--epochs", 2, "--device", "cpu"]


def weights(folder):
    return load_file(folder / "model" / "model.safetensors")


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_the_overlap_is_shown_and_kept(fitted):
    folder, out = fitted
    join = json.loads((folder / "metrics.json").read_text())["join"]
    assert out.startswith("Joined on ids: in all 3 38; b and img 9; a and b 7; a and img 4; only")
    overlap = {"+".join(own["modalities"]): own["samples"] for own in join["overlap"]}
    samples = pd.read_csv(folder / "clusters.csv")
    assert overlap == samples["modalities"].value_counts().to_dict()
    assert join["remarks"] == []


def test_groups_are_found_and_the_summary_says_what_was_read(fitted):
    folder, out = fitted
    for words in (
        "2 continuous: x, y; 1 binary: smokes; 1 category: colour",
        "2 count: p, q",
        "10 × 12 pixels",
    ):
        assert words in out
    assert re.search(r"\n3 clusters found \(next best: \d+; the same in \d+ % of subsets\)\n", out)
    assert "1.00, stable" in out
    samples = pd.read_csv(folder / "clusters.csv", dtype={"id": str})
    assert list(samples) == ["id", "cluster", "probability", "modalities"]
    assert samples["id"].tolist()[:50] == IDS[:50]
    assert sorted(samples["id"]) == IDS
    assert adjusted_rand_score(LABELS[samples["id"].astype(int)], samples["cluster"]) > 0.9
    patterns = dict(zip(samples["id"], samples["modalities"], strict=True))
    assert (patterns["000"], patterns["001"], patterns["007"], patterns["055"]) == (
        "a",
        "a+img",
        "a+b",
        "b+img",
    )


def test_the_run_folder_holds_what_repeats_it(fitted):
    folder, _ = fitted
    assert names(folder) == sorted(
        [
            "config.yaml",
            "preprocessing.json",
            "metrics.json",
            "clusters.csv",
            "log.csv",
            "versions.json",
            "manifest.json",
            "fit.json",
            "start.safetensors",
            "model",
            "model/config.json",
            "model/model.safetensors",
        ]
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["n_clusters"] == CMVAE.from_pretrained(folder / "model").n_clusters == 3
    assert sum(metrics["sizes"]) == metrics["n_samples"] == N
    assert metrics["observed"] == {"a": 50, "b": 55, "img": 51}
    assert metrics["evidence"]["chosen"] == 3
    assert len(metrics["stability"]) == 3
    assert min(metrics["stability"]) > 0.75
    assert metrics["epochs"] == {"warm-up": 12, "clusters": 2}
    log = pd.read_csv(folder / "log.csv")
    assert log["phase"].tolist() == ["warm-up"] * 12 + ["clusters"] * 2
    assert log["train/loss"].iloc[-1] == metrics["loss"]
    assert {"python", "cmvae", "torch"} <= set(json.loads((folder / "versions.json").read_text()))


def test_config_repeats_the_run(fitted, tmp_path):
    folder, _ = fitted
    status, _, err = run("fit", "--config", folder / "config.yaml", "--out", tmp_path / "again")
    assert status == 0, err
    assert contents(tmp_path / "again") == contents(folder)


def test_arrays_get_the_labels_that_the_estimator_gives_them(tmp_path):
    rng = np.random.default_rng(0)
    groups = 60 * (np.arange(40) % 2)[:, None]
    tables = {name: groups + rng.integers(0, 40, (40, 3)) for name in "ab"}
    np.savez(tmp_path / "both.npz", **tables)
    estimator = CMVAEClusterer(2, max_epochs=2, device="cpu", random_state=7).fit(tables)
    options = ["--data", tmp_path / "both.npz", "--clusters", 2, "--seed", 7]
    assert run("fit", *options, "--out", tmp_path / "run", *QUICK)[0] == 0
    assert_same_weights(weights(tmp_path / "run"), estimator.model_.state_dict())
    found = pd.read_csv(tmp_path / "run" / "clusters.csv")["cluster"]
    assert found.tolist() == estimator.labels_.tolist()
    assert found.nunique() == 2
    assert CMVAE.from_pretrained(tmp_path / "run" / "model").model_config.decoders_dist == {
        "a": "normal",
        "b": "normal",
    }


def test_tables_get_the_labels_that_the_estimator_gives_them(files, tmp_path):
    table_b().iloc[3:].to_csv(tmp_path / "b.csv")
    options = given(a=files / "a.csv", b=tmp_path / "b.csv")
    options += ["--kind", "b.q=continuous", "--kind", "a.smokes=category", "--clusters", 3]
    status, _, err = run("fit", *options, "--out", tmp_path / "run", *QUICK)
    assert status == 0, err
    tables = {
        "a": pd.read_csv(files / "a.csv", dtype={"id": str}).set_index("id"),
        "b": pd.read_csv(tmp_path / "b.csv", dtype={"cell": str}).set_index("cell"),
    }
    kinds = {"b": {"q": "continuous"}, "a": {"smokes": "category"}}
    settings = {"kinds": kinds, "max_epochs": 2, "device": "cpu", "random_state": 0}
    estimator = CMVAEClusterer(3, **settings).fit(tables)
    assert_same_weights(weights(tmp_path / "run"), estimator.model_.state_dict())
    found = pd.read_csv(tmp_path / "run" / "clusters.csv", dtype={"id": str})
    assert found["id"].tolist() == estimator.index_.tolist()
    assert found["cluster"].tolist() == estimator.labels_.tolist()


def test_a_run_folder_is_what_the_estimator_loads(fitted, files):
    folder, _ = fitted
    clusterer = CMVAEClusterer.load(folder)
    samples = pd.read_csv(folder / "clusters.csv", dtype={"id": str})
    assert clusterer.labels_.tolist() == samples["cluster"].tolist()
    assert clusterer.index_.tolist() == samples["id"].tolist()
    assert clusterer.get_params()["random_state"] == 3
    tables = {"a": table_a().iloc[:50].set_index("id"), "b": table_b().iloc[5:]}
    out = files / "tables.csv"
    options = given(a=files / "a.csv", b=files / "b.parquet")
    assert run("predict", folder, *options, "--out", out, "--overwrite")[0] == 0
    found = pd.read_csv(out, dtype={"id": str}).set_index("id")["cluster"]
    ids = tables["a"].index.append(tables["b"].index.difference(tables["a"].index, sort=False))
    assert found[ids].tolist() == clusterer.predict(tables).tolist()


@pytest.mark.parametrize(("phase", "epoch"), [("warm-up", 1), ("start", 11), ("clusters", 12)])
def test_an_interrupted_run_goes_on_to_the_same_end(fitted, tmp_path, phase, epoch):
    whole, out = fitted[0], tmp_path / "run"
    place = "cmvae.training.callbacks.initialize_clusters"
    stop = mock.patch(place, side_effect=KeyboardInterrupt)
    if phase != "start":
        began = CMVAEModule.on_train_epoch_end

        def interrupt(module):
            began(module)
            if module.trainer.current_epoch == epoch:
                raise KeyboardInterrupt

        stop = mock.patch.object(CMVAEModule, "on_train_epoch_end", interrupt)
    again = ["fit", "--config", whole / "config.yaml", "--out", out]
    with stop:
        status, _, err = run(*again)
    assert status == 130
    assert err.strip().endswith(f"go on with: cmvae fit --out {out} --resume")
    assert not out.exists()
    refused("holds an interrupted run; pass --resume to go on with it, --overwrite to dr", *again)
    refused("alone", "fit", "--resume", "--out", out, "--epochs", 3)
    last = tmp_path / "run.partial" / "training" / "checkpoints" / "last.ckpt"
    if phase == "clusters":
        last.write_bytes(b"half")
    status, _, err = run("fit", "--out", out, "--resume")
    assert status == 0, err
    damaged = f"Warning: {last} is missing or damaged: going on from the checkpoint before"
    assert err.startswith(damaged) if phase == "clusters" else not err
    assert_same_weights(weights(whole), weights(out))
    assert contents(out) == contents(whole)
    assert not (tmp_path / "run.partial").exists()


def test_an_interruption_before_the_first_checkpoint_leaves_nothing(files, tmp_path):
    options = [*given(a=files / "a.csv"), "--clusters", 2, *QUICK, "--out", tmp_path / "run"]
    with mock.patch("cmvae.training.clustering.fit", side_effect=KeyboardInterrupt):
        status, _, err = run("fit", *options)
    assert (status, err.strip()) == (130, "Interrupted: nothing was written")
    assert names(tmp_path) == []


def test_encoders_are_aligned_where_asked(files, tmp_path):
    options = [*given(a=files / "a.csv", b=files / "b.parquet"), "--clusters", 3, *QUICK]
    status, _, err = run("fit", *options, "--alignment-epochs", 2, 3, "--out", tmp_path / "run")
    assert status == 0, err
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert log["phase"].tolist() == ["alignment"] * 8 + ["clusters"] * 2
    config = read_run(tmp_path / "run").config
    assert config.recipe.alignment_epochs == (2, 3)
    tables = {"a": table_a().iloc[:50].set_index("id"), "b": table_b().iloc[5:]}
    tables["b"] = tables["b"].sample(frac=1, random_state=0)
    settings = {"alignment_epochs": (2, 3), "max_epochs": 2, "device": "cpu", "random_state": 0}
    estimator = CMVAEClusterer(3, **settings).fit(tables)
    assert_same_weights(weights(tmp_path / "run"), estimator.model_.state_dict())


def test_a_modality_that_no_sample_has_is_left_out_with_a_warning(files, tmp_path):
    table_a()[["id", "x"]].assign(x=np.nan).to_csv(tmp_path / "c.csv", index=False)
    options = [*given(a=files / "a.csv", c=tmp_path / "c.csv"), "--clusters", 2, *QUICK]
    status, out, err = run("fit", *options, "--out", tmp_path / "run")
    assert status == 0, err
    assert err == "Warning: modalities ['c'] are left out: no sample has them\n"
    assert "│ c" not in out
    assert list(read_run(tmp_path / "run").preprocessing.codecs) == ["a"]
    assert run("select", tmp_path / "run", "--clusters", 3)[0] == 0


def test_options_override_what_was_read(files, tmp_path):
    (tmp_path / "captions.csv").write_text(
        "id,text\n" + "".join(f"{name},a red bird {name}\n" for name in IDS)
    )
    table = table_a().assign(number=range(N), grade=LABELS)
    table.to_csv(tmp_path / "a.csv", index=False)
    options = ["--modality", f"a={tmp_path / 'a.csv'}", "--modality", f"b.c={files / 'b.parquet'}"]
    options += ["--modality", f"words={tmp_path / 'captions.csv'}", "--kind", "words.text=text"]
    options += [
        "--kind",
        "a.number=ignore",
        "--kind",
        "a.grade=category",
        "--likelihood",
        "b.c=poisson",
    ]
    options += [
        "--network",
        "a=mlp",
        "--clusters",
        2,
        "--likelihood",
        "a=laplace",
        "--kind",
        "a.colour=category",
    ]
    status, out, err = run(
        "fit", *options, "--kind", "a.smokes=binary", "--out", tmp_path / "run", *QUICK
    )
    assert status == 0, err
    assert "mixed: laplace, bernoulli, categorical" in out
    model = CMVAE.from_pretrained(tmp_path / "run" / "model").model_config
    assert model.decoders_dist == {"a": "mixed", "b.c": "poisson", "words": "categorical"}
    columns = model.decoder_dist_params["a"]["columns"]
    assert columns == [
        ["laplace", 2, {"scale": "learned"}],
        ["bernoulli", 1, {}],
        ["categorical", [3, 3]],
    ]
    assert model.input_dims["words"][0] == 4
    assert model.number_of_clusters == 2
    assert "bird" in (tmp_path / "run" / "preprocessing.json").read_text()
    made = tmp_path / "made"
    assert run("generate", tmp_path / "run", "--out", made, "--samples", 2, "--draw")[0] == 0
    assert list(pd.read_csv(made / "words.csv")) == ["id", "cluster", "text"]
    assert list(pd.read_csv(made / "a.csv")) == [
        "id",
        "cluster",
        *[c for c in table if c not in ("id", "number")],
    ]


def test_library_size_is_the_data_s(tmp_path, files):
    options = [
        "--modality",
        f"b={files / 'b.parquet'}",
        "--likelihood",
        "b=poisson,library_size=true",
    ]
    assert run("fit", *options, "--clusters", 2, "--out", tmp_path / "run", *QUICK)[0] == 0
    config = CMVAE.from_pretrained(tmp_path / "run" / "model").model_config
    median = float(np.median(table_b().iloc[5:].sum(axis=1)))
    assert config.decoder_dist_params["b"] == {"library_size": True, "size": median}


def test_yaml_names_files_relative_to_itself(files, tmp_path):
    shutil.copy(files / "a.csv", tmp_path / "a.csv")
    write_images(tmp_path / "pictures", IDS[:20])
    content = {
        "modalities": {
            "a": {"path": "a.csv", "id": "id", "kinds": {"smokes": "category"}},
            "img": {"path": "pictures", "size": [8, 9], "likelihood": "laplace", "network": "conv"},
        }
    }
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(content))
    status, _out, err = run(
        "fit", "--data", tmp_path / "data.yaml", "--clusters", 2, "--out", tmp_path / "run", *QUICK
    )
    assert status == 0, err
    model = CMVAE.from_pretrained(tmp_path / "run" / "model").model_config
    assert model.input_dims["img"] == (3, 8, 9)
    assert model.likelihood_of("img") == ("laplace", {"scale": "learned"})
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["modalities"]["a"]["path"] == str(tmp_path / "a.csv")


# Bad input
# ------------------------------------------------------------------------------------------


def broken(folder, what):
    """Make a modality's file that is wrong, and return its path."""
    table, path = table_a(), folder / "bad.csv"
    if what == "duplicates":
        table.loc[[3, 9], "id"] = ["001", "007"]
    elif what == "strangers":
        table["id"] = "t" + table["id"]
    elif what == "text":
        table["note"] = ["yes", "no"] * (N // 2)
    elif what == "strings":
        days = pd.date_range("2020", periods=N).strftime("%d.%m.%Y")
        table = table[["id"]].assign(note="row " + table["id"], day=days)
    elif what == "image":
        write_images(folder / "bad", IDS[:9])
        whole = (folder / "bad" / "004.png").read_bytes()
        (folder / "bad" / "004.png").write_bytes(whole[: len(whole) // 2])
        return folder / "bad"
    elif what == "h5mu":
        (folder / "bad.h5mu").write_text("no HDF5")
        return folder / "bad.h5mu"
    table.to_csv(path, index=False)
    return path


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("duplicates", [], "modality 'bad': duplicate ids: 001, 007"),
        (
            "strangers",
            [],
            "'a' shares no id with any other modality; the first ids of each are {'a': ['000', ",
        ),
        (
            "text",
            ["--kind", "bad.note=continuous"],
            "'bad': column 'note' holds something that is no number",
        ),
        ("strings", [], "--kind bad.note=category --kind bad.day=category"),
        ("image", [], "modality 'bad': broken image"),
        ("h5mu", [], "bad.h5mu: not an .h5mu file"),
    ],
)
def test_bad_files_are_told_in_one_line_and_nothing_is_written(
    files, tmp_path, what, options, message
):
    path = broken(tmp_path, what)
    before = names(tmp_path)
    options = [*given(a=files / "a.csv", bad=path), *options]
    refused(message, "fit", *options, "--out", tmp_path / "run")
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--modality", "a=nowhere.csv"], "modality 'a': no such file"),
        (["--data", "nowhere.h5mu"], "no such file: nowhere.h5mu"),
        (["--data", "bad.h5mu"], "bad.h5mu: not an .h5mu file"),
        (["--data", "bad.npz"], "bad.npz: not a readable .npz file"),
        (["--data", "nowhere.yaml"], "no such file: nowhere.yaml"),
        (["--data", "bad.yaml"], "bad.yaml: not YAML"),
        (["--data", "more.yaml"], "settings are for --config"),
        (["--config", "typo.yaml"], "typo.yaml: recipe: Recipe got unknown arguments ['latent']"),
        (["--config", "wrong.yaml"], "unknown arguments ['sise']"),
        ([], "no data: pass --modality"),
        (["--modality", "a"], "--modality must be NAME=VALUE, got 'a'"),
        (["--modality", "a=A", "--modality", "a=A"], "--modality names 'a' more than once"),
        (["--modality", "a/b=A"], "modalities must have names without /"),
        (
            ["--modality", "a=A", "--kind", "b.x=count"],
            "--kind must be NAME.COLUMN=KIND with one of",
        ),
        (
            ["--modality", "a=A", "--kind", "a.none=count"],
            "modality 'a': kinds of unknown columns ['none']; it has x, y",
        ),
        (
            ["--modality", "a=A", "--kind", "a.x=number"],
            "unknown kinds ['number']; allowed: continuous, date",
        ),
        (["--modality", "a=A", "--kind", "a.x=text"], "a modality of texts has one column"),
        (["--modality", "a=A", "--kind", "a.x=count"], "'x' (count) holds"),
        (
            ["--modality", "a=A", "--likelihood", "a=poisson,library_size=[1"],
            "--likelihood a: no YAML values in 'poisson,library_size=[1'",
        ),
        (
            ["--modality", "a=A", "--likelihood", "a=gauss"],
            "modality 'a': likelihood must be one of 'normal'",
        ),
        (
            ["--modality", "a=A", "--likelihood", "c=normal"],
            "--likelihood names unknown modalities ['c']",
        ),
        (
            ["--modality", "a=A", "--network", "a=none"],
            "no networks are registered as 'none'; registered are",
        ),
        (["--modality", "a=A", "--network", "a=conv"], "shape"),
        (["--modality", "a=A", "--id", "key"], "no id column 'key'"),
        (
            ["--modality", "a=A", "--clusters", "many"],
            "--clusters must be auto or a positive integer, got 'many'",
        ),
        (
            ["--modality", "a=A", "--clusters", "999"],
            "999 clusters cannot be found in n_samples = 50",
        ),
        (["--modality", "a=A", "--data", "x.npz"], "--modality and --data exclude each other"),
        (["--modality", "a=A", "--device", "abacus"], "abacus"),
        (["--resume"], "--resume: no interrupted run to go on with"),
        (["--modality", "a=A", "--alignment-epochs", "0", "2"], "--alignment-epochs must be two"),
        (["--modality", "a=A", "--alignment-epochs", "2", "3"], "must be left out: there are no"),
        (
            ["--modality", "a=A", "--kind", "a.x=number", "--modality", "c=nowhere.csv"],
            "/nowhere.csv; modality 'a': unknown kinds ['number']; allowed: continuous, date",
        ),
        (
            ["--modality", "a=A", "--modality", "c=notes.csv", "--kind", "a.y=length"],
            "modality 'a': unknown kinds ['length']; allowed: continuous, date, date+season, "
            "binary, count, category, text, ignore (",
        ),
        (
            ["--modality", "a=A", "--modality", "c=notes.csv", "--kind", "a.y=length"],
            "of those that are measurements, as in --kind c.note=category",
        ),
        (["--config", "several.yaml"], "recipe.beta must be a positive number, got -1"),
        (["--config", "several.yaml"], "rule must be 'joint', 'mean' or 'vote', got 'guess'"),
        (["--config", "several.yaml"], "modalities.a.path must be a name, not empty, got 3"),
        (["--resume", "--overwrite"], "--overwrite and --resume exclude each other"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_bad_options_are_told_in_one_line_and_nothing_is_written(
    files, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.h5mu").write_text("none")
    (tmp_path / "bad.npz").write_text("none")
    (tmp_path / "bad.yaml").write_text("{")
    (tmp_path / "more.yaml").write_text("modalities: {a: a.csv}\nseed: 3\n")
    (tmp_path / "typo.yaml").write_text("modalities: {a: a.csv}\nrecipe: {latent: 3}\n")
    (tmp_path / "wrong.yaml").write_text("modalities: {a: {path: a.csv, sise: 3}}\n")
    (tmp_path / "several.yaml").write_text(
        "modalities: {a: {path: 3}}\nrecipe: {beta: -1, rule: guess}\n"
    )
    notes = pd.DataFrame({"id": IDS, "note": [f"about {name}" for name in IDS]})
    notes.to_csv("notes.csv", index=False)
    before = names(tmp_path)
    options = [option.replace("=A", f"={files / 'a.csv'}") for option in options]
    refused(message, "fit", *options, "--out", "run")
    assert names(tmp_path) == before


def test_results_are_replaced_only_where_asked(fitted, files, tmp_path):
    shutil.copytree(fitted[0], tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    before = contents(tmp_path)
    fit = ["fit", *given(a=files / "a.csv"), "--clusters", 2, *QUICK]
    refused("holds the results of a run; pass --overwrite", *fit, "--out", tmp_path / "run")
    refused(
        "holds something else than the results of a run; name another folder",
        *fit,
        "--overwrite",
        "--out",
        tmp_path / "other",
    )
    refused(
        "must be a folder, got the file",
        *fit,
        "--overwrite",
        "--out",
        tmp_path / "other" / "thesis.txt",
    )
    assert contents(tmp_path) == before
    assert run(*fit, "--overwrite", "--out", tmp_path / "run")[0] == 0
    assert list(json.loads((tmp_path / "run" / "preprocessing.json").read_text())["codecs"]) == [
        "a"
    ]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["other", "run"]


@pytest.mark.parametrize(
    "place",
    ["cmvae.models.pretrained.save_model", "pandas.DataFrame.to_csv", "pathlib.Path.rename"],
)
def test_a_full_disk_leaves_the_old_run_whole(fitted, files, tmp_path, place):
    shutil.copytree(fitted[0], tmp_path / "run")
    before = contents(tmp_path / "run")
    fit = ["fit", *given(a=files / "a.csv"), "--clusters", 2, *QUICK]
    own, calls = Path.rename, []

    def rename(path, target):
        calls.append(path)
        if path.name == "run.partial":
            raise OSError(errno.ENOSPC, "No space left on device")
        return own(path, target)

    full = (
        rename
        if "rename" in place
        else mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    )
    with mock.patch(place, full):
        refused("the disk is full", *fit, "--overwrite", "--out", tmp_path / "run")
    assert contents(tmp_path / "run") == before
    assert (
        run("evaluate", tmp_path / "run", "--labels", files / "labels.csv", "--column", "label")[0]
        == 0
    )


def test_a_run_that_cannot_be_put_in_its_place_can_be_resumed(files, tmp_path):
    fit = ["fit", *given(a=files / "a.csv"), "--clusters", 2, *QUICK]
    own = Path.rename

    def rename(path, target):
        if path.name == "run.partial":
            raise OSError(errno.EROFS, "Read-only file system")
        return own(path, target)

    with mock.patch.object(Path, "rename", rename):
        refused("Read-only file system", *fit, "--out", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run.partial"]
    assert run("fit", "--out", tmp_path / "run", "--resume")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert "training" not in names(tmp_path / "run")


def test_a_link_stays_one_and_its_target_gets_the_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk/run")
    fit = ["fit", *given(**{"1": files / "a.csv"}), "--clusters", 2, *QUICK]
    for options in ([], ["--overwrite"]):
        assert run(*fit, "--out", "link", *options)[0] == 0
        assert (tmp_path / "link").is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "link"]
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["run"]
    assert set(read_run(tmp_path / "link").samples["modalities"]) == {"1"}
    monkeypatch.chdir(tmp_path / "link")
    refused("a run folder must be given by its name, got '.'", "select", ".", "--clusters", 3)


def test_help_has_an_example():
    for command in ("fit", "predict", "generate", "evaluate", "select", "report"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert f"Example: cmvae {command}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("n_clusters", "sizes", "chosen", "said"),
    [
        ("auto", [9, 3], 2, "2 clusters found (next best: 4; the same in 90 % of subsets)"),
        ("auto", [9, 3], 3, "of subsets; 1 more ended without samples)"),
        ("auto", [12], None, "1 cluster found"),
        (2, [9, 3], None, "2 clusters"),
        (1, [12], None, "1 cluster"),
        (3, [9, 3, 0], None, "3 clusters, of which only 2 have samples"),
        (3, [12, 0, 0], None, "3 clusters, of which only 1 has samples"),
    ],
)
def test_how_many_clusters_there_are_is_said_with_how_sure_that_is(n_clusters, sizes, chosen, said):
    evidence = NumberEvidence((2, 3, 4), (0.0, 1.0, 0.5), chosen or 0, 4, 0.9, 0.1)
    record = SimpleNamespace(
        metrics={"sizes": sizes},
        config=SimpleNamespace(recipe=Recipe(n_clusters=n_clusters)),
        evidence=evidence if chosen else None,
    )
    assert how_many(record).endswith(said)


def test_a_single_cluster_and_a_short_warm_up_are_said_with_what_to_try(tmp_path):
    noise = np.random.default_rng(3).normal(size=(60, 3))
    np.save(tmp_path / "a.npy", noise)
    command = ["fit", *given(a=tmp_path / "a.npy"), *QUICK, "--out"]
    status, out, err = run(*command, tmp_path / "run")
    assert status == 0, err
    assert "1 cluster found (no more structure than in a single cloud)\n" in out
    assert "One cluster explains the data as well as several." in out
    assert "--clusters" in out
    assert "The loss was still falling after 2 epochs: more (--epochs)" in out
    np.save(tmp_path / "a.npy", noise[:5])
    status, out, _ = run(*command, tmp_path / "few")
    assert "There is one cluster because no other number was compared" in out
    assert "One cluster explains" not in out
    np.save(tmp_path / "a.npy", noise)
    status, out, _ = run(*command, tmp_path / "given", "--clusters", 1)
    assert "One cluster explains" not in out
    assert "\n1 cluster\n" in out


def test_clusters_without_samples_have_no_stability_and_samples_that_left_groups_are_told_of(
    tmp_path, capsys
):
    record = SimpleNamespace(
        metrics={
            "sizes": [9, 0],
            "stability": [0.8, 0.9],
            "still_falling": False,
            "kept": 0.75,
        },
        config=SimpleNamespace(recipe=Recipe(n_clusters=2)),
        evidence=None,
        refined=None,
    )
    show_clusters(record, tmp_path)
    out = " ".join(capsys.readouterr().out.split())
    assert "0.80, stable" in out
    assert "0.90" not in out
    assert "25 % of the samples ended in other clusters than the groups they started in" in out


def test_encoders_that_were_still_learning_are_told_of(tmp_path, capsys):
    metrics = {"sizes": [9, 9], "stability": [None, None], "still_falling": True, "kept": None}
    record = SimpleNamespace(
        metrics={**metrics, "epochs": {"alignment": 88, "clusters": 20}},
        config=SimpleNamespace(recipe=Recipe()),
        evidence=None,
        refined=None,
    )
    show_clusters(record, tmp_path)
    out = " ".join(capsys.readouterr().out.split())
    assert "were still learning what modalities share" in out
    assert "(--alignment-epochs)" in out


@pytest.mark.parametrize(("chosen", "said"), [(1, True), (4, False)])
def test_one_cluster_is_no_finding_where_others_were_found_and_lost(tmp_path, capsys, chosen, said):
    scores = () if chosen == 1 else (0.0, 0.5, 1.0)
    strength = -0.1 if chosen == 1 else 0.1
    numbers = tuple(range(2, 2 + len(scores)))
    record = SimpleNamespace(
        metrics={"sizes": [9], "stability": [0.8], "still_falling": False, "kept": 1.0},
        config=SimpleNamespace(recipe=Recipe()),
        evidence=NumberEvidence(numbers, scores, chosen, None, 0.9, strength),
        refined=None,
    )
    show_clusters(record, tmp_path)
    out = capsys.readouterr().out
    assert ("One cluster explains the data" in out) == said
    assert ("3 more ended without samples" in out) == (not said)
