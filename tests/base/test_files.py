"""Written as a whole or not at all, and only where it may be."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path
from unittest import mock

import pytest

from cmvae.base.files import (
    atomic_folder,
    atomic_write,
    link_target,
    may_write_file,
    moved_away,
    sole_writer,
)
from cmvae.base.files import may_write_folder as may_write


def content(folder):
    """Return files and folders with what they hold."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def write(path, text, error=None):
    with atomic_write(path) as temporary:
        temporary.write_text(text)
        if error is not None:
            raise error


def fill(path, text, error=None):
    with atomic_folder(path) as temporary:
        (temporary / "file").write_text(text)
        if error is not None:
            raise error


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "a.csv"
    write(path, "old")
    write(path, "new")
    assert content(tmp_path) == {"a.csv": "new"}
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "made" / "sub").mkdir(parents=True)
    fill(tmp_path / "made", "new")
    assert content(tmp_path) == {"made": None, "made/file": "new"}


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
@pytest.mark.parametrize("make", [write, fill])
@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_leaves_what_there_was(tmp_path, make, error, exists):
    path = tmp_path / "target"
    if exists:
        make(path, "old")
    before = content(tmp_path)
    with pytest.raises(type(error)):
        make(path, "new", error)
    assert content(tmp_path) == before


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path, monkeypatch):
    path, own = tmp_path / "made", Path.rename
    fill(path, "old")

    def rename(self, target):
        if (self / "file").is_file() and (self / "file").read_text() == "new":
            raise OSError("read-only")
        return own(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(OSError, match="read-only"):
        fill(path, "new")
    assert content(tmp_path) == {"made": None, "made/file": "old"}


def test_a_signal_right_after_a_folder_took_its_place_loses_nothing(tmp_path, monkeypatch):
    path, own = tmp_path / "made", Path.rename
    fill(path, "old")

    def rename(self, target):
        own(self, target)
        if target == path:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        with pytest.raises(KeyboardInterrupt):
            fill(path, "new")
    assert (path / "file").read_text() == "new"
    (old,) = moved_away(path)
    assert (old / "file").read_text() == "old"


def test_a_file_is_on_the_disk_before_it_is_renamed(tmp_path, monkeypatch):
    flushed, own = [], os.fsync

    def fsync(handle):
        assert not (tmp_path / "a.csv").exists()
        flushed.append((os.fstat(handle).st_ino, os.fstat(handle).st_size))
        own(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path / "a.csv", "whole")
    assert flushed == [((tmp_path / "a.csv").stat().st_ino, 5)]


def test_all_files_of_a_folder_are_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    flushed, own = [], os.fsync

    def fsync(handle):
        assert not (tmp_path / "made").exists()
        flushed.append(os.fstat(handle).st_ino)
        own(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_folder(tmp_path / "made") as temporary:
        (temporary / "deep").mkdir()
        (temporary / "deep" / "file").write_text("new")
    assert (tmp_path / "made" / "deep" / "file").stat().st_ino in flushed


def test_a_folder_is_hidden_from_whom_its_user_hides_files(tmp_path):
    before = os.umask(0o077)
    try:
        fill(tmp_path / "made", "new")
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700


def killed(target, *arguments):
    """Call in another process, which is killed where it renames or replaces."""

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def run_and_die():
        with mock.patch.object(Path, "replace", die):
            target(*arguments)

    process = multiprocessing.get_context("fork").Process(target=run_and_die)
    process.start()
    process.join()
    return process.exitcode


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path):
    path, own = tmp_path / "a.csv", (".a.csv-mine.partial.csv", ".a-abcdefgh.csv", ".b.csv")
    for name in own:
        (tmp_path / name).write_text("mine")
    assert killed(write, path, "half") == -signal.SIGKILL
    (left,) = set(content(tmp_path)) - set(own)
    assert left.startswith(".a.csv-")
    assert left.endswith(".partial.csv")
    write(path, "whole")
    assert content(tmp_path) == {"a.csv": "whole", **dict.fromkeys(own, "mine")}


def test_what_another_still_writes_stays(tmp_path):
    path = tmp_path / "a.csv"
    with atomic_write(path) as temporary:
        temporary.write_text("slow")
        write(path, "quick")
        assert temporary.is_file()
    assert content(tmp_path) == {"a.csv": "slow"}


def test_leftovers_of_a_folder_go_with_its_next_writer(tmp_path):
    empty, full = tmp_path / ".made-abcdefgh.old", tmp_path / ".made-bcdefghi.old"
    half, other = tmp_path / ".made-abcdefgh.partial", tmp_path / ".made-2-abcdefgh.old"
    for folder in (empty, full, half, other):
        folder.mkdir()
    for folder in (half, full):
        (folder / "file").write_text("x")
    with sole_writer(tmp_path / "made"):
        fill(tmp_path / "made", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [other.name, full.name, "made"]


@pytest.mark.parametrize(
    ("path", "overwrite", "message"),
    [
        ("new.csv", False, None),
        ("old.csv", True, None),
        ("old.csv", False, r"out: .*old\.csv exists; pass overwrite=True to replace it"),
        ("new.txt", True, r"out must end in \.csv, \.tsv, got .*new\.txt"),
        ("folder.csv", True, r"out must be a file, got the folder .*folder\.csv"),
        ("none/new.csv", True, "out: no such folder: .*none"),
    ],
)
def test_where_a_file_may_be_written(tmp_path, path, overwrite, message):
    (tmp_path / "old.csv").write_text("old")
    (tmp_path / "folder.csv").mkdir()
    before = content(tmp_path)
    if message is None:
        may_write_file(tmp_path / path, overwrite, (".csv", ".tsv"))
    else:
        with pytest.raises(ValueError, match=message):
            may_write_file(tmp_path / path, overwrite, (".csv", ".tsv"))
    assert content(tmp_path) == before


@pytest.mark.parametrize(
    ("path", "overwrite", "beside", "message"),
    [
        ("new", False, False, None),
        ("empty", False, False, None),
        ("results", True, False, None),
        ("others", False, True, None),
        ("results", False, True, "out: .*results holds notes; pass overwrite=True to replace th"),
        ("others", True, False, "others holds something else than notes; name another folder"),
        ("file", True, True, "out must be a folder, got the file .*file"),
    ],
)
def test_where_a_folder_may_be_written(tmp_path, path, overwrite, beside, message):
    for name in ("empty", "results", "others"):
        (tmp_path / name).mkdir()
    for name in ("file", "results/notes", "others/thesis"):
        (tmp_path / name).write_text("x")

    def holds(folder):
        return (folder / "notes").exists()

    if message is None:
        may_write(tmp_path / path, overwrite, "notes", holds, beside)
        return
    with pytest.raises(ValueError, match=message):
        may_write(tmp_path / path, overwrite, "notes", holds, beside)


def test_a_link_stands_for_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to("disk/run")
    assert link_target(tmp_path / "link") == tmp_path / "disk" / "run"
    assert link_target(tmp_path / "plain") == tmp_path / "plain"


def test_who_holds_a_folder_may_ask_again_and_other_threads_may_not(tmp_path):
    found = []

    def other():
        try:
            with sole_writer(tmp_path / "run"):
                found.append("held")
        except ValueError as error:
            found.append(str(error))

    with sole_writer(tmp_path / "run"):
        with sole_writer(tmp_path / "run", "run_dir"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert found == [f"out: another process is writing to {tmp_path / 'run'}"]
    other()
    assert found[1:] == ["held"]
    assert not any(tmp_path.iterdir())
