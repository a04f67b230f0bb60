import pandas as pd
import pytest

pytest.importorskip("mudata")

from cmvae.files.labels import read_labels
from made_mudata import CELLS, RNA, N, write_mudata

pytestmark = pytest.mark.filterwarnings("ignore")  # of mudata's next version, of pandas' options


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_mudata(tmp_path_factory.mktemp("mudata") / "cells.h5mu")


def test_labels_come_from_obs_of_all_cells_or_of_a_modality(path):
    groups = read_labels(path, column="group")
    assert len(groups) == N
    assert groups["c04"] == "group 1"
    assert read_labels(path, column="donor").index.symmetric_difference(
        pd.Index(CELLS)
    ).tolist() == ["c05"]
    assert len(read_labels(path, column="rna:batch")) == RNA.sum()
    for column, message in (
        (None, r"name a column with column=NAME; \.obs has \['group', 'donor'"),
        ("kind", "no column 'k"),
    ):
        with pytest.raises(ValueError, match=message):
            read_labels(path, column=column)


def test_labels_come_from_a_table(tmp_path):
    (tmp_path / "one.csv").write_text("id,label\n007,1\n008,\n009,NA\n010,02\n")
    assert read_labels(tmp_path / "one.csv").to_dict() == {"007": "1", "010": "02"}
    (tmp_path / "two.tsv").write_text("kind\tname\tcell\nT\tx\ts1\nB\ty\ts2\n")
    two = read_labels(tmp_path / "two.tsv", "cell", "kind")
    assert two.to_dict() == {"s1": "T", "s2": "B"}


@pytest.mark.parametrize(
    ("name", "text", "column", "message"),
    [
        ("l.doc", "", None, r"labels must be a table \(\.csv, \.tsv, .*\), got .*l\.doc"),
        ("l.csv", "id,a,b\n1,2,3\n", None, r"name one with column=NAME: \['a', 'b'\]"),
        ("l.csv", "id,a\n1,2\n", "b", r"l\.csv: no column 'b'; it has \['a'\]"),
        ("l.csv", "id,a\n1,2\n1,3\n", None, r"l\.csv: duplicate ids: \['1'\]"),
    ],
)
def test_what_holds_no_labels_is_refused(tmp_path, name, text, column, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path / name, column=column)


def test_labels_that_are_bytes_are_read_in_any_encoding(tmp_path):
    pd.DataFrame({"id": ["p", "q"], "label": [b"one", b"\xff"]}).to_parquet(tmp_path / "l.parquet")
    assert read_labels(tmp_path / "l.parquet").tolist() == ["one", "\\xff"]
