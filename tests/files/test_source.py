import numpy as np
import pytest

from cmvae.files import open_source
from cmvae.files.modality import ModalityFile
from cmvae.files.source import checked_ids


def test_bytes_are_read_as_text():
    assert checked_ids(np.array([b"s1", b"s\xc3\xa9"]), "here") == ["s1", "s\u00e9"]
    assert checked_ids([1, 2], "here") == ["1", "2"]


@pytest.mark.parametrize("blank", ["", " ", "\u00a0", "\ufeff", None, np.nan])
def test_an_id_that_cannot_be_seen_is_none(blank):
    with pytest.raises(ValueError, match=r"here: 1 rows have no id, the first \[11\]"):
        checked_ids(["s1", blank], "here", 10)


def test_ids_are_those_of_all_rows_and_are_numbers_where_there_are_none(tmp_path):
    np.save(tmp_path / "rows.npy", np.ones((3, 2)))
    np.savez(tmp_path / "named.npz", x=np.ones((2, 2)), ids=np.array([b"s1", b"s2"]))
    (tmp_path / "ids.txt").write_bytes(b"\xef\xbb\xbfs1\r\ns2\r\ns3\r\n")
    (tmp_path / "plain.csv").write_text(",x\n0,1\n1,2\n")
    (tmp_path / "named.csv").write_text("id,x\n0,1\n1,2\n")
    given = {
        ("rows.npy", None): (["0", "1", "2"], True),
        ("rows.npy", "ids.txt"): (["s1", "s2", "s3"], False),
        ("named.npz", None): (["s1", "s2"], False),
        ("plain.csv", None): (["0", "1"], True),
        ("named.csv", None): (["0", "1"], False),
    }
    for (name, ids), wanted in given.items():
        path, lines = str(tmp_path / name), ids and str(tmp_path / ids)
        source = open_source("a", ModalityFile(path=path, ids=lines))
        assert (source.ids(), source.is_numbered) == wanted


def test_a_packed_text_by_one_ending_is_told_of_both(tmp_path):
    (tmp_path / "t.zip").write_bytes(b"PK")
    file = ModalityFile(path=str(tmp_path / "t.zip"))
    with pytest.raises(
        ValueError, match=r"'m': .*; a packed text has both endings, as t\.csv\.zip"
    ):
        open_source("m", file)
