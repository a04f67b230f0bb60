from pathlib import Path

import numpy as np
import pytest
import yaml

from cmvae.cli.options import (
    data_files,
    given_files,
    modality_files,
    named_pairs,
    with_kinds,
    with_likelihoods,
    with_named,
)
from cmvae.files.modality import ModalityFile

FILES = {"a": ModalityFile(path="/a.csv"), "a.b": ModalityFile(path="/b.csv", kinds={"x": "count"})}


def test_files_are_absolute_and_read_as_those_before(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    like = {
        "a": ModalityFile(path="old.csv", id="key", layer="raw", kinds={"x": "count"}),
        "b": ModalityFile(path="old.h5mu", array="rna", layer="raw"),
        "c": ModalityFile(id="key"),
    }
    found = modality_files(["a=x=1.csv", "b=new.h5mu", "c=c.csv", "d=~/d.csv"], None, like)
    assert found == {
        "a": ModalityFile(path=str(tmp_path / "x=1.csv")),
        "b": ModalityFile(path=str(tmp_path / "new.h5mu"), array="rna", layer="raw"),
        "c": ModalityFile(path=str(tmp_path / "c.csv")),
        "d": ModalityFile(path=str(Path.home() / "d.csv")),
    }
    assert modality_files(["a=x.csv"], "cell", like)["a"].id == "cell"


def test_data_names_arrays_or_a_yaml_of_files(tmp_path):
    np.savez(tmp_path / "d.npz", p=np.ones(3), q=np.ones(3), ids=np.arange(3))
    path = str(tmp_path / "d.npz")
    expected = {name: ModalityFile(path=path, array=name) for name in "pq"}
    assert data_files(tmp_path / "d.npz", None) == expected
    content = {"modalities": {"a": "a.csv", "b": {"path": "b.csv", "id": "own"}}}
    (tmp_path / "d.yml").write_text(yaml.safe_dump(content))
    found = given_files(None, tmp_path / "d.yml", "cell")
    assert [(Path(file.path), file.id) for file in found.values()] == [
        (tmp_path / "a.csv", "cell"),
        (tmp_path / "b.csv", "own"),
    ]


def test_names_of_modalities_and_columns_may_hold_dots_and_equals():
    found = with_kinds(FILES, ["a.b.y=z=category", "a.c=text", "a.b.x=binary"])
    assert found["a"].kinds == {"c": "text"}
    assert found["a.b"].kinds == {"x": "binary", "y=z": "category"}
    assert FILES["a"].kinds == {}


def test_likelihoods_have_parameters():
    values = ["a=poisson,library_size=true,size=4.5", "a.b=normal"]
    found = with_likelihoods(FILES, values)
    assert found["a"].likelihood == "poisson"
    assert found["a"].likelihood_params == {"library_size": True, "size": 4.5}
    assert (found["a.b"].likelihood, found["a.b"].likelihood_params) == ("normal", {})
    assert with_named(FILES, "--layer", "layer", ["a=raw"])["a"].layer == "raw"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: named_pairs("--layer", ["a"]), "--layer must be NAME=VALUE, got 'a'"),
        (lambda: named_pairs("--layer", ["=x"]), "--layer must be NAME=VALUE, got '=x'"),
        (lambda: named_pairs("--layer", ["a=1", "a=2"]), "--layer names 'a' more than once"),
        (lambda: with_kinds(FILES, ["a=count"]), "--kind must be NAME.COLUMN=KIND"),
        (lambda: with_kinds(FILES, ["a.=count"]), "--kind must be NAME.COLUMN=KIND"),
        (
            lambda: with_kinds(FILES, ["c.x=count"]),
            r"one of the modalities \['a', 'a.b'\], got 'c.x",
        ),
        (
            lambda: with_named(FILES, "--network", "network", ["c=mlp"]),
            r"--network names unknown modalities \['c'\]; there are \['a', 'a.b'\]",
        ),
        (
            lambda: with_likelihoods(FILES, ["a=poisson,x"]),
            "--likelihood a must be NAME=VALUE, got",
        ),
        (
            lambda: data_files(Path("x.csv"), None),
            "--data must be an .npz, .h5mu, .h5ad or .yaml file",
        ),
        (lambda: given_files(["a=b"], Path("x.npz"), None), "--modality and --data exclude each"),
    ],
)
def test_bad_options_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
