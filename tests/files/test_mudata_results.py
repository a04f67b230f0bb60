"""Results put back into a copy of an .h5mu file."""

import errno
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("mudata")

import anndata
import h5py

from cmvae.files.mudata_results import write_results
from made_mudata import N, read_mudata, write_mudata

pytestmark = pytest.mark.filterwarnings("ignore")  # of mudata's next version, of pandas' options


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_mudata(tmp_path_factory.mktemp("mudata") / "cells.h5mu")


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
    own = ("obs/cmvae", "obsm/X_cmvae", "obsm/cmvae_probabilities", "uns/cmvae")
    return {name: value for name, value in found.items() if not name.startswith(own)}


SOME = ["c07", "c00", "c89"]
PROBABILITIES = np.zeros((3, 11))
PROBABILITIES[[0, 1, 2], [10, 2, 10]] = [0.5, 0.75, 1.0]
RESULTS = {
    "ids": SOME,
    "clusters": np.array([10, 2, 10]),
    "probabilities": PROBABILITIES,
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
    assert "cmvae_cluster_name" not in mdata.obs
    assert mdata.obs["cmvae_probability"].iloc[rows].tolist() == [0.5, 0.75, 1.0]
    np.testing.assert_array_equal(mdata.obsm["cmvae_probabilities"][rows], PROBABILITIES)
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


def test_names_of_clusters_stand_beside_their_numbers(path, tmp_path):
    write_results(path, tmp_path / "out.h5mu", **RESULTS, cluster_names={10: "old", 3: "rare"})
    mdata = read_mudata(tmp_path / "out.h5mu")
    rows = mdata.obs_names.get_indexer(SOME)
    assert mdata.obs["cmvae_cluster"].iloc[rows].tolist() == ["10", "2", "10"]
    assert mdata.obs["cmvae_cluster_name"].iloc[rows].tolist() == ["old", "2", "old"]


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
