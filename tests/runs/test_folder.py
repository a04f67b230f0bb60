"""Run folders: written as a whole or not at all, and refused where anything is harmed."""

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import signal
import warnings
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from cmvae import CMVAE
from cmvae.runs.checks import read_metrics
from cmvae.runs.folder import (
    load_model,
    may_write_run,
    partial_folder,
    read_record,
    read_run,
    save_run,
    start_again,
    writing_run,
)
from made_files import contents, elsewhere, names

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_what_is_written_is_read(run, folder, prepared):
    record, found = read_record(folder), read_run(folder)
    assert (record.config, record.preprocessing) == (run.config, run.preprocessing)
    pd.testing.assert_frame_equal(record.samples, run.samples, check_dtype=False)
    assert record.metrics == json.loads(json.dumps(run.metrics))
    assert (record.n_clusters, record.extras) == (3, {})
    assert len(record.log) == len(run.log)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, found.model.state_dict()[name])
    np.testing.assert_array_equal(found.embed(prepared.data), run.embed(prepared.data))
    for left, right in zip(found.assign(prepared.data), run.assign(prepared.data), strict=True):
        np.testing.assert_array_equal(left, right)


def test_all_is_plain_text_but_the_weights(folder):
    read_as_text = [name for name in names(folder) if "." in name and "safetensors" not in name]
    assert len(read_as_text) == 9
    for name in read_as_text:
        assert (folder / name).read_text(encoding="utf-8")
    stored = json.loads((folder / "preprocessing.json").read_text())["codecs"]
    assert [column["name"] for column in stored["a"]["columns"]] == ["x", "y", "colour", "smokes"]


def test_a_saved_run_is_the_same_and_may_have_extras(run, folder, tmp_path):
    save_run(tmp_path / "run", run, overwrite=False)
    assert contents(tmp_path / "run") == contents(folder)
    with pytest.raises(ValueError, match="run holds the results of a run; pass overwrite=True"):
        save_run(tmp_path / "run", run, overwrite=False)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    save_run(tmp_path / "run", replace(run, extras={"own": [1, None, "x"]}), overwrite=True)
    assert read_record(tmp_path / "run").extras == {"own": [1, None, "x"]}
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    save_run(tmp_path / "run", run, overwrite=True)
    assert read_record(tmp_path / "run").extras == {}
    assert "estimator.json" not in names(tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(
    "place", ["cmvae.models.cmvae.CMVAE.save_pretrained", "pathlib.Path.rename"]
)
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_failure_leaves_what_there_was(run, folder, tmp_path, place, error):
    with mock.patch(place, side_effect=error), pytest.raises(type(error)):
        save_run(tmp_path / "new", run, overwrite=False)
    assert names(tmp_path) == []
    shutil.copytree(folder, tmp_path / "run")
    before = contents(tmp_path)
    with mock.patch(place, side_effect=error), pytest.raises(type(error)):
        save_run(tmp_path / "run", run, overwrite=True)
    assert contents(tmp_path) == before


def killed_at_rename(number, target, *arguments):
    """Call in another process, which is killed at its n-th renaming of a folder."""

    def run_and_die():
        own, left = Path.rename, [number]

        def rename(path, place):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return own(path, place)

        with mock.patch.object(Path, "rename", rename):
            target(*arguments)

    process = multiprocessing.get_context("fork").Process(target=run_and_die)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("number", range(7))
def test_a_kill_while_a_run_is_replaced_loses_nothing(run, folder, tmp_path, number):
    target = tmp_path / "run"
    shutil.copytree(folder, target)
    (target / "notes.txt").write_text("mine")
    exitcode = killed_at_rename(number, save_run, target, run, True)
    assert exitcode == (-signal.SIGKILL if number < 6 else 0)  # two of the folder of the config
    if not target.exists():
        with pytest.raises(
            ValueError, match=r"no such run folder: .*the run before is in .*old/run"
        ):
            read_record(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(ValueError):  # it is there, or was interrupted
            may_write_run(target, overwrite=False, resume=False)
    assert (target / "notes.txt").read_text() == "mine"
    read_record(target)
    save_run(target, run, overwrite=True)
    assert (target / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_two_runs_are_never_read_as_one(run, folder, tmp_path):
    target, other = tmp_path / "run", replace(run, metrics={**run.metrics, "loss": 7.0})
    shutil.copytree(folder, target)
    record = read_record(target)
    save_run(target, other, overwrite=True)  # while another process still reads the samples, say
    with pytest.raises(ValueError, match="run was replaced by another run while it was read"):
        load_model(target, record)

    def read_and_replace(*arguments):
        save_run(target, run, overwrite=True)
        return read_metrics(*arguments)

    with (
        mock.patch("cmvae.runs.folder.read_metrics", read_and_replace),
        pytest.raises(ValueError, match="run was replaced by another run while it was read"),
    ):
        read_record(target)
    assert read_run(target).metrics == run.metrics


def test_what_is_put_back_is_said_and_replaces_nothing(run, folder, tmp_path):
    target, old = tmp_path / "run", tmp_path / ".run-abcdefgh.old" / "run"
    old.mkdir(parents=True)
    shutil.copytree(folder, old, dirs_exist_ok=True)
    with pytest.warns(UserWarning, match="run was broken off: the run before is back"):
        may_write_run(target, overwrite=True, resume=False)
    assert contents(target) == contents(folder)
    old.mkdir(parents=True)
    for path, text in ((old, "old"), (target, "new")):
        (path / "notes.txt").write_text(text)
    (old / "more.txt").write_text("mine")
    with pytest.warns(UserWarning, match=r"old/run still holds \['notes.txt'\]"):
        may_write_run(target, overwrite=True, resume=False)
    assert (target / "notes.txt").read_text() == "new"
    assert (target / "more.txt").read_text() == "mine"
    assert (old / "notes.txt").read_text() == "old"


def test_an_empty_partial_folder_is_no_interrupted_run(run, tmp_path):
    partial_folder(tmp_path / "run").mkdir()
    with pytest.raises(ValueError, match="no interrupted run to go on with"):
        may_write_run(tmp_path / "run", overwrite=False, resume=True)
    save_run(tmp_path / "run", run, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_one_process_writes_a_run_and_its_lock_dies_with_it(run, tmp_path):
    with writing_run(tmp_path / "run"):
        with pytest.raises(ValueError, match=r"another process is writing to .*run"):
            elsewhere(save_run, tmp_path / "run", run, overwrite=False)
        save_run(tmp_path / "other", run, overwrite=False)

    def hold_and_die():
        with writing_run(tmp_path / "run"):
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=hold_and_die)
    process.start()
    process.join()
    save_run(tmp_path / "run", run, overwrite=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run"]


# Refusals
# ------------------------------------------------------------------------------------------


def test_where_a_run_may_be_written(folder, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    start_again(partial_folder(tmp_path / "half"), config)
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "thesis.txt").write_text("x")
    shutil.copytree(folder, tmp_path / "done.partial")  # a run that was renamed
    refused = [
        (tmp_path / "file", {}, "out must be a folder, got the file"),
        (tmp_path / "file", {"overwrite": True}, "out must be a folder, got the file"),
        (tmp_path / "other", {}, "other holds something else than the results of a run"),
        (tmp_path / "other", {"overwrite": True}, "something else .*; name another folder"),
        (folder, {}, "run holds the results of a run; pass overwrite=True to replace them"),
        (tmp_path / "half", {}, "half.partial holds an interrupted run; pass resume=True"),
        (tmp_path / "mine", {"overwrite": True}, "mine.partial holds something else than an inter"),
        (tmp_path / "new", {"resume": True}, "resume: no interrupted run to go on with: .*missing"),
        (tmp_path / "half", {"resume": True, "overwrite": True}, "exclude each other"),
        (tmp_path / "new.partial", {}, "names that end in .partial are for unfinished runs"),
        (tmp_path / "done", {"overwrite": True}, "done.partial holds something else than an inter"),
        (tmp_path / "..", {}, "must be given by its name, got"),
    ]
    before = contents(tmp_path)
    for path, options, message in refused[:-1]:
        with pytest.raises(ValueError, match=message):
            may_write_run(path, **{"overwrite": False, "resume": False, **options})
    with pytest.raises(ValueError, match=r"a run folder must be given by its name, got '\.'"):
        may_write_run(tmp_path.relative_to(tmp_path), overwrite=False, resume=False)
    for path, options in (
        (tmp_path / "new", {}),
        (tmp_path / "empty", {}),
        (folder, {"overwrite": True}),
        (tmp_path / "half", {"overwrite": True}),
        (tmp_path / "half", {"resume": True}),
    ):
        partial = may_write_run(path, **{"overwrite": False, "resume": False, **options})
        assert partial == path.with_name(path.name + ".partial")
    assert contents(tmp_path) == before


def manifest(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def flip(folder, name):
    whole = bytearray((folder / name).read_bytes())
    whole[-1] ^= 1
    (folder / name).write_bytes(whole)


def first_version(folder):
    """Make the folder one of cmvae 0.1.0."""
    stored = json.loads((folder / "manifest.json").read_text())
    files = dict(stored["files"])
    content = {"version": 1, "order": [1, 0, 2], "files": files}
    (folder / "manifest.json").write_text(json.dumps(content))


HARM = {
    "another version": (
        lambda folder: manifest(folder, version=99),
        r"run is a run folder of version 99; this cmvae \S+ reads version 3: .*config\.yaml "
        r"repeats the run, .*model holds its model",
    ),
    "the first version": (first_version, "run is a run folder of version 1; this cmvae"),
    "no manifest": (
        lambda folder: (folder / "manifest.json").unlink(),
        "run is no run folder, or not complete: manifest.json is missing",
    ),
    "no JSON": (
        lambda folder: (folder / "manifest.json").write_text("{"),
        "manifest.json: not JSON: Expecting",
    ),
    "a list": (lambda folder: (folder / "manifest.json").write_text("[]"), "manifest.json is dam"),
    "no version": (
        lambda folder: (folder / "manifest.json").write_text("{}"),
        "manifest.json is damaged: it names no version",
    ),
    "no files": (lambda folder: manifest(folder, files=3), "manifest.json is damaged"),
    "fewer files": (
        lambda folder: manifest(folder, files={}),
        "manifest.json is damaged: it does not name config.yaml",
    ),
    "another weight": (
        lambda folder: flip(folder, "model/model.safetensors"),
        "model/model.safetensors: the file was altered since the run was written",
    ),
    "another sample": (
        lambda folder: flip(folder, "clusters.csv"),
        "clusters.csv: the file was altered",
    ),
    "no samples": (
        lambda folder: (folder / "clusters.csv").unlink(),
        "clusters.csv: the file is missing from the run folder",
    ),
    "no settings of the model": (
        lambda folder: (folder / "model" / "config.json").unlink(),
        "model/config.json: the file is missing from the run folder",
    ),
    "a model alone": (
        lambda folder: [
            shutil.copytree(folder / "model", folder.parent / "copy"),
            shutil.rmtree(folder),
            (folder.parent / "copy").rename(folder),
        ],
        r"run holds a model alone, without preprocessing, rule and samples: CMVAE\.from_pretrained",
    ),
}


@pytest.mark.parametrize("case", HARM)
def test_harmed_folders_are_refused_by_name(folder, tmp_path, case):
    change, message = HARM[case]
    shutil.copytree(folder, tmp_path / "run")
    change(tmp_path / "run")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        read_run(tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "run") in str(caught.value)
    assert contents(tmp_path) == before


def test_extras_that_are_gone_or_altered_are_refused(run, tmp_path):
    save_run(tmp_path / "run", replace(run, extras={"own": 1}), overwrite=False)
    flip(tmp_path / "run", "estimator.json")
    with pytest.raises(ValueError, match=r"estimator\.json: the file was altered"):
        read_record(tmp_path / "run")
    (tmp_path / "run" / "estimator.json").unlink()
    with pytest.raises(ValueError, match=r"estimator\.json: the file is missing"):
        read_record(tmp_path / "run")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no such run folder: .*none"):
        read_run(tmp_path / "none")


def test_folders_beside_a_run_are_left_alone(run, tmp_path):
    for name in ("run.old", "run.partial.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.txt").write_text("x")
    save_run(tmp_path / "run", run, False)
    save_run(tmp_path / "run", run, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.old", "run.partial.old"]
    assert (tmp_path / "run.partial.old" / "thesis.txt").read_text() == "x"
    assert (tmp_path / "run.old" / "thesis.txt").read_text() == "x"


def test_clusters_have_their_places_as_numbers(run, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    model = CMVAE.from_pretrained(folder / "model")
    model.mixture.keep(torch.tensor([True, False, True]))
    model.save_pretrained(tmp_path / "run" / "model")
    with pytest.raises(ValueError, match="model: its active clusters are not the first ones"):
        load_model(tmp_path / "run", read_record(folder))
