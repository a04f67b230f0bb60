"""The UCI Multiple Features data, bit by bit, and with modalities left out."""

import hashlib
import importlib.resources
import sys

import numpy as np
import pytest
import torch

from cmvae.data import IncompleteDataset, MultimodalBaseDataset, random_masks
from cmvae.datasets import load_mfeat, mfeat

FEATURES = {"fac": 216, "fou": 76, "kar": 64, "mor": 6, "pix": 240, "zer": 47}
# SHA-256 of the tables (float64, little-endian, row by row) as parsed from the source's text.
DIGESTS = {
    "fac": "9b0ec35b591d5e71c3e72762dcb14280997659bd3a5db689903d6ed7a00f0717",
    "fou": "02b7797e21bd296fb602e2144e9667ca3423907ae2bbee1b95dc0a6218330c91",
    "kar": "96e4613832c7458d092e9d06500f9982944256b42fea99583751badc7283749e",
    "mor": "a3f2453c73acf36b59c8add222626f605d1ee610bfaae054234608e6871147e5",
    "pix": "e8bdfbd1d74394d5954e186f2aab1bccd259b28c334318e5a670bba2de48b9e0",
    "zer": "a942b80c25bb3096d391efc30a737659dfb7147b1d36419f9648cb4a56882e17",
}


def test_raw_data_are_exactly_the_source():
    data, labels = load_mfeat()
    assert {name: array.shape for name, array in data.items()} == {
        m: (2000, d) for m, d in FEATURES.items()
    }
    assert list(data) == list(FEATURES)
    for name, array in data.items():
        assert array.dtype == np.float64
        assert hashlib.sha256(array.astype("<f8").tobytes()).hexdigest() == DIGESTS[name], name
    assert labels.dtype == np.int64
    assert np.array_equal(labels, np.repeat(np.arange(10), 200))


def test_raw_data_have_the_printed_numbers():
    data, _ = load_mfeat()
    assert data["fou"][0, :3].tolist() == [0.065882, 0.19731, 0.10383]
    assert data["kar"][0, :3].tolist() == [-10.297, -11.667, 11.561]
    assert data["mor"][0].tolist() == [1, 0, 0, 133.15, 1.3117, 1620.2]
    assert np.array_equal(np.unique(data["pix"]), np.arange(7))


def test_each_call_reads_anew():
    load_mfeat()[0]["mor"][:] = -1
    assert load_mfeat()[0]["mor"].min() == 0


def test_archive_is_small_and_holds_no_objects():
    file = importlib.resources.files("cmvae.datasets").joinpath("mfeat.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
        assert all(arrays[name].dtype != object for name in arrays.files)
    assert len(file.read_bytes()) < 2_000_000


def test_licence_attributes_its_creator():
    text = (
        importlib.resources.files("cmvae.datasets")
        .joinpath("LICENSE-mfeat.md")
        .read_text(encoding="utf-8")
    )
    for part in (
        "Robert Duin",
        "CC BY 4.0",
        "10.24432/C5HC70",
        "creativecommons.org/licenses/by/4.0",
        "## Changes",
    ):
        assert part in text


def test_complete_dataset_is_standardised():
    ds = mfeat()
    assert type(ds) is MultimodalBaseDataset
    assert ds.labels.dtype == torch.int64
    for name, tensor in ds.data.items():
        assert tensor.dtype == torch.float32
        wide = tensor.double()
        torch.testing.assert_close(
            wide.mean(0), torch.zeros(FEATURES[name]).double(), rtol=0, atol=1e-6
        )
        spread = wide.std(0, correction=0)
        is_constant = torch.from_numpy(np.ptp(load_mfeat()[0][name], axis=0) == 0)
        torch.testing.assert_close(spread, (~is_constant).double(), rtol=0, atol=1e-6)


def test_features_may_be_left_as_they_are():
    raw, labels = load_mfeat()
    ds = mfeat(standardize=False)
    assert ds.labels.tolist() == labels.tolist()
    for name, tensor in ds.data.items():
        assert np.array_equal(tensor.numpy(), raw[name].astype(np.float32))


@pytest.mark.parametrize("rate", [0.1, 0.7, 1.0])
def test_missing_modalities(rate):
    ds = mfeat(missing_rate=rate, seed=5)
    assert type(ds) is IncompleteDataset
    masks = torch.stack(list(ds.masks.values()))
    assert (~masks.all(0)).sum() == round(2000 * rate)
    for name, mask in random_masks(2000, list(FEATURES), rate, 5).items():
        assert np.array_equal(ds.masks[name].numpy(), mask)
        assert ds.data[name][~ds.masks[name]].isnan().all()
        observed = ds.data[name][ds.masks[name]].double()
        torch.testing.assert_close(
            observed.mean(0), torch.zeros(FEATURES[name]).double(), rtol=0, atol=1e-6
        )
        spread = observed.std(0, correction=0)
        assert ((spread - 1).abs() < 1e-6).logical_or(observed.abs().amax(0) == 0).all()


def test_a_constant_feature_becomes_zero(monkeypatch):
    values = np.column_stack([np.full(2000, 0.1), np.arange(2000.0)])
    raw = {name: values.copy() for name in FEATURES}
    # The package exports the function under the name of its module.
    module = sys.modules["cmvae.datasets.mfeat"]
    monkeypatch.setattr(module, "load_mfeat", lambda: (raw, np.zeros(2000, dtype=np.int64)))
    ds = mfeat(missing_rate=0.3)
    observed = ds.data["fac"][ds.masks["fac"]]
    assert (observed[:, 0] == 0).all()
    assert observed[:, 1].std() > 0.9


def test_the_seed_decides_what_is_missing():
    first, again, other = (mfeat(0.5, seed=seed).masks["pix"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("rate", [-0.01, 1.5, float("nan"), "half"])
def test_bad_missing_rate(rate):
    with pytest.raises(ValueError, match=r"missing_rate: expected a number in \[0, 1\], got"):
        mfeat(missing_rate=rate)
