import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import cmvae.preprocessing.preprocessing as sizes
from cmvae.files.join import JoinedRows
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.runs.config import RunConfig
from cmvae.runs.generated import generate_clusters, may_write_generated, translate_files
from cmvae.runs.reading import join_files
from cmvae.runs.run import prepare, train_run
from cmvae.training.recipe import Recipe
from made_files import contents


def generated(run, folder, clusters, n=6, modalities=("a", "b"), **options):
    folder.mkdir()
    settings = {"draw": False, "seed": 0, **options}
    generate_clusters(run, folder, clusters, n, list(modalities), **settings)
    return {name: pd.read_csv(folder / f"{name}.csv") for name in modalities}


def test_samples_are_of_the_clusters_asked_for(run, tmp_path):
    made = generated(run, tmp_path / "one", [2, 0, 2])
    for name, table in made.items():
        assert table["cluster"].tolist() == [2] * 6 + [0] * 6, name
        assert table["id"].tolist() == [f"c{c}-{i}" for c in (2, 0) for i in range(6)]
    samples = run.samples.set_index("id")
    heights = {c: np.mean(made["a"].loc[made["a"]["cluster"] == c, "x"]) for c in (0, 2)}
    assert samples["cluster"].nunique() == 3
    assert np.isfinite(list(heights.values())).all()
    record = json.loads((tmp_path / "one" / "generated.json").read_text())
    assert (record["clusters"], record["samples"], record["files"], record["draw"]) == (
        [2, 0],
        6,
        ["a.csv", "b.csv"],
        False,
    )


def test_a_seed_repeats_and_parts_do_not_matter_to_ids(run, tmp_path, monkeypatch):
    one = generated(run, tmp_path / "one", [0, 1, 2], seed=3, draw=True)
    same = generated(run, tmp_path / "same", [0, 1, 2], seed=3, draw=True)
    other = generated(run, tmp_path / "other", [0, 1, 2], seed=4, draw=True)
    assert all(one[name].equals(same[name]) for name in one)
    assert not one["b"].equals(other["b"])
    monkeypatch.setattr(sizes, "MOST_ROWS", 4)
    parts = generated(run, tmp_path / "parts", [0, 1, 2], seed=3)
    assert parts["a"]["id"].tolist() == one["a"]["id"].tolist()


def test_translations_keep_ids(run, config, tmp_path):
    (tmp_path / "made").mkdir()
    with join_files({"a": config.modalities["a"]}, run.preprocessing) as store:
        settings = {"draw": False, "seed": 0, "suffix": ".parquet", "sources": {"a": "a.csv"}}
        translate_files(run, tmp_path / "made", store, ["b", "b"], **settings)
    made = pd.read_parquet(tmp_path / "made" / "b.parquet")
    assert list(made) == ["id", "p", "q"]
    assert made["id"].tolist() == run.samples["id"].tolist()[:50]
    assert json.loads((tmp_path / "made" / "generated.json").read_text())["sources"] == {
        "a": "a.csv"
    }


def test_where_samples_may_be_written(run, folder, tmp_path):
    made = tmp_path / "made"
    generated(run, made, [0])
    (tmp_path / "file").write_text("x")
    for path, overwrite, message in (
        (made, False, "made holds generated samples; pass overwrite=True to replace them"),
        (folder, True, "run holds something else than generated samples; name another folder"),
        (tmp_path / "file", True, "out must be a folder, got the file"),
        (Path(), True, r"out must be a folder given by its name, got '\.'"),
        (tmp_path / "none" / "made", False, "out: no such folder: .*none"),
    ):
        with pytest.raises(ValueError, match=message):
            may_write_generated(path, overwrite)
    may_write_generated(made, True)
    may_write_generated(tmp_path / "new", False)
    (made / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than generated samples"):
        may_write_generated(made, True)


def test_generated_samples_that_were_moved_away_are_put_back_or_dropped(run, tmp_path):
    out, old = tmp_path / "made", tmp_path / ".made-abcdefgh.old" / "made"
    old.parent.mkdir()
    generated(run, old, [0])
    with (
        pytest.warns(UserWarning, match="what was generated before is back in its place"),
        pytest.raises(ValueError, match="made holds generated samples; pass overwrite=True"),
    ):
        may_write_generated(out, overwrite=False)
    before = contents(out)
    shutil.copytree(out, old)
    may_write_generated(out, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    shutil.copytree(out, old)
    (old / "notes.txt").write_text("mine")
    with pytest.warns(UserWarning, match=r"old/made still holds \[.*'notes.txt'"):
        may_write_generated(out, overwrite=True)
    assert (old / "notes.txt").read_text() == "mine"
    assert contents(out) == before


def test_drawn_images_vary_in_what_is_private_and_are_no_snow(tmp_path):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (80, 3, 1, 1))
    pixels = np.broadcast_to(colours, (80, 3, 8, 8)).astype(np.uint8)
    data = {"photo": pixels, "t": rng.normal(size=(80, 3))}
    learned = Preprocessing.learn(data)
    encoded = {name: learned.codecs[name].encode(own, name)[0] for name, own in data.items()}
    masks = dict.fromkeys(data, np.ones(80, bool))
    recipe = Recipe(n_clusters=2, max_epochs=4, latent_dim=2, private_dim=3, hidden_dims=(8,))
    files = {name: ModalityFile() for name in data}
    config = RunConfig(modalities=files, device="cpu", recipe=recipe)
    prepared = prepare(config, learned, JoinedRows(list(map(str, range(80))), encoded, masks))
    assert prepared.settings.reconstruction_option == "aggregate"
    run = train_run(prepared)
    assert not torch.equal(run.model.private_priors["photo"].factor, torch.eye(3))
    made = {}
    for draw in (False, True):
        folder = tmp_path / str(draw)
        folder.mkdir()
        generate_clusters(run, folder, [0], 5, ["photo", "t"], draw=draw, seed=0)
        made[draw] = [np.asarray(Image.open(path)) for path in sorted(folder.glob("photo/*"))]
    np.testing.assert_array_equal(made[True], made[False])  # its latents are drawn either way
    tables = [pd.read_csv(tmp_path / str(draw) / "t.csv") for draw in (False, True)]
    assert not tables[0].equals(tables[1])
