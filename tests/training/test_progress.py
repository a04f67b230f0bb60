"""What a training shows: in a terminal, in a pipe, in a notebook."""

import io
import logging
import re
import sys
import warnings
from types import SimpleNamespace

import pytest
from lightning.pytorch.callbacks import TQDMProgressBar

from cmvae import fit
from cmvae.training import progress
from cmvae.training.start import Start
from training.cases import data, model

NOISE = r"v_num|Epoch 0|Tip|litlogger|deprecated|TPU|Params|weights_only|stopped|warn|num_workers"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    look_at(stream, monkeypatch)
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    return stream


def look_at(stream, monkeypatch):
    own = SimpleNamespace(stderr=stream, modules=sys.modules)
    monkeypatch.setattr(progress, "sys", own)


def trained(tmp_path, **arguments):
    how = {"max_epochs": 3, "batch_size": 20, "accelerator": "cpu", "run_dir": tmp_path}
    return fit(model(), data(), **{**how, **arguments})


def frames(stream):
    return [part for part in re.split(r"[\r\n]+", stream.getvalue()) if part.strip()]


def test_one_bar_in_a_terminal_counts_epochs_from_one(terminal, tmp_path, capfd):
    trained(tmp_path)
    shown = frames(terminal)
    assert shown[1].startswith("epoch 1 of 3  11%|")
    assert re.fullmatch(r"epoch 3 of 3 100%\|[█#]+\| \d\d:\d\d<00:00, loss \d+\.?\d*", shown[-1])
    assert terminal.getvalue().endswith("\n")
    assert not re.search(NOISE, terminal.getvalue())
    assert capfd.readouterr() == ("", "")


def test_phases_are_named_and_a_resumed_bar_goes_on(terminal, tmp_path):
    plan = Start(warmup_epochs=2, initial_clusters=3, method="gmm")
    trained(tmp_path, start=plan)
    assert "epoch 2 of 3, warm-up" in terminal.getvalue()
    assert frames(terminal)[-1].startswith("epoch 3 of 3, clusters 100%")
    before = len(frames(terminal))
    last = tmp_path / "checkpoints" / "last.ckpt"
    trained(tmp_path, start=plan, max_epochs=6, resume_from=last, overwrite=True)
    assert frames(terminal)[before].startswith("training  50%")
    assert not re.search(NOISE, terminal.getvalue())


def test_a_pipe_gets_a_line_now_and_then(tmp_path, capfd, monkeypatch):
    trained(tmp_path / "short")
    assert capfd.readouterr() == ("", "")
    monkeypatch.setattr(progress, "SILENCE", 0.0)
    trained(tmp_path / "long")
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3
    line = r"epoch 2 of 3: loss [\d.]+, \d\d:\d\d so far, about \d\d:\d\d left"
    assert re.fullmatch(line, lines[1])


def test_what_is_left_is_told_by_the_steps_since_the_last_line(tmp_path, capfd, monkeypatch):
    clock = iter([0.0, 40.0, 160.0, 280.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    trained(tmp_path)
    times = [line.split(", ")[-2:] for line in capfd.readouterr().err.splitlines()]
    assert times == [
        ["00:40 so far", "about 01:20 left"],
        ["02:40 so far", "about 02:00 left"],
        ["04:40 so far", "about 00:00 left"],
    ]


def test_it_is_silent_on_request_and_trains_on_when_the_terminal_is_gone(tmp_path, monkeypatch):
    class Gone(Terminal):
        def write(self, text):
            raise BrokenPipeError

    look_at(Gone(), monkeypatch)
    assert trained(tmp_path / "gone").current_epoch == 3
    quiet = Terminal()
    look_at(quiet, monkeypatch)
    trained(tmp_path / "quiet", enable_progress_bar=False)
    assert quiet.getvalue() == ""


def test_a_bar_of_one_s_own_takes_its_place(terminal, tmp_path):
    class Own(TQDMProgressBar):
        seen = ()

        def on_train_epoch_end(self, trainer, pl_module):
            self.seen = set(self.get_metrics(trainer, pl_module))

    own = Own()
    trained(tmp_path, callbacks=[own])
    assert "loss" in own.seen
    assert "epoch 1 of 3" not in terminal.getvalue()


def test_lightning_is_silent_and_speaks_up_again_afterwards(tmp_path, monkeypatch):
    notices, filters, said = logging.getLogger("lightning.pytorch"), list(warnings.filters), []
    notices.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = said.append
    monkeypatch.setattr(notices, "handlers", [handler])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        trained(tmp_path, enable_progress_bar=False)
    assert (said, [str(one.message) for one in warned]) == ([], [])
    notices.info("again")
    assert len(said) == 1
    assert warnings.filters == filters
