from contextlib import nullcontext
from unittest import mock

import pandas as pd
import pytest
import torch
from lightning.pytorch import Callback

from cmvae import fit
from cmvae.base.files import sole_writer
from cmvae.training.checkpoints import can_resume, read_log
from cmvae.training.module import CMVAEModule
from made_files import elsewhere
from training.cases import QUIET, data, model, train, weights


def test_results_are_never_overwritten_unasked(tmp_path):
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    content = (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(
        ValueError, match="holds the checkpoints of another run; pass overwrite=True"
    ):
        fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").read_bytes() == content
    fit(model(), data(), max_epochs=2, run_dir=tmp_path / "run", overwrite=True, **QUIET)
    names = {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "before-last.ckpt", "last.ckpt"}


def test_checkpoints_of_one_who_was_quicker_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = CMVAEModule.prepare
    for run_dir, found in (("run", ["run"]), (None, ["version_0", "version_1"])):
        quick = []

        def prepare(module, samples, run_dir=run_dir, quick=quick):
            if not quick:
                quick.append(module)  # as another thread does while this one still prepares
                fit(model(), data(), max_epochs=1, run_dir=run_dir, **QUIET)
            own(module, samples)

        refused = pytest.raises(ValueError, match="run_dir run holds the checkpoints of another")
        patched = mock.patch.object(CMVAEModule, "prepare", prepare)
        with patched, refused if run_dir else nullcontext():
            fit(model(), data(), max_epochs=2, run_dir=run_dir, **QUIET)
        folders = {path.parent.name: path for path in tmp_path.rglob("checkpoints")}
        assert {*found} <= {*folders}
        assert torch.load(folders[found[0]] / "last.ckpt", weights_only=True)["epoch"] == 0


def test_one_process_trains_into_a_folder(tmp_path):
    with (
        sole_writer(tmp_path / "run"),
        pytest.raises(ValueError, match=r"run_dir: another process is writing to .*run"),
    ):
        elsewhere(fit, model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_of_a_training_that_is_replaced_nothing_mixes_with_the_new_one(tmp_path):
    folder = tmp_path / "run"
    fit(model(), data(), max_epochs=4, run_dir=folder, **QUIET)
    (folder / "checkpoints" / "mine.ckpt").write_text("mine")
    seen = []

    class Watch(Callback):
        def on_fit_start(self, trainer, pl_module):
            seen.extend(path.name for path in (folder / "checkpoints").iterdir())

    fit(model(), data(), max_epochs=2, run_dir=folder, overwrite=True, callbacks=[Watch()], **QUIET)
    assert seen == ["mine.ckpt"]
    assert len(read_log(folder)) == 2


def test_without_a_folder_every_run_gets_its_own(tmp_path):
    for _ in range(2):
        fit(model(), data(), max_epochs=1, **QUIET)
    assert sorted(path.name for path in (tmp_path / "cmvae_runs").iterdir()) == [
        "version_0",
        "version_1",
    ]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b""), "is no checkpoint, or damaged"),
        (lambda path: path.write_bytes(b"not a checkpoint"), "is no checkpoint, or damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:3000]), "is no checkpoint, or damaged"),
    ],
)
def test_damaged_checkpoints_are_refused_by_name(tmp_path, spoil, message):
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    path = tmp_path / "run" / "checkpoints" / "last.ckpt"
    spoil(path)
    with pytest.raises(ValueError, match=rf"last\.ckpt {message}"):
        fit(model(), data(), max_epochs=2, run_dir=tmp_path / "run", resume_from=path, **QUIET)


@pytest.mark.parametrize(
    "change", [{"latent_dim": 3}, {"prior_and_posterior_dist": "normal_with_softplus"}]
)
def test_checkpoints_of_another_model_are_refused_and_change_nothing(tmp_path, change):
    fit(model(), data(), max_epochs=1, run_dir=tmp_path / "run", **QUIET)
    other = model(**change)
    before = weights(other)
    with pytest.raises(ValueError, match=f"is of another model: .*{next(iter(change))}"):
        fit(
            other,
            data(),
            max_epochs=2,
            resume_from=tmp_path / "run" / "checkpoints" / "last.ckpt",
            **QUIET,
        )
    assert torch.equal(before, weights(other))


def test_resuming_does_not_allow_to_overwrite_a_third_run(tmp_path):
    for name in ("first", "second"):
        fit(model(), data(), max_epochs=1, run_dir=tmp_path / name, **QUIET)
    with pytest.raises(ValueError, match="second holds the checkpoints of another run"):
        fit(
            model(), data(), max_epochs=2, run_dir=tmp_path / "second",
            resume_from=tmp_path / "first" / "checkpoints" / "last.ckpt", **QUIET,
        )  # fmt: skip


def test_the_log_has_a_row_for_each_epoch_of_each_phase(tmp_path):
    arguments = {"max_epochs": 5, "warmup_epochs": 2, "seed": 0}
    trainer = train(model(), data(), tmp_path / "run", val_data=data(seed=1), **arguments)
    log = read_log(tmp_path / "run")
    assert list(log.columns[:2]) == ["phase", "epoch"]
    assert list(log["phase"]) == ["warm-up"] * 2 + ["clusters"] * 3
    assert list(log["epoch"]) == [0, 1, 0, 1, 2]
    assert log.notna().all(axis=None)
    for name in ("train/loss", "val/loss"):
        assert log[name].iloc[-1] == pytest.approx(float(trainer.callback_metrics[name]), rel=1e-6)
    assert not {"step", "phase_epoch"} & set(log.columns)


def test_of_an_epoch_that_was_trained_twice_the_last_row_counts(tmp_path):
    for number, losses in ((10, [1.0, 2.0]), (9, [3.0, 4.0, 5.0])):
        folder = tmp_path / "logs" / f"version_{number}"
        folder.mkdir(parents=True)
        rows = {"epoch": range(len(losses)), "step": 0, "train/loss": losses}
        pd.DataFrame(rows).to_csv(folder / "metrics.csv", index=False)
    log = read_log(tmp_path)
    assert list(log["train/loss"]) == [1.0, 2.0, 5.0]
    assert list(log["phase"]) == ["clusters"] * 3


def test_without_files_there_is_nothing_to_read_or_resume(tmp_path):
    assert not can_resume(tmp_path)
    with pytest.raises(ValueError, match="holds no log of a training"):
        read_log(tmp_path)
