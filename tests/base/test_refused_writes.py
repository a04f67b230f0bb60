"""Whatever writes, and however it hides it: the file is named, and that the disk is full."""

import errno

import numpy as np
import pytest
import torch

from cmvae.base.files import atomic_folder, atomic_write
from cmvae.base.refused_writes import naming, reserve, words_of

NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def hidden():
    try:
        raise NO_ROOM
    except OSError:
        raise RuntimeError("unexpected pos 704 vs 598")  # noqa: B904 - as PyTorch does


def told():
    raise ValueError("Error while serializing: No space left on device (os error 28)")


def plain():
    raise NO_ROOM


def full_disk(_):
    return type("Usage", (), {"free": 0})


@pytest.mark.parametrize("fail", [hidden, told, plain])
def test_a_full_disk_is_found_and_the_file_named(tmp_path, fail):
    with pytest.raises(OSError, match="No space left") as caught, atomic_write(tmp_path / "a.csv"):
        fail()
    assert words_of(caught.value) == f"{tmp_path / 'a.csv'}: the disk is full"
    assert list(tmp_path.iterdir()) == []


def test_what_numpy_says_of_a_full_disk_is_understood(tmp_path, monkeypatch):
    def short():
        raise OSError("100000 requested and 25568 written")

    with pytest.raises(OSError, match="25568 written"), naming(tmp_path / "a.npy"):
        short()
    monkeypatch.setattr("shutil.disk_usage", full_disk)
    with pytest.raises(OSError, match="No space left"), naming(tmp_path / "a.npy"):
        short()


def test_temporary_names_are_not_shown(tmp_path):
    with (
        pytest.raises(OSError, match="No space left") as caught,
        atomic_write(tmp_path / "a") as own,
    ):
        raise OSError(errno.ENOSPC, "No space left on device", str(own))
    assert caught.value.filename == str(tmp_path / "a")
    with (
        pytest.raises(OSError, match="No space left") as caught,
        atomic_folder(tmp_path / "made") as folder,
        atomic_write(folder / "b.csv"),
    ):
        raise NO_ROOM
    assert caught.value.filename == str(tmp_path / "made" / "b.csv")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("column 'a'"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "input.csv"),
        OSError("another"),
    ],
)
def test_other_errors_are_as_they_were(tmp_path, error):
    with pytest.raises(type(error)) as caught, atomic_write(tmp_path / "a.csv"):
        raise error
    assert caught.value is error


def test_a_file_that_is_moved_is_named_with_where_to():
    moved = OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b")
    assert words_of(moved) == "a -> b: Invalid cross-device link"


def test_reserved_room_is_zeros_after_what_is_there(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"xy")
    reserve(path, (1 << 20) + 5)
    assert path.read_bytes() == b"xy" + bytes((1 << 20) + 5)


def test_a_file_that_may_not_grow_is_named_by_pytorch_and_numpy(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    values = np.zeros(50000)
    for save in (lambda f: torch.save(torch.from_numpy(values), f), lambda f: f.write(values)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, before[1]))
        try:
            with (
                pytest.raises(OSError, match="too large") as caught,
                atomic_write(tmp_path / "a.pt") as own,
                own.open("wb") as file,
            ):
                save(file)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert words_of(caught.value) == f"{tmp_path / 'a.pt'}: File too large"
