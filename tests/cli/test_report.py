import json
import shutil
from dataclasses import dataclass, field
from unittest import mock

import numpy as np
import pandas as pd

from cmvae.runs.folder import read_record
from made_files import IDS, LABELS, contents, names, refused, run


@dataclass
class Content:
    """What stands for a report."""

    page: str = "content"
    profiles: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"column": ["x"]}))


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


def test_the_page_gets_the_run_its_samples_and_the_labels(fitted, files, tmp_path):
    page, folder = tmp_path / "page.html", fitted[0]
    command = ["report", folder, "--out", page]
    labels = ["--labels", files / "labels.csv", "--column", "label"]
    with (
        mock.patch("cmvae.report.gather_report", return_value=Content()) as gather,
        mock.patch("cmvae.report.write_report", lambda path, own: path.write_text(own.page)),
    ):
        status, said, err = run(*command, *labels)
    assert status == 0, err
    joined, labelled, written = said.splitlines()
    assert joined.startswith("Joined on ids: in all 3 38; b and img 9;")
    assert labelled == "Labels joined on ids: in both 60; only run 0; only labels 0"
    assert written == f"Written to {page} and {tmp_path / 'profiles.csv'}"
    assert page.read_text() == "content"
    assert (tmp_path / "profiles.csv").read_text() == "column\nx\n"
    found, rows, truth = gather.call_args.args
    samples = pd.read_csv(folder / "clusters.csv", dtype={"id": str})
    assert rows.ids == found.samples["id"].tolist() == samples["id"].tolist()
    assert truth[rows.ids].tolist() == [str(LABELS[int(name)]) for name in rows.ids]
    assert (found.model.n_clusters, gather.call_args.kwargs) == (3, {"title": "run"})


def test_a_page_is_replaced_only_where_asked(fitted, tmp_path):
    (tmp_path / "page.html").write_text("old")
    before = contents(fitted[0])
    command = ["report", fitted[0], "--out"]
    refused("page.html exists; pass --overwrite to replace it", *command, tmp_path / "page.html")
    (tmp_path / "profiles.csv").write_text("old")
    refused("profiles.csv exists; pass --overwrite", *command, tmp_path / "another.html")
    command = ["report", fitted[0], "--overwrite", "--out"]
    refused("profiles.csv is something else", *command, tmp_path / "page.html")
    assert (tmp_path / "profiles.csv").read_text() == "old"
    (tmp_path / "profiles.csv").unlink()
    command.remove("--overwrite")
    refused("--out must end in .html, got", *command, tmp_path / "page.txt")
    refused("--labels must be a table", *command, tmp_path / "p.html", "--labels", "labels.json")
    failed = OSError(28, "No space left on device")
    with (
        mock.patch("cmvae.report.gather_report", return_value=Content()),
        mock.patch("cmvae.report.write_report", side_effect=failed),
    ):
        refused("the disk is full", *command, tmp_path / "page.html", "--overwrite")
    assert names(tmp_path) == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"
    assert contents(fitted[0]) == before


def test_names_are_kept_and_stand_wherever_clusters_do(fitted, files, tmp_path):
    folder, page = tmp_path / "run", tmp_path / "page.html"
    shutil.copytree(fitted[0], folder)
    (tmp_path / "names.csv").write_text("cluster,name\n0,<b>young</b>\n2,old\n")
    before = contents(folder)
    command = ["report", folder, "--out", page]
    refused("--names: no cluster '3'", *command, "--names", "3=x")
    refused("--names: the name of cluster 0 is empty", *command, "--names", "0=")
    refused("--names must be 0=young,1=old, or the path", *command, "--names", "young")
    assert contents(folder) == before
    status, _, err = run(*command, "--names", tmp_path / "names.csv")
    assert status == 0, err
    assert read_record(folder).names == {0: "<b>young</b>", 2: "old"}
    text = page.read_text(encoding="utf-8")
    assert "<b>young" not in text
    told = json.loads(text.split('id="report-data">')[1].split("</script>")[0])
    assert [c["name"] for c in told["clusters"]] == ["0 (<b>young</b>)", "1", "2 (old)"]
    profiles = pd.read_csv(tmp_path / "profiles.csv", keep_default_na=False)
    assert set(profiles["cluster_name"]) == {"<b>young</b>", "1", "old"}
    assert set(profiles["modality"]) == {"a", "b"}
    assert run(*command, "--overwrite")[0] == 0  # they stay
    assert "2 (old)" in page.read_text(encoding="utf-8")

    out = tmp_path / "clusters.csv"
    status, said, err = run(
        "predict", folder, "--modality", f"b={files / 'b.parquet'}", "--out", out
    )
    assert status == 0, err
    table = pd.read_csv(out)
    assert list(table)[:5] == ["id", "cluster", "cluster_name", "probability", "modalities"]
    expected = table["cluster"].map({0: "<b>young</b>", 1: "1", 2: "old"})
    assert table["cluster_name"].tolist() == expected.tolist()
    assert f"2 (old): {(table['cluster'] == 2).sum()}" in said

    assert "2 (old): " in run("select", folder)[1]
    made = tmp_path / "made"
    options = ["--cluster", "old", "--cluster", 1, "--samples", 2, "--to", "a"]
    status, _, err = run("generate", folder, *options, "--out", made)
    assert status == 0, err
    table = pd.read_csv(made / "a.csv", dtype={"cluster_name": str})
    assert list(table)[:3] == ["id", "cluster", "cluster_name"]
    assert table["cluster"].tolist() == [2, 2, 1, 1]
    assert table["cluster_name"].tolist() == ["old", "old", "1", "1"]
    assert json.loads((made / "generated.json").read_text())["names"] == ["old", "1"]
    refused(
        "--cluster must be from 0 to 2, or one of",
        "generate",
        folder,
        "--cluster",
        "x",
        "--out",
        "o",
    )
    status, said, err = run("select", folder, "--clusters", 2)
    assert status == 0, err
    assert "names of the clusters before are not kept: <b>young</b>, old" in said
    assert read_record(folder).names == {}
