import pandas as pd

from cmvae.metrics import clustering_scores
from made_files import LABELS, refused, run


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
    refused("name one with --column NAME", "evaluate", fitted[0], "--labels", files / "labels.csv")
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


def test_labels_are_joined_whatever_their_ids_are_spelled_like(fitted, tmp_path):
    rows = "".join(f"{i}.0,{LABELS[i]}\n" for i in range(40)) + "s1,4\n"
    (tmp_path / "numbers.csv").write_text(f"id,label\n{rows}")
    status, out, err = run("evaluate", fitted[0], "--labels", tmp_path / "numbers.csv")
    assert status == 0, err
    assert "Labels joined on ids: in both 40; only run 20; only labels 1\n" in out
    assert "labels: 40 ids joined that differ only in how a number is written and lea" in out
    samples = pd.read_csv(fitted[0] / "clusters.csv", dtype={"id": int})
    known = samples[samples["id"] < 40]
    score = clustering_scores(LABELS[known["id"]], known["cluster"])["ACC"]
    assert f"{100 * score:.1f}" in next(line for line in out.splitlines() if "all sam" in line)
    (tmp_path / "twice.csv").write_text("id,label\n7,a\n07,b\n8,c\n")
    command = ["evaluate", fitted[0], "--labels", tmp_path / "twice.csv"]
    refused("labels: 3 ids would join others that differ only in leading zeros", *command)


def test_ids_and_labels_are_in_the_columns_that_are_named(fitted, tmp_path):
    (tmp_path / "l.csv").write_text("kind,name\na,001\nb,002\n")
    command = ["evaluate", fitted[0], "--labels", tmp_path / "l.csv"]
    status, out, err = run(*command, "--id", "name", "--column", "kind")
    assert status == 0, err
    assert "2 of 60 samples have a label; 2 labels" in out
    refused(
        "l.csv: no id column 'cell'; its columns are ['kind', 'name']", *command, "--id", "cell"
    )
    refused("--labels must be a table (", *command[:3], tmp_path / "l.docx")
