"""Every form of data becomes one dataset, and its batches are those of its samples."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, Dataset, IterableDataset, Subset

from cmvae import IncompleteDataset, MultimodalBaseDataset
from cmvae.data.loading import as_dataset, batch_at, batch_loader

DATA = {"a": torch.arange(12.0).reshape(6, 2), "b": torch.arange(6.0)[:, None]}
MASKS = {"a": np.array([True, True, False, True, True, True])}
LABELS = [0, 1, 2, 0, 1, 2]


class Stream(IterableDataset):
    def __iter__(self):
        yield from MultimodalBaseDataset(DATA)


class Doubled(MultimodalBaseDataset):
    def __getitem__(self, index):
        item = super().__getitem__(index)
        item["data"] = {name: 2 * value for name, value in item["data"].items()}
        return item


@pytest.mark.parametrize("masks", [None, {}, MASKS])
def test_a_batch_becomes_a_dataset_complete_without_masks(masks):
    ds = as_dataset({"data": DATA, "masks": masks, "labels": LABELS})
    assert type(ds) is (IncompleteDataset if masks else MultimodalBaseDataset)
    assert torch.equal(ds.data["a"], DATA["a"])
    assert ds.labels.tolist() == LABELS
    assert not masks or torch.equal(ds.masks["a"], torch.from_numpy(MASKS["a"]))


def test_a_plain_mapping_and_a_dataset_are_taken_as_they_are():
    assert as_dataset({**DATA, "masks": DATA["b"]}).modalities == ("a", "b", "masks")
    whole = MultimodalBaseDataset(DATA)
    assert as_dataset(whole) is whole


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ([1, 2], TypeError, "x must be a dataset with a length or a mapping, got list"),
        (Stream(), TypeError, "x must be a dataset with a length or a mapping, got Stream"),
        ({"data": DATA, "masks": [True]}, TypeError, "masks: expected a mapping"),
        (MultimodalBaseDataset(DATA)[:0], ValueError, "x holds no samples"),
    ],
)
def test_other_data_are_refused_by_the_argument_s_name(data, error, message):
    with pytest.raises(error, match=message):
        as_dataset(data, "x")


def test_a_dataset_without_a_length_passes_where_it_may():
    stream = Stream()
    assert as_dataset(stream, with_length=False) is stream
    (first, *_) = batch_loader(stream, 4)
    assert torch.equal(first["data"]["a"], DATA["a"][:4])


@pytest.mark.parametrize(
    "dataset",
    [
        MultimodalBaseDataset(DATA, LABELS),
        IncompleteDataset(DATA, MASKS, LABELS),
        Doubled(DATA, LABELS),
        ConcatDataset([MultimodalBaseDataset(DATA), IncompleteDataset(DATA, MASKS)]),
    ],
)
def test_a_loader_gives_the_dataset_s_samples_in_batches(dataset):
    batches = list(batch_loader(dataset, 4, shuffle=False))
    for start, batch in zip(range(0, len(dataset), 4), batches, strict=True):
        rows = range(start, min(start + 4, len(dataset)))
        expected = batch_at(dataset, rows)
        assert batch.keys() == expected.keys() | {"rows"}
        for i, row in enumerate(rows):
            assert torch.equal(batch["data"]["a"][i], dataset[row]["data"]["a"])


class Plain(Dataset):
    """A dataset of someone else's, of {modality: values}."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return {name: values[index] for name, values in DATA.items()}


@pytest.mark.parametrize(
    "dataset",
    [
        MultimodalBaseDataset(DATA),
        IncompleteDataset(DATA, MASKS, LABELS),
        Subset(IncompleteDataset(DATA, MASKS), [0, 1, 2, 3, 4, 5]),
        Plain(),
    ],
)
def test_batches_say_which_rows_they_have_in_whatever_order(dataset):
    seen = []
    for batch in batch_loader(dataset, 4, shuffle=True):
        assert torch.equal(batch["data"]["b"], DATA["b"][batch["rows"]])
        if "masks" in batch:
            assert torch.equal(batch["masks"]["a"], torch.from_numpy(MASKS["a"])[batch["rows"]])
        seen += batch["rows"].tolist()
    assert sorted(seen) == list(range(6))
