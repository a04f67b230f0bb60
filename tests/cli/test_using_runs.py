import errno
import json
import shutil
from dataclasses import replace
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cmvae import CMVAE
from cmvae.files import preprocessing
from cmvae.metrics import clustering_scores
from cmvae.runs.folder import read_run
from cmvae.runs.generated import generate_clusters
from made_files import IDS, LABELS, contents, names, refused, run, table_a


def predicted(path):
    return (
        pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, dtype={"id": str})
    )


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_predictions_of_the_training_samples_are_the_run_s(
    fitted, modalities, tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(preprocessing, "MOST_ROWS", 7)
    out = tmp_path / f"found{suffix}"
    # Another order of the modalities is another order of the options, not of the samples.
    status, said, err = run("predict", fitted[0], *modalities[2:], *modalities[:2], "--out", out)
    assert status == 0, err
    assert f"Written to {out}: 60 samples" in said
    want = pd.read_csv(fitted[0] / "clusters.csv", dtype={"id": str})
    pd.testing.assert_frame_equal(predicted(out), want, check_dtype=False, atol=1e-5)
    assert names(tmp_path) == [out.name]


def test_samples_of_some_modalities_are_predicted_a_part_at_a_time(
    fitted, files, tmp_path, monkeypatch
):
    sizes, own = [], CMVAE.predict_clusters
    monkeypatch.setattr(preprocessing, "MOST_ROWS", 100)
    monkeypatch.setattr(
        CMVAE, "predict_clusters", lambda self, x, **k: sizes.append(len(x)) or own(self, x, **k)
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
    assert sizes == [100] * 12
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
        (["--modality", "b=A"], "modality 'b'"),
        (["--modality", "img=A"], "modality 'img': expected images, got a DataFrame"),
        (["--modality", "a=nowhere"], "no such file"),
        (["--modality", "a=OTHER"], "'colour' (category) holds ['purple']: unknown categories"),
        (
            ["--modality", "a=A", "--out", "found.txt"],
            "--out must end in .csv, .tsv, .parquet, .h5mu, got found.txt",
        ),
        (["--modality", "a=A", "--out", "old.csv"], "--out old.csv exists; pass --overwrite"),
        (["--modality", "a=A", "--out", "none/found.csv"], "--out: no such folder: none"),
    ],
)
def test_bad_predictions_are_told_and_nothing_is_written(
    fitted, files, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    table_a().assign(colour="purple").to_csv("other.csv", index=False)
    (tmp_path / "old.csv").write_text("old")
    before = contents(tmp_path)
    given = [
        option.replace("=A", f"={files / 'a.csv'}").replace("=OTHER", "=other.csv")
        for option in options
    ]
    refused(message, "predict", fitted[0], "--out", "found.csv", *given)
    assert contents(tmp_path) == before


def test_a_full_disk_leaves_old_predictions_whole(fitted, files, tmp_path):
    out = tmp_path / "found.csv"
    out.write_text("old")
    given = [
        "predict",
        fitted[0],
        "--modality",
        f"a={files / 'a.csv'}",
        "--out",
        out,
        "--overwrite",
    ]
    with mock.patch(
        "pandas.DataFrame.to_csv", side_effect=OSError(errno.ENOSPC, "No space left on device")
    ):
        refused("No space left on device", *given)
    assert contents(tmp_path) == {"found.csv": b"old"}
    assert run(*given)[0] == 0
    assert out.read_text().startswith("id,cluster,")


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
    refused("exists; pass --overwrite", "generate", fitted[0], "--out", out)
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


def test_only_generated_samples_are_replaced(fitted, tmp_path):
    given = [
        "generate",
        fitted[0],
        "--cluster",
        1,
        "--samples",
        2,
        "--to",
        "b",
        "--seed",
        7,
        "--overwrite",
    ]
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
    refused("notes holds something else than", *given, "--out", tmp_path / "thesis" / "notes")
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


def test_clusters_are_generated_by_the_numbers_of_the_run(fitted, tmp_path):
    found = read_run(fitted[0])
    turned = replace(found, order=found.order[::-1].copy())
    made = {}
    for name, which, cluster in (("own", found, 0), ("turned", turned, 2), ("other", turned, 0)):
        (tmp_path / name).mkdir()
        generate_clusters(which, tmp_path / name, [cluster], 5, ["b"], draw=False, seed=0)
        made[name] = pd.read_csv(tmp_path / name / "b.csv")[["p", "q"]]
    assert made["own"].equals(made["turned"])
    assert not made["own"].equals(made["other"])


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
    generate_clusters(read_run(fitted[0]), tmp_path, [1, 1], 2, ["a", "a"], draw=False, seed=0)
    assert len(pd.read_csv(tmp_path / "a.csv")) == 2


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
        (["--cluster", 3], "--cluster must be from 0 to 2, got [3]"),
        (["--to", "c"], "--to names unknown modalities ['c']; there are ['a', 'b', 'img']"),
        (["--from", "a=A", "--cluster", 0], "--from and --cluster exclude each other"),
        (["--from", "a=nowhere"], "no such file"),
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
    given = [fitted[0] if option == "RUN" else option for option in options]
    before = contents(fitted[0])
    refused(message, "generate", fitted[0], "--out", tmp_path / "made", *given)
    assert names(tmp_path) == []
    assert contents(fitted[0]) == before


def test_scores_are_those_of_the_labels(fitted, files, tmp_path):
    status, out, err = run(
        "evaluate", fitted[0], "--labels", files / "labels.csv", "--column", "label"
    )
    assert status == 0, err
    samples = pd.read_csv(fitted[0] / "clusters.csv", dtype={"id": str})
    scores = clustering_scores(LABELS[samples["id"].astype(int)], samples["cluster"])
    row = next(line for line in out.splitlines() if "all samples" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][1:] == [
        "60",
        *(f"{100 * scores[name]:.1f}" for name in ("ACC", "NMI", "ARI")),
    ]
    refused("name one with --column", "evaluate", fitted[0], "--labels", files / "labels.csv")
    refused(
        "no column 'kind'",
        "evaluate",
        fitted[0],
        "--labels",
        files / "labels.csv",
        "--column",
        "kind",
    )
    (tmp_path / "other.csv").write_text("id,label\nt1,a\nt2,b\n")
    refused("shares no id with the run", "evaluate", fitted[0], "--labels", tmp_path / "other.csv")
    (tmp_path / "twice.csv").write_text("id,label\n001,a\n001,b\n")
    refused("duplicate ids: ['001']", "evaluate", fitted[0], "--labels", tmp_path / "twice.csv")
    (tmp_path / "some.csv").write_text("id,label\n001,a\n002,\n004,b\n")
    assert (
        "2 of 60 samples have a label; 2 labels"
        in run("evaluate", fitted[0], "--labels", tmp_path / "some.csv")[1]
    )


def test_the_curve_is_shown_and_another_number_set(fitted, files, tmp_path):
    status, out, _ = run("select", fitted[0])
    assert status == 0
    values = json.loads((fitted[0] / "metrics.json").read_text())["h_values"]
    for size in (2, 3):
        assert any(
            f"{values[size]:.4f}" in line and f" {size} " in line for line in out.splitlines()
        )
    assert "the run's" in next(line for line in out.splitlines() if f"{values[3]:.4f}" in line)
    changed = tmp_path / "run"
    shutil.copytree(fitted[0], changed)
    for name in ("report.html", "notes.txt"):
        (changed / name).write_text("before")
    status, out, err = run("select", changed, "--clusters", 5)
    assert status == 0, err
    assert "5 clusters" in out
    assert f"{changed / 'report.html'} showed the clusters before and was removed" in out
    assert not (changed / "report.html").exists()
    assert (changed / "notes.txt").read_text() == "before"
    assert CMVAE.from_pretrained(changed / "model").n_clusters == 5
    assert len(pd.read_csv(changed / "log.csv")) == 16
    assert len(json.loads((changed / "metrics.json").read_text())["h_values"]) == 6
    samples = pd.read_csv(changed / "clusters.csv", dtype={"id": str})
    assert clustering_scores(LABELS[samples["id"].astype(int)], samples["cluster"])["NMI"] > 0.7
    assert run("select", changed, "--clusters", 1)[0] == 0
    assert "a curve needs at least two clusters" in run("select", changed)[1]
    before = contents(tmp_path)
    refused("61 clusters cannot be found in n_samples = 60", "select", changed, "--clusters", 61)
    with mock.patch(
        "cmvae.models.pretrained.save_model",
        side_effect=OSError(errno.ENOSPC, "No space left on device"),
    ):
        refused("No space left on device", "select", changed, "--clusters", 2)
    assert {
        name: value for name, value in contents(tmp_path).items() if name.startswith("run/")
    } == before


def test_the_page_gets_all_that_the_run_knows(fitted, files, tmp_path, monkeypatch):
    gathering, page = mock.Mock(), mock.Mock()
    page.write_report.side_effect = lambda path, content: path.write_text(str(content))
    gathering.gather_report.return_value = "content"
    parts = {"cmvae.report.gather": gathering, "cmvae.report.page": page}
    monkeypatch.setattr("cmvae.cli.report.import_module", parts.__getitem__)
    given = ["report", fitted[0], "--out", tmp_path / "page.html"]
    status, _, err = run(*given, "--labels", files / "labels.csv", "--column", "label")
    assert status == 0, err
    assert (tmp_path / "page.html").read_text() == "content"
    model, data = gathering.gather_report.call_args.args
    told = gathering.gather_report.call_args.kwargs
    samples = pd.read_csv(fitted[0] / "clusters.csv", dtype={"id": str})
    assert (model.n_clusters, len(data)) == (3, 60)
    assert told["ids"] == samples["id"].tolist()
    assert told["labels"] == [str(LABELS[int(name)]) for name in told["ids"]]
    assert told["features"]["b"] == ["p", "q"]
    assert told["images"] == ["img"]
    assert (
        told["cluster_names"][
            int(json.loads((fitted[0] / "manifest.json").read_text())["order"][1])
        ]
        == "1"
    )
    assert len(told["history"]) == 14
    refused("page.html exists; pass --overwrite", *given)
    refused("--out must end in .html", "report", fitted[0], "--out", tmp_path / "page.txt")
    monkeypatch.setattr(
        "cmvae.cli.report.import_module", mock.Mock(side_effect=ModuleNotFoundError("no page"))
    )
    refused("this installation makes no report pages: no page", *given, "--overwrite")


def test_the_page_of_a_run_is_written_with_the_curves_of_both_phases(fitted, files, tmp_path):
    page = tmp_path / "page.html"
    status, _, err = run(
        "report", fitted[0], "--labels", files / "labels.csv", "--column", "label", "--out", page
    )
    assert status == 0, err
    told = json.loads(
        page.read_text(encoding="utf-8").split('id="report-data">')[1].split("</script>")[0]
    )
    log = pd.read_csv(fitted[0] / "log.csv")
    assert set(log["phase"]) == {"warm-up", "clusters"}
    np.testing.assert_allclose(told["history"]["train/loss"], log["train/loss"], rtol=1e-3)
    assert "epoch" not in told["history"]
    (tmp_path / "some.csv").write_text(
        "id,label\n" + "".join(f"{name},{LABELS[int(name)]}\n" for name in IDS[::2])
    )
    (tmp_path / "other.csv").write_text("id,label\nt1,a\n")
    refused(
        "none of the samples has one",
        "report",
        fitted[0],
        "--labels",
        tmp_path / "other.csv",
        "--out",
        "p.html",
    )
    given = ["--labels", tmp_path / "some.csv"]
    assert run("report", fitted[0], *given, "--out", page, "--overwrite")[0] == 0
    told = json.loads(
        page.read_text(encoding="utf-8").split('id="report-data">')[1].split("</script>")[0]
    )
    out = run("evaluate", fitted[0], *given)[1]
    row = next(line for line in out.splitlines() if "all samples" in line)
    assert [f"{100 * told['agreement']['scores'][name]:.1f}" for name in ("ACC", "NMI", "ARI")] == [
        cell.strip() for cell in row.strip("│").split("│")
    ][2:]


# Harmed runs
# -------------------------------------------------------------------------------------------------------


def harm(folder, what):
    manifest = json.loads((folder / "manifest.json").read_text())
    if what == "version":
        (folder / "manifest.json").write_text(json.dumps({**manifest, "version": 99}))
    elif what == "manifest":
        (folder / "manifest.json").unlink()
    elif what.startswith("order"):
        orders = {
            "order": [0, 1, 99],
            "order twice": [0, 0, 1],
            "order nested": [[0, 1, 2]],
            "order huge": [10**30],
        }
        (folder / "manifest.json").write_text(json.dumps({**manifest, "order": orders[what]}))
    elif what == "damaged":
        (folder / "manifest.json").write_text("{")
    elif what == "weights":
        whole = bytearray((folder / "model" / "model.safetensors").read_bytes())
        whole[-1] ^= 1
        (folder / "model" / "model.safetensors").write_bytes(whole)
    elif what == "coding":
        path = folder / "preprocessing.json"
        path.write_text(path.read_text().replace("red", "rot"))
    else:
        (folder / what).unlink()


@pytest.mark.parametrize("command", ["predict", "select"])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("version", "is a run folder of version 99; this cmvae reads version 1"),
        ("manifest", "is no run folder, or not complete: manifest.json is missing"),
        ("damaged", "manifest.json is damaged"),
        ("order", "manifest.json is damaged: order must hold the active clusters"),
        ("order twice", "manifest.json is damaged: order must hold the active clusters"),
        ("order nested", "manifest.json is damaged: order must hold the active clusters"),
        ("order huge", "manifest.json is damaged"),
        ("weights", "model/model.safetensors: the file was altered since the run was written"),
        ("coding", "preprocessing.json: the file was altered"),
        ("clusters.csv", "clusters.csv: the file is missing from the run folder"),
        ("model/config.json", "model/config.json: the file is missing from the run folder"),
    ],
)
def test_harmed_runs_are_refused(fitted, files, tmp_path, what, message, command):
    shutil.copytree(fitted[0], tmp_path / "run")
    harm(tmp_path / "run", what)
    before = contents(tmp_path)
    options = (
        ["--modality", f"a={files / 'a.csv'}", "--out", tmp_path / "o.csv"]
        if command == "predict"
        else []
    )
    refused(message, command, tmp_path / "run", *options)
    assert contents(tmp_path) == before


def test_what_is_no_run_is_refused(tmp_path):
    for command, option in (("evaluate", ["--labels", "x.csv"]), ("report", []), ("select", [])):
        refused("no such run folder", command, tmp_path / "none", *option)
