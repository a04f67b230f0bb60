import json
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmvae.runs.generated import generate_clusters
from made_files import IDS, LABELS, contents, names, refused, run, table_a


def test_clusters_are_generated_in_the_units_of_the_data(fitted, tmp_path):
    out = tmp_path / "made"
    options = ["--cluster", 2, "--cluster", 0, "--samples", 12, "--draw", "--format", "parquet"]
    assert run("generate", fitted[0], "--out", out, *options)[0] == 0
    a, b = pd.read_parquet(out / "a.parquet"), pd.read_parquet(out / "b.parquet")
    assert a["cluster"].tolist() == b["cluster"].tolist() == [2] * 12 + [0] * 12
    assert a["id"].iloc[0] == "c2-00"
    assert list(a) == ["id", "cluster", "x", "y", "colour", "smokes"]
    assert 80 < a["y"].mean() < 160
    assert set(a["colour"]) <= {"red", "blue", "green"}
    assert set(a["smokes"]) <= {0, 1}
    assert (b[["p", "q"]].to_numpy() >= 0).all()
    assert b["p"].dtype == np.int64
    assert len(list((out / "img").iterdir())) == 24
    with Image.open(out / "img" / "c0-03.png") as image:
        assert (image.size, image.mode) == ((12, 10), "RGB")
    before = contents(out)
    refused(
        "holds generated samples; pass --overwrite to replace them",
        "generate",
        fitted[0],
        "--out",
        out,
    )
    assert run("generate", fitted[0], "--out", out, "--overwrite", *options)[0] == 0
    assert contents(out) == before
    assert (
        run("generate", fitted[0], "--out", out, "--overwrite", *options, "--seed", 5, "--to", "a")[
            0
        ]
        == 0
    )
    assert names(out) == ["a.parquet", "generated.json"]
    assert not pd.read_parquet(out / "a.parquet").equals(a)
    assert names(tmp_path) == ["made", "made/a.parquet", "made/generated.json"]


def test_what_is_put_into_the_folder_meanwhile_is_not_replaced(fitted, tmp_path):
    out, options = tmp_path / "made", ["--cluster", 1, "--samples", 2, "--to", "b"]
    assert run("generate", fitted[0], "--out", out, *options)[0] == 0

    def put_in(*arguments, **options):
        (out / "notes").write_text("of years")
        return generate_clusters(*arguments, **options)

    with mock.patch("cmvae.runs.generated.generate_clusters", put_in):
        message = "holds something else than generated samples"
        refused(message, "generate", fitted[0], "--out", out, *options, "--overwrite")
    assert names(tmp_path) == ["made", "made/b.csv", "made/generated.json", "made/notes"]


def test_only_generated_samples_are_replaced(fitted, tmp_path):
    options = ["--cluster", 1, "--samples", 2, "--to", "b", "--seed", 7, "--overwrite"]
    given = ["generate", fitted[0], *options]
    for name, content in (
        ("a.csv", "of years"),
        ("generated.json", "{}"),
        ("generated.json", '{"files": 3}'),
    ):
        (tmp_path / "thesis").mkdir(exist_ok=True)
        (tmp_path / "thesis" / "notes").write_text("of years")
        (tmp_path / "thesis" / name).write_text(content)
        before = contents(tmp_path)
        refused(
            "thesis holds something else than generated samples",
            *given,
            "--out",
            tmp_path / "thesis",
        )
        assert contents(tmp_path) == before
    refused("--out must be a folder, got the file", *given, "--out", tmp_path / "thesis" / "notes")
    assert contents(tmp_path) == before
    (tmp_path / "made").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "made")
    assert run(*given, "--out", tmp_path / "link")[0] == 0
    assert run(*given, "--out", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "made", "thesis"]
    record = json.loads((tmp_path / "made" / "generated.json").read_text())
    assert (record["clusters"], record["samples"], record["files"], record["seed"]) == (
        [1],
        2,
        ["b.csv"],
        7,
    )
    (tmp_path / "made" / "notes").write_text("added")
    refused("holds something else than generated samples", *given, "--out", tmp_path / "made")
    assert (tmp_path / "made" / "notes").read_text() == "added"


def test_files_that_come_while_samples_are_generated_stay(fitted, tmp_path):
    made = tmp_path / "made"

    def put(*_, **__):
        made.mkdir()
        (made / "thesis.txt").write_text("mine")

    with mock.patch("cmvae.runs.generated.generate_clusters", put):
        refused("made holds something else", "generate", fitted[0], "--out", made)
    assert names(tmp_path) == ["made", "made/thesis.txt"]


def test_modalities_are_generated_from_others(fitted, files, tmp_path):
    out = tmp_path / "made"
    assert run("generate", fitted[0], "--from", f"a={files / 'a.csv'}", "--out", out)[0] == 0
    assert sorted(path.name for path in out.iterdir()) == ["b.csv", "generated.json", "img"]
    b = pd.read_csv(out / "b.csv", dtype={"id": str})
    assert b["id"].tolist() == IDS[:50]
    assert all(
        len(cell) < 16
        for line in (out / "b.csv").read_text().splitlines()
        for cell in line.split(",")
    )
    means = b.groupby(LABELS[:50])[["p", "q"]].mean()
    assert means.loc[0, "p"] > 2 * means.loc[1, "p"]
    assert means.loc[1, "q"] > 2 * means.loc[2, "q"]
    reds = []
    for name in IDS[:30]:
        with Image.open(out / "img" / f"{name}.png") as image:
            reds.append(np.asarray(image)[..., 0].mean())
    assert np.mean(reds[::3]) > np.mean(reds[1::3]) + 20


def test_what_is_named_twice_is_generated_once(fitted, tmp_path):
    given = ["generate", fitted[0], "--samples", 2, "--out", tmp_path / "made"]
    once = ["--cluster", 1, "--to", "a", "--to", "img"]
    assert run(*given, *once)[0] == 0
    before = contents(tmp_path)
    status, said, _ = run(*given, *once, *once, "--overwrite")
    assert status == 0
    assert said.strip().endswith("made: a, img")
    assert contents(tmp_path) == before


def test_images_are_named_by_ids_that_differ(fitted, tmp_path):
    given = [
        "generate",
        fitted[0],
        "--from",
        f"a={tmp_path / 'odd.csv'}",
        "--to",
        "img",
        "--out",
        tmp_path / "made",
    ]
    table_a().iloc[:3].assign(id=["..", "é", "a/b"]).to_csv(tmp_path / "odd.csv", index=False)
    status, _, err = run(*given)
    assert status == 0, err
    assert sorted(names(tmp_path / "made" / "img")) == ["...png", "a_b.png", "é.png"]
    table_a().iloc[:2].assign(id=["a/b", "a_b"]).to_csv(tmp_path / "odd.csv", index=False)
    before = contents(tmp_path)
    refused(
        "modality 'img': the id 'a_b' would name the image of another sample", *given, "--overwrite"
    )
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cluster", 3], "--cluster must be from 0 to 2, got '3'"),
        (["--to", "c"], "--to names unknown modalities ['c']; there are ['a', 'b', 'img']"),
        (["--from", "a=A", "--cluster", 0], "--from and --cluster exclude each other"),
        (["--from", "a=nowhere"], "modality 'a': no such file"),
        (["--from", "a=none", "--from", "b=no"], "/none; modality 'b': no such file: "),
        (["--from", "c=none"], "unknown modalities ['c']; those of the run are ['a', 'b', 'img']"),
        (["--out", "none/made"], "--out: no such folder: none"),
        (["--from", "nowhere"], "--from must be NAME=VALUE, got 'nowhere'"),
        (["--format", "xls"], "--format must be csv or parquet, got 'xls'"),
        (["--samples", 0], "--samples"),
        (["--seed", 2**70], "--seed"),
        (
            ["--overwrite", "--out", "RUN"],
            "holds something else than generated samples; name another folder",
        ),
    ],
)
def test_bad_generations_are_told_and_nothing_is_written(fitted, tmp_path, options, message):
    options = [fitted[0] if option == "RUN" else option for option in options]
    before = contents(fitted[0])
    refused(message, "generate", fitted[0], "--out", tmp_path / "made", *options)
    assert names(tmp_path) == []
    assert contents(fitted[0]) == before
