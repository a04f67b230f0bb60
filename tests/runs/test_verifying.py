import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from cmvae.runs.folder import FILES, adding_files, read_record, save_run
from cmvae.runs.manifest import MANIFEST, digest, read_manifest, record_files, write_manifest
from cmvae.runs.names import write_names
from cmvae.runs.reading import hashes_of, read_files
from cmvae.runs.run import prepare
from cmvae.runs.verifying import verify_run
from made_files import contents, elsewhere, names

WHOLE = ("files", "versions", "model", "labels")
WRITTEN = (*FILES, "start.safetensors", "fit.json", "names.json", MANIFEST)


@pytest.fixture
def copied(folder, tmp_path):
    """A copy of the run, to be spoilt, with names for its clusters."""
    own = shutil.copytree(folder, tmp_path / "run")
    with adding_files(own):
        write_names(own, {0: "young"})
    return own


def verified(folder):
    """Return the checks of a run by what they look at; nothing in the folder changes."""
    before = contents(folder)
    found = {check.what: check for check in verify_run(folder)}
    assert contents(folder) == before
    assert tuple(found) == WHOLE
    return found


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def test_a_run_as_it_was_written_holds(copied):
    found = verified(copied)
    assert [found[what].holds for what in WHOLE] == [True] * 4
    assert found["files"].found == f"{len(WRITTEN)} as recorded"
    assert sorted(WRITTEN) == [name for name in names(copied) if (copied / name).is_file()]
    assert found["labels"].found == "60 as recorded; probabilities the same"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_flipped_bit_is_named_by_its_file(copied, name):
    size = (copied / name).stat().st_size
    whole = (copied / name).read_bytes()
    # Of the manifest anywhere: in a hash, a name, a sign, a blank.
    for place in range(0, size, 7) if name == MANIFEST else (0, size // 2, -1):
        (copied / name).write_bytes(whole)
        flip(copied / name, place)
        files = verified(copied)["files"]
        assert files.holds is False
        assert name in files.found, place
        if name != MANIFEST:
            assert files.found == f"altered: {name}; {len(WRITTEN) - 1} as recorded"


@pytest.mark.parametrize("name", WRITTEN)
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    found = verified(copied)
    assert found["files"].holds is False
    assert found["files"].found.startswith(f"missing: {name}")
    is_needed = name != "names.json"
    assert found["model"].holds is (None if is_needed else True)
    assert found["labels"].holds is (None if is_needed else True)


def test_files_of_others_are_said_and_planted_ones_differ(copied):
    (copied / "model" / "notes.txt").write_text("mine")
    files = verified(copied)["files"]
    assert (files.holds, files.found[-32:]) == (True, "; not of the run: model/notes.txt"[-32:])
    (copied / "estimator.json").write_text("{}")
    found = verified(copied)
    assert found["files"].found.startswith("without a hash: estimator.json; ")
    assert (found["files"].holds, found["model"].holds) == (False, None)
    with pytest.raises(ValueError, match=r"it does not name estimator\.json"):
        read_record(copied)


def test_manifests_of_early_runs_are_said_to_know_less(copied):
    content = json.loads((copied / MANIFEST).read_text())
    del content["seal"], content["files"]["names.json"]
    (copied / MANIFEST).write_text(json.dumps(content))
    files = verified(copied)["files"]
    assert files.holds is True
    assert "without a hash: names.json" in files.found
    assert "manifest.json of an early version, without a hash of its own" in files.found


@pytest.mark.parametrize("name", ["../a.csv", "/etc/passwd", "model/../../a.csv", ""])
def test_files_outside_of_the_run_are_not_read(copied, name):
    write_manifest(copied, FILES)
    content = json.loads((copied / MANIFEST).read_text())
    content["files"][name] = "0"
    (copied / MANIFEST).write_text(json.dumps(content))
    found = verified(copied)["files"]
    assert found.holds is False
    assert f"manifest.json is damaged: it names {name!r}, no file of the run" in found.found


def test_other_versions_are_said_and_no_fault(copied):
    versions = json.loads((copied / "versions.json").read_text())
    now = versions["torch"]
    (copied / "versions.json").write_text(json.dumps({**versions, "torch": "1.0"}))
    record_files(copied, ["versions.json"])
    check = verified(copied)["versions"]
    assert (check.holds, check.found) == (True, f"torch 1.0 then, {now} now")


def test_a_run_of_another_version_and_a_folder_of_none_are_refused(copied, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match="is no run folder"):
        list(verify_run(tmp_path / "other"))
    with pytest.raises(ValueError, match="no such run folder"):
        list(verify_run(tmp_path / "none"))
    (copied / MANIFEST).write_text('{"version": 2, "files": {}}')
    with pytest.raises(ValueError, match="is a run folder of version 2"):
        list(verify_run(copied))


def test_a_model_that_gives_other_labels_is_found(run, tmp_path):
    samples = run.samples.assign(cluster=np.roll(run.samples["cluster"], 1))
    save_run(tmp_path / "run", replace(run, samples=samples), overwrite=False)
    labels = verified(tmp_path / "run")["labels"]
    assert labels.holds is False
    wrong = run.samples["id"][samples["cluster"] != run.samples["cluster"]].tolist()
    assert labels.found.startswith(f"{len(wrong)} of 60 differ: {', '.join(wrong[:5])}")
    samples = run.samples.assign(probability=run.samples["probability"] - 0.01)
    save_run(tmp_path / "run", replace(run, samples=samples), overwrite=True)
    labels = verified(tmp_path / "run")["labels"]
    assert (labels.holds, labels.found) == (
        False,
        "60 as recorded; probabilities at most 0.01 apart",
    )


def test_data_that_changed_or_are_gone_are_named_and_labels_not_checked(run, files, tmp_path):
    shutil.copytree(files, tmp_path / "data", ignore=shutil.ignore_patterns("run"))
    moved = {
        name: file.replace(path=str(tmp_path / "data" / f"{name}.{end}"))
        for (name, file), end in zip(run.config.modalities.items(), ("csv", "parquet"), strict=True)
    }
    learned, rows = read_files(moved, run.preprocessing)
    assert prepare(run.config, learned, rows)
    config = run.config.replace(modalities=moved)
    save_run(tmp_path / "run", replace(run, config=config, preprocessing=learned), overwrite=False)
    assert verified(tmp_path / "run")["labels"].holds is True
    with (tmp_path / "data" / "a.csv").open("a") as file:
        file.write("\n")
    labels = verified(tmp_path / "run")["labels"]
    place = tmp_path / "data" / "a.csv"
    assert (labels.holds, labels.found) == (None, f"not checked: data have changed: {place}")
    place.unlink()
    labels = verified(tmp_path / "run")["labels"]
    assert (labels.holds, labels.found) == (None, f"not checked: data are gone: {place}")


def test_runs_without_hashes_of_their_data_are_checked_and_that_is_said(run, tmp_path):
    known = {n: own.replace(sha256=None) for n, own in run.preprocessing.understood.items()}
    early = replace(run, preprocessing=run.preprocessing.replace(understood=known))
    save_run(tmp_path / "run", early, overwrite=False)
    labels = verified(tmp_path / "run")["labels"]
    assert labels.holds is True
    assert labels.found.endswith("; the run has no hashes of its data")


def test_what_is_added_to_a_run_is_recorded_while_nobody_can_replace_it(copied, run):
    before = read_manifest(copied).files
    with adding_files(copied):
        (copied / "report.html").write_text("a page")
        with pytest.raises(ValueError, match="another process is writing"):
            elsewhere(save_run, copied, run, overwrite=True)
    now = read_manifest(copied).files
    assert now == {**before, "report.html": digest(copied / "report.html")}
    (copied / "names.json").write_text("{}")
    with pytest.raises(OSError, match="full"), adding_files(copied):
        raise OSError("full")
    assert read_manifest(copied).files == now


def test_names_that_cannot_be_printed_and_many_of_them_stay_short(copied):
    odd = {f"{number:03d}{'x' * 400}\x1b[31m": "0" for number in range(60)}
    content = json.loads((copied / MANIFEST).read_text())
    write_manifest(copied, content["files"])
    content = {"version": content["version"], "files": {**content["files"], **odd}}
    (copied / MANIFEST).write_text(json.dumps(content))
    (copied / "mine\x1b[31m").write_text("")
    found = verified(copied)["files"].found
    assert "; 35 more; " in found
    assert "\x1b" not in found
    assert "not of the run: 'mine\\x1b[31m'" in found
    assert len(found) < 10_000


def test_the_hash_of_a_folder_is_that_of_its_files_and_their_places(tmp_path, config):
    folder = tmp_path / "images"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "more/b.png"):
        (folder / name).write_bytes(b"1")
    before = digest(folder)
    (folder / ".hidden").write_bytes(b"2")
    assert digest(folder) == before
    (folder / "more" / "b.png").rename(folder / "b.png")
    moved = digest(folder)
    (folder / "b.png").write_bytes(b"2")
    assert len({before, moved, digest(folder)}) == 3
    file = config.modalities["a"]
    ids = tmp_path / "ids.txt"
    ids.write_text("1")
    one = hashes_of({"a": file.replace(ids=str(ids))})
    ids.write_text("2")
    assert (
        one["a"] != hashes_of({"a": file.replace(ids=str(ids))})["a"] != hashes_of({"a": file})["a"]
    )
