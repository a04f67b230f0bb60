"""Markers of cells, against scipy and scanpy."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import false_discovery_control, ttest_ind

from cmvae.cells import markers

pytest.importorskip("mudata")

from made_cells import GROUPS, NAMES, N, cells_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _plain_strings():
    with pd.option_context("future.infer_string", False):
        yield


def normalised(mdata):
    counts = mdata["rna"].X.toarray().astype(float)
    totals = counts.sum(1, keepdims=True)
    return counts / totals * np.median(totals)


def test_markers_are_means_fold_changes_and_tests_of_normalised_counts():
    mdata, cells = cells_of()
    clusters = pd.Series(pd.Categorical(GROUPS), NAMES).sample(frac=1, random_state=0)
    found = markers(cells, clusters, batch_size=17)
    assert found["cluster"].drop_duplicates().tolist() == [0, 1, 2]
    assert found.loc[0, ["modality", "feature"]].tolist() == ["rna", "g0"]
    values, own = normalised(mdata), GROUPS == 0
    lines = found[(found["modality"] == "rna") & (found["cluster"] == 0)].set_index("feature")
    lines = lines.loc[[f"g{i}" for i in range(5)]]
    means = values[own].mean(0), values[~own].mean(0)
    assert lines["mean_in"].to_numpy() == pytest.approx(means[0], rel=1e-5)
    assert lines["mean_out"].to_numpy() == pytest.approx(means[1], rel=1e-5)
    fold = np.log2((means[0] + 1 / 30) / (means[1] + 1 / 30))
    assert lines["log2_fold_change"].to_numpy() == pytest.approx(fold, rel=1e-4)
    p = ttest_ind(np.log1p(values[own]), np.log1p(values[~own]), equal_var=False).pvalue
    assert lines["p_value"].to_numpy() == pytest.approx(p, rel=1e-4)
    assert lines["p_adjusted"].to_numpy() == pytest.approx(false_discovery_control(p), rel=1e-4)
    assert (lines["n_in"] == 30).all()
    pd.testing.assert_frame_equal(
        markers(cells, torch.as_tensor(GROUPS)), found, check_dtype=False, rtol=1e-6
    )
    ordered = found[(found["modality"] == "rna") & (found["cluster"] == 0)]["p_value"]
    assert ordered.is_monotonic_increasing


def test_shares_have_fold_changes_and_real_numbers_have_none():
    mdata, cells = cells_of()
    found = markers(cells, GROUPS, modalities=["atac", "image"])
    peaks = found[(found["modality"] == "atac") & (found["cluster"] == 1)].set_index("feature")
    values = mdata["atac"].X[:, 2]
    assert peaks.loc["p2", "mean_in"] == pytest.approx(values[GROUPS == 1].mean())
    assert (peaks["log2_fold_change"] > 0.5).all()
    image = found[(found["modality"] == "image") & (found["cluster"] == 2)].set_index("feature")
    assert image["log2_fold_change"].isna().all()
    assert image.loc["size", "mean_in"] == pytest.approx(
        mdata["image"].X[GROUPS[6:] == 2, 0].mean(), rel=1e-5
    )
    assert image.loc["size", "n_in"] + image.loc["size", "n_out"] == N - 6
    at_ten = markers(cells, GROUPS, modalities=["rna"], library_size=10)
    sums = at_ten.groupby("cluster")["mean_in"].sum()
    assert sums.to_numpy() == pytest.approx([10, 10, 10], rel=1e-5)


def test_cells_without_a_cluster_are_passed_over_and_others_refused():
    mdata, cells = cells_of()
    clusters = pd.Series(GROUPS, NAMES).where(GROUPS != 2)
    found = markers(cells, clusters, modalities=["rna"])
    assert found["cluster"].unique().tolist() == [0, 1]
    assert (found["n_in"] + found["n_out"] == 60).all()
    with pytest.raises(ValueError, match="expected those of 90 cells, got 3"):
        markers(cells, [0, 1, 2])
    with pytest.raises(TypeError, match=r"cmvae\.omics\.from_mudata returns, got MuData"):
        markers(mdata, GROUPS)
    with pytest.raises(ValueError, match="give at least two"):
        markers(cells, np.zeros(N))
    with pytest.raises(TypeError, match="modalities: expected a sequence of names, got the string"):
        markers(cells, GROUPS, modalities="rna")
    with pytest.raises(ValueError, match="library_size must be a positive finite number, got -1"):
        markers(cells, GROUPS, library_size=-1)
    with pytest.raises(ValueError, match="clusters: the cells 'c0' are named more than once"):
        markers(cells, pd.Series([*GROUPS, 0], [*NAMES, "c0"]))
    with pytest.raises(TypeError, match="clusters: expected one for each cell, got None"):
        markers(cells, None)
    with pytest.raises(KeyError, match="unknown 'protein'; there are 'rna', 'atac', 'image'"):
        markers(cells, GROUPS, modalities=["protein"])


@pytest.mark.skipif(importlib.util.find_spec("scanpy") is None, reason="needs scanpy")
def test_scanpy_finds_the_same_p_values():
    import scanpy

    mdata, cells = cells_of()
    rna = mdata["rna"].copy()
    rna.obs["group"] = pd.Categorical(GROUPS.astype(str))
    scanpy.pp.normalize_total(rna, target_sum=cells.coding.codecs["rna"].size)
    scanpy.pp.log1p(rna)
    scanpy.tl.rank_genes_groups(rna, "group", method="t-test")
    found = markers(cells, GROUPS.astype(str), modalities=["rna"])
    for group, own in found.groupby("cluster"):
        theirs = scanpy.get.rank_genes_groups_df(rna, group).set_index("names")
        ours = own.set_index("feature").loc[theirs.index]
        assert ours["p_value"].to_numpy() == pytest.approx(theirs["pvals"].to_numpy(), rel=1e-3)
        assert ours["p_adjusted"].to_numpy() == pytest.approx(
            theirs["pvals_adj"].to_numpy(), rel=1e-3
        )
