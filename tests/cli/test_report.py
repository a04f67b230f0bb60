import json
from unittest import mock

import numpy as np
import pandas as pd

from made_files import IDS, LABELS, contents, names, refused, run


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
        mock.patch("cmvae.report.gather_report", return_value="content") as gather,
        mock.patch("cmvae.report.write_report", lambda path, text: path.write_text(text)),
    ):
        status, said, err = run(*command, *labels)
    assert status == 0, err
    joined, labelled, written = said.splitlines()
    assert joined.startswith("Joined on ids: in all 3 38; b and img 9;")
    assert labelled == "Labels joined on ids: in both 60; only run 0; only labels 0"
    assert written == f"Written to {page}"
    assert page.read_text() == "content"
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
    refused("--out must end in .html, got", *command, tmp_path / "page.txt")
    refused("--labels must be a table", *command, tmp_path / "p.html", "--labels", "labels.txt")
    failed = OSError(28, "No space left on device")
    with (
        mock.patch("cmvae.report.gather_report", return_value="content"),
        mock.patch("cmvae.report.write_report", side_effect=failed),
    ):
        refused("No space left", *command, tmp_path / "page.html", "--overwrite")
    assert names(tmp_path) == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"
    assert contents(fitted[0]) == before
