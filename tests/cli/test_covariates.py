"""A batch that is told makes no cluster, and can be generated under."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cmvae.cli.app import app
from cmvae.cli.covariates import covariate_lines
from cmvae.runs.folder import read_run
from cmvae.runs.rows import RowPredictor

N = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder with files of two modalities and of ages, and a run of them."""
    folder = tmp_path_factory.mktemp("covariates")
    rng = np.random.default_rng(0)
    groups, batch = rng.integers(0, 2, N), np.arange(N) % 2
    ids = pd.Index([f"s{i}" for i in range(N)], name="id")
    shift = np.array([[0.0] * 4, [6, -6, 6, -6]])[batch]
    first = pd.DataFrame(4 * groups[:, None] + rng.normal(size=(N, 4)) + shift, ids, list("abcd"))
    first["batch"] = np.array(["one", "two"])[batch]
    first.to_csv(folder / "first.csv")
    second = pd.DataFrame(4 * groups[:, None] + rng.normal(size=(N, 3)), ids, list("xyz"))
    second.to_csv(folder / "second.csv")
    ages = pd.DataFrame({"years": rng.normal(50, 9, N), "site": "here"}, ids)
    ages.iloc[5:].sample(frac=1, random_state=0).to_csv(folder / "ages.csv")
    out = call(
        *("fit", "--modality", f"first={folder / 'first.csv'}"),
        *("--modality", f"second={folder / 'second.csv'}"),
        *("--covariate", f"batch={folder / 'first.csv'}:batch"),
        *("--covariate", f"age={folder / 'ages.csv'}:years,kind=number"),
        *("--covariate", f"site={folder / 'ages.csv'}:site"),
        *("--out", str(folder / "run"), "--epochs", "4", "--clusters", "2", "--device", "cpu"),
    )
    return folder, out


def call(*arguments, fails=False):
    result = CliRunner().invoke(app, [str(own) for own in arguments])
    assert (result.exit_code != 0) is fails, result.output
    return result.output + (result.stderr if fails else "")


def test_fit_says_what_is_known_of_them_and_leaves_their_column_out(made):
    folder, out = made
    assert "Covariate 'batch', not to make clusters: 2 categories: one, two" in out
    assert "Covariate 'age', not to make clusters: a number" in out
    assert "Covariate 'batch': clusters share NMI" in out
    learned = json.loads((folder / "run" / "preprocessing.json").read_text())
    assert set(learned["covariates"]) == {"batch", "age"}
    assert "batch" in learned["codecs"]["first"]["ignored"]
    scores = json.loads((folder / "run" / "metrics.json").read_text())["covariates"]
    assert set(scores["batch"]) == {"NMI", "AMI", "chance", "accuracy"}
    ages = read_run(folder / "run").model.covariates.levels[0]
    assert ages[0] < -1
    assert ages[-1] > 1


def test_generation_is_as_if_in_the_batch_that_is_set(made, tmp_path):
    folder, _ = made
    means = {}
    for batch in ("one", "two"):
        out = tmp_path / batch
        call("generate", folder / "run", "--set", f"batch={batch}", "--samples", 20, "--out", out)
        means[batch] = pd.read_csv(out / "first.csv")[list("abcd")].mean()
        assert json.loads((out / "generated.json").read_text())["covariates"] == {"batch": batch}
    assert (np.sign(means["two"] - means["one"]) == [1, -1, 1, -1]).all()
    words = call(
        "generate", folder / "run", "--set", "batch=three", "--out", tmp_path / "x", fails=True
    )
    assert "unknown 'three'; training had 'one', 'two'" in words
    words = call("generate", folder / "run", "--set", "day=3", "--out", tmp_path / "x", fails=True)
    assert "unknown covariates ['day']" in words
    assert not (tmp_path / "x").exists()


def test_translations_are_made_in_another_batch(made, tmp_path):
    folder, _ = made
    run, source = folder / "run", f"second={folder / 'second.csv'}"
    found = {}
    for batch in ("one", "two"):
        out = tmp_path / batch
        call("generate", run, "--from", source, "--set", f"batch={batch}", "--out", out)
        found[batch] = pd.read_csv(out / "first.csv")[list("abcd")]
    assert ((found["two"] - found["one"]).mean().to_numpy() * [1, -1, 1, -1] > 0).all()


def test_predictions_fit_under_the_covariates_that_are_given(made, tmp_path):
    folder, _ = made
    run, rows = folder / "run", ("--modality", f"first={folder / 'first.csv'}")
    known = ("--covariate", f"batch={folder / 'first.csv'}:batch")
    call("predict", run, *rows, "--out", tmp_path / "without.csv")
    call("predict", run, *rows, *known, "--out", tmp_path / "with.csv")
    without, told = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("without", "with"))
    assert without["cluster"].equals(told["cluster"])
    assert not without["fit_percentile"].equals(told["fit_percentile"])
    other = pd.read_csv(folder / "first.csv").replace({"two": "three"})
    other.to_csv(tmp_path / "other.csv", index=False)
    known = ("--covariate", f"batch={tmp_path / 'other.csv'}:batch")
    words = call("predict", run, *rows, *known, "--out", tmp_path / "x.csv", fails=True)
    assert "covariate 'batch': unknown 'three'" in words
    known = ("--covariate", f"site={folder / 'ages.csv'}:site")
    words = call("predict", run, *rows, *known, "--out", tmp_path / "x.csv", fails=True)
    assert "unknown covariates ['site']; those of training are ['batch', 'age']" in words


def test_an_unknown_batch_is_left_empty(made, tmp_path):
    folder, _ = made
    rows = pd.read_csv(folder / "first.csv").assign(batch=None)
    rows.to_csv(tmp_path / "new.csv", index=False)
    given = ("--modality", f"first={tmp_path / 'new.csv'}")
    known = ("--covariate", f"batch={tmp_path / 'new.csv'}:batch")
    call("predict", folder / "run", *given, *known, "--out", tmp_path / "told.csv")
    call("predict", folder / "run", *given, "--out", tmp_path / "not.csv")
    assert (tmp_path / "told.csv").read_text() == (tmp_path / "not.csv").read_text()
    words = call("fit", *given, *known, "--check", fails=True)
    assert "covariate 'batch': no sample has a value" in words
    words = call(
        *("generate", folder / "run", "--covariate", "batch=two", "--out", tmp_path / "x"),
        fails=True,
    )
    assert "to generate as if all had a value pass --set NAME=VALUE" in words
    assert not (tmp_path / "x").exists()


def test_rows_side_by_side_fit_under_the_covariates_that_they_hold(made, tmp_path):
    folder, _ = made
    rows = pd.read_csv(folder / "first.csv")
    call(
        *("predict", folder / "run", "--modality", f"first={folder / 'first.csv'}"),
        *("--covariate", f"batch={folder / 'first.csv'}:batch", "--out", tmp_path / "files.csv"),
    )
    wanted = pd.read_csv(tmp_path / "files.csv")["fit_percentile"]
    predictor = RowPredictor(folder / "run")
    assert predictor.columns == [*"abcdxyz", "batch", "age"]
    for named in ("batch", "covariate.batch"):
        found = predictor(rows.rename(columns={"batch": named}))["fit_percentile"]
        np.testing.assert_allclose(found, wanted, atol=0.2)
    assert (predictor(rows.drop(columns="batch"))["fit_percentile"] - wanted).abs().max() > 1
    with pytest.raises(ValueError, match="covariate 'batch': unknown 'three'"):
        predictor(rows.replace({"two": "three"}))


def test_the_run_s_own_are_found_again(made, tmp_path):
    folder, _ = made
    assert "60 as recorded; probabilities the same" in call("verify", folder / "run")
    call("generate", folder / "run", "--impute", "--out", tmp_path / "whole")
    page = tmp_path / "page.html"
    call("report", folder / "run", "--out", page)
    data = page.read_text().split('<script type="application/json" id="report-data">')[1]
    shown = {own["name"]: own for own in json.loads(data.split("</script>")[0])["covariates"]}
    assert sum(map(sum, shown["batch"]["counts"])) == N
    assert shown["batch"]["levels"] == ["one", "two"]
    assert all(30 < mean < 70 for mean in shown["age"]["means"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("batch", "--covariate must be NAME=VALUE"),
        ("batch={0}/none.csv:batch", "none.csv"),
        ("batch={0}/first.csv:day", "no column 'day'"),
        ("batch={0}/ages.csv:years,kind=date", "kind must be 'category' or 'number'"),
        ("batch={0}/first.csv:a,kind=category", "are an id, not a category"),
    ],
)
def test_bad_ones_are_refused_in_a_line(made, given, words):
    folder, _ = made
    given = given.format(folder)
    rows = ("--modality", f"second={folder / 'second.csv'}")
    out = call("fit", *rows, "--covariate", given, "--check", fails=True)
    assert words in out
    assert "Traceback" not in out


class Record:
    """As much of a run as is told of."""

    def __init__(self, **scores):
        self.metrics = {"covariates": {"batch": scores}}


def test_what_is_still_known_is_said_with_what_to_try():
    known = {"NMI": 0.3, "AMI": 0.29, "accuracy": 0.6, "chance": 0.5}
    told, advice = covariate_lines(Record(**known))
    assert "clusters share NMI 0.300 with it (by chance adjusted 0.290)" in told
    assert "latents tell it in 60 %, by chance 50 %" in told
    assert advice.startswith("The clusters still tell 'batch'.")
    assert "--forget 30" in advice
    both = list(covariate_lines(Record(**{**known, "accuracy": 0.9})))
    assert both[1].startswith("The clusters and latents still tell")
    assert len(list(covariate_lines(Record(**{**known, "AMI": 0.0})))) == 1
    (line,) = covariate_lines(Record(**{"R2 clusters": 0.01, "R2": 0.05}))
    assert "clusters explain 1.0 % of its variance, latents 5.0 %" in line
    assert not list(covariate_lines(type("Old", (), {"metrics": {}})))
