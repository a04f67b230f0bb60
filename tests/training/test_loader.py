import pytest
import torch
from torch.utils.data import DataLoader

from cmvae.training.loader import make_loader
from training.cases import data


def test_fast_batches_are_those_of_the_default_collation(tmp_path):
    samples = data()
    fast = make_loader("data", samples, 7, shuffle=False)
    for batch, reference in zip(fast, DataLoader(samples, batch_size=7), strict=True):
        assert list(batch) == list(reference)
        for part in ("data", "masks"):
            for name in batch[part]:
                assert torch.equal(batch[part][name], reference[part][name])


def test_mappings_keep_their_masks():
    samples = data()
    loader = make_loader("data", {"data": samples.data, "masks": samples.masks}, 60, shuffle=False)
    (batch,) = loader
    assert torch.equal(batch["masks"]["a"], samples.masks["a"])
    plain = make_loader("data", dict(samples.data), 7, shuffle=False)
    assert "masks" not in next(iter(plain))


def test_a_loader_is_taken_as_it_is():
    loader = DataLoader(data(), batch_size=10)
    assert make_loader("data", loader, 3, shuffle=True) is loader


def test_other_kinds_of_data_are_refused():
    with pytest.raises(TypeError, match="x must be a dataset, a mapping or a DataLoader, got list"):
        make_loader("x", [1, 2], 3, shuffle=True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (DataLoader(data(10), batch_size=64, drop_last=True), "val_data gives no batch"),
        (data()[:0], "val_data holds no samples"),
    ],
)
def test_data_that_give_no_batch_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make_loader("val_data", given, 3, shuffle=False)
