"""``cmvae fit`` in several processes: one folder, one voice, one end."""

import os
import signal
import sys
import time
from unittest import mock

import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import adjusted_rand_score

from cmvae.cli import launching
from cmvae.runs import covariates
from cmvae.training.callbacks import StartCallback
from forked import in_processes
from made_files import IDS, LABELS, given, names, refused, run, table_a

TWO = ["--devices", 2, "--device", "cpu"]


def options(files, out, *more):
    return ["fit", *given(a=files / "a.csv", b=files / "b.parquet"), "--out", out, *more]


def lanes(path):
    """Write what is known of the samples, and return the options that name it."""
    pd.DataFrame({"id": IDS, "lane": ["left", "right"] * 30}).to_csv(path, index=False)
    return ["--covariate", f"lane={path}:lane"]


def test_the_first_process_speaks_and_writes(files, tmp_path_factory, tmp_path):
    known = lanes(tmp_path_factory.mktemp("lanes") / "lanes.csv")

    def fitted(place):
        more = [*TWO, "--epochs", 4, "--clusters", 3, *known, "--forget", 3]
        return run(*options(files, tmp_path / "run", *more))

    (status, out, err), second = in_processes(fitted)
    assert (status, err) == (0, "")
    assert "\nCovariate 'lane': clusters share NMI" in out
    assert "\n3 clusters\n" in out
    assert second == (0, "", "")
    assert names(tmp_path) == ["run", *(f"run/{name}" for name in names(tmp_path / "run"))]
    samples = pd.read_csv(tmp_path / "run" / "clusters.csv")
    assert adjusted_rand_score(LABELS[samples["id"]], samples["cluster"]) > 0.9
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["devices"], config["num_nodes"], config["precision"]) == (2, 1, "32-true")
    log = pd.read_csv(tmp_path / "run" / "log.csv")
    assert (log["train/forgetting"] > 0).all()


def test_other_covariates_in_one_process_are_told(files, tmp_path):
    known, read = lanes(tmp_path / "lanes.csv"), covariates.read_labels

    def fitted(place):
        def other(*arguments):  # as of another copy of the file
            return read(*arguments).replace({"left": "right", "right": "left"})

        with mock.patch.object(covariates, "read_labels", other if place else read):
            return run(*options(files, tmp_path / "run", *TWO, *known))

    (status, _, err), (other, _, _) = in_processes(fitted)
    assert (status, other) == (2, 2)
    assert err.startswith("Error: process 1 of 2: it has read other samples than process 0")


def test_a_fault_of_one_process_is_told_in_one_line(files, tmp_path):
    table_a().assign(x=1.5).to_csv(tmp_path / "other.csv", index=False)
    found = {
        tmp_path / "none.csv": "Error: process 1 of 2: modality 'a': no such file: ",
        tmp_path / "other.csv": "Error: process 1 of 2: it has read other samples than process 0",
    }
    for path, words in found.items():

        def fitted(place, path=path):
            own = given(a=path if place else files / "a.csv", b=files / "b.parquet")
            return run("fit", *own, "--out", tmp_path / "run", *TWO)

        (status, _, err), (other, out, silent) = in_processes(fitted)
        assert (status, other, out + silent) == (2, 2, "")
        assert err.count("\n") == 1
        assert err.startswith(words)
        assert not (tmp_path / "run").exists()
        assert not (tmp_path / "run.partial").exists()


def test_the_loss_of_another_process_is_told_with_what_is_left(files, tmp_path):
    begin = StartCallback.on_train_epoch_start

    def left_alone(place):
        def die(self, trainer, pl_module):
            if place == 1 and trainer.current_epoch == 1:
                os._exit(9)
            begin(self, trainer, pl_module)

        with mock.patch.object(StartCallback, "on_train_epoch_start", die):
            return run(*options(files, tmp_path / "run", *TWO, "--epochs", 3))

    (status, _, err), second = in_processes(left_alone)
    assert (status, err.count("\n"), second) == (1, 1, ("", "died"))
    words = "Error: another of the processes ended before its time (connection"
    assert err.startswith(words)
    assert "go on with: cmvae fit --out" in err


def test_what_is_interrupted_goes_on_in_another_number(files, tmp_path):
    out, begin = tmp_path / "run", StartCallback.on_train_epoch_start

    def interrupted(place):
        def stop(self, trainer, pl_module):
            if trainer.current_epoch == 2:
                raise KeyboardInterrupt
            begin(self, trainer, pl_module)

        with mock.patch.object(StartCallback, "on_train_epoch_start", stop):
            return run(*options(files, out, *TWO, "--epochs", 3, "--clusters", 3))

    (status, _, err), second = in_processes(interrupted)
    assert (status, err.count("\n")) == (130, 1)
    assert "go on with: cmvae fit --out" in err
    assert second[0] == 130
    status, said, err = run("fit", "--out", out, "--resume", "--devices", 1)
    assert status == 0, err
    assert "3 clusters" in said
    assert yaml.safe_load((out / "config.yaml").read_text())["devices"] == 1


@pytest.mark.parametrize(
    ("given_options", "words"),
    [
        (["--devices", 0], "--devices must be auto or a positive integer, got '0'"),
        (["--devices", "-2"], "--devices must be auto or a positive integer, got '-2'"),
        (["--devices", 3, "--device", "cpu"], "must be at most 2: this machine has 2 cores, got 3"),
        (["--devices", 2, "--device", "mps"], "--devices must be 1 on MPS"),
        (["--devices", 2, "--device", "cuda"], "--device must be auto, or one that this machine"),
        (["--strategy", "fsdp"], "--strategy must be 'auto' or 'ddp', got 'fsdp'"),
        (["--precision", "64-true"], "--precision must be '32-true', 'bf16-mixed' or '16-mixed'"),
        (["--precision", "16-mixed", "--device", "cpu"], "--precision must be 32-true or bf16-mix"),
        (["--num-nodes", 2], "--num-nodes must be 1 where no process was started on the others"),
    ],
)
def test_what_the_machine_cannot_do_is_refused(files, tmp_path, monkeypatch, given_options, words):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: "mps" in given_options)
    assert words in refused(words, *options(files, tmp_path / "run", *given_options))
    assert not any(tmp_path.iterdir())


def test_another_number_than_was_started_is_refused(files, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    words = "--devices must be 4 in all, as WORLD_SIZE is 4, got 2 on 1 machine"
    refused(words, *options(files, tmp_path / "run", *TWO))
    line = refused("WORLD_SIZE is 4", *options(files, tmp_path / "run"))
    assert "say how many devices train it (--devices, --num-nodes), or start it once" in line
    assert not any(tmp_path.iterdir())


@pytest.fixture
def started(tmp_path, monkeypatch):
    """What a shell does in place of the processes, and what they were."""
    # It cannot hear a signal that was ignored when it began, as SIGINT is in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def make(script, grace=0.3):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        monkeypatch.setattr(sys, "argv", ["cmvae", "fit", "--devices", "2"])
        monkeypatch.setattr(launching, "GRACE", grace)
        return launching.run_in_processes(2, lambda: "nothing was written")

    yield make
    signal.signal(signal.SIGINT, before)


def test_processes_are_started_as_torchrun_does(started, tmp_path):
    known = "$RANK $LOCAL_RANK $WORLD_SIZE $GROUP_RANK $MASTER_ADDR"
    assert started(f'echo "$@" {known} > said$RANK; exit $((3 - RANK))') == 3
    said = [(tmp_path / f"said{rank}").read_text().strip() for rank in (0, 1)]
    assert said == [f"-m cmvae fit --devices 2 {r} {r} 2 0 127.0.0.1" for r in (0, 1)]


def test_where_one_dies_the_rest_ends_and_the_reason_is_told(started, capsys):
    begin = time.monotonic()
    assert started("if [ $RANK = 1 ]; then kill -9 $$; fi; exec sleep 3000") == 1
    assert time.monotonic() - begin < 1500
    line = "Error: of 2 processes these were ended: process 0 by SIGTERM, process 1 by SIGKILL"
    assert capsys.readouterr().err == f"{line}; nothing was written\n"
    # The first one tells what it has found out by itself.
    assert started("if [ $RANK = 1 ]; then kill -9 $$; fi; exit 2") == 2
    assert capsys.readouterr().err == ""


def test_a_signal_is_passed_on(started, tmp_path):
    def interrupt(*_):
        while not all((tmp_path / f"on{rank}").exists() for rank in (0, 1)):
            time.sleep(0.01)
        raise KeyboardInterrupt

    script = 'trap "echo > heard$RANK; exit 130" INT; touch on$RANK; while :; do sleep 0.05; done'
    with mock.patch.object(launching, "_wait", interrupt), pytest.raises(SystemExit) as end:
        started(script, grace=60)
    assert end.value.code == 128 + signal.SIGINT
    assert (tmp_path / "heard0").exists()
    assert (tmp_path / "heard1").exists()
