"""Streams train a model and start its clusters; what has no end is refused."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

from cmvae import MultimodalBaseDataset, fit
from cmvae.data.loading import Shuffled, batch_loader
from cmvae.data.reservoirs import Reservoir, drawn_from
from cmvae.training.start import Start
from training.cases import QUIET, data, model, train, weights


class Stream(IterableDataset):
    """The samples of a dataset, one after the other."""

    def __init__(self, samples):
        self.samples, self.passes = samples, 0

    def __iter__(self):
        self.passes += 1
        yield from (self.samples[row] for row in range(len(self.samples)))


class Sized(Stream):
    def __len__(self):
        return len(self.samples)


class Endless(Stream):
    def __iter__(self):
        while True:
            yield from super().__iter__()


def loader(stream):
    return DataLoader(stream, 20)


def as_it_is(stream):
    return stream


@pytest.mark.parametrize(
    ("kind", "wrap", "limit"),
    [
        (Sized, as_it_is, {}),
        (Stream, loader, {"limit_train_batches": 3}),
        (Endless, as_it_is, {"limit_train_batches": 3}),
    ],
)
def test_a_stream_starts_the_clusters_as_its_samples_by_place_do(kind, wrap, limit, recwarn):
    stream, plan = kind(data(60)), {"warmup_epochs": 3, "initial_clusters": 3, "seed": 0}
    one, two = model(number_of_clusters=3), model(number_of_clusters=3)
    options = {"max_epochs": 5, "seed": 0}
    trainer = train(one, wrap(stream), start=Start(**plan), **options, **limit)
    assert (trainer.global_step, one.n_clusters) == (15, 3)
    assert not any("do not say which samples" in str(warned.message) for warned in recwarn)
    train(two, DataLoader(data(60), 20), start=Start(keep=False, **plan), **options)
    torch.testing.assert_close(weights(one), weights(two))


def test_without_a_start_a_stream_is_read_once_an_epoch_in_its_order():
    one, two, stream = model(), model(), Sized(data(60))
    train(one, stream, max_epochs=3, seed=1)
    assert stream.passes == 3
    train(two, DataLoader(data(60), 20), max_epochs=3, seed=1)
    torch.testing.assert_close(weights(one), weights(two))


class Once(Sized):
    """A stream that gives its samples a single time, as a queue or a generator does."""

    def __init__(self, samples):
        super().__init__(samples)
        self.left = super().__iter__()

    def __iter__(self):
        return self.left


@pytest.mark.parametrize("wrap", [as_it_is, loader])
def test_a_stream_that_gives_nothing_more_is_refused(tmp_path, wrap):
    told = r"train_data gave no batch in epoch {}: each time that a stream is iterated over it must"
    with pytest.raises(ValueError, match=told.format(1)):
        train(model(), wrap(Once(data(60))), max_epochs=3, run_dir=tmp_path)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()  # of the epoch that it did give
    with pytest.raises(ValueError, match=told.format(0)):
        train(model(), wrap(Once(data(60))), max_epochs=3, warmup_epochs=1)
    with pytest.raises(ValueError, match="val_data gave no batch in epoch 1"):
        fit(model(), data(60), wrap(Once(data(60))), max_epochs=2, run_dir=tmp_path / "v", **QUIET)
    assert train(model(), wrap(Once(data(60))), max_epochs=1).global_step == 3


@pytest.mark.parametrize("wrap", [as_it_is, loader])
def test_a_stream_without_an_end_is_refused_before_anything_is_read(tmp_path, wrap):
    stream, run_dir = Endless(data(60)), tmp_path / "run"
    advice = r"not known when an epoch ends: give limit_train_batches=N"
    for plan in ({}, {"warmup_epochs": 1}):
        with pytest.raises(ValueError, match=advice):
            train(model(), wrap(stream), max_epochs=2, run_dir=run_dir, **plan)
    with pytest.raises(ValueError, match="before the first epoch: give limit_train_batches=N"):
        train(model(), wrap(stream), max_epochs=2, warmup_epochs=1, max_steps=4, run_dir=run_dir)
    with pytest.raises(ValueError, match=r"val_data is a stream .*: give limit_val_batches=N"):
        fit(model(), data(60), wrap(stream), max_epochs=2, run_dir=run_dir, **QUIET)
    assert not run_dir.exists()
    assert stream.passes == 0
    trainer = train(model(), wrap(stream), max_epochs=2, max_steps=4)
    assert trainer.global_step == 4


def test_each_sample_is_as_likely_to_be_kept_as_any_other():
    counts = np.zeros(30)
    for seed in range(600):
        reservoir = Reservoir(6, seed)
        for start in range(0, 30, 7):
            rows = torch.arange(start, min(start + 7, 30))
            reservoir.add({"data": {"a": rows[:, None].float()}, "masks": {"a": rows >= 0}})
        kept = reservoir.dataset()
        assert len(set(kept.data["a"].flatten().tolist())) == 6
        counts[kept.data["a"].flatten().long()] += 1
    # 120 of each, give or take four standard deviations of a binomial count.
    assert np.abs(counts - 120).max() < 40


@pytest.mark.parametrize("plan", [None, Start(warmup_epochs=1, initial_clusters=3, seed=0)])
def test_of_a_stream_it_is_learned_how_covariates_occur(plan):
    samples, batch = data(60), torch.arange(60) % 4 == 0
    samples.covariates = {"batch": batch.float()}
    samples.covariates["batch"][3] = torch.nan
    stream, trained = Sized(samples), model(covariates={"batch": 2})
    train(trained, stream, start=plan, max_epochs=2, seed=0)
    shares = trained.covariates.shares
    torch.testing.assert_close(shares, torch.tensor([44 / 59, 15 / 59]))
    kept = drawn_from(loader(stream), seed=0).covariates["batch"]
    assert torch.equal(kept.nan_to_num(9), samples.covariates["batch"].nan_to_num(9))
    shifts = [decoder.shift for decoder in trained.decoders.values()]
    assert all(bool((shift != 0).all()) for shift in shifts)


def test_a_short_stream_is_kept_whole_and_in_order():
    samples = data(50)
    kept = drawn_from(loader(Stream(samples)), seed=0)
    for name in ("a", "b"):
        assert torch.equal(kept.data[name], samples.data[name])
        assert torch.equal(kept.masks[name], samples.masks[name])


def test_whole_numbers_that_come_first_cut_no_others():
    halves = torch.full((4, 1), 0.5)
    reservoir = Reservoir(6, seed=0)
    for batch in (torch.ones(4, 1, dtype=torch.int64), halves, halves, halves):
        reservoir.add({"a": batch})
    kept = reservoir.dataset().data["a"].flatten()
    assert set(kept.tolist()) == {0.5, 1.0}
    assert (len(kept), kept.dtype) == (6, torch.float32)


@pytest.mark.parametrize(
    ("batches", "error", "message"),
    [
        ([], ValueError, "the stream holds no samples"),
        ([[1, 2]], TypeError, "its batches must be mappings of modalities, got list"),
        ([{"a": torch.zeros(2, 1)}, {"b": torch.zeros(2, 1)}], ValueError, "batches differ"),
        (
            [{"a": torch.zeros(3, 1), "b": torch.zeros(2, 1)}],
            ValueError,
            "number of samples: 'data of a' has 3, 'data of b' has 2",
        ),
        (
            [{"a": torch.zeros(2, 1)}, {"a": torch.zeros(2, 4)}],
            ValueError,
            r"batches differ, data of a have samples \(1,\) and \(4,\)",
        ),
    ],
)
def test_other_streams_are_refused(batches, error, message):
    with pytest.raises(error, match=message):
        drawn_from(batches, seed=0)


def test_places_are_shuffled_as_pytorch_shuffles_them(monkeypatch):
    monkeypatch.setattr("cmvae.data.loading._DRAWN", 7)
    samples = MultimodalBaseDataset({"a": torch.arange(40.0)[:, None]})
    torch.manual_seed(3)
    own = [batch["data"]["a"] for batch in batch_loader(samples, 9, shuffle=True)]
    torch.manual_seed(3)
    theirs = [batch["data"]["a"] for batch in DataLoader(samples, 9, shuffle=True)]
    assert all(map(torch.equal, own, theirs))
    assert isinstance(batch_loader(samples, 9, shuffle=True).sampler, Shuffled)
