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
COMPILER = {"torch._dynamo"}
sys.argv[0] = "cmvae"
try:
    main()
    status = 0
except SystemExit as stop:
    status = stop.code or 0
loaded = sorted({name.partition(".")[0] for name in sys.modules} | COMPILER & set(sys.modules))
print("\\n" + json.dumps([status, loaded]))
"""
HEAVY = {
    "lightning",
    "pytorch_lightning",
    "diffusers",
    "plotly",
    "matplotlib",
    "torch._dynamo",
}


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


def test_models_are_built_without_the_compiler():
    """Their size is counted on the meta device, where some operations load it."""
    program = """
import sys
from cmvae import CMVAE, CMVAEConfig
shapes = {"image": (3, 28, 28), "text": (5, 30), "peaks": 12, "counts": 4}
shapes["table"] = 3
likelihoods = {"table": "mixed"}
likelihoods |= {"text": "categorical", "peaks": "bernoulli", "counts": "negative_binomial"}
columns = [["normal", 1], ["negative_binomial", 2, {"means": [3.0, 50.0]}]]
CMVAE(CMVAEConfig(n_modalities=5,
    decoder_dist_params={"table": {"columns": columns}}, input_dims=shapes,
    decoders_dist=likelihoods,
    modalities_specific_dim=2, covariates={"batch": 3, "age": 1}, covariance="full",
    prior_and_posterior_dist="normal"))
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
