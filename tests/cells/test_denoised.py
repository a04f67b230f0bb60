"""Expression without noise, against what the decoder itself says."""

import numpy as np
import pandas as pd
import pytest

from cmvae.cells import add_denoised, denoised

pytest.importorskip("mudata")

import anndata
import mudata

from cmvae.omics import from_anndata, from_mudata
from made_cells import NAMES, N, as_adata, cells_of, model_of

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _plain_strings():
    with pd.option_context("future.infer_string", False):
        yield


def test_means_are_the_decoder_s_at_one_total():
    _, cells = cells_of()
    model = model_of(cells)
    own = model.to_data(model.predict(cells.dataset, gen_mod="rna", return_mean=True))["rna"][:, 0]
    found = denoised(model, cells, "rna", batch_size=40)
    assert found.index.tolist() == NAMES
    assert found.to_numpy() == pytest.approx(own.numpy(), rel=1e-5)
    scaled = denoised(model, cells, "rna", features=["g3", "g0"], library_size=1e4)
    expected = own[:, [3, 0]] / own.sum(1, keepdim=True) * 1e4
    assert scaled.to_numpy() == pytest.approx(expected.numpy(), rel=1e-4)
    assert list(scaled) == ["g3", "g0"]
    from_peaks = denoised(model, cells, "rna", given="atac")
    assert not np.allclose(from_peaks, found)


def test_real_numbers_come_back_in_their_units_and_cells_without_have_them_too():
    mdata, cells = cells_of()
    found = denoised(model_of(cells), cells, "image")
    assert found.shape == (N, 2)
    assert found["size"].mean() == pytest.approx(mdata["image"].X[:, 0].mean(), abs=2)
    assert np.isfinite(found.to_numpy()).all()


def test_batches_are_chosen_or_averaged_over():
    _, cells = cells_of(["batch"])
    model = model_of(cells)
    one, other = (denoised(model, cells, "rna", covariates={"batch": b}) for b in "ab")
    assert not np.allclose(one, other)
    mean = denoised(model, cells, "rna", covariates={"batch": ["a", "b"]})
    assert mean.to_numpy() == pytest.approx((one + other).to_numpy() / 2, rel=1e-5)
    own = denoised(model, cells, "rna")
    assert own.to_numpy()[0] == pytest.approx(one.to_numpy()[0], rel=1e-5)
    assert own.to_numpy()[1] == pytest.approx(other.to_numpy()[1], rel=1e-5)


def test_the_layer_has_the_cells_and_the_variables_in_their_places():
    mdata, cells = cells_of()
    model = model_of(cells)
    found = denoised(model, cells, "image")
    reordered = mdata["image"][::-1].copy()
    mdata.mod["image"] = reordered
    add_denoised(mdata, model, cells, "image")
    layer = mdata["image"].layers["cmvae_denoised"]
    assert layer == pytest.approx(found.loc[reordered.obs_names].to_numpy())
    with pytest.raises(TypeError, match="a layer has all variables"):
        add_denoised(mdata, model, cells, "image", features=["size"])


def test_variables_that_the_modality_lacks_get_nothing():
    mdata, cells = cells_of()
    model = model_of(cells)
    known = mdata["image"][:, ["shape"]].copy()
    more = np.hstack([np.ones((len(known), 1)), known.X])
    other = mudata.MuData({"image": as_adata(more, known.obs_names, ["new", "shape"])})
    own = from_mudata(other, coding=cells.coding)
    add_denoised(other, model, own, "image")
    layer = other["image"].layers["cmvae_denoised"]
    assert np.isnan(layer[:, 0]).all()
    assert layer[:, 1] == pytest.approx(denoised(model, own, "image")["shape"].to_numpy())
    assert denoised(model, own, "atac").shape == (N - 6, 3)  # which these cells lack
    with pytest.raises(KeyError, match="mdata has no 'atac' but 'image'; denoised"):
        add_denoised(other, model, own, "atac")


def test_modalities_of_an_anndata_share_a_layer_or_have_a_table(tmp_path):
    mdata, _ = cells_of()
    adata = mdata["rna"].copy()
    adata.var["feature_types"] = [*["Gene Expression"] * 3, *["Antibody Capture"] * 2]
    adata.var_names = ["CD4", "CD8", "g2", "CD4", "CD8"]  # of genes and of proteins
    adata.obsm["peaks"] = mdata["atac"].X
    adata.raw = adata[:, 2:3].copy()
    places = {"rna": "feature_types:Gene Expression", "protein": "feature_types:Antibody Capture"}
    cells = from_anndata(adata, {**places, "atac": "obsm:peaks", "few": "raw"})
    model = model_of(cells)
    few = adata[5:].copy()
    for name in ("rna", "protein", "atac", "few"):
        add_denoised(adata, model, cells, name, batch_size=50)
    layer, found = adata.layers["cmvae_denoised"], denoised(model, cells, "rna")
    assert layer[:, :3] == pytest.approx(found.to_numpy())
    assert layer[:, 3:] == pytest.approx(denoised(model, cells, "protein").to_numpy())
    assert list(adata.obsm["cmvae_denoised_atac"]) == ["peaks_0", "peaks_1", "peaks_2"]
    assert adata.obsm["cmvae_denoised_few"].shape == (N, 1)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert again.layers["cmvae_denoised"] == pytest.approx(layer)
    assert again.obsm["cmvae_denoised_few"].equals(adata.obsm["cmvae_denoised_few"])
    with pytest.raises(ValueError, match="lacks 5 cells"):
        add_denoised(few, model, cells, "rna")
    del adata.obsm["peaks"]
    with pytest.raises(KeyError, match="'atac' was learned from 'obsm:peaks', which is not there"):
        add_denoised(adata, model, cells, "atac")


def test_what_there_is_not_is_refused():
    mdata, cells = cells_of(["batch"])
    model = model_of(cells)
    with pytest.raises(TypeError, match="from_mudata returns, got MuData"):
        denoised(model, mdata, "rna")
    for words, error, how in (
        ("unknown 'x'; there are 'rna'", KeyError, {"modality": "x"}),
        ("'rna' has no 'g9'", KeyError, {"features": ["g0", "g9"]}),
        ("must be a positive finite number, got 0", ValueError, {"library_size": 0}),
        ("unknown 'c'; training had 'a', 'b'", ValueError, {"covariates": {"batch": "c"}}),
        ("must be a mapping", TypeError, {"covariates": "batch"}),
        ("no values are given of 'batch'", ValueError, {"covariates": {"batch": []}}),
        ("must be a positive number, got '10'", TypeError, {"library_size": "10"}),
        ("features: expected a sequence of names, got", TypeError, {"features": "g1"}),
        (
            "'image' has no counts with a library size",
            ValueError,
            {"modality": "image", "library_size": 10},
        ),
    ):
        with pytest.raises(error, match=words):
            denoised(model, cells, **{"modality": "rna", **how})
