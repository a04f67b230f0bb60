"""Runs of rows that wait in files are those of rows in memory."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.runs import completing, reading
from cmvae.runs.config import RunConfig
from cmvae.runs.fitting import fit_run
from cmvae.runs.folder import read_run
from cmvae.runs.reading import read_files
from cmvae.runs.run import prepare
from cmvae.training import initialization
from cmvae.training.recipe import Recipe

N = 240


def shards(folder):
    """Write a table in shards and another in another order, some samples and cells missing."""
    rng = np.random.default_rng(0)
    groups = rng.integers(3, size=N)
    ids = [f"s{i:03d}" for i in range(N)]
    a = pd.DataFrame(
        rng.normal(3 * groups[:, None], 1, (N, 4)).astype(np.float32), columns=[*"uvwx"]
    )
    a["ward"] = np.array(["north", "south", "east"])[groups]
    a.insert(0, "id", ids)
    a.loc[[7, 80], "u"] = np.nan
    b = pd.DataFrame({"id": ids, "n": rng.poisson(4 + 3 * groups), "y": rng.normal(-2 * groups, 1)})
    b = b.drop(index=[3, 100]).sample(frac=1, random_state=1)
    for name, table in (("a", a), ("b", b)):
        (folder / name).mkdir()
        for number, rows in enumerate(np.array_split(np.arange(len(table)), 3)):
            table.iloc[rows].to_parquet(folder / name / f"part-{number}.parquet", index=False)
    return {name: ModalityFile(path=str(folder / name)) for name in ("a", "b")}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def covariates(tmp_path_factory):
    """Where two batches are, and ages that some samples lack, in an order of their own."""
    path = tmp_path_factory.mktemp("known") / "known.csv"
    known = pd.DataFrame({"id": [f"s{i:03d}" for i in range(N)], "age": np.arange(N) / 7 + 20})
    known["batch"] = np.where(np.arange(N) % 3 == 0, "one", "two")
    known.loc[30:40, "age"] = np.nan
    known.sample(frac=1, random_state=2).to_csv(path, index=False)
    return {name: CovariateFile(path=str(path), column=name) for name in ("batch", "age")}


def fitted(files, folder, covariates):
    recipe = Recipe(n_clusters=3, max_epochs=4, latent_dim=4, private_dim=2, hidden_dims=(16,))
    config = RunConfig(modalities=files, device="cpu", recipe=recipe, covariates=covariates)
    prepared = prepare(config, *read_files(files, covariates=covariates))
    return prepared, fit_run(folder, prepared)


def hold_little(patch):
    """Hold as good as nothing in memory, and look at few rows at a time."""
    patch.setattr(reading, "MOST_NUMBERS", 100)
    patch.setattr(reading, "_READ_ROWS", 50)
    patch.setattr(completing, "PART_SAMPLES", 70)


@pytest.fixture
def small(monkeypatch):
    hold_little(monkeypatch)


@pytest.mark.filterwarnings("ignore:covariate 'age'. 11 samples")
def test_a_streamed_run_has_the_loss_and_the_labels_of_one_in_memory(
    files, covariates, tmp_path, monkeypatch
):
    held, whole = fitted(files, tmp_path / "whole", covariates)
    with monkeypatch.context() as patch:
        hold_little(patch)
        waiting, streamed = fitted(files, tmp_path / "streamed", covariates)
    assert (held.rows.are_read_later, waiting.rows.are_read_later) == (False, True)
    assert not len(streamed.samples)
    again = read_run(tmp_path / "streamed")
    assert again.samples["id"].tolist() == whole.samples["id"].tolist()
    assert again.samples["cluster"].tolist() == whole.samples["cluster"].tolist()
    assert again.samples["modalities"].tolist() == whole.samples["modalities"].tolist()
    gaps = (again.samples["probability"] - whole.samples["probability"]).abs()
    assert gaps.max() < 1e-4
    assert streamed.metrics["loss"] == pytest.approx(whole.metrics["loss"], rel=1e-5)
    losses = [own.log["train/loss"].to_numpy() for own in (whole, streamed)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert 0.5 < whole.metrics["kept"] < 1
    for name in ("sizes", "observed", "kept", "active_units", "join"):
        assert streamed.metrics[name] == whole.metrics[name]
    assert list(whole.metrics["covariates"]) == list(covariates)
    for name in covariates:
        known = whole.metrics["covariates"][name]
        assert streamed.metrics["covariates"][name] == pytest.approx(known, abs=1e-3)
        assert torch.equal(streamed.model.covariates.shares, whole.model.covariates.shares)
    plain = [json.loads((tmp_path / own / "fit.json").read_text()) for own in ("whole", "streamed")]
    assert plain[0].keys() == plain[1].keys()


def test_rows_on_disk_are_the_dataset_of_rows_in_memory(files, covariates, small, monkeypatch):
    learned, rows = read_files(files, covariates=covariates)
    monkeypatch.setattr(reading, "MOST_NUMBERS", 10**6)
    _, held = read_files(files, learned, covariates=covariates)
    one, two = learned.dataset(held), learned.dataset(rows)
    assert list(rows.ids) == held.ids
    assert rows.join.to_plain() == held.join.to_plain()
    some = [17, 3, -1, 80, 80, 3]
    for wanted in (some, slice(70, 90), slice(None), np.array([7]), torch.arange(N) % 2 == 0):
        left, right = one.batch(wanted), two.batch(wanted)
        assert left.keys() == right.keys() == {"data", "masks", "cells", "covariates"}
        for kind in left:
            for name, values in left[kind].items():
                torch.testing.assert_close(right[kind][name], values, equal_nan=True, msg=name)
    part = two[some]
    assert len(part) == 6
    torch.testing.assert_close(part.data["a"][:], one.batch(some).data["a"], equal_nan=True)
    torch.testing.assert_close(part[2:].data["b"][1], one.batch([80]).data["b"][0], equal_nan=True)
    assert repr(one) == repr(two)
    assert torch.equal(two[80].cells["a"], one[80].cells["a"])


def test_it_is_told_that_rows_wait_in_files(files, small, monkeypatch):
    told = []
    read_files(files, tell=told.append)
    assert "Too large to be held (240 rows, more than 100 numbers in all)" in told[-1]
    monkeypatch.setattr(reading, "MOST_NUMBERS", 10**6)
    told.clear()
    read_files(files, tell=told.append)
    assert not any("Too large" in line for line in told)


def test_clusters_start_from_a_part_of_many_samples(files, monkeypatch):
    learned, rows = read_files(files)
    data = learned.dataset(rows)
    model = CMVAE(CMVAEConfig(**learned.settings, latent_dim=3, modalities_specific_dim=2))
    whole = initialization.read_latents(model, data, 100, seed=3)
    monkeypatch.setattr(initialization, "RESERVOIR", 60)
    monkeypatch.setattr(initialization, "MAX_SAMPLES", 25)
    part = initialization.read_latents(model, data, 100, seed=3)
    assert (len(whole.rows), len(part.rows), len(set(part.rows))) == (N, 25, 25)
    np.testing.assert_allclose(part.means, whole.means[part.rows], atol=1e-6)
    np.testing.assert_allclose(part.experts, whole.experts[:, part.rows], atol=1e-6)
    assert (part.observed == whole.observed[:, part.rows]).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda own: own.drop(columns="v"), "unlike the first shard, part-0.parquet, it lacks 'v'"),
        (lambda own: own.assign(v="text"), "'v' holds texts, not numbers"),
        (lambda own: own.assign(id="s000"), "duplicate ids"),
        (None, "damaged, or no such file"),
    ],
)
def test_shards_that_do_not_fit_are_refused_before_training(tmp_path, small, damage, message):
    files = shards(tmp_path)
    path = tmp_path / "a" / "part-2.parquet"
    if damage is None:  # in the middle, which nothing but reading it shows
        content = bytearray(path.read_bytes())
        content[200:600] = bytes(400)
        path.write_bytes(bytes(content))
    else:
        damage(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(ValueError, match=message):
        read_files(files)


def test_images_wait_in_files_as_bytes(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for name in ("p", "q"):
        np.save(tmp_path / f"{name}.npy", rng.integers(0, 256, (80, 12, 12, 3), dtype=np.uint8))
    files = {name: ModalityFile(path=str(tmp_path / f"{name}.npy")) for name in ("p", "q")}
    config = RunConfig(modalities=files, device="cpu", recipe=Recipe(n_clusters=2))
    held = prepare(config, *read_files(files))
    hold_little(monkeypatch)
    waiting = prepare(config, *read_files(files))
    assert waiting.rows.are_read_later
    assert waiting.config == held.config
    for rows in ([3, 1, 79], slice(5, 9)):
        torch.testing.assert_close(waiting.data.batch(rows).data, held.data.batch(rows).data)
    assert waiting.rows.data["p"].dtype == np.uint8


def test_samples_of_many_are_drawn_in_their_order(files, covariates, small):
    learned, rows = read_files(files, covariates=covariates)
    few = rows.drawn(50)
    places = [int(name[1:]) for name in few.ids]
    assert places == sorted(set(places))
    assert len(places) == 50
    assert places[-1] - places[0] > 150
    expected = learned.dataset(rows).batch(places)
    found = learned.dataset(few).batch(slice(None))
    for name in ("a", "b"):
        torch.testing.assert_close(found.data[name], expected.data[name], equal_nan=True)
        assert torch.equal(found.masks[name], expected.masks[name])
    for name, values in expected.covariates.items():
        torch.testing.assert_close(found.covariates[name], values, equal_nan=True)
    part = learned.dataset(rows).covariates["batch"][20:30]
    own = learned.covariates["batch"].encode(rows.part(20, 30).covariates["batch"], "batch")
    assert own.tolist() == part.tolist()
    assert len(rows.drawn(10**6).ids) == N


@pytest.mark.parametrize("late", [None, "words", "n/a"])
def test_texts_are_learned_as_of_the_whole_file(tmp_path, monkeypatch, late):
    rng = np.random.default_rng(0)
    code = [f"{value:03d}" for value in rng.integers(1, 9, N)]
    grade = [str(value) for value in rng.integers(0, 3, N)]
    if late == "words":  # first numbers, then texts, more than a half of them
        grade[60:] = rng.choice(
            ["none", "one", "few", "some", "many", "most", "all", "any"], N - 60
        )
    elif late:
        grade[200] = late
    frame = pd.DataFrame({"id": [f"s{i}" for i in range(N)], "code": code, "grade": grade})
    frame["amount"] = [f"{value:.2f}".replace(".", ",") for value in rng.normal(5, 1, N)]
    frame.to_csv(tmp_path / "t.csv", index=False, sep=";")
    files = {"t": ModalityFile(path=str(tmp_path / "t.csv"))}
    whole, held = read_files(files)
    hold_little(monkeypatch)
    sampled, waiting = read_files(files)
    one, two = whole.codecs["t"], sampled.codecs["t"]
    assert two.kinds == one.kinds
    assert two.names == one.names
    np.testing.assert_allclose(waiting.data["t"].take(np.arange(N)), held.data["t"], rtol=1e-6)


def test_a_text_among_numbers_is_refused_as_of_the_whole_file(tmp_path, monkeypatch):
    frame = pd.DataFrame({"id": [f"s{i}" for i in range(N)], "x": np.arange(N) / 7})
    frame = frame.astype({"x": object})
    frame.loc[201, "x"] = "broken"
    frame.to_csv(tmp_path / "t.csv", index=False)
    files = {"t": ModalityFile(path=str(tmp_path / "t.csv"))}
    for little in (False, True):
        if little:
            hold_little(monkeypatch)
        with pytest.raises(ValueError, match=r"holds text among numbers: \['broken'\]"):
            read_files(files)
