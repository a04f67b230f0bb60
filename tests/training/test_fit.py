import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from torch.utils.data import DataLoader

from cmvae import ModelOutput, fit
from cmvae.training.loaders import make_loader
from cmvae.training.module import ModelModule
from cmvae.training.start import Start
from training.cases import QUIET, StopAfter, data, model, train, weights


def test_training_lowers_the_loss_and_logs_every_term(tmp_path):
    trained, samples = model(), data()
    before = float(trained(samples, generator=torch.Generator().manual_seed(1)).loss)
    trainer = fit(
        trained,
        samples,
        samples,
        max_epochs=15,
        batch_size=20,
        seed=0,
        run_dir=tmp_path / "run",
        **QUIET,
    )
    after = float(trained(samples, generator=torch.Generator().manual_seed(1)).loss)
    assert after < before - 1
    names = {"loss", *trained(samples).metrics}
    assert {f"{stage}/{name}" for stage in ("train", "val") for name in names} <= set(
        trainer.callback_metrics
    )
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").exists()
    assert next((tmp_path / "run" / "logs").rglob("metrics.csv")).read_text().count("\n") >= 15


@pytest.mark.parametrize("warmup", [0, 2])
def test_same_seed_same_weights_and_another_seed_others(tmp_path, warmup):
    runs = []
    for number, seed in enumerate([3, 3, 4]):
        trained = model()
        torch.rand(number + 1)
        fit(
            trained, data(), max_epochs=4, warmup_epochs=warmup, batch_size=20, seed=seed,
            run_dir=tmp_path / str(number), **QUIET,
        )  # fmt: skip
        runs.append(weights(trained))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_fits_in_threads_give_what_they_give_one_after_the_other():
    samples = data()

    def fitted(trained):
        train(trained, samples, max_epochs=5, seed=3)
        return weights(trained)

    alone = fitted(model())
    models = [model() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert all(torch.equal(alone, own) for own in threads.map(fitted, models))


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("warmup", [0, 2])
def test_a_resumed_run_with_validation_ends_where_the_whole_one_does(tmp_path, warmup, stop):
    arguments = {"val_data": data(seed=1), "max_epochs": 6, "warmup_epochs": warmup, "seed": 5}
    whole, part, resumed = model(), model(), model(seed=9)
    train(whole, data(), tmp_path / "whole", **arguments)
    train(part, data(), tmp_path / "part", callbacks=[StopAfter(stop)], **arguments)
    last = tmp_path / "part" / "checkpoints" / "last.ckpt"
    train(resumed, data(), tmp_path / "part", resume_from=last, **arguments)
    assert torch.equal(weights(whole), weights(resumed))


def test_loaders_mappings_and_trainer_arguments_pass_through(tmp_path):
    samples = data()
    loader = DataLoader(samples, batch_size=10, shuffle=True)
    trainer = fit(
        model(), loader, max_epochs=1, run_dir=tmp_path / "a", limit_train_batches=2, **QUIET
    )
    assert trainer.global_step == 2
    complete = {"a": torch.randn(9, 4), "b": torch.randn(9, 3)}
    assert (
        fit(
            model(), complete, max_epochs=2, run_dir=tmp_path / "b", batch_size=4, **QUIET
        ).global_step
        == 6
    )
    with pytest.raises(TypeError, match="no_such_argument"):
        fit(model(), complete, max_epochs=1, no_such_argument=1)


def test_interruption_is_raised_and_leaves_the_last_checkpoint(tmp_path):
    class Interrupt(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, index):
            if trainer.current_epoch == 1:
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.01)

    # A shell's background jobs inherit that the signal is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.getsignal(signal.SIGINT)
    assert threading.current_thread() is threading.main_thread()
    with pytest.raises(KeyboardInterrupt, match=r"last\.ckpt"):
        fit(
            model(),
            data(),
            max_epochs=5,
            batch_size=20,
            callbacks=[Interrupt()],
            run_dir=tmp_path / "run",
            **QUIET,
        )
    assert signal.getsignal(signal.SIGINT) == before
    assert (
        torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    )


PLAN = Start(warmup_epochs=1)
REFUSED = [
    ({"max_epochs": 0}, "max_epochs must be a positive integer, got 0"),
    ({"seed": 2**40}, r"seed must be an integer from 0 to 2\*\*32 - 1, got 1099511627776"),
    ({"seed": True}, "seed must be an integer from 0 to .*, got True"),
    ({"optimizer": "adam"}, "optimizer must be callable, .*, got 'adam'"),
    ({"callbacks": "abc"}, "callbacks must be Lightning callbacks, got 'abc'"),
    ({"callbacks": 5}, "callbacks must be Lightning callbacks, got 5"),
    (
        {"warmup_epochs": 5, "max_epochs": 5},
        "warmup_epochs = 5 need max_epochs of at least 6, got 5",
    ),
    ({"warmup_epochs": -1}, "warmup_epochs must be an integer from 0, got -1"),
    (
        {"alignment_epochs": (2, 2), "max_epochs": 6},
        r"= \(2, 2\) need max_epochs of at least 7, got 6",
    ),
    ({"alignment_epochs": (1, 1), "warmup_epochs": 1}, "two ways to begin: give one"),
    ({"start": PLAN, "warmup_epochs": 1}, "start is the whole plan: leave warmup_epochs, or put"),
    ({"start": PLAN, "max_epochs": 1}, "warmup_epochs = 1 need max_epochs of at least 2, got 1"),
    ({"batch_size": 0}, "batch_size must be a positive integer, got 0"),
    ({"learning_rate": -1.0}, "learning_rate must be a positive finite number, got -1.0"),
    ({"resume_from": "nowhere.ckpt"}, "no such file: nowhere.ckpt"),
    ({"initial_clusters": 99}, "initial_clusters must be at most number_of_clusters = 4, got 99"),
    ({"initial_clusters": "x"}, "initial_clusters must be a positive integer or 'auto', got 'x'"),
    ({"devices": 0}, "the trainer refuses its arguments"),
    (
        {"accelerator": "abacus"},
        "device must be auto, or one that this machine has: .*'cpu'.*'abac",
    ),
    *(
        ({"accelerator": own}, f"device must be auto, or one .* has: .*'cpu'.*; got '{own}'$")
        for own in ("tpu", "cuda:99", "", "CPU")
    ),
    ({"learning_rate": 1e300}, r"learning_rate must be a number from 1e-37 to 1e\+37, got 1e\+300"),
    ({"run_dir": 5}, "run_dir must be a path, a string or a pathlib.Path, got 5"),
    ({"default_root_dir": "x"}, "default_root_dir is set by run_dir"),
    ({"run_dir": ""}, "run_dir must be a folder, got ''"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_bad_arguments_are_named_before_anything_happens(arguments, message):
    trained = model()
    before = weights(trained)
    with pytest.raises((ValueError, TypeError), match=message):
        fit(trained, data(), **{"max_epochs": 9, **QUIET, **arguments})
    assert torch.equal(before, weights(trained))
    assert not list(Path().iterdir())


def test_freed_memory_is_kept_while_it_trains_and_not_after(monkeypatch):
    told = []

    @contextmanager
    def spy():
        told.append("kept")
        yield
        told.append("given back")

    class Look(Callback):
        def on_train_batch_end(self, *_):
            told.append("step")

    monkeypatch.setattr("cmvae.training.fit.freed_memory_kept", spy)
    fit(model(), data(), max_epochs=1, batch_size=64, callbacks=[Look()], **QUIET)
    assert told[0] == "kept"
    assert told[-1] == "given back"
    assert set(told[1:-1]) == {"step"}


def test_an_ordinary_loop_trains_the_model():
    trained, samples = model(), data()
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2, weight_decay=0.1)
    losses = []
    for _ in range(30):
        for batch in DataLoader(samples, batch_size=20, shuffle=True):
            optimizer.zero_grad()
            trained(batch).loss.backward()
            optimizer.step()
        losses.append(float(trained(samples).loss))
    assert losses[-1] < losses[0] - 1


def test_other_models_are_refused_and_compiled_ones_are_not(tmp_path):
    with pytest.raises(TypeError, match="model must be a CMVAE or DCMVAE, got Linear"):
        fit(torch.nn.Linear(2, 2), data(), max_epochs=1)
    compiled = torch.compile(model(), backend="eager")
    fit(compiled, data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)


class Line(torch.nn.Linear):
    """A model of another kind, which brings its own module."""

    def training_module(self, model, learning_rate, optimizer):
        return LineModule(model, learning_rate, optimizer)


class LineModule(ModelModule):
    def train_output(self, batch):
        return ModelOutput(loss=self.model(batch["data"]["a"]).square().mean(), metrics={})

    def on_save_checkpoint(self, checkpoint):
        pass


def test_a_model_that_brings_its_module_is_trained_by_it():
    line = Line(4, 1)
    before = line.weight.detach().clone()
    arguments = {"max_epochs": 2, "learning_rate": 1e-2}
    trainer = train(line, data(), optimizer=torch.optim.SGD, **arguments)
    assert isinstance(trainer.optimizers[0], torch.optim.SGD)
    assert not torch.equal(before, line.weight)
    for plan in ({"warmup_epochs": 1}, {"initial_clusters": 2}, {"start": PLAN}):
        with pytest.raises(
            ValueError, match=f"{next(iter(plan))}: the clusters of a Line are froz"
        ):
            train(line, data(), **arguments, **plan)


# Loaders


def test_fast_batches_are_those_of_the_default_collation():
    samples = data()
    fast = make_loader("data", samples, 7, shuffle=False)
    for batch, reference in zip(fast, DataLoader(samples, batch_size=7), strict=True):
        assert list(batch) == [*reference, "rows"]
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
