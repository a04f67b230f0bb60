import shutil

import pandas as pd
import pytest

from cmvae import CMVAEClusterer
from made_files import given, refused, run, table_a


@pytest.fixture
def copied(fitted, tmp_path):
    return shutil.copytree(fitted[0], tmp_path / "run")


def test_a_run_holds_and_what_is_written_later_too(copied):
    status, out, err = run("verify", copied)
    assert (status, err) == (0, "")
    assert out.count(" holds ") == 4
    assert out.endswith("\nNothing differs from what was recorded\n")
    assert run("report", copied, "--names", "0=young")[0] == 0
    status, out, err = run("verify", copied)
    assert (status, err) == (0, "")
    assert "14 as recorded" in out
    assert run("select", copied, "--clusters", 2)[0] == 0
    status, out, err = run("verify", copied)
    assert (status, err) == (0, "")
    assert "11 as recorded" in out
    assert "60 as recorded; probabilities the same" in out


@pytest.mark.parametrize("name", ["report.html", "profiles.csv", "clusters.csv"])
def test_what_differs_is_named_with_a_status(copied, name):
    assert run("report", copied)[0] == 0
    with (copied / name).open("a") as file:
        file.write(" ")
    status, out, err = run("verify", copied)
    assert status == 1
    assert f"altered: {name}; " in out
    assert err.startswith(
        f"Error: {copied} differs from what was recorded: files: altered: {name}; "
    )
    assert len(err.splitlines()) == 1


def test_an_estimator_s_folder_holds_without_its_rows(tmp_path):
    tables = {"[a]": table_a().set_index("id")}
    CMVAEClusterer(2, max_epochs=1, random_state=0).fit(tables).save(tmp_path / "saved")
    status, out, err = run("verify", tmp_path / "saved")
    assert (status, err) == (0, "")
    assert "unknown │ not checked: [a] given in Python, in no file" in out
    assert out.endswith("\nNothing differs from what was recorded, as far as could be checked\n")


def test_other_folders_are_wrong_usage(tmp_path):
    refused("is no run folder", "verify", tmp_path)


def test_the_hashes_of_other_data_go_with_the_labels_that_they_gave(files, tmp_path):
    shutil.copy(files / "a.csv", tmp_path / "a.csv")
    options = ["--clusters", 2, "--epochs", 2, "--device", "cpu", "--out", tmp_path / "run"]
    assert run("fit", *given(a=tmp_path / "a.csv"), *options)[0] == 0
    table = pd.read_csv(tmp_path / "a.csv", dtype={"id": str})
    table.iloc[::-1].assign(x=table["x"] + 1).to_csv(tmp_path / "a.csv", index=False)
    assert "data have changed" in run("verify", tmp_path / "run")[1]
    assert run("select", tmp_path / "run", "--clusters", 3)[0] == 0
    status, out, err = run("verify", tmp_path / "run")
    assert (status, err) == (0, "")
    assert "50 as recorded; probabilities the same" in out
