"""Commands that are ended from outside, and whose output goes nowhere."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cmvae.cli import main
from cmvae.cli.ending import Stopped, keep_streams, signals_stop
from cmvae.training.checkpoints import can_resume
from made_files import contents, run

COMMAND = [sys.executable, "-c", "from cmvae.cli import main; main()"]


def start(*arguments, before=None, **streams):
    """Start the command line in a process of its own, where all signals mean what they do."""

    def as_usual():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        if before is not None:
            before()

    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        preexec_fn=as_usual,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **streams},
    )


@pytest.fixture(scope="module")
def small(files):
    return ["fit", "--modality", f"a={files / 'a.csv'}", "--clusters", 2, "--device", "cpu"]


@pytest.fixture
def _usual_signals():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_usual_signals")
def test_without_a_signal_the_handlers_are_put_back():
    with signals_stop():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.usefixtures("_usual_signals")
def test_of_several_signals_the_first_is_raised_and_ignored_ones_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    ended = []
    with signals_stop():
        signal.raise_signal(signal.SIGHUP)  # ignored before, as by nohup
        try:
            signal.raise_signal(signal.SIGTERM)
        except Stopped as stop:
            ended.append(stop.status)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
    assert ended == [143]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


@pytest.mark.usefixtures("_usual_signals")
def test_a_signal_has_its_status_though_what_it_raised_was_caught(monkeypatch):
    def caught():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        return 130

    monkeypatch.setattr("cmvae.cli.app.run", caught)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 143


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(small, tmp_path, name, status):
    out = tmp_path / "run"
    process = start(*small, "--epochs", 4000, "--out", out)
    last = tmp_path / "run.partial" / "training" / "checkpoints" / "before-last.ckpt"
    end = time.monotonic() + 1800
    while not last.is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(getattr(signal, name))
    time.sleep(0.05)
    process.send_signal(getattr(signal, name))  # once more, from someone who cannot wait
    _, err = process.communicate(timeout=1800)
    assert process.returncode == status, err
    assert err == (
        f"Interrupted: the last checkpoint is in {out}.partial; go on with: "
        f"cmvae fit --out {out} --resume\n"
    )
    assert can_resume(tmp_path / "run.partial" / "training")
    assert not out.exists()


def test_a_signal_while_the_command_is_loaded_leaves_nothing(tmp_path):
    process = start("fit", "--out", tmp_path / "run", "--modality", f"a={tmp_path / 'a.csv'}")
    time.sleep(0.3)
    process.terminate()
    out, err = process.communicate(timeout=1800)
    assert process.returncode in (143, -signal.SIGTERM)  # before Python has begun
    assert "Traceback" not in err
    assert not out
    assert not any(tmp_path.iterdir())


def test_a_pipe_that_nobody_reads_does_not_stop_the_work(small, tmp_path):
    folders = [tmp_path / "read", tmp_path / "unread"]
    assert run(*small, "--epochs", 2, "--out", folders[0])[0] == 0
    process = start(*small, "--epochs", 2, "--out", folders[1])
    process.stdout.close()
    err = process.stderr.read()
    assert (process.wait(timeout=1800), err) == (0, "")
    whole, found = (contents(folder) for folder in folders)
    assert whole == found


@pytest.mark.parametrize("number", [1, 2])
def test_closed_streams_do_not_get_into_files(fitted, tmp_path, number):
    folder = fitted[0]
    missing = tmp_path / "missing.csv"
    process = start("evaluate", folder, "--labels", missing, before=lambda: os.close(number))
    out, err = process.communicate(timeout=1800)
    assert process.returncode == 2
    assert "Traceback" not in out + err
    assert ("no such file" in err) == (number == 1)


def test_the_numbers_of_closed_streams_are_taken():
    kept = os.dup(0)
    os.close(0)
    try:
        keep_streams()
        assert os.readlink("/proc/self/fd/0") == os.devnull
    finally:
        os.dup2(kept, 0)
        os.close(kept)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_is_lost_is_said_and_no_success(fitted):
    with open("/dev/full", "w") as full:
        process = start("select", fitted[0], stdout=full)
        err = process.communicate(timeout=1800)[1]
    assert process.returncode == 1
    assert err.startswith("Warning: standard output: ")
    assert err.endswith("the disk is full\n")
    assert err.count("\n") == 1


def test_a_signal_that_comes_while_an_object_is_removed_is_not_swallowed(capfd):
    class Removed:
        def __del__(self):
            signal.raise_signal(signal.SIGTERM)

    def remove_and_wait():
        Removed()
        time.sleep(100)

    before = sys.unraisablehook
    with handlers_kept(), pytest.raises(Stopped), signals_stop():
        remove_and_wait()
    assert sys.unraisablehook is before
    assert "Exception ignored" not in capfd.readouterr().err


def test_a_signal_gives_the_status_whatever_error_it_has_become(monkeypatch):
    def command():
        with contextlib.suppress(Stopped):
            signal.raise_signal(signal.SIGTERM)
        raise SystemExit(2)

    monkeypatch.setattr("cmvae.cli.app.run", command)
    with handlers_kept(), pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 143


@contextlib.contextmanager
def handlers_kept():
    """Put back what signals did before."""
    known = {
        number: signal.getsignal(number)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in known.items():
            signal.signal(number, handler)
