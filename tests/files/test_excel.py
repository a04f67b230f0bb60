import datetime
import time

import numpy as np
import pandas as pd
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.files.source import ReadingError
from cmvae.files.tables import TableFile, read_column

openpyxl = pytest.importorskip("openpyxl")


def book(path, **sheets):
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return path


ROWS = [["id", "a", "b", "when"], ["s1", 1.5, "x", datetime.date(2020, 1, 2)]]
ROWS += [["s2", "2.5", " y ", datetime.date(2021, 1, 2)], [7, None, "NA", None]]


def test_a_sheet_is_a_table(tmp_path):
    source = TableFile(book(tmp_path / "t.XLSX", one=ROWS, empty=[]), "m")
    table = source.read()
    assert table.index.tolist() == ["s1", "s2", "7"]
    np.testing.assert_array_equal(table["a"].to_numpy(dtype=float), [1.5, 2.5, np.nan])
    assert table["b"].tolist()[:2] == ["x", "y"]
    assert table["b"].isna().tolist() == [False, False, True]
    assert table["when"].tolist()[0] == pd.Timestamp(2020, 1, 2)
    assert source.notes == ["1 empty sheet passed over"]
    assert source.reading == {"format": "xlsx", "sheet": "one"}
    parts = [ids for ids, _ in source.chunks(2)]
    assert parts == [["s1", "s2"], ["7"]]
    assert read_column(tmp_path / "t.XLSX", "labels", column="b").tolist() == ["x", "y"]


def test_several_sheets_are_refused_and_can_be_said(tmp_path):
    path = book(tmp_path / "t.xlsx", one=ROWS, two=[["id", "z"], ["s1", 4]])
    with pytest.raises(ReadingError, match=r"'m', .*2 sheets with cells, 'one', 'two'") as caught:
        TableFile(path, "m")
    assert caught.value.options == ["sheet=one", "sheet=two"]
    said = TableFile(path, "m", options=ModalityFile(sheet="two"))
    assert said.read()["z"].tolist() == [4]
    with pytest.raises(ValueError, match="no sheet 'three'; there are 'one', 'two'"):
        TableFile(path, "m", options=ModalityFile(sheet="three"))


def test_rows_and_columns_without_cells_are_passed_over(tmp_path):
    rows = [[], ["id", "a", None], [], ["s1", 1], ["s2", 2]]
    source = TableFile(book(tmp_path / "t.xlsx", one=rows), "m")
    assert source.columns == ["a"]
    assert source.read()["a"].tolist() == [1, 2]


def test_a_far_cell_is_told_at_once(tmp_path):
    path, made = tmp_path / "t.xlsx", openpyxl.Workbook()
    for row in (["id", "a"], ["s1", 1], ["s2", 2]):
        made.active.append(row)
    made.active["XFD1048576"] = "stray"
    made.save(path)
    begin = time.process_time()
    with pytest.raises(ValueError, match=r"t\.xlsx: 1 rows have no id, the first \[2\]"):
        TableFile(path, "m").read()
    assert time.process_time() - begin < 60


def test_rows_may_lack_their_last_cells(tmp_path):
    def written(*rows):
        made = openpyxl.Workbook(write_only=True)  # without the size of the sheet
        sheet = made.create_sheet("one")
        for row in rows:
            sheet.append(row)
        made.save(tmp_path / "t.xlsx")
        return TableFile(tmp_path / "t.xlsx", "m")

    rows = [["id", "a", "b"], ["s1", 1.5, 3.5], ["s2"], ["s3", 2.5]]
    table = written(*rows).read()
    np.testing.assert_array_equal(table["a"], [1.5, np.nan, 2.5])
    np.testing.assert_array_equal(table["b"], [3.5, np.nan, np.nan])
    with pytest.raises(ValueError, match=r"t\.xlsx: row 4 after the header has more cells"):
        written(*rows, ["s4", 1.5, 2.5, 3.5])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 none"])
def test_what_is_no_workbook_is_named(tmp_path, content):
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(ValueError, match=r"'m', .*t\.xlsx: not an \.xlsx file that can be read"):
        TableFile(tmp_path / "t.xlsx", "m")
    book(tmp_path / "t.xlsx", one=[])
    with pytest.raises(ValueError, match="its sheets are empty"):
        TableFile(tmp_path / "t.xlsx", "m")
