"""Runs whose files lie, each of them sealed anew: all are refused by the name of the file."""

import hashlib
import json
import resource
import shutil
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from cmvae import CMVAEClusterer
from cmvae.runs.checks import read_epochs, read_index
from cmvae.runs.folder import read_record, read_run


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of numbers, a count and a category; not to be changed."""
    draw = np.random.default_rng(0)
    kind = np.arange(40) % 2
    table = pd.DataFrame(
        {
            "x": 5 * kind + draw.normal(size=40),
            "n": draw.poisson(3 + 9 * kind),
            "c": np.array(["red", "blue", "green"])[np.arange(40) % 3],
        },
        index=[f"s{i}" for i in range(40)],
    )
    folder = tmp_path_factory.mktemp("saved") / "run"
    state = np.random.RandomState(3)
    kinds = {"n": "count"}
    clusterer = CMVAEClusterer(
        2, max_epochs=1, random_state=state, kinds=kinds, hidden_dims=[8], latent_dim=2
    )
    clusterer.fit(table).save(folder)
    save_file({"0": np.zeros((40, 2), np.float32)}, folder / "start.safetensors")
    seal(folder, "start.safetensors")
    CMVAEClusterer.load(folder)
    return folder


def seal(folder, *more):
    """Write the hashes of the files as they are into the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in [*manifest["files"], *more]:
        digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        manifest["files"][name] = digest
    (folder / "manifest.json").write_text(json.dumps(manifest))


def put(*way, value):
    """Return what sets a value in a JSON text."""

    def change(text):
        content = own = json.loads(text)
        for step in way[:-1]:
            own = own[step]
        own[way[-1]] = value
        return json.dumps(content)

    return change


def cell(column, value):
    """Return what sets a column in the first row of a CSV text."""

    def change(text):
        header, row, *rest = text.splitlines()
        cells = row.split(",")
        cells[header.split(",").index(column)] = value
        return "\n".join([header, ",".join(cells), *rest])

    return change


def margins(field, value):
    return put("margins", "x", 0, field, value=value)


FIRST = ("codecs", "x", "columns", 0)
CHANGES = [
    ("metrics.json", lambda _: "null", "must be a mapping, got nothing"),
    ("metrics.json", lambda _: '"x"', "must be a mapping, got 'x'"),
    ("metrics.json", put("sizes", value=None), "sizes must be a list"),
    ("metrics.json", put("sizes", value=[20, 21]), "41 samples, not 40"),
    ("metrics.json", put("sizes", value=[40]), "must have 2 entries each"),
    ("metrics.json", put("sizes", value=[-1, 41]), "sizes.0 must be an integer from 0"),
    ("metrics.json", put("stability", value=["x", 1]), "stability.0 must be a finite number"),
    ("metrics.json", put("evidence", value={}), "evidence.numbers is missing"),
    ("metrics.json", put("kept", value="x"), "kept must be a finite number"),
    ("clusters.csv", cell("cluster", "2"), "the clusters are not those that metrics.json"),
    ("clusters.csv", cell("cluster", "x"), "the clusters are not those that metrics.json"),
    ("clusters.csv", cell("probability", "1.5"), "numbers from 0 to 1"),
    ("clusters.csv", cell("probability", ""), "numbers from 0 to 1"),
    ("clusters.csv", cell("id", "s1"), "each must be there once"),
    ("clusters.csv", cell("modalities", "zzz"), r"unknown modalities \['zzz'\]"),
    ("clusters.csv", lambda text: text.rsplit("\n", 2)[0], "39 rows for 40 samples"),
    ("clusters.csv", lambda text: text + '"', "not a table as a run has it"),
    (
        "clusters.csv",
        lambda text: "id,secret\n",
        "columns id, cluster, prob",
    ),
    ("clusters.csv", lambda _: "", "not a table as a run has it"),
    ("log.csv", lambda text: "a,b\n1,2\n", "first columns must be phase and epoch"),
    ("log.csv", lambda text: "phase,epoch\nnowhere,1\n", "phases must be of warm-up"),
    ("log.csv", lambda text: "phase,epoch,loss\nclusters,1,x\n", "column 'loss' holds something"),
    ("log.csv", lambda _: "", "not a table as a run has it"),
    ("preprocessing.json", put(*FIRST, "spread", value=0), "spread must be a positive number"),
    ("preprocessing.json", put(*FIRST, "name", value="n"), r"columns \['n'\] occur more than"),
    ("preprocessing.json", put("codecs", "x", "columns", 2, "values", value=["a"] * 3), "repeat"),
    (
        "preprocessing.json",
        put("codecs", "x", "columns", 2, "values", value=list(range(10**6))),
        "codecs and model do not fit: modality 'x' is",
    ),
    ("preprocessing.json", put("codecs", "x", "median_total", value=float("nan")), "finite"),
    ("preprocessing.json", put("understood", value={"z": {"what": "", "samples": 1}}), "'z'"),
    ("preprocessing.json", lambda _: "[" * 10**5, "nested too deeply"),
    ("fit.json", margins("edges", [1.0]), "edges and shares must be as many"),
    ("fit.json", margins("shares", [float("nan")]), "must be a finite number"),
    ("fit.json", put("margins", value={"zzz": []}), r"unknown modalities \['zzz'\]"),
    ("fit.json", put("quantiles", "x", value=[2.0, 1.0]), "numbers that do not fall"),
    ("config.yaml", lambda _: "modalities: {b: x.csv}", r"does not name the modalities \['x'\]"),
    ("estimator.json", lambda _: "[1]", "must be a mapping"),
    ("estimator.json", put("evil", value=1), "unknown arguments"),
    ("estimator.json", put("tables", value=["zzz"]), "unknown modalities 'zzz'"),
    (
        "estimator.json",
        put("auto", value=["latent_dims"]),
        "auto names unknown settings 'latent_dims'",
    ),
    ("estimator.json", put("kinds", value=3), "kinds must be a list"),
    ("estimator.json", put("random_state", value="x"), "random_state is no seed and no state"),
    ("estimator.json", put("random_state", value=-1), "random_state is no seed and no state"),
    ("estimator.json", put("random_state", "state", "pos", value="x"), "random_state is no"),
    ("estimator.json", put("random_state", "state", "key", value=[1] * 999), "random_state is"),
    ("start.safetensors", lambda _: "x" * 99, "not the latents of a run"),
    ("start.safetensors", {"x": np.zeros((40, 2))}, "not the latents of a run"),
    ("start.safetensors", {"0": np.zeros((41, 2))}, "of the same samples of the run"),
    ("start.safetensors", {"0": np.zeros(3)}, "of the same samples of the run"),
    ("start.safetensors", {"0": np.zeros(())}, "of the same samples of the run"),
    ("start.safetensors", {"0": np.full((40, 2), np.nan)}, "must be finite numbers"),
    ("index.parquet", lambda _: "x" * 99, "not a Parquet file"),
]


@pytest.mark.parametrize(("name", "change", "message"), CHANGES)
def test_a_file_that_lies_is_refused_by_name_in_little_memory(
    saved, tmp_path, name, change, message
):
    folder = shutil.copytree(saved, tmp_path / "run")
    path = folder / name
    if isinstance(change, dict):
        save_file(change, path)
    else:
        path.write_text(
            change("" if path.suffix in (".safetensors", ".parquet") else path.read_text())
        )
    seal(folder)
    size = sum(own.stat().st_size for own in folder.rglob("*"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"{name}: .*{message}") as found:
        CMVAEClusterer.load(folder)
    assert str(folder) in str(found.value)
    assert len(str(found.value)) < 1200
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < 2 * size + 3e8


def test_an_index_that_is_packed_is_refused_before_it_is_unpacked(tmp_path):
    path, rows = tmp_path / "index.parquet", 5_000_000
    pd.DataFrame({"row": range(rows)}, np.zeros(rows, int)).astype("int8").to_parquet(path)
    for n_samples, message in ((40, "5000000 rows for 40 samples"), (rows, "not a Parquet file")):
        with (
            mock.patch("pandas.read_parquet", side_effect=AssertionError("unpacked")),
            pytest.raises(ValueError, match=rf"index.parquet: .*{message}"),
        ):
            read_index(path, n_samples)


def test_a_log_of_very_many_columns_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("\nphase,epoch" + ",a" * 10_000 + "\n")
    with (
        mock.patch("pandas.read_csv", side_effect=AssertionError("read")),
        pytest.raises(ValueError, match=r"log.csv: not a table as a run has it"),
    ):
        read_epochs(path)


def test_an_index_of_others_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "run")
    pd.DataFrame({"row": range(3)}).to_parquet(folder / "index.parquet")
    seal(folder)
    with pytest.raises(ValueError, match=r"index.parquet: it has 3 rows for 40 samples"):
        read_record(folder)


def test_what_was_saved_is_read_as_it_is(saved):
    run = read_run(saved)
    assert len(run.samples) == 40
    assert run.metrics["sizes"] == np.bincount(run.samples["cluster"]).tolist()
    assert CMVAEClusterer.load(saved).random_state.get_state()[1][0] > 0
