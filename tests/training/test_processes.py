import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from cmvae import fit
from cmvae.training.processes import launched
from made_files import given, refused
from training.cases import QUIET, data, model

SCRIPT = Path(__file__).parents[1] / "torchrun_fit.py"


def torchrun(*command, log):
    """Run two processes of a script; return the status, and what each has printed as errors."""
    options = ["--nproc-per-node", "2", "--log-dir", log, "--redirects", "3"]
    options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *options, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=1800,
        env=environment,
    )
    files = sorted(log.rglob("stderr.log"), key=lambda path: path.parent.name)
    return ran.returncode, [re.sub(r"(?m)^\[rank\d\]: ", "", path.read_text()) for path in files]


def test_processes_that_train_together_end_alike(tmp_path):
    status, errors = torchrun(SCRIPT, tmp_path / "run", 2, "none", log=tmp_path / "log")
    assert status == 0, errors
    first, second = (
        torch.load(tmp_path / "run" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_processes_that_would_train_apart_are_refused(tmp_path):
    status, errors = torchrun(SCRIPT, tmp_path / "run", "none", "none", log=tmp_path / "log")
    assert status == 1
    for error in errors:
        line = error.strip().splitlines()[-1]
        assert line.startswith("ValueError: WORLD_SIZE is 2: this is one of several processes, ")
        assert "pass devices (how many of them are on a machine) and num_nodes" in line
    assert not (tmp_path / "run").exists()


LOSS = (
    r"cmvae\.training\.module\.NonFiniteLossError: process 1 of 2: the loss is (inf|nan) in "
    r"epoch 1; terms that are not finite: .*_b.*; last good checkpoint: .*last\.ckpt"
)
FAULTS = {
    "huge": LOSS,
    "huge in validation": LOSS,
    "nan": r"ValueError: (process 1 of 2: )?modality 'b'.*of samples 0, 1, 2, 3; .*",
    "nan in validation": r"ValueError: (process 1 of 2: )?modality 'b'.*of samples 0, 1, 2, 3; .*",
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_one_process_is_that_of_all(tmp_path, case):
    status, errors = torchrun(SCRIPT, tmp_path / "run", 2, case, log=tmp_path / "log")
    assert status == 1
    lines = [error.strip().splitlines() for error in errors]
    for own in lines:
        assert any(re.fullmatch(FAULTS[case], line) for line in own), own[-5:]
        assert not any("Connection" in line for line in own)
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize(
    ("name", "count", "said"),
    [
        ("WORLD_SIZE", "2", "WORLD_SIZE is 2"),
        ("OMPI_COMM_WORLD_SIZE", "4", "OMPI_COMM_WORLD_SIZE is 4"),
        ("WORLD_SIZE", "1", ""),
        ("WORLD_SIZE", "", ""),
        ("WORLD_SIZE", "many", ""),
    ],
)
def test_several_processes_are_known_by_their_variable(monkeypatch, tmp_path, name, count, said):
    monkeypatch.setenv(name, count)
    assert launched() == said
    folders = {"run_dir": tmp_path / "run", "max_epochs": 1, "logger": False, **QUIET}
    if said:
        with pytest.raises(ValueError, match=f"{said}: this is one of several"):
            fit(model(), data(), **folders)
        assert not (tmp_path / "run").exists()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            line = refused(said, "fit", *given(a=tmp_path / "a.csv"), "--out", tmp_path / "run")
        assert "start it once, without torchrun" in line
        assert not any(tmp_path.iterdir())
        # What leaves no files may be done in each.
        fit(model(), data(), enable_checkpointing=False, **folders)
    else:
        fit(model(), data(), **folders)
