"""A command that trains nothing loads nothing that it does not need."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from cmvae import CMVAEClusterer
from made_files import IDS, LABELS, given, table_a, table_b

PROGRAM = """
import json, sys
from cmvae.cli import main
sys.argv[0] = "cmvae"
try:
    main()
    status = 0
except SystemExit as stop:
    status = stop.code or 0
loaded = sorted({name.partition(".")[0] for name in sys.modules})
print("\\n" + json.dumps([status, loaded]))
"""
HEAVY = {"lightning", "pytorch_lightning", "diffusers", "plotly", "matplotlib"}


def run_alone(*arguments, cwd):
    """Run the command line in a process of its own; return exit status and packages loaded."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    status, loaded = json.loads(done.stdout.splitlines()[-1])
    return status, set(loaded), done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run of two tables, ten rows of one of them, and labels."""
    folder = tmp_path_factory.mktemp("quick")
    tables = {"a": table_a().set_index("id"), "b": table_b()}
    CMVAEClusterer(3, max_epochs=2, device="cpu", random_state=0).fit(tables).save(folder / "run")
    table_a().iloc[:10].to_csv(folder / "ten.csv", index=False)
    pd.DataFrame({"id": IDS, "label": LABELS}).to_csv(folder / "labels.csv", index=False)
    return folder


LEARN = {"sklearn", "scipy"}
ALL = {"torch"} | LEARN
COMMANDS = {
    "fit of a missing file": (
        ["fit", *given(a="none.csv"), "--out", "o"],
        2,
        ALL,
    ),
    "fit of unknown kinds": (
        ["fit", *given(a="ten.csv"), "--kind", "a.x=length", "--out", "o"],
        2,
        ALL,
    ),
    "predict of a missing file": (
        ["predict", "run", *given(a="none.csv"), "--out", "o.csv"],
        2,
        ALL,
    ),
    "predict of other columns": (
        ["predict", "run", *given(b="ten.csv"), "--out", "o.csv"],
        2,
        ALL,
    ),
    "select": (["select", "run"], 0, ALL),
    "evaluate": (["evaluate", "run", "--labels", "labels.csv"], 0, set()),
    "predict": (["predict", "run", *given(a="ten.csv"), "--out", "o.csv"], 0, LEARN),
    "generate": (["generate", "run", "--samples", 1, "--out", "made"], 0, LEARN),
    "report of a run without files": (["report", "run"], 2, ALL),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_nothing_is_loaded_that_is_not_needed(folder, case):
    command, expected, unneeded = COMMANDS[case]
    status, loaded, done = run_alone(*command, cwd=folder)
    assert status == expected, done.stderr
    assert not loaded & (HEAVY | unneeded), case


def test_what_is_loaded_is_seen(folder):
    """The negative of the test above: a check that finds nothing anywhere proves nothing."""
    _, loaded, _ = run_alone("predict", "run", *given(a="ten.csv"), "--out", "p.csv", cwd=folder)
    assert {"torch", "pandas", "cmvae"} <= loaded
