"""Cells from .h5mu files, a part at a time."""

import shutil
import sys
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import scipy.sparse

pytest.importorskip("mudata")

import anndata
import h5py

from cmvae.files import open_source
from cmvae.files.labels import read_labels
from cmvae.files.modality import ModalityFile
from cmvae.files.mudata import MuDataModality, h5ad_files, h5mu_files
from made_mudata import (
    CELLS,
    GENES,
    PROTEIN,
    PROTEIN_COUNTS,
    RNA_COUNTS,
    make_mudata,
    plain_strings,
    write_mudata,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of mudata's next version, of pandas' options


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_mudata(tmp_path_factory.mktemp("mudata") / "cells.h5mu")


def dense(values):
    return values.toarray() if scipy.sparse.issparse(values) else np.asarray(values)


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


def test_categories_of_old_files_are_their_names(path, tmp_path):
    shutil.copy(path, tmp_path / "old.h5mu")
    with h5py.File(tmp_path / "old.h5mu", "r+") as file:
        obs = file["obs"]
        codes, names = (obs["group"][part][()] for part in ("codes", "categories"))
        codes[3] = -1
        del obs["group"]
        held = obs.create_dataset("__categories/group", data=names, dtype=h5py.string_dtype())
        obs["group"] = codes
        obs["group"].attrs["categories"] = held.ref
        obs.attrs["encoding-version"] = "0.1.0"
        theirs = anndata.io.read_elem(obs)["group"].dropna()
    ours = read_labels(tmp_path / "old.h5mu", column="group")
    assert ours.to_dict() == theirs.astype(str).to_dict()
    assert set(ours) == {"group 0", "group 1", "group 2"}


def test_tables_before_groups_are_told_with_the_way_out(tmp_path):
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        for name in ("obs", "var"):
            file[name] = np.array([(b"c0", 1.0)], dtype=[("index", "S2"), ("n", "f8")])
    with pytest.raises(ValueError, match=r"anndata before 0\.7; write it anew: anndata\.read"):
        read_labels(tmp_path / "old.h5ad", column="n")


def test_of_an_h5ad_the_places_of_a_run_are_read_that_are_there(tmp_path):
    with plain_strings():
        make_mudata().mod["protein"].write_h5ad(tmp_path / "c.h5ad")
    like = {
        "a": ModalityFile(path="o.h5ad", layer="raw"),
        "b": ModalityFile(path="o.h5ad", layer="obsm:pca"),
        "c": ModalityFile(path="o.h5ad"),
    }
    found = h5ad_files(tmp_path / "c.h5ad", like)
    assert {name: file.layer for name, file in found.items()} == {"a": "raw", "c": None}
    with pytest.raises(ValueError, match=r"'X'; the run read 'obsm:pca' from an \.h5ad"):
        h5ad_files(tmp_path / "c.h5ad", {"b": like["b"]})
    with pytest.raises(ValueError, match="'c', 'd' of the run were of one place in files of their"):
        h5ad_files(tmp_path / "c.h5ad", {**like, "d": ModalityFile(path="p.h5ad", layer="X")})


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
    gone = {"rna": run["rna"], "peaks": ModalityFile(path="o.h5mu", array="atac")}
    with pytest.warns(UserWarning, match="has no 'atac', where modality 'peaks' was learned from"):
        assert list(h5mu_files(path, gone)) == ["rna"]


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
        r"cells\.h5mu: not an \.h5mu file that can be read: it is damaged",
    ),
    "a file cut short": (
        half,
        {},
        ValueError,
        r"not an \.h5mu file that can be read: it is damaged",
    ),
    "an AnnData": (
        h5ad,
        {},
        ValueError,
        r"it holds no modalities \(an \.h5ad holds one: name it so\)",
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
    "a column beyond the last": (change_columns, {}, ValueError, "numbers beyond its 30 names"),
    "a row beyond the last": (
        change_columns_of_csc,
        {"array": "protein", "layer": "raw"},
        ValueError,
        "numbers beyond its 84 names",
    ),
    "entries beyond the last": (
        change_bounds,
        {},
        ValueError,
        "its rows end where it has no numbers",
    ),
    "no modalities": (without_modalities, {}, ValueError, "it holds no modalities"),
    "a layer": (None, {"layer": "counts"}, KeyError, "unknown layer 'counts'; there are 'X'"),
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


def test_without_the_extra_it_is_named(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    for call in (
        lambda: h5mu_files(path),
        lambda: MuDataModality(path, "rna"),
        lambda: read_labels(path),
    ):
        with pytest.raises(ImportError, match=r"pip install 'cmvae\[omics\]'"):
            call()


def test_layers_are_those_of_h5mu_files(tmp_path):
    (tmp_path / "t.csv").write_text("id,a\n1,2\n")
    message = r"'t': layers are those of \.h5mu and \.h5ad files, and .*t\.csv is none"
    with pytest.raises(ValueError, match=message):
        open_source("t", ModalityFile(path=str(tmp_path / "t.csv"), layer="raw"))
    with pytest.raises(ValueError, match="modality 't' names no file: its rows were given in Pyth"):
        open_source("t", ModalityFile())


def test_a_run_without_modalities_of_an_h5mu_is_told(path):
    message = r"has modalities 'rna', 'protein'; those the run read from an \.h5mu: none"
    for file in (ModalityFile(path="photos"), ModalityFile()):
        with pytest.raises(ValueError, match=message):
            h5mu_files(path, {"photo": file})


def test_an_h5ad_is_one_modality(tmp_path):
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    counts = csr_matrix(rng.poisson(1, (7, 4)).astype(np.float32))
    names = pd.Index([f"c{i}" for i in range(7)], dtype=object)
    kinds = pd.Categorical(list("aabbaab"), categories=pd.Index(["a", "b"], dtype=object))
    variables = pd.DataFrame(index=pd.Index(list("pqrs"), dtype=object))
    cells = AnnData(
        counts, pd.DataFrame({"type": kinds}, names), variables, layers={"twice": counts * 2}
    )
    cells.write_h5ad(tmp_path / "c.h5ad")
    source = open_source("rna", ModalityFile(path=str(tmp_path / "c.h5ad")))
    rows = source.read()
    np.testing.assert_array_equal(rows.values.toarray(), counts.toarray())
    assert rows.obs_names.tolist() == cells.obs_names.tolist()
    twice = open_source("rna", ModalityFile(path=str(tmp_path / "c.h5ad"), layer="twice"))
    parts = [part.values.toarray() for _, part in twice.chunks(3)]
    np.testing.assert_array_equal(np.concatenate(parts), counts.toarray() * 2)
    labels = read_labels(tmp_path / "c.h5ad", column="type")
    assert labels["c2"] == "b"
    with pytest.raises(KeyError, match=r"unknown layer 'none'; there are 'twice'"):
        open_source("rna", ModalityFile(path=str(tmp_path / "c.h5ad"), layer="none"))
    (tmp_path / "d.h5ad").write_bytes(b"none")
    with pytest.raises(ValueError, match=r"d\.h5ad: not an \.h5ad file that can be read"):
        open_source("rna", ModalityFile(path=str(tmp_path / "d.h5ad")))
