"""What CMVAEClusterer.save wrote, as a run folder of the commands."""

import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cmvae import CMVAE, CMVAEClusterer
from made_files import IDS, LABELS, contents, given, names, refused, run, table_a, table_b


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An estimator of mixed tables, and the folder that it was saved in; not to be changed."""
    tables = {"a": table_a().iloc[:50].set_index("id"), "b/c": table_b().iloc[5:]}
    settings = {"max_epochs": 8, "device": "cpu", "random_state": 0}
    kinds = {"a": {"smokes": "category"}, "b/c": {"q": "continuous"}}
    clusterer = CMVAEClusterer(3, kinds=kinds, **settings).fit(tables)
    folder = tmp_path_factory.mktemp("saved") / "run"
    clusterer.save(folder)
    return SimpleNamespace(clusterer=clusterer, folder=folder, tables=tables)


@pytest.fixture(scope="module")
def written(saved, tmp_path_factory):
    """The files of the tables, by modality."""
    folder = tmp_path_factory.mktemp("tables")
    saved.tables["a"].to_csv(folder / "a.csv")
    saved.tables["b/c"].to_parquet(folder / "b.parquet")
    return {"a": folder / "a.csv", "b/c": folder / "b.parquet"}


@pytest.mark.parametrize("chosen", [["a", "b/c"], ["b/c"]])
def test_predictions_are_the_estimators(saved, written, tmp_path, chosen):
    options = given(**{name: written[name] for name in chosen})
    status, _, err = run("predict", saved.folder, *options, "--out", tmp_path / "found.csv")
    assert status == 0, err
    found = pd.read_csv(tmp_path / "found.csv", dtype={"id": str}).set_index("id")
    tables = {name: saved.tables[name] for name in chosen}
    clusters = saved.clusterer.predict(tables)
    probabilities = saved.clusterer.predict_proba(tables)[np.arange(len(clusters)), clusters]
    index = saved.clusterer.index_ if len(chosen) == 2 else tables["b/c"].index
    assert found.loc[index, "cluster"].tolist() == clusters.tolist()
    np.testing.assert_allclose(found.loc[index, "probability"], probabilities, atol=1e-6)


def test_samples_are_in_the_units_of_the_tables(saved, written, tmp_path):
    command = ["generate", saved.folder, "--to", "a", "--samples", 3, "--out"]
    assert run(*command, tmp_path / "made")[0] == 0
    made = pd.read_csv(tmp_path / "made" / "a.csv")
    assert list(made) == ["id", "cluster", "x", "y", "colour", "smokes"]
    assert made["cluster"].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert set(made["colour"]) <= {"red", "blue", "green"}
    command = ["generate", saved.folder, *given("--from", **{"b/c": written["b/c"]}), "--out"]
    assert run(*command, tmp_path / "from")[0] == 0
    assert names(tmp_path / "from") == ["a.csv", "generated.json"]
    before = names(tmp_path)
    refused("['b/c'] cannot name files", "generate", saved.folder, "--out", tmp_path / "all")
    assert names(tmp_path) == before


def test_labels_and_the_evidence(saved, tmp_path):
    pd.DataFrame({"id": IDS, "label": LABELS}).to_csv(tmp_path / "labels.csv", index=False)
    status, out, err = run("evaluate", saved.folder, "--labels", tmp_path / "labels.csv")
    assert status == 0, err
    assert "60 of 60 samples have a label; 3 labels" in out
    status, out, err = run("select", saved.folder)
    assert status == 0, err
    assert "3 clusters\nthe number was given: none compared" in out


@pytest.mark.parametrize("command", [["report"], ["select", "--clusters", 4]])
def test_what_needs_the_files_says_that_there_are_none(saved, command):
    before = contents(saved.folder)
    message = "modality 'a' names no file: its rows were given in Python; modality 'b/c' names no"
    refused(message, command[0], saved.folder, *command[1:])
    assert contents(saved.folder) == before
    assert [path.name for path in saved.folder.parent.iterdir()] == ["run"]


def test_arrays_are_predicted_from_arrays(tmp_path):
    values = np.random.default_rng(0).normal(size=(60, 3)) + 5 * LABELS[:, None]
    clusterer = CMVAEClusterer(3, max_epochs=3, device="cpu", random_state=0).fit({"x": values})
    clusterer.save(tmp_path / "run")
    np.save(tmp_path / "x.npy", values)
    options = [*given(x=tmp_path / "x.npy"), "--out", tmp_path / "found.csv"]
    status, _, err = run("predict", tmp_path / "run", *options)
    assert status == 0, err
    found = pd.read_csv(tmp_path / "found.csv")
    assert found["id"].tolist() == list(range(60))
    assert found["cluster"].tolist() == clusterer.labels_.tolist()


def test_a_model_alone_is_refused_with_the_way_out(saved, written, tmp_path):
    CMVAE.from_pretrained(saved.folder / "model").save_pretrained(tmp_path / "model")
    options = [*given(a=written["a"]), "--out", tmp_path / "found.csv"]
    message = "holds a model alone, without preprocessing, rule and samples"
    assert "CMVAEClusterer.save and cmvae fit keep" in refused(
        message, "predict", tmp_path / "model", *options
    )


def test_a_saved_run_may_be_moved(saved, written, tmp_path):
    shutil.copytree(saved.folder, tmp_path / "other")
    options = [*given(a=written["a"]), "--out", tmp_path / "found.csv"]
    assert run("predict", tmp_path / "other", *options)[0] == 0
    assert CMVAEClusterer.load(tmp_path / "other").predict(saved.tables).tolist() == (
        saved.clusterer.labels_.tolist()
    )
