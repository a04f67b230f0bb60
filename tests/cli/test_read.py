"""Files as people have them, from the command line."""

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from cmvae.cli.options import modality_files, with_reading
from cmvae.files.modality import ModalityFile
from made_files import given, names, refused, run, table_a

FILES = {"a": ModalityFile(path="/a.csv"), "a.b": ModalityFile(path="/b.csv")}
QUICK = ["--epochs", 1, "--clusters", 2, "--device", "cpu"]


def test_options_say_how_files_are_read():
    values = ["a.delimiter=;", "a.decimal=comma", "a.b.sheet=a=b.c", "a.b.subfolders=yes"]
    found = with_reading(FILES, values)
    assert found["a"] == FILES["a"].replace(delimiter=";", decimal="comma")
    # A sheet may have any name.
    assert found["a.b"] == FILES["a.b"].replace(sheet="a=b.c", subfolders=True)
    again = modality_files(["a=new.csv"], None, found)
    assert (again["a"].delimiter, again["a"].decimal) == (";", "comma")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a=;", "--read must be NAME.OPTION=VALUE with one of the modalities"),
        ("c.decimal=comma", r"modalities \['a', 'a\.b'\]"),
        ("a.size=3", "of the options delimiter, decimal"),
        ("a.decimal=semicolon", r"--read a\.decimal .*'point' or 'comma'.*'semicolon'"),
        ("a.subfolders=maybe", r"--read a\.subfolders must be yes or no, got 'maybe'"),
    ],
)
def test_other_options_are_refused(value, message):
    with pytest.raises(ValueError, match=message):
        with_reading(FILES, [value])


def test_what_was_recognised_is_printed_and_kept(tmp_path):
    frame = table_a().set_index("id")[["x", "y", "colour"]]
    frame["share"] = [f"{value:.1f} %".replace(".", ",") for value in frame["x"]]
    frame["größe"] = frame["y"]
    frame.to_csv(tmp_path / "A.CSV", sep=";", decimal=",", encoding="cp1252")
    out = tmp_path / "run"
    status, said, err = run("fit", *given(a=tmp_path / "A.CSV"), "--out", out, *QUICK)
    assert status == 0, err
    line = next(line for line in said.splitlines() if line.startswith("a (A.CSV): "))
    assert "semicolons between cells; encoding cp1252; decimal comma in x, y, share" in line
    assert "% taken off in share" in line
    assert "4 continuous" in " ".join(said.split())
    found = pd.read_csv(out / "clusters.csv", dtype={"id": str})
    status, said, err = run(
        "predict", out, *given(a=tmp_path / "A.CSV"), "--out", tmp_path / "p.csv"
    )
    assert status == 0, err
    assert any(line.startswith("a (A.CSV): semicolons") for line in said.splitlines())
    predicted = pd.read_csv(tmp_path / "p.csv", dtype={"id": str}).drop(columns="fit_percentile")
    pd.testing.assert_frame_equal(predicted, found)


def test_two_readings_are_refused_with_the_options_that_settle_it(tmp_path):
    ids = [f"s{i}" for i in range(30)]
    cells = [f"{1 + i % 9},{100 + i * 7 % 900}" for i in range(30)]
    frame = pd.DataFrame({"id": ids, "spent": cells, "n": np.arange(30) % 4 / 1})
    frame["n"] = frame["n"].astype(int)
    frame.to_csv(tmp_path / "t.csv", sep=";", index=False)
    told = refused(
        "column 'spent' holds",
        *("fit", *given(t=tmp_path / "t.csv"), "--out", tmp_path / "run", *QUICK),
    )
    assert "as in --read t.decimal=comma or --read t.thousands=comma" in told
    assert names(tmp_path) == ["t.csv"]
    status, said, err = run(
        *("fit", *given(t=tmp_path / "t.csv"), "--read", "t.thousands=comma"),
        *("--out", tmp_path / "run", *QUICK),
    )
    assert status == 0, err
    assert "commas between thousands in spent" in said
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["modalities"]["t"]
    assert kept["thousands"] == "comma"
    # The next file is read likewise.
    frame[:5].to_csv(tmp_path / "next.csv", sep=";", index=False)
    status, said, err = run(
        *("predict", tmp_path / "run", *given(t=tmp_path / "next.csv"), "--out", tmp_path / "p.csv")
    )
    assert status == 0, err


def test_images_in_subfolders_and_other_files_are_counted(tmp_path):
    for i in range(20):
        folder = tmp_path / "img" / ("more" if i % 2 else ".")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.full((8, 8, 3), 30 + 200 * (i % 3 == 0), np.uint8)
        Image.fromarray(pixels).save(folder / f"s{i}.PNG")
    (tmp_path / "img" / "s99.HEIC").write_bytes(b"none")
    for options, samples, passed in (
        ([], 10, "10 images in subfolders passed over"),
        (["--read", "img.subfolders=yes"], 20, "1 file passed over: 1 .heic"),
    ):
        out = tmp_path / f"run{samples}"
        status, said, err = run("fit", *given(img=tmp_path / "img"), *options, "--out", out, *QUICK)
        assert status == 0, err
        assert passed in said
        assert len(pd.read_csv(out / "clusters.csv")) == samples


def test_dates_are_a_kind(tmp_path):
    frame = table_a()[["id", "x"]]
    frame["seen"] = pd.date_range("2020-01-15", periods=60, freq="9D").strftime("%d.%m.%Y")
    frame.to_csv(tmp_path / "t.csv", index=False)
    out = tmp_path / "run"
    fit = ("fit", *given(t=tmp_path / "t.csv"), "--kind", "t.seen=date+season")
    status, said, err = run(*fit, "--out", out, *QUICK)
    assert status == 0, err
    assert "1 date+season: seen" in " ".join(said.replace("│", " ").split())
    status, _, err = run("generate", out, "--samples", 3, "--out", tmp_path / "made")
    assert status == 0, err
    made = pd.read_csv(tmp_path / "made" / "t.csv", parse_dates=["seen"])
    assert made["seen"].dt.year.between(2010, 2032).all()
