"""Expression without noise, against what the decoder itself says."""

import numpy as np
import pandas as pd
import pytest

from cmvae.cells import add_denoised, denoised

pytest.importorskip("mudata")

from made_cells import NAMES, N, cells_of, model_of

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
        (
            "'image' has no counts with a library size",
            ValueError,
            {"modality": "image", "library_size": 10},
        ),
    ):
        with pytest.raises(error, match=words):
            denoised(model, cells, **{"modality": "rna", **how})
