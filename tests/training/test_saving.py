import errno
import io
import tempfile
import warnings
from unittest import mock

import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from cmvae.training.checkpoints import can_resume, last_checkpoint, read_log
from cmvae.training.saving import CheckpointFiles
from training.cases import data, model, train, weights

ARGUMENTS = {"seed": 5, "max_epochs": 4, "warmup_epochs": 2, "batch_size": 16}


class KilledError(Exception):
    """Stands for a kill: nothing runs after it."""


@pytest.fixture
def killed_after(monkeypatch):
    """Return what lets a training end right after so many checkpoints were written."""

    def kill(number):
        save, left = CheckpointFiles.save_checkpoint, [number]

        def save_and_die(self, *arguments, **keywords):
            save(self, *arguments, **keywords)
            left[0] -= 1
            if not left[0]:
                monkeypatch.setattr(CSVLogger, "save", lambda _: None)
                raise KilledError

        monkeypatch.setattr(CheckpointFiles, "save_checkpoint", save_and_die)

    return kill


@pytest.mark.parametrize("number", range(1, 10))
def test_after_a_kill_at_any_checkpoint_weights_and_log_are_those_of_the_whole_run(
    tmp_path, killed_after, monkeypatch, number
):
    whole, part, resumed = model(), model(), model(seed=9)
    train(whole, data(), tmp_path / "whole", **ARGUMENTS)
    killed_after(number)
    with pytest.raises(KilledError):
        train(part, data(), tmp_path / "part", **ARGUMENTS)
    monkeypatch.undo()
    last = last_checkpoint(tmp_path / "part")
    train(resumed, data(), tmp_path / "part", resume_from=last, **ARGUMENTS)
    assert torch.equal(weights(whole), weights(resumed))
    pd.testing.assert_frame_equal(
        read_log(tmp_path / "part"), read_log(tmp_path / "whole"), check_exact=True
    )


def test_every_epoch_has_a_checkpoint_though_none_is_better_than_the_first(tmp_path, monkeypatch):
    seen = []
    save = CheckpointFiles.save_checkpoint

    def watch(self, checkpoint, path, storage_options=None):
        save(self, checkpoint, path, storage_options)
        seen.append((str(path).rpartition("/")[2], checkpoint["epoch"]))

    monkeypatch.setattr(CheckpointFiles, "save_checkpoint", watch)
    train(model(), data(), tmp_path / "run", max_epochs=3, learning_rate=1e-30)
    assert [epoch for name, epoch in seen if name == "last.ckpt"] == [0, 0, 1, 2]


def test_nothing_goes_through_the_temporary_folder_of_the_system(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    train(model(), data(), tmp_path / "run", max_epochs=1)
    assert can_resume(tmp_path / "run")


def test_a_full_disk_leaves_the_last_checkpoints_as_they_were(tmp_path, monkeypatch):
    folder = tmp_path / "run" / "checkpoints"
    train(model(), data(), tmp_path / "run", max_epochs=2)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(checkpoint, path):
        path.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        CheckpointFiles().save_checkpoint({"a": 1}, folder / "last.ckpt")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_interrupts_the_writing_of_a_checkpoint_is_raised_as_it_is(tmp_path):
    last = tmp_path / "last.ckpt"
    CheckpointFiles().save_checkpoint({"a": 1}, last)
    before = last.read_bytes()

    class Stopping(io.RawIOBase):
        def write(self, _):
            raise KeyboardInterrupt

    with (
        mock.patch("pathlib.Path.open", lambda path, mode: Stopping() if "w" in mode else None),
        pytest.raises(KeyboardInterrupt),
    ):
        CheckpointFiles().save_checkpoint({"a": torch.zeros(1000)}, last)
    assert last.read_bytes() == before
    assert list(tmp_path.iterdir()) == [last]


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before_and_it_is_said(tmp_path):
    whole, resumed = model(), model(seed=9)
    train(whole, data(), tmp_path / "run", **ARGUMENTS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        last = last_checkpoint(tmp_path / "run")
    assert last.name == "last.ckpt"
    content = bytearray(last.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 500] = bytes(500)
    last.write_bytes(content)
    with pytest.warns(UserWarning, match=r"last\.ckpt is missing or damaged: going on from the"):
        before = last_checkpoint(tmp_path / "run")
    assert before.name == "before-last.ckpt"
    train(resumed, data(), tmp_path / "run", resume_from=before, **ARGUMENTS)
    assert torch.equal(weights(whole), weights(resumed))


def test_without_any_whole_checkpoint_the_last_is_named(tmp_path):
    train(model(), data(), tmp_path / "run", max_epochs=2)
    folder = tmp_path / "run" / "checkpoints"
    for path in folder.iterdir():
        path.write_bytes(b"")
    assert last_checkpoint(tmp_path / "run") == folder / "last.ckpt"
    (folder / "last.ckpt").unlink()
    assert can_resume(tmp_path / "run")
