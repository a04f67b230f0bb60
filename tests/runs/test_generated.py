import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cmvae.preprocessing.preprocessing as sizes
from cmvae.runs.generated import generate_clusters, may_write_generated, translate_files
from cmvae.runs.reading import join_files
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
