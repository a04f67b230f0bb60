import gzip
import zipfile

import pytest

from cmvae.base.unpacking import FACTOR, FREE, bounded, check_archive, check_unpacked


def test_a_file_may_hold_so_many_times_its_size(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 1000)
    check_unpacked(FREE, path)
    with pytest.raises(ValueError, match=f"{path} holds more than {FACTOR} times"):
        check_unpacked(FREE + 1, path)
    check_unpacked(1000 * FACTOR, path, free=0)
    with pytest.raises(ValueError, match="unpack it first"):
        check_unpacked(1000 * FACTOR + 1, path, free=0)


def test_a_bomb_is_refused_while_it_is_unpacked(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"\0" * (FREE + (1 << 21))))
    with gzip.open(path) as file, bounded(file, path) as counted:
        assert counted.read(5) == b"\0" * 5
        with pytest.raises(ValueError, match=r"a\.gz holds more than"):
            counted.read()
        assert file.tell() <= FREE + (1 << 20)


def test_what_is_unpacked_is_what_was_packed(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n" * 1000))
    with gzip.open(path) as file, bounded(file, path) as counted:
        assert counted.readline() == b"one\n"
        counted.seek(0)
        assert counted.read() == b"one\ntwo\n" * 1000


def test_an_archive_is_judged_by_the_members_that_are_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small", b"x")
        archive.writestr("large", b"\0" * (FREE + 1))
        check_archive(archive, path, ["small"])
        with pytest.raises(ValueError, match=r"a\.zip holds more"):
            check_archive(archive, path)
