import json
from unittest import mock

import pandas as pd
import pytest

import cmvae.preprocessing.preprocessing as sizes
import cmvae.runs.parts as parts
from cmvae import CMVAE
from cmvae.files.modality import ModalityFile
from cmvae.runs.folder import read_record
from cmvae.runs.predicting import predict_files
from made_files import names, table_a


class Killed(BaseException):
    pass


def many(folder, n=5):
    tables = [table_a().assign(id=lambda t, k=k: f"t{k}" + t["id"].astype(str)) for k in range(n)]
    pd.concat(tables).to_parquet(folder / "many.parquet", index=False)
    return {"a": ModalityFile(path=str(folder / "many.parquet"))}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(sizes, "MOST_ROWS", 20)
    monkeypatch.setattr(parts, "PART_ROWS", 50)


def broken_off(after, *arguments, **options):
    own, calls = CMVAE.predict_clusters, []

    def stops(self, data, **keywords):
        calls.append(len(data))
        if len(calls) > after:
            raise Killed
        return own(self, data, **keywords)

    with mock.patch.object(CMVAE, "predict_clusters", stops):
        try:
            predict_files(*arguments, **options)
        except Killed:
            return None
    return len(calls)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_prediction_that_was_broken_off_goes_on_to_the_same_bits(folder, tmp_path, small, suffix):
    record, given = read_record(folder), many(tmp_path)
    whole, out, said = tmp_path / f"whole{suffix}", tmp_path / f"out{suffix}", []
    counts = predict_files(folder, record, given, whole)
    assert names(tmp_path) == ["many.parquet", whole.name]
    assert broken_off(8, folder, record, given, out) is None
    assert names(tmp_path / f"{out.name}.partial") == [
        "000000.parquet",
        "000001.parquet",
        "state.json",
    ]
    assert not out.exists()
    assert broken_off(9, folder, record, given, out, tell=said.append) == 9  # 15 less 6
    assert out.read_bytes() == whole.read_bytes()
    assert said == [f"{out}: goes on after 120 samples of a try that was broken off"]
    assert names(tmp_path) == sorted(["many.parquet", whole.name, out.name])
    assert counts.sum() == 300


def test_counts_and_drift_go_on_too(folder, tmp_path, small):
    record, given, out = read_record(folder), many(tmp_path), tmp_path / "out.csv"
    moved = pd.read_parquet(tmp_path / "many.parquet")
    moved.loc[:119, "x"] += 50  # what is kept of the first try, and nothing of the second
    moved.to_parquet(tmp_path / "many.parquet", index=False)
    with pytest.warns(UserWarning, match="lie elsewhere") as wanted:
        counts = predict_files(folder, record, given, tmp_path / "whole.csv")
    broken_off(8, folder, record, given, out)
    with pytest.warns(UserWarning, match="lie elsewhere") as found:
        assert predict_files(folder, record, given, out).tolist() == counts.tolist()
    assert [str(one.message) for one in found] == [str(one.message) for one in wanted]


@pytest.mark.parametrize("change", ["file", "run", "option", "damage", "part"])
def test_parts_of_something_else_are_dropped(folder, tmp_path, small, change):
    record, given, out = read_record(folder), many(tmp_path), tmp_path / "out.csv"
    broken_off(8, folder, record, given, out)
    partial, options = tmp_path / "out.csv.partial", {}
    if change == "file":
        many(tmp_path, 6)
    elif change == "run":
        record = record.__class__(**{**vars(record), "names": {0: "first"}})
    elif change == "option":
        options = {"with_fit": False}
    elif change == "damage":
        (partial / "state.json").write_text("{")
    else:
        (partial / "000001.parquet").unlink()
    asked = broken_off(99, folder, record, given, out, **options)
    assert asked == (18 if change == "file" else 15)
    assert not partial.exists()


def test_what_is_kept_is_named_by_what_it_depends_on(folder, tmp_path, small):
    record, given, out = read_record(folder), many(tmp_path), tmp_path / "out.csv"
    broken_off(8, folder, record, given, out)
    state = json.loads((tmp_path / "out.csv.partial" / "state.json").read_text())
    assert (state["number"], state["samples"]) == (2, 120)


def test_the_fit_may_be_left_out_and_clusters_are_the_same(folder, config, tmp_path):
    record = read_record(folder)
    for with_fit in (True, False):
        out = tmp_path / f"{with_fit}.parquet"
        predict_files(folder, record, config.modalities, out, with_fit=with_fit)
    whole, quick = (pd.read_parquet(tmp_path / f"{own}.parquet") for own in (True, False))
    pd.testing.assert_frame_equal(whole.drop(columns="fit_percentile"), quick)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    folder = tmp_path / "out.csv.partial"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"out.csv.partial is in the way.*mine.txt.*move it"):
        parts.Parts(folder, "key")
    assert (folder / "mine.txt").read_text() == "mine"
    (folder / "mine.txt").rename(folder / "000000.parquet")  # what a kill has left
    parts.Parts(folder, "key")
    assert not folder.exists()
    folder.write_text("mine")
    with pytest.raises(ValueError, match="is in the way"):
        parts.Parts(folder, "key")
    assert folder.read_text() == "mine"
