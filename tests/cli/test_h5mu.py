"""An .h5mu file from fit to the page, and back into an .h5mu."""

import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import yaml

pytest.importorskip("mudata")

import mudata
from sklearn.metrics import adjusted_rand_score

import cmvae.models.cmvae
import cmvae.preprocessing.preprocessing as sizes
from cmvae import CMVAE
from cmvae.omics import from_mudata, to_mudata
from cmvae.preprocessing import Preprocessing
from cmvae.report import gather_report
from cmvae.runs.folder import read_run
from cmvae.runs.reading import read_files
from made_files import contents, names, refused, run
from made_mudata import (
    CELLS,
    GENES,
    GROUPS,
    PROTEIN,
    PROTEIN_COUNTS,
    PROTEINS,
    RNA,
    RNA_COUNTS,
    N,
    as_adata,
    make_mudata,
    plain_strings,
    read_mudata,
    write_mudata,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of mudata's next version, of pandas' options

QUICK = ["--epochs", 1, "--clusters", 2, "--device", "cpu"]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    return write_mudata(tmp_path_factory.mktemp("cells") / "cells.h5mu")


@pytest.fixture(scope="module")
def fitted(cells):
    """A run folder, and what was printed; not to be changed."""
    status, out, err = run(
        "fit", "--data", cells, "--out", cells.parent / "run", "--epochs", 10, "--device", "cpu"
    )
    assert status == 0, err
    assert not err, err
    return cells.parent / "run", out


def samples_of(folder):
    return pd.read_csv(folder / "clusters.csv", dtype={"id": str}).set_index("id")


def changed(**modalities):
    """Return the MuData with some modalities replaced."""
    mdata = make_mudata()
    return mudata.MuData({**mdata.mod, **modalities})


# From file to run
# ------------------------------------------------------------------------------------------


def test_groups_are_found_and_the_summary_says_what_was_read(fitted):
    folder, out = fitted
    lines = [
        [cell.strip() for cell in line.strip("│").split("│")]
        for line in out.splitlines()
        if "│" in line
    ]
    rna = [
        "rna",
        "80",
        "30 counts: g0, g1, g2, g3, g4 and 25 more",
        "negative_binomial, library size",
        "mlp",
    ]
    assert lines[0] == rna
    assert lines[1] == [
        "protein",
        "84",
        "6 continuous: p0, p1, p2, p3, p4 and 1 more",
        "normal",
        "mlp",
    ]
    assert "3 clusters found (next best: " in out
    samples = samples_of(folder)
    assert sorted(samples.index) == CELLS.tolist()
    assert [samples.loc[name, "modalities"] for name in ("c00", "c10", "c85")] == [
        "rna",
        "rna+protein",
        "protein",
    ]
    counted = samples.drop(index="c20")  # of which nothing was counted
    groups = GROUPS[[int(name[1:]) for name in counted.index]]
    assert adjusted_rand_score(groups, counted["cluster"]) > 0.9


def test_the_run_repeats_itself(fitted, tmp_path):
    status, _, err = run("fit", "--config", fitted[0] / "config.yaml", "--out", tmp_path / "again")
    assert status == 0, err
    assert contents(tmp_path / "again") == contents(fitted[0])


def test_layers_likelihoods_and_networks_are_what_options_say(cells, tmp_path):
    options = [
        "--layer",
        "protein=raw",
        "--likelihood",
        "protein=poisson,library_size=false",
        "--network",
        "rna=mlp",
    ]
    status, out, err = run("fit", "--data", cells, *options, *QUICK, "--out", tmp_path / "run")
    assert status == 0, err
    assert "6 counts of layer raw: p0" in out
    config = CMVAE.from_pretrained(tmp_path / "run" / "model").model_config
    assert config.likelihood_of("protein") == ("poisson", {"library_size": False})
    assert config.likelihood_of("rna")[0] == "negative_binomial"
    kept = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["modalities"]
    assert kept["protein"]["layer"] == "raw"
    assert (
        run("predict", tmp_path / "run", "--data", cells, "--out", tmp_path / "o.csv")[0] == 0
    )  # of the same layer
    assert (
        run("fit", "--config", tmp_path / "run" / "config.yaml", "--out", tmp_path / "again")[0]
        == 0
    )
    assert contents(tmp_path / "again") == contents(tmp_path / "run")


def test_cells_are_joined_with_tables_of_other_modalities(cells, tmp_path):
    size = pd.DataFrame(
        {"cell": CELLS, "size": 10.0 * GROUPS + np.random.default_rng(0).normal(size=N)}
    )
    size.to_csv(tmp_path / "size.csv", index=False)
    shutil.copy(cells, tmp_path / "x.h5mu")
    content = {"genes": {"path": "x.h5mu", "array": "rna"}, "size": "size.csv"}
    (tmp_path / "data.yaml").write_text(yaml.safe_dump({"modalities": content}))
    assert run("fit", "--data", tmp_path / "data.yaml", *QUICK, "--out", tmp_path / "run")[0] == 0
    assert set(samples_of(tmp_path / "run")["modalities"]) == {"genes+size", "size"}
    given = ["predict", tmp_path / "run", "--out", tmp_path / "o.csv", "--overwrite"]
    for options in (
        ["--modality", f"genes={tmp_path / 'x.h5mu'}"],
        ["--data", tmp_path / "x.h5mu"],
    ):
        status, said, err = run(*given, *options)
        assert status == 0, err
        assert "80 samples" in said


def test_nothing_sparse_is_made_dense_as_a_whole(cells, tmp_path, monkeypatch):
    shapes = []
    for form in (
        scipy.sparse.csr_array,
        scipy.sparse.csr_matrix,
        scipy.sparse.csc_array,
        scipy.sparse.csc_matrix,
    ):
        monkeypatch.setattr(
            form,
            "toarray",
            lambda self, *a, own=form.toarray: shapes.append(self.shape) or own(self),
        )
        monkeypatch.setattr(form, "todense", mock.Mock(side_effect=AssertionError))
    monkeypatch.setattr(sizes, "MOST_ROWS", 16)
    monkeypatch.setattr(cmvae.models.cmvae, "CHUNK_ENTRIES", 16 * GENES)
    monkeypatch.setattr("cmvae.runs.drift.ENTRIES", 16 * PROTEINS)
    files = ["--data", cells, "--layer", "protein=raw", *QUICK]
    assert run("fit", *files, "--out", tmp_path / "run")[0] == 0
    assert run("predict", tmp_path / "run", "--data", cells, "--out", tmp_path / "o.csv")[0] == 0
    assert run("predict", tmp_path / "run", "--data", cells, "--out", tmp_path / "o.h5mu")[0] == 0
    assert (
        run("generate", tmp_path / "run", "--from", f"rna={cells}", "--out", tmp_path / "made")[0]
        == 0
    )
    for features in (GENES, PROTEINS):
        # Square ones are the neighbour graphs of the cells' latents.
        seen = [shape[0] for shape in shapes if shape[1] == features != shape[0]]
        assert max(seen) == 16


# From run to results
# ------------------------------------------------------------------------------------------


def test_results_go_back_into_a_copy_of_the_file(fitted, cells, tmp_path):
    out = tmp_path / "out.h5mu"
    before = cells.read_bytes()
    status, said, err = run("predict", fitted[0], "--data", cells, "--out", out)
    assert status == 0, err
    assert not err
    assert f"Written to {out}: 90 samples; in cluster 0:" in said
    assert cells.read_bytes() == before
    mdata, samples, found = read_mudata(out), samples_of(fitted[0]), read_run(fitted[0])
    assert dict(mdata.obs["cmvae_cluster"].astype(int)) == dict(samples["cluster"])
    np.testing.assert_allclose(
        mdata.obs["cmvae_probability"], samples["probability"][mdata.obs_names], atol=1e-5
    )
    assert (mdata.mod["rna"].X != make_mudata().mod["rna"].X).nnz == 0
    assert mdata.obs["group"].tolist() == make_mudata().obs["group"].tolist()
    account = mdata.uns["cmvae"]
    assert account["active_clusters"].tolist() == list(range(found.n_clusters))
    assert account["evidence"]["chosen"] == found.evidence.chosen
    assert account["evidence"]["scores"].tolist() == list(found.evidence.scores)
    assert Preprocessing.from_json(account["coding"]) == found.preprocessing


def test_to_mudata_writes_the_same(fitted, cells, tmp_path):
    out, found, other = tmp_path / "out.h5mu", read_run(fitted[0]), make_mudata()
    assert run("predict", fitted[0], "--data", cells, "--out", out)[0] == 0
    mdata = read_mudata(out)
    own = from_mudata(other, coding=found.preprocessing)
    rule = found.config.recipe.rule
    to_mudata(other, found.model, own, rule=rule, evidence=found.evidence)
    assert mdata.obs_names.tolist() == other.obs_names.tolist()
    assert set(other.obs) - set(make_mudata().obs) == {"cmvae_cluster", "cmvae_probability"}
    assert mdata.obs["cmvae_fit_percentile"].between(0, 100).all()
    assert (set(mdata.obs), set(mdata.obsm), set(mdata.uns)) == (
        {*other.obs, "cmvae_fit_percentile"},
        set(other.obsm),
        set(other.uns),
    )
    left, right = mdata.obs["cmvae_cluster"], other.obs["cmvae_cluster"]
    assert left.tolist() == right.tolist()
    assert left.cat.categories.tolist() == right.cat.categories.tolist()
    for ours, theirs in (
        (mdata.obs["cmvae_probability"], other.obs["cmvae_probability"]),
        (mdata.obsm["X_cmvae"], other.obsm["X_cmvae"]),
    ):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)
    account, same = mdata.uns["cmvae"], other.uns["cmvae"]
    assert account.keys() == same.keys()
    kept = [one.pop("evidence") for one in (account, same)]
    for one, other_one in (kept, (account, same)):
        assert one.keys() == other_one.keys()
        for name, value in other_one.items():
            np.testing.assert_array_equal(one[name], value, err_msg=name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_results_as_tables_are_the_run_s(fitted, cells, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(sizes, "MOST_ROWS", 7)
    out = tmp_path / f"out{suffix}"
    assert run("predict", fitted[0], "--data", cells, "--out", out)[0] == 0
    found = pd.read_parquet(out) if suffix == ".parquet" else pd.read_csv(out)
    pd.testing.assert_frame_equal(
        found.set_index("id").drop(columns="fit_percentile"),
        samples_of(fitted[0]),
        check_dtype=False,
        atol=1e-5,
    )


def test_cells_of_another_file_are_read_by_the_names_of_variables(fitted, cells, tmp_path):
    order = np.random.default_rng(0).permutation(GENES)

    def make():
        rna = as_adata(
            np.hstack([RNA_COUNTS[RNA][:40][:, order], np.ones((40, 2))]), CELLS[RNA][:40], "g"
        )  # dense
        rna.var_names = [*(f"g{i}" for i in order), "new", "newer"]
        return mudata.MuData(
            {"extra": as_adata(np.ones((3, 2)), ["c01", "x1", "x2"], "e"), "rna": rna}
        )

    path = write_mudata(tmp_path / "new.h5mu", make)
    status, _, err = run("predict", fitted[0], "--data", path, "--out", tmp_path / "out.h5mu")
    assert status == 0, err
    mdata = read_mudata(tmp_path / "out.h5mu")
    assert mdata.obs_names[mdata.obs["cmvae_cluster"].isna()].tolist() == ["x1", "x2"]
    assert np.isnan(mdata.obsm["X_cmvae"]).all(1).sum() == 2
    assert (
        run("predict", fitted[0], "--modality", f"rna={cells}", "--out", tmp_path / "rna.csv")[0]
        == 0
    )
    alone = pd.read_csv(tmp_path / "rna.csv").set_index("id")
    assert set(alone["modalities"]) == {"rna"}
    seen = mdata.obs.dropna(subset="cmvae_cluster")
    assert seen["cmvae_cluster"].astype(int).tolist() == alone.loc[seen.index, "cluster"].tolist()


def test_cells_that_lack_some_variables_are_in_their_clusters_and_fit(fitted, cells, tmp_path):
    kept = np.random.default_rng(0).permutation(GENES)[:27]

    def make():
        rna = as_adata(scipy.sparse.csr_matrix(RNA_COUNTS[RNA][:, kept]), CELLS[RNA], "g")
        rna.var_names = [f"g{i}" for i in kept]
        return mudata.MuData({"rna": rna})

    found = {}
    for name, path in (("all", cells), ("few", write_mudata(tmp_path / "few.h5mu", make))):
        given, out = ["--modality", f"rna={path}"], tmp_path / f"{name}.csv"
        status, _, err = run("predict", fitted[0], *given, "--out", out)
        assert status == 0, err
        found[name] = pd.read_csv(out, index_col="id").drop(index="c20")
    assert adjusted_rand_score(found["all"]["cluster"], found["few"]["cluster"]) > 0.9
    fits = [own["fit_percentile"].median() for own in found.values()]
    assert abs(fits[0] - fits[1]) < 15  # 39 away, were they read as zeros
    refused(
        "variables missing", "predict", fitted[0], *given, "--strict", "--out", tmp_path / "a.csv"
    )


def test_cells_are_generated_in_the_units_of_the_data(fitted, cells, tmp_path):
    out = tmp_path / "made"
    assert run("generate", fitted[0], "--samples", 30, "--draw", "--out", out)[0] == 0
    rna, protein = pd.read_csv(out / "rna.csv"), pd.read_csv(out / "protein.csv")
    assert list(rna) == ["id", "cluster", *(f"g{i}" for i in range(GENES))]
    assert set(rna.dtypes[2:]) == {np.dtype(np.int64)}
    assert rna.iloc[:, 2:].sum(axis=1).mean() == pytest.approx(
        np.median(RNA_COUNTS[RNA].sum(1)), rel=0.1
    )
    assert protein.iloc[:, 2:].to_numpy().mean() == pytest.approx(
        np.log1p(PROTEIN_COUNTS[PROTEIN]).mean(), rel=0.2
    )
    assert run("generate", fitted[0], "--from", f"rna={cells}", "--out", tmp_path / "other")[0] == 0
    assert names(tmp_path / "other") == ["generated.json", "protein.csv"]
    made = pd.read_csv(tmp_path / "other" / "protein.csv").set_index("id").drop(index="c20")
    assert made.index.tolist() == [name for name in CELLS[RNA] if name != "c20"]
    groups = GROUPS[[int(name[1:]) for name in made.index]]
    for group in range(3):
        marked = made[[f"p{i}" for i in range(PROTEINS) if i % 3 == group]].mean(axis=1)
        assert marked[groups == group].mean() > marked[groups != group].mean() + 0.8


def test_labels_of_obs_are_compared_with_and_the_page_knows_the_variables(fitted, cells, tmp_path):
    status, out, err = run("evaluate", fitted[0], "--labels", cells, "--column", "group")
    assert status == 0, err
    assert "90 of 90 samples have a label; 3 labels" in out
    page = tmp_path / "page.html"
    status, _, err = run("report", fitted[0], "--labels", cells, "--column", "group", "--out", page)
    assert status == 0, err
    told = json.loads(
        page.read_text(encoding="utf-8").split('id="report-data">')[1].split("</script>")[0]
    )
    assert told["agreement"]["labels"] == ["group 0", "group 1", "group 2"]
    assert [entry["features"][-1] for entry in told["modalities"]] == ["g29", "p5"]
    numbers = samples_of(fitted[0])["cluster"][CELLS].to_numpy()
    totals = RNA_COUNTS.sum(axis=1, keepdims=True)
    scaled = RNA_COUNTS / totals.clip(1) * np.median(totals[RNA][totals[RNA] > 0])
    assert told["modalities"][0]["scaled_to"] == pytest.approx(scaled[RNA].sum(1).max(), rel=1e-4)
    tables = [(scaled, RNA), (np.log1p(PROTEIN_COUNTS), PROTEIN)]
    differences = [(int(own["name"]), d) for own in told["clusters"] for d in own["differences"]]
    assert {d["modality"] for _, d in differences} == {0, 1}
    for number, d in differences:  # in the data's units, counts at one total
        values, seen = tables[d["modality"]]
        inside = values[seen & (numbers == number), d["feature"]].mean()
        assert d["inside"] == pytest.approx(inside, rel=1e-3)


def test_the_run_takes_another_number_of_clusters(fitted, tmp_path):
    shutil.copytree(fitted[0], tmp_path / "run")
    status, out, err = run("select", tmp_path / "run", "--clusters", 4)
    assert status == 0, err
    assert "4 clusters" in out


# Bad input
# ------------------------------------------------------------------------------------------


def broken(folder, what):
    path = folder / "bad.h5mu"
    if what == "text":
        path.write_text("no HDF5")
    elif what == "h5ad":
        with plain_strings():
            make_mudata().mod["rna"].write_h5ad(path)
    elif what == "half":
        write_mudata(path)
        path.write_bytes(path.read_bytes()[:3000])
    elif what == "nan":
        values = RNA_COUNTS[RNA].copy()
        values[3, 1] = np.nan
        write_mudata(
            path, lambda: changed(rna=as_adata(scipy.sparse.csr_matrix(values), CELLS[RNA], "g"))
        )
    elif what == "strangers":
        write_mudata(
            path,
            lambda: changed(protein=as_adata(PROTEIN_COUNTS, [f"x{i}" for i in range(N)], "p")),
        )
    elif what == "few variables":
        write_mudata(path, lambda: changed(rna=as_adata(RNA_COUNTS[RNA][:, :14], CELLS[RNA], "g")))
    elif what == "others":
        write_mudata(path, lambda: mudata.MuData({"atac": make_mudata().mod["rna"]}))
    elif what == "fractions":
        write_mudata(path, lambda: changed(rna=as_adata(RNA_COUNTS[RNA] + 0.5, CELLS[RNA], "g")))
    return path


NO_H5MU = {
    "text": "bad.h5mu: not an .h5mu file that can be read",
    "half": "it is damaged",
    "h5ad": "it holds no modalities (an .h5ad holds one",
    "missing": "no such file",
}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        *NO_H5MU.items(),
        (
            "nan",
            "modality 'rna': values of a sparse matrix must be finite",
        ),
        ("strangers", "modality 'rna' shares no id with any other modality"),
    ],
)
def test_bad_files_are_told_in_one_line_and_nothing_is_written(tmp_path, what, message):
    path = broken(tmp_path, what)
    before = names(tmp_path)
    refused(message, "fit", "--data", path, *QUICK, "--out", tmp_path / "run")
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("what", "message"),
    [
        *NO_H5MU.items(),
        (
            "few variables",
            "modality 'rna': 14 of the 30 variables that were learned: it lacks 'g14'",
        ),
        (
            "others",
            "bad.h5mu has modalities 'atac'; those the run read from an .h5mu: 'rna', 'protein'",
        ),
        ("fractions", "modality 'rna': 'negative_binomial' needs counts"),
    ],
)
@pytest.mark.parametrize("suffix", [".h5mu", ".csv"])
def test_bad_files_are_not_predicted(fitted, tmp_path, what, message, suffix):
    path = broken(tmp_path, what)
    before = contents(tmp_path)
    refused(message, "predict", fitted[0], "--data", path, "--out", tmp_path / f"out{suffix}")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--layer", "atac=raw"],
            "--layer names unknown modalities ['atac']; there are ['rna', 'protein']",
        ),
        (["--likelihood", "atac=normal"], "--likelihood names unknown modalities ['atac']"),
        (["--network", "atac=mlp"], "--network names unknown modalities ['atac']"),
        (["--layer", "protein=counts"], "unknown layer 'counts'; there are "),
        (["--layer", "protein"], "--layer must be NAME=VALUE, got 'protein'"),
        (["--likelihood", "protein=poisson"], "modality 'protein': 'poisson' needs counts"),
        (
            ["--likelihood", "rna=categorical"],
            "modality 'rna': likelihood must be one of 'negative_binomial'",
        ),
        (["--kind", "rna.g0=count"], "modality 'rna': kinds are for the columns of tables"),
        (["--network", "rna=conv"], "shape"),
    ],
)
def test_bad_options_are_told_in_one_line_and_nothing_is_written(cells, tmp_path, options, message):
    refused(message, "fit", "--data", cells, *options, *QUICK, "--out", tmp_path / "run")
    assert names(tmp_path) == []


def test_bad_ends_of_predictions_are_told_and_nothing_is_written(fitted, cells, tmp_path):
    out = tmp_path / "out.h5mu"
    out.write_text("old")
    given = ["predict", fitted[0], "--data", cells]
    refused("out.h5mu exists; pass --overwrite", *given, "--out", out)
    refused("exclude each other", *given, "--modality", f"rna={cells}", "--out", tmp_path / "o.csv")
    table = ["predict", fitted[0], "--modality", f"rna={cells}", "--out", out, "--overwrite"]
    refused("is a copy of an .h5mu file with the results in it: pass one as --data", *table)
    refused(
        "--data must be an .npz, .h5mu, .h5ad or .yaml file",
        *given[:2],
        "--data",
        "x.txt",
        "--out",
        tmp_path / "o.csv",
    )
    with mock.patch("anndata.io.write_elem", side_effect=OSError(28, "No space left on device")):
        refused("the disk is full", *given, "--out", out, "--overwrite")
    assert contents(tmp_path) == {"out.h5mu": b"old"}
    assert run(*given, "--out", out, "--overwrite")[0] == 0
    assert "cmvae_cluster" in read_mudata(out).obs


def test_another_kind_of_file_than_the_run_s_is_told(fitted, cells, tmp_path):
    pd.DataFrame({"cell": CELLS, "g0": 1.5 * GROUPS}).to_csv(tmp_path / "rna.csv", index=False)
    given = ["--modality", f"rna={tmp_path / 'rna.csv'}"]
    message = "modality 'rna': expected cells of an .h5mu file, which it was learned from"
    refused(message, "predict", fitted[0], *given, "--out", tmp_path / "o.csv")
    assert run("fit", *given, *QUICK, "--out", tmp_path / "run")[0] == 0
    before = contents(tmp_path)
    for options, told in (
        (["--modality", f"rna={cells}"], "modality 'rna': expected a table, got cells of an"),
        (["--data", cells], "those the run read from an .h5mu: none"),
    ):
        refused(told, "predict", tmp_path / "run", *options, "--out", tmp_path / "o.csv")
    assert contents(tmp_path) == before


def test_labels_that_are_not_there_are_told(fitted, cells):
    refused(
        "name a column with --column NAME; .obs has ['group', 'donor'",
        "evaluate",
        fitted[0],
        "--labels",
        cells,
    )
    refused(
        ".obs has no column 'kind'", "evaluate", fitted[0], "--labels", cells, "--column", "kind"
    )


def test_a_run_whose_file_is_gone_says_so(fitted, cells, tmp_path):
    moved = Path(shutil.move(cells, tmp_path / "elsewhere.h5mu"))
    try:
        refused("no such file", "report", fitted[0], "--out", tmp_path / "page.html")
    finally:
        shutil.move(moved, cells)
    assert names(tmp_path) == []


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_without_the_extra_it_is_named_and_nothing_is_written(
    fitted, cells, tmp_path, monkeypatch, command
):
    monkeypatch.setitem(sys.modules, "h5py", None)
    given = ["fit"] if command == "fit" else ["predict", fitted[0]]
    refused("pip install 'cmvae[omics]'", *given, "--data", cells, "--out", tmp_path / "out.csv")
    assert names(tmp_path) == []


def test_means_are_given_at_a_common_total(fitted, cells, tmp_path):
    folder = fitted[0]
    common = ("generate", folder, "--from", f"rna={cells}", "--to", "rna", "--to", "protein")
    assert run(*common, "--library-size", 10_000, "--out", tmp_path / "at")[0] == 0
    assert run(*common, "--out", tmp_path / "own")[0] == 0
    at, own = (pd.read_csv(tmp_path / n / "rna.csv", index_col="id") for n in ("at", "own"))
    assert at.sum(axis=1).to_numpy() == pytest.approx(10_000, rel=1e-4)
    assert (at / own).to_numpy() == pytest.approx((at / own).iloc[0, 0], rel=1e-4)
    assert contents(tmp_path / "at")["protein.csv"] == contents(tmp_path / "own")["protein.csv"]
    assert json.loads((tmp_path / "at" / "generated.json").read_text())["library_size"] == 10_000
    clusters = ("generate", folder, "--library-size", 500, "--to", "rna", "--samples", 3)
    assert run(*clusters, "--out", tmp_path / "clusters")[0] == 0
    drawn = pd.read_csv(tmp_path / "clusters" / "rna.csv").drop(columns=["id", "cluster"])
    assert drawn.sum(axis=1).to_numpy() == pytest.approx(500, rel=1e-4)
    for words, options in (
        ("none of ['protein'] has counts", ["--to", "protein"]),
        ("leave out --impute and --draw", ["--draw"]),
    ):
        more = ("--library-size", 10, *options, "--out", tmp_path / "no")
        refused(words, "generate", folder, "--from", f"rna={cells}", *more)
        assert not (tmp_path / "no").exists()


def test_the_page_checks_the_counts_that_the_model_makes(fitted):
    found = read_run(fitted[0])
    content = gather_report(found, read_files(found.config.modalities, found.preprocessing)[1])
    assert {check.modality for check in content.checks} == {"rna"}
    assert [check.statistic for check in content.checks] == [
        *("means", "zeros", "spreads", "correlations")
    ]
    means = content.checks[0]
    assert means.data == pytest.approx(means.replicated, rel=0.1)
    assert means.expected == pytest.approx(2 / 21)
    lines = content.profiles
    rna = lines[(lines["modality"] == "rna") & (lines["cluster"] == 0)]
    assert rna["p_adjusted"].min() < 1e-4
    assert (rna["p_adjusted"] >= rna["p_value"]).all()
    assert rna["effect_size"].abs().loc[rna["p_value"].idxmin()] > 0.5
    shown = content.clusters[0].differences[0]
    assert shown.p == pytest.approx(
        lines.set_index("column")
        .query("cluster == 0")
        .loc[content.modalities[shown.modality].features[shown.feature], "p_adjusted"]
    )
