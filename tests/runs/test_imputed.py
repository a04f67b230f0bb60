import json

import numpy as np
import pandas as pd
import pytest

from cmvae import CMVAEClusterer
from made_files import names, refused, run

EXACT = {"float_precision": "round_trip"}  # which pandas 2 reads only when asked


@pytest.fixture(scope="module")
def gaps(tmp_path_factory):
    """A folder with two tables of which cells and rows are missing, and a run of them."""
    folder, rng = tmp_path_factory.mktemp("gaps"), np.random.default_rng(0)
    kinds = rng.integers(0, 3, 90)
    values = 4 * rng.normal(size=(3, 4))[kinds] + rng.normal(size=(90, 4))
    a = pd.DataFrame(values, columns=list("wxyz"), index=[f"s{i}" for i in range(90)])
    a["colour"] = np.array(["red", "blue", "green"])[kinds]
    a["smokes"], a["visits"] = kinds == 1, rng.poisson(np.array([2, 20, 60])[kinds])
    b = pd.DataFrame(4 * rng.normal(size=(3, 3))[kinds] + rng.normal(size=(90, 3)), a.index)
    a = a.astype(object).where(rng.random(a.shape) > 0.15)
    a[:80].to_csv(folder / "a.csv", index_label="id")
    b.rename(columns=str)[5:].to_parquet(folder / "b.parquet")
    files = ["--modality", f"a={folder / 'a.csv'}", "--modality", f"b={folder / 'b.parquet'}"]
    status, _, err = run("fit", *files, "--clusters", 3, "--epochs", 8, "--out", folder / "run")
    assert status == 0, err
    return folder


def test_completed_tables_keep_what_is_there(gaps, tmp_path):
    out = tmp_path / "done"
    assert run("generate", gaps / "run", "--impute", "--out", out)[0] == 0
    assert names(out) == ["a.csv", "b.csv", "generated.json"]
    assert json.loads((out / "generated.json").read_text())["imputed"]
    for name, given in (
        ("a", pd.read_csv(gaps / "a.csv", index_col="id", **EXACT)),
        ("b", pd.read_parquet(gaps / "b.parquet")),
    ):
        made = pd.read_csv(out / f"{name}.csv", index_col="id", **EXACT)
        assert len(made) == 90
        assert list(made) == list(given)
        assert not made.isna().any(axis=None)
        made = made.loc[given.index].astype(object)
        assert ((made == given.astype(object)) | given.isna()).all(axis=None)
    a = pd.read_csv(out / "a.csv", index_col="id", **EXACT)
    assert (a["smokes"].dtype, a["visits"].dtype) == (bool, np.int64)


def test_the_estimator_completes_them_alike(gaps, tmp_path):
    out = tmp_path / "done"
    assert run("generate", gaps / "run", "--impute", "--out", out, "--to", "a")[0] == 0
    assert names(out) == ["a.csv", "generated.json"]
    a, b = pd.read_csv(gaps / "a.csv", index_col="id", **EXACT), pd.read_parquet(gaps / "b.parquet")
    made = CMVAEClusterer.load(gaps / "run").impute({"a": a, "b": b})
    pd.testing.assert_frame_equal(
        made["a"], pd.read_csv(out / "a.csv", index_col="id", **EXACT), check_names=False, rtol=1e-5
    )
    assert made["b"].shape == (90, 3)


def test_samples_of_other_files(gaps, tmp_path):
    new = pd.read_csv(gaps / "a.csv", **EXACT)[:4].assign(id=["n1", "n2", "n3", "n4"])
    new.to_csv(tmp_path / "new.csv", index=False)
    given = ["--from", f"a={tmp_path / 'new.csv'}", "--format", "parquet"]
    assert run("generate", gaps / "run", "--impute", *given, "--out", tmp_path / "done")[0] == 0
    b = pd.read_parquet(tmp_path / "done" / "b.parquet")
    assert b["id"].tolist() == ["n1", "n2", "n3", "n4"]
    assert b.shape == (4, 4)


def test_what_cannot_be_is_told_in_one_line(gaps, tmp_path):
    given = ["generate", gaps / "run", "--impute", "--out", tmp_path / "done"]
    alone = "--impute completes samples: leave out --cluster, --draw and --refine"
    refused(alone, *given, "--draw")
    a = pd.read_csv(gaps / "a.csv", index_col="id", **EXACT)
    clusterer = CMVAEClusterer(2, max_epochs=2, random_state=0).fit({"a": a[["w", "x", "y", "z"]]})
    clusterer.save(tmp_path / "python")
    given[1] = tmp_path / "python"
    refused("the run has no files of ['a']; pass the files of its samples with --from", *given)
    assert not (tmp_path / "done").exists()


def test_codes_dates_and_other_spellings_of_ids_stay_as_they_were_written(tmp_path):
    rng, labels = np.random.default_rng(1), np.arange(60) % 3
    ids = pd.Index([f"P{number:03d}" for number in range(60)], name="id")
    a = pd.DataFrame({"x": 6.0 * labels + rng.normal(size=60)}, ids)
    a["zip"] = [f"{code:05d}" for code in rng.integers(500, 9999, 60)]
    days = pd.to_datetime("2020-02-01") + pd.to_timedelta(rng.integers(0, 700, 60), "D")
    a["since"] = days.strftime("%d.%m.%Y")
    b = pd.DataFrame({"y": (9.0 * labels + rng.normal(size=60)).round(3)}, ids.str.lower() + " ")
    a.loc[["P003", "P004"], ["x", "since"]] = np.nan
    b.iloc[5] = np.nan
    a.to_csv(tmp_path / "a.csv")
    b.to_csv(tmp_path / "b.csv", index_label="id")
    files = ["--modality", f"a={tmp_path / 'a.csv'}", "--modality", f"b={tmp_path / 'b.csv'}"]
    quick = ["--kind", "a.since=date", "--clusters", 3, "--epochs", 2]
    status, _, err = run("fit", *files, *quick, "--out", tmp_path / "run")
    assert status == 0, err
    assert run("generate", tmp_path / "run", "--impute", "--out", tmp_path / "done")[0] == 0
    made = pd.read_csv(tmp_path / "done" / "a.csv", index_col="id", dtype={"zip": str}, **EXACT)
    assert (made["zip"] == a["zip"]).all()
    assert made["since"].str.fullmatch(r"\d\d\.\d\d\.\d{4}").all()
    assert ((made["since"] == a["since"]) | a["since"].isna()).all()
    y = pd.read_csv(tmp_path / "done" / "b.csv", index_col="id", **EXACT)["y"]
    there = b["y"].notna().to_numpy()
    assert (y.to_numpy()[there] == b["y"].to_numpy()[there]).all()
