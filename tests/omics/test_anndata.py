"""AnnData in and out: places of modalities, results under their keys, in memory and in files."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from cmvae import CMVAE, CMVAEConfig, number_clusters
from cmvae.cli.options import data_files, with_layers
from cmvae.data import SparseRows
from cmvae.files import open_source
from cmvae.files.cell_places import cells_of
from cmvae.files.modality import ModalityFile
from cmvae.files.mudata import MuDataModality
from cmvae.omics import from_anndata, from_mudata, to_anndata, to_mudata
from cmvae.preprocessing.cells import CellCodec
from cmvae.runs.config import RunConfig
from made_files import run

anndata = pytest.importorskip("anndata")
mudata = pytest.importorskip("mudata")
pytestmark = pytest.mark.filterwarnings("ignore")  # of mudata's next version

N, GENES, PROTEINS = 90, [f"g{i}" for i in range(12)], [f"p{i}" for i in range(4)]
GROUPS = np.arange(N) % 3


@pytest.fixture(autouse=True)
def _plain_strings():
    """Keep strings as objects: anndata cannot write those of pandas 3."""
    with pd.option_context("future.infer_string", False):
        yield


def make():
    """Return cells of three types: counts in a layer, proteins of two thirds in obsm."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(len(GENES), 0.4), 3)[GROUPS]
    counts = rng.poisson(300 * shares).astype(np.float32)
    obs = pd.DataFrame({"batch": np.where(np.arange(N) % 2, "one", "two")}, dtype=object)
    adata = anndata.AnnData(
        scipy.sparse.csr_matrix(np.log1p(counts)),
        obs=obs.set_index(pd.Index([f"c{i}" for i in range(N)], dtype=object)),
        var=pd.DataFrame(index=pd.Index(GENES, dtype=object)),
        layers={"counts": scipy.sparse.csr_matrix(counts)},
    )
    adata.raw = adata[:, :10].copy()
    proteins = 20.0 * (GROUPS[:, None] == np.arange(4)) + rng.poisson(3, (N, 4))
    proteins[60:] = np.nan
    columns = pd.Index(PROTEINS, dtype=object)
    adata.obsm["protein"] = pd.DataFrame(proteins, adata.obs_names, columns)
    adata.obsm["X_pca"] = rng.normal(size=(N, 3))
    return adata


PLACES = {"rna": "counts", "protein": "obsm:protein"}


def trained(cells):
    """Return a model whose clusters are the groups, as if it had been trained."""
    torch.manual_seed(0)
    config = CMVAEConfig(
        **cells.coding.settings, latent_dim=3, modalities_specific_dim=2, number_of_clusters=5
    )
    return CMVAE(config).eval()


def values_of(cells, name):
    return cells.dataset.batch(slice(None)).data[name].double().numpy()


def test_modalities_are_places():
    adata = make()
    cells = from_anndata(adata, {**PLACES, "pca": "obsm:X_pca", "raw": "raw", "log": None})
    assert cells.dataset.masks["protein"].tolist() == [True] * 60 + [False] * 30
    assert all(cells.dataset.masks[name].all() for name in ("rna", "pca", "raw", "log"))
    np.testing.assert_array_equal(values_of(cells, "rna"), adata.layers["counts"].toarray())
    proteins = adata.obsm["protein"].to_numpy()
    np.testing.assert_array_equal(values_of(cells, "protein")[:60], proteins[:60])
    dist = cells.coding.settings["decoders_dist"]
    assert (dist["rna"], dist["protein"], dist["log"]) == (*["negative_binomial"] * 2, "normal")
    assert cells.var_names["protein"] == tuple(PROTEINS)
    assert cells.var_names["raw"] == tuple(GENES[:10])
    assert cells.var_names["pca"] == ("X_pca_0", "X_pca_1", "X_pca_2")
    assert isinstance(cells.dataset.data["rna"], SparseRows)
    assert from_anndata(adata).var_names == {"rna": tuple(GENES)}


def test_feature_types_are_modalities():
    adata = make()
    adata.var["feature_types"] = ["Gene Expression"] * 8 + ["Antibody Capture"] * 4
    adata.X = adata.layers["counts"]
    cells = from_anndata(adata)
    assert cells.var_names == {"rna": tuple(GENES[:8]), "protein": tuple(GENES[8:])}
    np.testing.assert_array_equal(
        values_of(cells, "protein"), adata.layers["counts"].toarray()[:, 8:]
    )


@pytest.mark.parametrize("given", ["object", "file"])
def test_layers_of_one_feature_type_are_read_alone(tmp_path, given):
    adata = make()
    adata.var["feature_types"] = ["Gene Expression"] * 8 + ["Antibody Capture"] * 4
    adata.write_h5ad(tmp_path / "cells.h5ad")
    place = "feature_types:Gene Expression:counts"
    if given == "object":
        cells = from_anndata(adata, {"rna": place})
        read, names = values_of(cells, "rna"), cells.var_names["rna"]
    else:
        files = with_layers(data_files(tmp_path / "cells.h5ad", None), ["rna=counts"])
        assert (files["rna"].layer, files["protein"].layer) == (
            place,
            "feature_types:Antibody Capture",
        )
        rows = open_source("rna", files["rna"]).read()
        read, names = rows.values.toarray(), rows.var_names
    assert names == tuple(GENES[:8])
    np.testing.assert_array_equal(read, adata.layers["counts"].toarray()[:, :8])


def of_types(path, **layers):
    """Write cells of two types, one of whose names is that of the other with a layer."""
    adata = make()
    adata.var["feature_types"] = ["A"] * 8 + ["A:counts"] * 4
    for name, values in layers.items():
        adata.layers[name] = values
    adata.write_h5ad(path)
    return adata


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("counts", "feature_types:A:counts"),
        ("X", "feature_types:A"),
        ("raw", "raw"),
        ("obsm:protein", "obsm:protein"),
        ("feature_types:A:counts", "feature_types:A:counts"),
        ("nope", "nope"),
    ],
)
@pytest.mark.parametrize("before", ["feature_types:A", "feature_types:A:other"])
def test_a_layers_name_means_that_of_the_type(tmp_path, said, before, place):
    of_types(tmp_path / "cells.h5ad", other=np.ones((N, len(GENES))))
    files = {"a": ModalityFile(path=str(tmp_path / "cells.h5ad"), layer=before)}
    assert with_layers(files, [f"a={said}"])["a"].layer == place


def test_layers_come_before_other_places_of_their_names(tmp_path):
    ones = np.ones((N, len(GENES)))
    of_types(tmp_path / "cells.h5ad", raw=ones, X=ones, feature_types_y=ones)
    files = {"a": ModalityFile(path=str(tmp_path / "cells.h5ad"), layer="feature_types:A")}
    for name in ("raw", "X", "feature_types_y"):
        assert with_layers(files, [f"a={name}"])["a"].layer == f"feature_types:A:{name}"


def test_a_type_comes_before_a_layer_of_another(tmp_path):
    adata = of_types(tmp_path / "cells.h5ad")
    places = {"a": "feature_types:A", "b": "feature_types:A:counts"}
    cells = from_anndata(adata, places)
    assert cells.var_names == {"a": tuple(GENES[:8]), "b": tuple(GENES[8:])}


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("obsm:A:q", "unknown key of obsm 'A:q'"),
        ("foo:A:counts", "unknown layer 'foo:A:counts'"),
        ("feature_types:A:counts:nope", "unknown layer 'nope'"),
        ("feature_types:B", "unknown feature type 'B'"),
        ("feature_types:A", "unknown place 'feature_types:A of X'"),
    ],
)
def test_unknown_places_are_named(tmp_path, place, words):
    adata = of_types(tmp_path / "cells.h5ad")
    if words.endswith("of X'"):
        adata = anndata.AnnData(None, adata.obs, adata.var, layers={"c": adata.layers["counts"]})
    with pytest.raises(KeyError, match=words):
        from_anndata(adata, {"rna": place})


@pytest.mark.parametrize("place", [None, "counts", "raw"])
@pytest.mark.parametrize("given", ["object", "file"])
def test_feature_types_side_by_side_are_told_of(tmp_path, given, place):
    adata = make()
    adata.X = adata.layers["counts"]
    adata.var["feature_types"] = ["Gene Expression"] * 8 + ["Antibody Capture"] * 4
    adata.raw = adata.copy()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    wanted = "'feature_types:Gene Expression" + (":counts'" if place == "counts" else "' names")
    file = ModalityFile(path=str(tmp_path / "cells.h5ad"), layer=place)
    read = {
        "object": lambda: from_anndata(adata, {"rna": place}),
        "file": lambda: CellCodec.learn(open_source("rna", file).read(), "rna"),
    }
    with pytest.warns(UserWarning, match="side by side; " + wanted):
        read[given]()


def test_a_coding_reads_other_cells_from_the_same_places():
    adata = make()
    cells = from_anndata(adata, PLACES, covariates=["batch"])
    others = adata[::-1, ::-1].copy()
    again = from_anndata(others, covariates=["batch"], coding=cells.coding)
    np.testing.assert_array_equal(values_of(again, "rna")[::-1], values_of(cells, "rna"))
    del others.obsm["protein"]
    with pytest.warns(UserWarning, match="adata has no 'obsm:protein', where modality 'protein'"):
        left = from_anndata(others, coding=cells.coding)
    assert list(left.dataset.data) == ["rna"]


def test_what_of_a_coding_is_not_there_is_unobserved():
    adata = make()
    counts = adata.layers["counts"]
    rna = anndata.AnnData(counts[:, :8], adata.obs[[]], adata.var[:8])
    protein = anndata.AnnData(counts[:, 8:], adata.obs[[]], adata.var[8:])
    coding = from_mudata(mudata.MuData({"rna": rna, "protein": protein})).coding
    alone = from_anndata(rna, coding=coding)  # both were in X, each in one of its own
    assert list(alone.dataset.data) == ["rna"]
    assert list(from_anndata(protein, coding=coding).dataset.data) == ["protein"]
    np.testing.assert_array_equal(values_of(alone, "rna"), counts[:, :8].toarray())
    to_anndata(rna, trained(alone), alone, impute=["protein"])
    assert rna.obsm["cmvae_protein"].shape == (N, 4)
    assert list(rna.obsm["cmvae_protein"]) == GENES[8:]
    places = from_anndata(adata[:60].copy(), {"protein": "obsm:protein"}).coding
    with pytest.raises(KeyError, match="'X'; the coding's modalities lie in 'obsm:protein'"):
        from_anndata(rna, coding=places)


def test_x_is_a_place_by_its_name():
    adata = make()
    one, two = (from_anndata(adata, {"rna": place}) for place in (None, "X"))
    np.testing.assert_array_equal(values_of(one, "rna"), values_of(two, "rna"))
    adata.layers["X"] = adata.layers["counts"]
    own = from_anndata(adata, {"rna": "X"})  # a layer comes before all others
    np.testing.assert_array_equal(values_of(own, "rna"), adata.layers["counts"].toarray())


def test_variables_of_two_types_may_have_one_name(tmp_path):
    adata = make()
    adata.X = adata.layers["counts"]
    types = pd.Categorical(["Gene Expression"] * 6 + [None] + ["Antibody Capture"] * 5)
    adata.var["feature_types"] = types.rename_categories(types.categories.astype(object))
    adata.var_names = pd.Index([*GENES[:7], *GENES[:5]], dtype=object)
    cells = from_anndata(adata)
    assert cells.var_names == {"rna": tuple(GENES[:6]), "protein": tuple(GENES[:5])}
    expected = adata.X.toarray()[:, 7:]
    np.testing.assert_array_equal(values_of(cells, "protein"), expected)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    files = data_files(tmp_path / "cells.h5ad", None)
    assert list(files) == ["rna", "protein"]  # what has no type is of none
    own = open_source("protein", files["protein"]).read()
    np.testing.assert_array_equal(own.values.toarray(), expected)


def test_backed_cells_are_those_in_memory(tmp_path):
    adata = make()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    for places in ({"x": None}, PLACES):
        held, read = from_anndata(adata, places), from_anndata(backed, places)
        for name in places:
            np.testing.assert_array_equal(values_of(read, name), values_of(held, name))


def test_results_come_back_under_their_keys_and_survive_files(tmp_path):
    adata = make()
    cells = from_anndata(adata, PLACES)
    model = trained(cells)
    number_clusters(model, cells.dataset)
    to_anndata(adata, model, cells, impute=["protein"])
    found = model.predict_clusters(cells.dataset, rule="joint")
    sizes = adata.obs["cmvae_cluster"].value_counts(sort=False)
    assert list(map(int, sizes.index)) == sorted(map(int, sizes.index))
    assert sizes.is_monotonic_decreasing
    with pd.option_context("future.infer_string", True):  # which frames of ours do not follow
        to_anndata(adata, model, cells, impute=["protein"])
    assert adata.obs["cmvae_cluster"].cat.categories.dtype == object
    assert adata.obsm["cmvae_protein"].columns.dtype == object
    active = model.active_clusters.numpy()
    np.testing.assert_allclose(
        adata.obsm["cmvae_probabilities"], found.probabilities[:, active], rtol=1e-6
    )
    completed = adata.obsm["cmvae_protein"]
    np.testing.assert_allclose(
        completed.iloc[:60], adata.obsm["protein"].iloc[:60].to_numpy(), rtol=1e-6
    )
    expected = model.impute(cells.dataset)["protein"][60:]
    np.testing.assert_allclose(completed.iloc[60:], expected, rtol=1e-5)
    mdata = mudata.MuData({"rna": adata})
    for write, read, path, kept in (
        (adata.write_h5ad, anndata.read_h5ad, tmp_path / "a.h5ad", adata),
        (mdata.write, mudata.read_h5mu, tmp_path / "b.h5mu", None),
    ):
        write(path)
        again = read(path)
        again = again if kept is not None else again.mod["rna"]
        assert again.obs["cmvae_cluster"].tolist() == adata.obs["cmvae_cluster"].tolist()
        np.testing.assert_array_equal(again.obsm["X_cmvae"], adata.obsm["X_cmvae"])
        assert list(again.obsm["cmvae_protein"].columns) == PROTEINS
        assert again.uns["cmvae"]["rule"] == "joint"


def test_mudata_and_anndata_get_the_same():
    adata = make()
    mdata = mudata.MuData({"rna": adata.copy()})
    one, two = from_anndata(adata, {"rna": "counts"}), from_mudata(mdata, layers={"rna": "counts"})
    model = trained(one)
    to_anndata(adata, model, one)
    to_mudata(mdata, model, two)
    assert adata.obs["cmvae_cluster"].tolist() == mdata.obs["cmvae_cluster"].tolist()
    np.testing.assert_array_equal(adata.obsm["X_cmvae"], mdata.obsm["X_cmvae"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda a: from_anndata(a, {"r": "norm"}), KeyError, "unknown layer 'norm'; there are 'co"),
        (
            lambda a: from_anndata(a, {"r": "obsm:adt"}),
            KeyError,
            "unknown key of obsm 'adt'; .*raw",
        ),
        (lambda a: from_anndata(a, {"r": "feature_types:X"}), KeyError, "unknown feature type 'X'"),
        (lambda a: from_anndata(a, {"r": 3}), TypeError, "'r': a place is named by a text.*got 3"),
        (lambda a: from_anndata(a, {}), ValueError, "at least one name and its place, got none"),
        (lambda a: from_anndata(a, ["rna"]), TypeError, "expected a mapping of names to places"),
        (lambda a: from_anndata(mudata.MuData({"r": a})), TypeError, "got MuData; a MuData goes"),
        (lambda a: from_anndata(a[:, []]), ValueError, "'rna' is empty: 90 cells, 0 variables"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, error, message):
    with pytest.raises(error, match=message):
        call(make())
    without = make()
    without.raw = None
    with pytest.raises(KeyError, match="unknown layer 'raw'"):
        from_anndata(without, {"r": "raw"})
    cells = from_anndata(without, PLACES)
    with pytest.raises(KeyError, match="impute: unknown modalities 'atac'"):
        to_anndata(without, trained(cells), cells, impute="atac")


@pytest.mark.parametrize("place", [None, "counts", "raw", "obsm:protein", "obsm:X_pca"])
def test_files_are_read_as_what_is_in_memory(tmp_path, place):
    adata = make()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    source = MuDataModality(tmp_path / "cells.h5ad", "m", layer=place)
    parts = [rows for _, rows in source.chunks(40)]
    assert tuple(parts[0].var_names) == cells_of(adata, place, "m").var_names
    read = [p.values.toarray() if hasattr(p.values, "toarray") else p.values for p in parts]
    expected = {
        None: adata.X.toarray(),
        "counts": adata.layers["counts"].toarray(),
        "raw": adata.raw.X.toarray(),
        "obsm:protein": adata.obsm["protein"].to_numpy(),
        "obsm:X_pca": adata.obsm["X_pca"],
    }[place]
    np.testing.assert_array_equal(np.concatenate(read), expected)


def test_a_file_of_several_types_goes_from_fit_to_a_copy_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    adata = make()
    adata.X = adata.layers["counts"]
    adata.var["feature_types"] = ["Gene Expression"] * 8 + ["Antibody Capture"] * 4
    adata.write_h5ad("cells.h5ad")
    fit = ["fit", "--data", "cells.h5ad", "--epochs", 1, "--clusters", 2, "--device", "cpu"]
    status, out, err = run(*fit, "--out", "run")
    assert status == 0, err
    assert "rna" in out
    assert "protein" in out
    for out in ("out.h5ad", "out.csv"):
        status, _, err = run("predict", "run", "--data", "cells.h5ad", "--out", out)
        assert status == 0, err
    copy, table = anndata.read_h5ad("out.h5ad"), pd.read_csv("out.csv", index_col="id")
    assert copy.obs["cmvae_cluster"].astype(int).tolist() == table["cluster"].tolist()
    assert copy.obsm["cmvae_probabilities"].shape == (N, 2)
    assert copy.obs["batch"].tolist() == adata.obs["batch"].tolist()
    status, _, err = run(*fit, "--layer", "rna=obsm:protein", "--out", "other")
    assert status == 0, err
    genes = adata[:, :8].copy()  # of one type, the other being lacked
    genes.write_h5ad("genes.h5ad")
    for options in (["--data", "genes.h5ad"], ["--modality", "rna=genes.h5ad"]):
        given = ["predict", "run", *options, "--out", f"{len(options[0])}.csv"]
        status, _, err = run(*given)
        assert status == 0, err
    assert pd.read_csv("6.csv").equals(pd.read_csv("10.csv"))
    assert set(pd.read_csv("6.csv")["modalities"]) == {"rna"}
    with pytest.warns(UserWarning, match="genes.h5ad has no 'feature_types:Antibody Capture', wh"):
        data_files(Path("genes.h5ad"), None, RunConfig.read(Path("run/config.yaml")).modalities)
    status, _, err = run("fit", "--data", "cells.h5ad", "--layer", "rna=norm", "--out", "third")
    assert status == 2
    assert "unknown layer 'norm'; there are 'counts', 'raw', 'obsm:" in err
