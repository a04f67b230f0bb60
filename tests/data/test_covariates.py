"""Covariates of datasets: checked once, cut and batched with the samples."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Subset

from cmvae import IncompleteDataset, MultimodalBaseDataset
from cmvae.data.batches import iterate, read_inputs
from cmvae.data.loading import collate

DATA = {"a": torch.arange(12.0).reshape(6, 2)}
KNOWN = {"batch": np.array([0, 1, 2, 0, 1, 2]), "age": [30.0, 31.0, float("nan"), 33, 34, 35]}


def read(inputs, sizes=None):
    sizes = {"batch": 3, "age": 1} if sizes is None else sizes
    return read_inputs(inputs, ["a"], dtype=torch.float32, device="cpu", covariates=sizes)


@pytest.mark.parametrize("kind", [MultimodalBaseDataset, IncompleteDataset])
def test_they_go_with_the_samples(kind):
    masks = [{}] if kind is IncompleteDataset else []
    dataset = kind(DATA, *masks, covariates=KNOWN)
    assert float(dataset[4].covariates["age"]) == 34
    assert dataset[2:5].covariates["batch"].tolist() == [2, 0, 1]
    assert dataset.batch([5, 0]).covariates["batch"].tolist() == [2, 0]
    assert "covariates batch, age" in repr(dataset)
    assert "covariates" not in kind(DATA, *masks)[0]


def test_every_form_of_inputs_brings_them_in_the_model_s_order():
    dataset = MultimodalBaseDataset(DATA, covariates=KNOWN)
    whole = read(dataset, {"age": 1, "batch": 3}).covariates
    assert whole[:, 1].tolist() == [0, 1, 2, 0, 1, 2]
    assert whole[2, 0].isnan()
    forms = [
        Subset(dataset, [1, 3]),
        collate([dataset[1], dataset[3]]),
        dataset.batch([1, 3]),
        {"data": {"a": DATA["a"][[1, 3]]}, "covariates": {"batch": [1, 0], "age": [31.0, 33.0]}},
    ]
    for form in forms:
        assert read(form).covariates.tolist() == [[1, 31], [0, 33]]
    cut = [read(part).covariates for part in iterate(forms[3], 1)]
    assert torch.cat(cut).tolist() == [[1, 31], [0, 33]]


def test_what_is_not_given_is_missing():
    assert read(DATA).covariates.isnan().all()
    part = read(MultimodalBaseDataset(DATA, covariates={"batch": KNOWN["batch"]})).covariates
    assert part[:, 1].isnan().all()
    assert not part[:, 0].isnan().any()
    assert read(DATA, {}).covariates is None


def test_samples_with_and_without_make_a_batch():
    told = MultimodalBaseDataset(DATA, covariates=KNOWN)
    both = ConcatDataset([MultimodalBaseDataset(DATA), told])
    found = read(collate([both[0], both[6]])).covariates
    assert found[0].isnan().all()
    assert found[1].tolist() == [0, 30]


def test_selected_samples_of_a_batch_keep_theirs():
    batch = read(MultimodalBaseDataset(DATA, covariates=KNOWN)).select(torch.tensor([5, 0]))
    assert batch.covariates.tolist() == [[2, 35], [0, 30]]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([1, 2], TypeError, "expected a mapping"),
        ({3: [0] * 6}, TypeError, "names must be strings"),
        ({"batch": list("abcabc")}, TypeError, "covariate 'batch'"),
        ({"batch": [0] * 5}, ValueError, r"expected shape \(6,\), got \(5,\)"),
        ({"age": [float("inf")] * 6}, ValueError, "infinity in samples 0, 1, 2"),
    ],
)
def test_what_are_no_numbers_is_refused_at_once(given, error, words):
    with pytest.raises(error, match=words):
        MultimodalBaseDataset(DATA, covariates=given)
