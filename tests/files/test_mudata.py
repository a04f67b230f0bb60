"""Cells from .h5mu files: the same numbers as from_mudata's, a part at a time, and results put back."""

import errno
import json
import shutil
import sys
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

pytest.importorskip("mudata")

import anndata
import h5py
from cmvae.preprocessing.omics_codec import OmicsCodec
from cmvae.preprocessing.omics_coding import CodedModality

from cmvae.data import SparseRows, StandardisedRows
from cmvae.files import preprocessing
from cmvae.files.join import RowStore
from cmvae.files.labels import read_labels
from cmvae.files.modality import ModalityFile
from cmvae.files.mudata import MuDataModality, OmicsRows, h5mu_files
from cmvae.files.mudata_results import write_results
from cmvae.omics import from_mudata
from cmvae.preprocessing.preprocessing import Preprocessing, open_source
from made_mudata import (
    CELLS,
    GENES,
    PROTEIN,
    PROTEIN_COUNTS,
    RNA,
    RNA_COUNTS,
    N,
    make_mudata,
    plain_strings,
    read_mudata,
    write_mudata,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # of mudata about its next version, of pandas about its options


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_mudata(tmp_path_factory.mktemp("mudata") / "cells.h5mu")


def dense(values):
    return values.toarray() if scipy.sparse.issparse(values) else np.asarray(values)


def table_of(path):
    """Return everything in an HDF5 file by its place, results left out."""
    found = {}

    def keep(name, node):
        attrs = {key: np.asarray(value).tolist() for key, value in node.attrs.items()}
        found[name] = (
            attrs,
            np.asarray(node[()]).tolist() if isinstance(node, h5py.Dataset) else None,
        )

    with h5py.File(path) as file:
        file.visititems(keep)
    found["obs"][0]["column-order"] = [
        name for name in found["obs"][0]["column-order"] if name[:5] != "cmvae"
    ]
    own = ("obs/cmvae", "obsm/X_cmvae", "uns/cmvae")
    return {name: value for name, value in found.items() if not name.startswith(own)}


# Reading
# -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 7, 84, 1000])
@pytest.mark.parametrize("layer", [None, "raw", "dense"])
def test_parts_are_the_whole_however_it_is_stored(path, layer, rows):
    source = MuDataModality(path, "protein", layer=layer)
    parts = list(source.chunks(rows))
    assert [len(ids) for ids, _ in parts] == [min(rows, 84 - start) for start in range(0, 84, rows)]
    assert [name for ids, _ in parts for name in ids] == CELLS[PROTEIN][::-1].tolist()
    counts = PROTEIN_COUNTS[PROTEIN][::-1]
    expected = counts if layer == "raw" else np.log1p(counts)
    np.testing.assert_array_equal(
        np.concatenate([dense(part.values) for _, part in parts]), expected
    )
    assert {scipy.sparse.issparse(part.values) for _, part in parts} == {layer != "dense"}
    whole = source.read()
    np.testing.assert_array_equal(dense(whole.values), expected)
    assert whole.var_names == tuple(f"p{i}" for i in range(6))
    assert list(whole.obs_names) == CELLS[PROTEIN][::-1].tolist()


def test_of_a_matrix_by_rows_no_more_is_read_than_a_part(path):
    sizes, own = [], h5py.Dataset.__getitem__

    def spy(dataset, place, **options):
        values = own(dataset, place, **options)
        sizes.append((dataset.name, np.size(values)))
        return values

    source = MuDataModality(path, "rna")
    with mock.patch.object(h5py.Dataset, "__getitem__", spy):
        for _ in source.chunks(10):
            pass
    read = [size for name, size in sizes if name == "/mod/rna/X/data"]
    assert read == [np.count_nonzero(RNA_COUNTS[start : start + 10]) for start in range(0, 80, 10)]
    assert max(size for name, size in sizes if name == "/mod/rna/X/indptr") == 11


@pytest.mark.parametrize("layer", [None, "raw", "dense"])
@pytest.mark.parametrize("most", [9, 8192])
def test_cells_are_those_of_from_mudata(path, layer, most, monkeypatch):
    monkeypatch.setattr(preprocessing, "MOST_ROWS", most)
    files = h5mu_files(path)
    files["protein"] = files["protein"].replace(layer=layer)
    learned = Preprocessing.learn(files)
    with learned.join(files) as store:
        rows = store.all_rows()
    data, want = learned.dataset(rows), from_mudata(make_mudata(), layers={"protein": layer})
    place = pd.Index(rows.ids).get_indexer(list(want.obs_names))
    assert sorted(place) == list(range(N))
    for name in ("rna", "protein"):
        seen = want.dataset.masks[name].numpy()
        np.testing.assert_array_equal(data.masks[name].numpy()[place], seen)
        left, right = (
            data.batch(place).data[name].numpy()[seen],
            want.dataset.batch(slice(None)).data[name].numpy(),
        )
        np.testing.assert_allclose(left, right[seen], rtol=1e-6, atol=1e-6)
    assert isinstance(data.data["rna"], SparseRows)
    assert isinstance(data.data["protein"], StandardisedRows) == (layer is None)
    assert learned.shapes() == want.coding.input_dims
    likelihoods = learned.likelihoods(files, "learned")
    assert {name: dist for name, (dist, _) in likelihoods.items()} == want.coding.decoders_dist
    assert {
        name: params for name, (_, params) in likelihoods.items()
    } == want.coding.decoder_dist_params
    again = Preprocessing.from_json(learned.to_json())
    assert {name: codec.coded for name, codec in again.codecs.items()} == {
        coded.name: coded for coded in want.coding.modalities
    }


def test_arrays_that_do_not_say_so_are_read(path, tmp_path):
    shutil.copy(path, tmp_path / "old.h5mu")
    with h5py.File(tmp_path / "old.h5mu", "r+") as file:
        for place in ("obs/_index", "var/_index", "layers/dense"):
            del file["mod/protein"][place].attrs["encoding-type"]
            del file["mod/protein"][place].attrs["encoding-version"]
    old, new = (
        MuDataModality(folder, "protein", layer="dense").read()
        for folder in (tmp_path / "old.h5mu", path)
    )
    np.testing.assert_array_equal(old.values, new.values)
    assert (list(old.obs_names), old.var_names) == (list(new.obs_names), new.var_names)


def test_modalities_are_in_the_order_of_the_mudata(path):
    assert list(h5mu_files(path)) == ["rna", "protein"]  # HDF5's own order is that of the alphabet
    run = {
        "x": ModalityFile(path="o.h5mu", array="protein", layer="raw"),
        "rna": ModalityFile(path="o.h5mu"),
    }
    like = h5mu_files(path, {**run, "protein": ModalityFile(path="protein.csv")})
    assert {name: (file.array, file.layer) for name, file in like.items()} == {
        "x": ("protein", "raw"),
        "rna": ("rna", None),
    }


def test_sparse_rows_are_joined_as_dense_ones_are():
    values = scipy.sparse.csr_array(np.array([[0, 5, 0], [0, 0, 0], [1, 0, 2]], dtype=np.float32))
    with RowStore(["a", "b"]) as store:
        store.add("a", ["s2", "s3"], values[:2], np.array([True, True]))
        store.add("a", ["s4"], values[2:], np.array([True]))
        store.add("b", ["s4", "s1", "s3"], np.ones((3, 1)), np.array([True, True, True]))
        store.check()
        parts = list(store.batches(3))
    assert [part.ids for part in parts] == [["s2", "s3", "s4"], ["s1"]]
    assert parts[0].data["a"].toarray().tolist() == [[0, 5, 0], [0, 0, 0], [1, 0, 2]]
    assert parts[1].data["a"].toarray().tolist() == [[0, 0, 0]]
    assert [part.masks["a"].tolist() for part in parts] == [[True, True, True], [False]]
    assert parts[0].data["a"].dtype == np.float32


# The codec
# ---------------------------------------------------------------------------------------------------------


def rows_of(values, names="xyz", layer=None):
    return OmicsRows(
        values, pd.Index([f"c{i}" for i in range(values.shape[0])]), tuple(names), layer
    )


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_variables_are_found_by_name_and_others_passed_over(form):
    values = np.array([[1.5, 2, 0], [0, 4, 2], [3, 0, 1]])
    codec = OmicsCodec.of(rows_of(form(values)), "a")
    moved = np.hstack([np.full((3, 1), 9.0), values[:, [2, 0, 1]]])
    encoded, seen = codec.encode(rows_of(form(moved), "nzxy"), "a")
    stored = codec.stored(encoded)
    np.testing.assert_allclose(stored[:], (values - values.mean(0)) / values.std(0), atol=1e-6)
    assert seen.all()
    np.testing.assert_allclose(codec.decode(np.asarray(stored[:]), sample=True), values, atol=1e-6)
    with pytest.raises(KeyError, match="modality 'a' lacks 1 variables, such as 'y'"):
        codec.encode(rows_of(form(values), "xnz"), "a")


def test_draws_of_counts_are_whole_numbers_and_means_are_not():
    codec = OmicsCodec.of(rows_of(np.array([[1, 2, 0], [0, 4, 2]])), "a")
    drawn = codec.decode(np.array([[3.0, 0.0, 1.0]]), sample=True)
    assert drawn.to_numpy().tolist() == [[3, 0, 1]]
    assert drawn.dtypes.tolist() == [np.int64] * 3
    assert codec.decode(np.array([[0.25, 0.0, 1.5]]), sample=False).to_numpy().tolist() == [
        [0.25, 0.0, 1.5]
    ]
    assert list(drawn) == list("xyz")


@pytest.mark.parametrize(
    ("chosen", "params", "expected"),
    [
        (None, {}, ("negative_binomial", {"library_size": True, "size": 4.5})),
        ("poisson", {"size": 9.0}, ("poisson", {"library_size": True, "size": 9.0})),
        ("poisson", {"library_size": False}, ("poisson", {"library_size": False})),
        ("laplace", {}, ("laplace", {"scale": 0.5})),
        ("normal", {"scale": 2.0}, ("normal", {"scale": 2.0})),
    ],
)
def test_likelihoods_are_detected_and_overridden(chosen, params, expected):
    codec = OmicsCodec.of(rows_of(np.array([[1, 2, 0], [0, 4, 2]])), "a", chosen)
    assert codec.likelihood(chosen, params, 0.5) == expected


def test_the_description_says_what_the_variables_are():
    names = tuple(f"g{i}" for i in range(9))
    described = OmicsCodec(CodedModality("a", names, "raw", "poisson")).describe()
    assert described == "9 counts of layer raw: g0, g1, g2, g3, g4 and 4 more"
    assert (
        OmicsCodec(CodedModality("a", ("p", "q"), None, "bernoulli")).describe() == "2 binary: p, q"
    )


# Refusals
# ----------------------------------------------------------------------------------------------------------


def change_index(path):
    with h5py.File(path, "r+") as file:
        file["mod/rna/obs/_index"].attrs["encoding-type"] = "ropes"


def change_columns(path):
    with h5py.File(path, "r+") as file:
        file["mod/rna/X/indices"][0] = GENES


def change_columns_of_csc(path):
    with h5py.File(path, "r+") as file:
        file["mod/protein/layers/raw/indices"][0] = 84


def change_bounds(path):
    with h5py.File(path, "r+") as file:
        file["mod/rna/X/indptr"][1] = 10**7


def without_modalities(path):
    with h5py.File(path, "r+") as file:
        for name in list(file["mod"]):
            del file["mod"][name]


def without(place):
    def change(path):
        with h5py.File(path, "r+") as file:
            del file[place]

    return change


def change_axis(path):
    with h5py.File(path, "r+") as file:
        file.attrs["axis"] = 1


def as_words(path):
    with h5py.File(path, "r+") as file:
        del file["mod/rna/X"]
        file["mod/rna"].create_dataset("X", data=np.full((80, GENES), b"x"))
        file["mod/rna/X"].attrs["encoding-type"] = "array"


def cut_rows(path):
    with h5py.File(path, "r+") as file:
        file["mod/rna/X"].attrs["shape"] = (79, GENES)


def half(path):
    path.write_bytes(path.read_bytes()[:3000])


def text(path):
    path.write_text("no HDF5")


def h5ad(path):
    with plain_strings():
        make_mudata().mod["rna"].write_h5ad(path)


REFUSED = {
    "text": (
        text,
        {},
        ValueError,
        r"cells\.h5mu: not an \.h5mu file that can be read: .*file signature",
    ),
    "a file cut short": (
        half,
        {},
        ValueError,
        r"not an \.h5mu file that can be read: .*truncated file",
    ),
    "an AnnData": (
        h5ad,
        {},
        ValueError,
        r"it holds no modalities \(an \.h5ad holds one: mudata\.MuData",
    ),
    "shared variables": (change_axis, {}, ValueError, r"its modalities share variables \(axis=1\)"),
    "a part missing": (
        without("mod/rna/X/indptr"),
        {},
        ValueError,
        r"cells\.h5mu: not an \.h5mu file .*indptr",
    ),
    "no X": (without("mod/rna/X"), {}, ValueError, "it has no X; name one of its layers: none"),
    "words": (as_words, {}, TypeError, "modality 'rna'.*expected numbers, got dtype"),
    "another shape": (cut_rows, {}, ValueError, r"a matrix \(79, 30\) for 80 cells, 30 names"),
    "names of another kind": (
        change_index,
        {},
        ValueError,
        "_index is stored as 'ropes', not as one of array",
    ),
    "a column beyond the last": (change_columns, {}, ValueError, "indices must be < 30"),
    "a row beyond the last": (
        change_columns_of_csc,
        {"array": "protein", "layer": "raw"},
        ValueError,
        "indices must be < 84",
    ),
    "entries beyond the last": (
        change_bounds,
        {},
        ValueError,
        "indptr must be a non-decreasing sequence",
    ),
    "no modalities": (without_modalities, {}, ValueError, "it holds no modalities"),
    "a layer": (None, {"layer": "counts"}, KeyError, "unknown layer 'counts'; there are none"),
    "a modality": (
        None,
        {"array": "atac"},
        KeyError,
        "unknown modality 'atac'; there are 'rna', 'protein'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_by_name(case, tmp_path):
    change, place, error, message = REFUSED[case]
    path = write_mudata(tmp_path / "cells.h5mu")
    if change is not None:
        change(path)
    with pytest.raises(error, match=message) as caught:
        MuDataModality(path, "rna", **place).read()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_options_that_do_not_fit_are_refused(path, tmp_path):
    (tmp_path / "t.csv").write_text("id,a\n1,2\n")
    with pytest.raises(
        ValueError, match=r"'t': layers are those of \.h5mu files, and .*t\.csv is none"
    ):
        open_source("t", ModalityFile(path=str(tmp_path / "t.csv"), layer="raw"))
    with pytest.raises(
        ValueError,
        match=r"modality 'rna': likelihood must be one of 'negative_binomial', .*'mixed'",
    ):
        Preprocessing.learn({"rna": ModalityFile(path=str(path), likelihood="mixed")})
    with pytest.raises(ValueError, match=r"'poisson' needs counts, .*in cell"):
        Preprocessing.learn({"protein": ModalityFile(path=str(path), likelihood="poisson")})
    with pytest.raises(ValueError, match="kinds are for the columns of tables"):
        Preprocessing.learn({"rna": ModalityFile(path=str(path), kinds={"g0": "count"})})
    with pytest.raises(
        ValueError,
        match=r"has modalities 'rna', 'protein'; those the run read from an \.h5mu: none",
    ):
        h5mu_files(path, {"photo": ModalityFile(path="photos")})


def test_without_the_extra_it_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mudata", None)
    for call in (
        lambda: h5mu_files(path),
        lambda: MuDataModality(path, "rna"),
        lambda: read_labels(path),
    ):
        with pytest.raises(ImportError, match=r"pip install 'cmvae\[omics\]'"):
            call()


# Results
# -----------------------------------------------------------------------------------------------------------

SOME = ["c07", "c00", "c89"]
RESULTS = {
    "ids": SOME,
    "clusters": np.array([10, 2, 10]),
    "probabilities": np.array([0.5, 0.75, 1.0]),
    "embedding": np.arange(6.0).reshape(3, 2),
    "account": {"rule": "joint", "active_clusters": np.array([4, 0])},
}


def test_results_stand_at_their_cells_and_nothing_else_changes(path, tmp_path):
    before = table_of(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_results(path, tmp_path / "out.h5mu", **RESULTS)
    mdata, own = read_mudata(tmp_path / "out.h5mu"), read_mudata(path)
    rows = mdata.obs_names.get_indexer(SOME)
    assert mdata.obs["cmvae_cluster"].iloc[rows].tolist() == ["10", "2", "10"]
    assert list(mdata.obs["cmvae_cluster"].cat.categories) == ["2", "10"]
    assert mdata.obs["cmvae_probability"].iloc[rows].tolist() == [0.5, 0.75, 1.0]
    assert mdata.obsm["X_cmvae"].dtype == np.float32
    assert mdata.obsm["X_cmvae"][rows].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert (
        np.isnan(mdata.obsm["X_cmvae"]).all(1).sum()
        == mdata.obs["cmvae_cluster"].isna().sum()
        == N - 3
    )
    assert mdata.uns["cmvae"]["rule"] == "joint"
    assert mdata.uns["cmvae"]["active_clusters"].tolist() == [4, 0]
    pd.testing.assert_frame_equal(mdata.obs[list(own.obs)], own.obs)
    assert table_of(tmp_path / "out.h5mu") == before == table_of(path)


def test_results_that_were_there_are_replaced_in_the_file_itself(path, tmp_path):
    out = tmp_path / "out.h5mu"
    write_results(path, out, **RESULTS)
    write_results(
        out, out, **{**RESULTS, "ids": ["c01", "c02", "c03"], "embedding": np.ones((3, 4))}
    )
    mdata = read_mudata(out)
    assert mdata.obsm["X_cmvae"].shape == (N, 4)
    assert mdata.obs_names[mdata.obs["cmvae_cluster"].notna()].tolist() == ["c01", "c02", "c03"]
    assert list(mdata.obs).count("cmvae_cluster") == 1


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("can't flush")]
)
def test_a_failure_leaves_the_old_file_whole(path, tmp_path, error):
    out = tmp_path / "out.h5mu"
    out.write_text("old")
    with (
        mock.patch.object(anndata.io, "write_elem", side_effect=error),
        pytest.raises(OSError, match=r"No space left|cannot be written: can't flush"),
    ):
        write_results(path, out, **RESULTS)
    with pytest.raises(ValueError, match=r"cells\.h5mu: \.obs lacks 1 cells, such as 'x1'"):
        write_results(path, out, **{**RESULTS, "ids": ["c00", "c01", "x1"]})
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("out.h5mu", "old")]


# Labels
# ------------------------------------------------------------------------------------------------------------


def test_labels_come_from_obs_of_all_cells_or_of_a_modality(path):
    groups = read_labels(path, column="group")
    assert len(groups) == N
    assert groups["c04"] == "group 1"
    assert read_labels(path, column="donor").index.symmetric_difference(
        pd.Index(CELLS)
    ).tolist() == ["c05"]
    assert len(read_labels(path, column="rna:batch")) == RNA.sum()
    for column, message in (
        (None, r"name a column with --column; \.obs has \['group', 'donor'"),
        ("kind", "no column 'k"),
    ):
        with pytest.raises(ValueError, match=message):
            read_labels(path, column=column)


def test_the_coding_is_kept_as_json(path):
    files = h5mu_files(path)
    kept = json.loads(Preprocessing.learn(files).to_json())["modalities"]
    assert {name: entry["type"] for name, entry in kept.items()} == {
        "rna": "omics",
        "protein": "omics",
    }
    with pytest.raises(ValueError, match="not a stored preprocessing"):
        Preprocessing.from_json(
            json.dumps({"modalities": {"rna": {"type": "omics", "coding": "{}"}}})
        )
