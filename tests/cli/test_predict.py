import errno
import shutil
from unittest import mock

import pandas as pd
import pytest

import cmvae.preprocessing.preprocessing as sizes
from cmvae import CMVAE
from cmvae.metrics import clustering_scores
from made_files import LABELS, contents, given, names, refused, run, table_a


def predicted(path):
    return (
        pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"id": str})
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predictions_of_the_training_samples_are_the_run_s(
    fitted, modalities, tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(sizes, "MOST_ROWS", 7)
    out = tmp_path / f"found{suffix}"
    # Another order of the modalities is another order of the options, not of the samples.
    status, said, err = run("predict", fitted[0], *modalities[2:], *modalities[:2], "--out", out)
    assert status == 0, err
    assert f"Written to {out}: 60 samples" in said
    want = pd.read_csv(fitted[0] / "clusters.csv", dtype={"id": str})
    found = predicted(out).drop(columns="fit_percentile")
    pd.testing.assert_frame_equal(found, want, check_dtype=False, atol=1e-5)
    assert names(tmp_path) == [out.name]


def test_samples_of_some_modalities_are_predicted_a_part_at_a_time(
    fitted, files, tmp_path, monkeypatch
):
    asked, own = [], CMVAE.predict_clusters
    monkeypatch.setattr(sizes, "MOST_ROWS", 100)
    monkeypatch.setattr(
        CMVAE, "predict_clusters", lambda self, x, **k: asked.append(len(x)) or own(self, x, **k)
    )
    many = pd.concat([table_a()] * 20, ignore_index=True)
    many["id"] = [f"new{i}" for i in range(len(many))]
    many["extra"] = 0
    many.drop(columns="extra").to_csv(tmp_path / "many.tsv", index=False, sep="\t")
    status, _, err = run(
        "predict",
        fitted[0],
        "--modality",
        f"a={tmp_path / 'many.tsv'}",
        "--out",
        tmp_path / "o.csv",
    )
    assert status == 0, err
    assert asked == [100] * 12
    found = predicted(tmp_path / "o.csv")
    assert found["id"].tolist() == many["id"].tolist()
    assert set(found["modalities"]) == {"a"}
    clusters = found["cluster"].to_numpy().reshape(20, -1)
    assert (clusters == clusters[0]).all()
    assert clustering_scores(LABELS, clusters[0])["ARI"] > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "no data: pass --modality NAME=PATH, NAME being of ['a', 'b', 'img']"),
        (["--modality", "c=A"], "unknown modalities ['c']; those of the run are ['a', 'b', 'img']"),
        (
            ["--modality", "b=A"],
            "modality 'b': none of the columns that were learned is there; they",
        ),
        (["--modality", "img=A"], "modality 'img': expected images, got a DataFrame"),
        (["--modality", "a=nowhere"], "modality 'a': no such file"),
        (
            ["--modality", "b=nowhere", "--modality", "a=OTHER", "--modality", "img=none"],
            "/other.csv); modality 'b': no such file: ",
        ),
        (
            ["--modality", "a=OTHER"],
            "'colour' (category) holds unknown values in 60 of 60 rows, 'purple",
        ),
        (["--modality", "a=MORE", "--strict"], "modality 'a': 1 column unknown, 'more'"),
        (
            ["--modality", "a=A", "--out", "found.txt"],
            "--out must end in .csv, .tsv, .parquet, .h5mu, .h5ad, got found.txt",
        ),
        (
            ["--modality", "a=A", "--out", "old.csv"],
            "--out: old.csv exists; pass --overwrite",
        ),
        (["--modality", "a=A", "--out", "none/found.csv"], "--out: no such folder: none"),
    ],
)
def test_bad_predictions_are_told_and_nothing_is_written(
    fitted, files, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    table_a().assign(colour="purple").to_csv("other.csv", index=False)
    table_a().assign(more=1).to_csv("more.csv", index=False)
    (tmp_path / "old.csv").write_text("old")
    before = contents(tmp_path)
    options = [
        option.replace("=A", f"={files / 'a.csv'}")
        .replace("=OTHER", "=other.csv")
        .replace("=MORE", "=more.csv")
        for option in options
    ]
    refused(message, "predict", fitted[0], "--out", "found.csv", *options)
    assert contents(tmp_path) == before


def test_what_is_read_is_not_replaced(fitted, files, tmp_path):
    table, own = tmp_path / "a.csv", tmp_path / "run"
    shutil.copy(files / "a.csv", table)
    shutil.copytree(fitted[0], own)
    (tmp_path / "link.csv").symlink_to(table)
    before = contents(tmp_path)
    for out in (table, tmp_path / "link.csv", own / "clusters.csv"):
        command = ["predict", own, "--modality", f"a={table}", "--out", out, "--overwrite"]
        refused("is one of the files to read: name another file", *command)
    assert contents(tmp_path) == before


def said(err):
    return [line.removeprefix("Warning: ") for line in err.strip().splitlines()]


def test_next_month_s_file_may_differ_and_is_told_of(fitted, tmp_path):
    table = table_a()
    table.loc[[3, 7], "colour"] = "purple"
    table = table.drop(columns="smokes").rename(columns={"y": "Y"}).assign(new="x")
    table[table.columns[::-1]].to_csv(tmp_path / "next.csv", index=False)  # the ids stand last
    command = ["predict", fitted[0], *given(a=tmp_path / "next.csv"), "--out", tmp_path / "o.csv"]
    status, _, err = run(*command)
    assert status == 0, err
    assert said(err) == [
        "modality 'a': column 'Y' is not spelt 'y': taken for it",
        "modality 'a': 1 column unknown, 'new': ignored",
        "modality 'a': 1 column missing, 'smokes': taken as missing cells",
        "modality 'a': column 'colour' (category) holds unknown values in 2 of 60 rows, 'purple' "
        "(2); known are 'blue', 'green', 'red': taken as missing cells",
    ]
    found = predicted(tmp_path / "o.csv")
    assert found["id"].tolist() == table["id"].tolist()
    assert clustering_scores(LABELS, found["cluster"].to_numpy())["ARI"] > 0.8
    line = refused("1 column missing, 'smokes'", *command, "--overwrite", "--strict")
    assert "unknown values in 2 of 60 rows, 'purple' (2)" in line


def test_many_unknown_categories_need_a_word(fitted, tmp_path):
    table_a().assign(colour="purple").to_csv(tmp_path / "a.csv", index=False)
    command = ["predict", fitted[0], *given(a=tmp_path / "a.csv"), "--out", tmp_path / "o.csv"]
    line = refused("'colour'", *command)
    assert line.endswith(f"correct or empty them, or pass --lenient ({tmp_path / 'a.csv'})")
    status, _, err = run(*command, "--lenient")
    assert status == 0, err
    assert "60 of 60 rows" in err


def test_the_ids_are_where_they_were_and_else_in_the_first_column(fitted, tmp_path):
    table, out = table_a(), tmp_path / "o.csv"
    table.rename(columns={"id": "person"}).to_csv(tmp_path / "other.csv", index=False)
    command = ["predict", fitted[0], "--out", out, "--overwrite"]
    status, _, err = run(*command, *given(a=tmp_path / "other.csv"))
    assert status == 0, err
    assert said(err)[0].endswith("no column 'id', which held the ids: taken from 'person'")
    assert predicted(out)["id"].tolist() == table["id"].tolist()
    table.drop(columns="id").to_csv(tmp_path / "none.csv", index=False)
    message = "no column 'id', which held the ids, and the first one, 'x', holds something else"
    line = refused(message, *command, *given(a=tmp_path / "none.csv"))
    assert line.endswith("name the column of ids with --id NAME")


def test_a_file_that_lies_elsewhere_is_told_of(fitted, tmp_path):
    table = table_a()
    table.assign(y=table["y"] * 1000).to_csv(tmp_path / "a.csv", index=False)
    command = ["predict", fitted[0], *given(a=tmp_path / "a.csv"), "--out", tmp_path / "o.csv"]
    status, _, err = run(*command)
    assert status == 0, err
    assert "lie elsewhere than those of training, in 1 column: 'y' of 'a' (larger)" in err
    assert (predicted(tmp_path / "o.csv")["fit_percentile"] < 1).mean() > 0.9


def test_a_full_disk_leaves_old_predictions_whole(fitted, files, tmp_path):
    out = tmp_path / "found.csv"
    out.write_text("old")
    command = ["predict", fitted[0], *given(a=files / "a.csv"), "--out", out, "--overwrite"]
    with mock.patch(
        "pandas.DataFrame.to_csv", side_effect=OSError(errno.ENOSPC, "No space left on device")
    ):
        refused("the disk is full", *command)
    assert contents(tmp_path) == {"found.csv": b"old"}
    assert run(*command)[0] == 0
    assert out.read_text().startswith("id,cluster,")


@pytest.mark.parametrize("command", ["predict", "generate", "evaluate", "select", "report"])
def test_what_is_no_whole_run_is_refused_by_every_command(fitted, files, tmp_path, command):
    """Which harm is refused how: tests/runs/test_folder.py."""
    options = {
        "predict": [*given(a=files / "a.csv"), "--out", tmp_path / "o.csv"],
        "generate": ["--out", tmp_path / "made"],
        "evaluate": ["--labels", files / "labels.csv", "--column", "label"],
    }.get(command, [])
    refused("no such run folder", command, tmp_path / "none", *options)
    shutil.copytree(fitted[0], tmp_path / "run")
    (tmp_path / "run" / "preprocessing.json").write_text("{}")
    before = contents(tmp_path)
    refused("preprocessing.json: the file was altered", command, tmp_path / "run", *options)
    (tmp_path / "run" / "manifest.json").write_text('{"version": 1, "files": {}, "order": [0]}')
    message = "is a run folder of version 1; this cmvae "
    refused(message, command, tmp_path / "run", *options)
    (tmp_path / "run" / "manifest.json").write_bytes(before["run/manifest.json"])
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("cmvae.CMVAE.predict_clusters", ["predict", "RUN", "A", "--out", "found.csv"]),
        ("cmvae.CMVAE.decode", ["generate", "RUN", "--out", "made"]),
        ("cmvae.metrics.clustering.clustering_scores", ["evaluate", "RUN", "--labels", "some.csv"]),
    ],
)
def test_an_interruption_leaves_what_there_was(
    fitted, files, tmp_path, monkeypatch, place, command
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some.csv").write_text("id,label\n001,a\n002,b\n")
    (tmp_path / "found.csv").write_text("old")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "generated.json").write_text('{"files": []}')
    before = {**contents(tmp_path), **contents(fitted[0])}
    options = {"RUN": [fitted[0]], "A": given(a=files / "a.csv")}
    command = [part for option in command for part in options.get(option, [option])]
    overwrite = [] if "--labels" in command else ["--overwrite"]
    with mock.patch(place, side_effect=KeyboardInterrupt):
        status, _, err = run(*command, *overwrite)
    assert (status, err.strip()) == (130, "Interrupted: nothing was written")
    assert {**contents(tmp_path), **contents(fitted[0])} == before


def test_ids_in_another_spelling_are_joined_and_told(fitted, files, tmp_path):
    second = pd.read_parquet(files / "b.parquet")
    second.set_axis([f"{int(name)}\u00a0" for name in second.index]).to_csv(tmp_path / "b.csv")
    tables = given(a=files / "a.csv", b=tmp_path / "b.csv")
    status, said, err = run("predict", fitted[0], *tables, "--out", tmp_path / "found.csv")
    assert status == 0, err
    first, told = [line for line in said.splitlines() if "kept as text" not in line][:2]
    assert first == "Joined on ids: in both 45; only a 5; only b 10"
    assert told.startswith("modality 'b': 45 ids joined that differ only in blanks and leading ze")
    same = given(a=files / "a.csv", b=files / "b.parquet")
    assert run("predict", fitted[0], *same, "--out", tmp_path / "same.csv")[0] == 0
    found, want = predicted(tmp_path / "found.csv"), predicted(tmp_path / "same.csv")
    assert found["id"][:50].tolist() == want["id"][:50].tolist()
    assert found["id"][50:].tolist() == [f"{int(name)}\u00a0" for name in want["id"][50:]]
    pd.testing.assert_frame_equal(found.drop(columns="id"), want.drop(columns="id"))
    numbers = second.set_axis([str(int(name)) for name in second.index])
    pd.concat([numbers, second.loc[["009"]]]).to_csv(tmp_path / "b.csv")
    refused(
        "'9' and '009' of modality 'b' are one id",
        "predict",
        fitted[0],
        *tables,
        "--out",
        tmp_path / "x.csv",
    )
    assert not (tmp_path / "x.csv").exists()
