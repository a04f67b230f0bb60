"""What ends a training early, what is held out of it, and how its learning rate falls."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset

from cmvae import DCMVAE, DiffusionConfig
from cmvae.training.checkpoints import read_log
from cmvae.training.start import Start
from cmvae.training.stopping import hold_out
from training.cases import data, model, train, weights


class Stream(IterableDataset):
    def __iter__(self):
        yield from ()

    def __len__(self):
        return 60


def test_a_share_is_held_out_and_none_of_it_is_trained_on():
    trained, held = hold_out(data(), 0.2, seed=1)
    assert (len(trained), len(held)) == (48, 12)
    rows = torch.cat([trained.data["a"], held.data["a"]])
    assert len(rows.unique(dim=0)) == 60
    again, other = (hold_out(data(), 0.2, seed=seed)[1].data["a"] for seed in (1, 2))
    assert torch.equal(held.data["a"], again)
    assert not torch.equal(held.data["a"], other)


def test_validation_is_evaluated_after_every_epoch(tmp_path):
    train(model(), data(), tmp_path, max_epochs=3, validation=0.25, seed=0)
    log = read_log(tmp_path)
    assert log["val/loss"].notna().sum() == 3


def test_what_is_held_out_changes_no_weight():
    held = [
        (data().data["a"] == row).all(-1) for row in hold_out(data(), 0.25, seed=3)[1].data["a"]
    ]
    other = data()
    other.data["a"][torch.stack(held).any(0)] += 5.0
    one, same = model(), model()
    train(one, data(), max_epochs=2, validation=0.25, seed=3)
    train(same, other, max_epochs=2, validation=0.25, seed=3)
    assert torch.equal(weights(one), weights(same))


def test_it_goes_on_as_if_never_stopped(tmp_path):
    how = {"validation": 0.25, "patience": 9, "schedule": lambda o: StepLR(o, 1, 0.5), "seed": 3}
    whole, parts = model(), model()
    train(whole, data(), tmp_path / "whole", max_epochs=4, **how)
    train(parts, data(), tmp_path / "parts", max_epochs=2, **how)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    again = model(seed=5)
    train(again, data(), tmp_path / "parts", max_epochs=4, resume_from=last, overwrite=True, **how)
    assert torch.equal(weights(whole), weights(again))
    rates = [read_log(tmp_path / name)["learning_rate"].dropna() for name in ("whole", "parts")]
    assert rates[0].tolist() == rates[1].tolist()
    assert rates[0].tolist() == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4])


def test_it_ends_when_the_loss_no_longer_falls():
    how = {"max_epochs": 50, "patience": 2, "learning_rate": 1e-12, "validation": 0.5}
    assert train(model(), data(), **how).current_epoch < 50


def test_patience_counts_from_when_the_clusters_have_started():
    plan = Start(warmup_epochs=8, initial_clusters=3, method="gmm")
    how = {"start": plan, "max_epochs": 40, "patience": 3, "learning_rate": 1e-12}
    trained = model()
    assert 8 + 3 < train(trained, data(), **how).current_epoch < 40
    assert trained.n_clusters == 3


@pytest.mark.parametrize(
    ("schedule", "least"),
    [("cosine", 5e-5), (lambda o: ReduceLROnPlateau(o, patience=0, factor=0.1, threshold=9), 0.0)],
)
def test_the_learning_rate_falls_and_is_logged(schedule, least, tmp_path):
    train(model(), data(), tmp_path, max_epochs=5, schedule=schedule)
    rates = read_log(tmp_path)["learning_rate"]
    assert rates.is_monotonic_decreasing
    assert least <= rates.iloc[-1] < 0.2 * 1e-3


def test_without_a_schedule_no_rate_is_logged(tmp_path):
    train(model(), data(), tmp_path, max_epochs=1)
    assert "learning_rate" not in pd.concat([read_log(tmp_path)]).columns


def test_decoders_of_a_diffusion_model_take_them_too(tmp_path):
    pytest.importorskip("diffusers")
    refined = DCMVAE(model(), DiffusionConfig(hidden_dim=8))
    how = {"validation": 0.2, "patience": 1, "schedule": "cosine", "learning_rate": 1e-12}
    trainer = train(refined, data(), tmp_path, max_epochs=9, **how)
    assert trainer.current_epoch < 9


@pytest.mark.parametrize(
    ("error", "arguments", "match"),
    [
        (ValueError, {"validation": 1.0}, "validation must be a share .* between 0 and 1, got 1"),
        (ValueError, {"validation": "a tenth"}, "validation must be a share"),
        (ValueError, {"validation": True}, "validation must be a share"),
        (ValueError, {"validation": 0.001}, "validation = 0.001 of 60 samples leaves none"),
        (ValueError, {"validation": 0.2, "val_data": data()}, "val_data are some: give one"),
        (ValueError, {"patience": 0}, "patience"),
        (TypeError, {"patience": 2.5}, "patience"),
        (TypeError, {"schedule": "linear"}, "schedule must be 'cosine', or callable"),
        (TypeError, {"schedule": lambda optimizer: optimizer}, "schedule .* it returned"),
        (TypeError, {"schedule": StepLR}, "step_size"),
    ],
)
def test_odd_values_are_refused_before_anything_is_written(error, arguments, match, tmp_path):
    with pytest.raises(error, match=match):
        train(model(), data(), tmp_path / "run", max_epochs=2, **arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("given", "kind"), [(DataLoader(data()), "DataLoader"), (Stream(), "str")])
def test_of_what_has_no_samples_to_choose_none_are_held_out(given, kind):
    with pytest.raises(ValueError, match=f"train_data is a {kind}.*: pass val_data instead"):
        train(model(), given, max_epochs=2, validation=0.2)


def test_any_dataset_with_samples_is_divided():
    items = torch.utils.data.Subset(data(), range(10))
    trained, held = hold_out(items, 0.3, None)
    assert sorted([*trained.indices, *held.indices]) == list(range(10))
    assert np.array_equal(held[0]["data"]["a"], data()[held.indices[0]].data["a"])
