import bz2
import gzip
import lzma
import math
import time
import zipfile

import numpy as np
import pandas as pd
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.files.source import ReadingError, unchanged
from cmvae.files.tables import TableFile, read_column
from cmvae.preprocessing import Preprocessing

IDS = ["s1", "s2", "s3"]


def table(folder, text, name="t.csv", encoding="utf-8", **options):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return TableFile(path, "m", options.pop("id", None), ModalityFile(**options))


def read(folder, text, **options):
    """Return the columns of a table, which in parts is the same."""
    source = table(folder, text, **options)
    whole = source.read()
    texts = [name for name, own in whole.items() if pd.api.types.infer_dtype(own) == "string"]
    parts = [part for _, part in source.chunks(2, texts=texts)]
    pd.testing.assert_frame_equal(
        pd.concat(parts), whole, check_dtype=False, check_index_type=False
    )
    return whole.to_dict("list")


def lines(rows, sign=","):
    return "\n".join(sign.join(row) for row in rows) + "\n"


@pytest.mark.parametrize(("word", "sign"), [("semicolon", ";"), ("tab", "\t"), ("pipe", "|")])
@pytest.mark.parametrize("decimal", [".", ","])
def test_what_pandas_writes_is_read(tmp_path, word, sign, decimal):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=30), "b": rng.integers(0, 9, 30), "c": "x, y; z"})
    frame.index = [f"s{i}" for i in range(30)]
    frame.to_csv(tmp_path / "t.csv", sep=sign, decimal=decimal)
    source = TableFile(tmp_path / "t.csv", "m")
    pd.testing.assert_frame_equal(source.read(), frame, check_dtype=False, check_index_type=False)
    assert source.reading["delimiter"] == word
    assert source.reading["decimal"] == {".": "point", ",": "comma"}[decimal]
    assert f"{word}s between cells" in source.notes
    assert ("decimal comma in a" in source.notes) == (decimal == ",")


@pytest.mark.parametrize("sign", [" ", ";", "\t"])
def test_what_r_writes_is_read(tmp_path, sign):
    rows = [['"s1"', "1.5", '"x y"'], ['"s2"', "2.5", '"z"'], ['"s3"', "NA", '"z"']]
    source = table(tmp_path, lines([['"a"', '"b"'], *rows], sign), "t.txt")
    assert source.id_column == "row names"
    found = source.read()
    assert (found.index.tolist(), list(found)) == (IDS, ["a", "b"])
    assert found["a"].tolist()[:2] == [1.5, 2.5]
    assert found["b"].tolist() == ["x y", "z", "z"]
    assert any("no cell for the first column" in note for note in source.notes)
    source = table(tmp_path, lines([['""', '"a"', '"b"'], *rows]))
    assert (source.columns, source.notes) == (["a", "b"], [])


@pytest.mark.parametrize("first", ["id", "nr", "Sample"])
def test_decimal_commas_without_quotes_are_no_names_of_rows(tmp_path, first):
    text = f"{first},a\ns1,1,5\ns2,2,5\n"
    with pytest.raises(ValueError, match=r"every row has 3 cells, with commas .* header .* has 2"):
        table(tmp_path, text)
    with pytest.raises(ValueError, match=r"row 1 after the header has 5 cells, the header 3"):
        table(tmp_path, f"{first},a,b\ns1,1,5,2,5\n")


def test_lines_and_columns_that_hold_nothing_are_passed_over(tmp_path):
    text = "# made by x\n# on y\n\nid;a;b;;\ns1;1;2;;\ns2;3;4;;\n"
    source = table(tmp_path, text)
    assert source.read().to_dict("list") == {"a": [1, 3], "b": [2, 4]}
    assert source.notes[-2:] == [
        "2 lines before the header passed over",
        "2 columns without name and cells passed over",
    ]
    assert read(tmp_path, "sep=;\nid;a\ns1;1\ns2;2\n") == {"a": [1, 2]}
    assert read(tmp_path, "#id,a\ns1,1\n") == {"a": [1]}
    long = "id,a,\n" + "".join(f"s{i},1,\n" for i in range(6000)) + "z,1,found\n"
    with pytest.raises(ValueError, match=r"'m', .*column 3 has no name, and a cell in row 6001"):
        table(tmp_path, long).read()


@pytest.mark.parametrize(
    ("cells", "numbers", "notes"),
    [
        (["1.234,50", "12.345,00", "7"], [1234.5, 12345, 7], ["points between thousands"]),
        (["1'234.50", "12’345.1", "7"], [1234.5, 12345.1, 7], ["apostrophes between thousands"]),
        (["1 234,50", "12\u202f345", "\u00a07"], [1234.5, 12345, 7], ["blanks between thousands"]),
        (["1,234.5", "12,345", "7"], [1234.5, 12345, 7], ["commas between thousands"]),
        (["12,34,567.5", "1,00,000", "7"], [1234567.5, 100000, 7], ["commas between thousands"]),
        (["1,5e-3", "2,5E+3", "-,5"], [0.0015, 2500, -0.5], ["decimal comma"]),
        (["0,125", "1,250", "2"], [0.125, 1.25, 2], ["decimal comma"]),
        (["12 %", "3.5%", "0"], [12, 3.5, 0], ["% taken off"]),
        (["$3.20", "$1,234", "(12.5)"], [3.2, 1234, -12.5], ["$ taken off"]),
        (["€ 4,50", "12,75 €", "-€1,1"], [4.5, 12.75, -1.1], ["€ taken off"]),
        (["CHF 4.5", "2", "5.-".strip("-")], [4.5, 2, 5], ["CHF taken off"]),
        (["−4.5", "12-", " +3 "], [-4.5, -12, 3], []),
        (["1.5", "#DIV/0!", " NA "], [1.5, math.nan, math.nan], []),
    ],
)
@pytest.mark.parametrize("ending", ["csv", "xlsx"])
def test_numbers_as_people_write_them(tmp_path, cells, numbers, notes, ending):
    pytest.importorskip("openpyxl")
    frame = pd.DataFrame({"a": cells, "b": "x"}, index=IDS)
    if ending == "csv":
        frame.to_csv(tmp_path / "t.csv", sep=";")
    else:
        frame.to_excel(tmp_path / "t.xlsx")
    source = TableFile(tmp_path / f"t.{ending}", "m")
    np.testing.assert_allclose(source.read()["a"].to_numpy(dtype=float), numbers, rtol=1e-12)
    parts = pd.concat([part for _, part in source.chunks(1)])
    np.testing.assert_allclose(parts["a"].to_numpy(dtype=float), numbers, rtol=1e-12)
    for note in notes:
        assert any(note in own and own.endswith("in a") for own in source.notes)


@pytest.mark.parametrize(
    ("rows", "sign", "word"),
    [
        ([["s1", "1,234"], ["s2", "2,345"]], ";", "comma"),
        ([["s1", '"1,234"'], ["s2", '"950"']], ",", "comma"),
        ([["s1", "1.234"], ["s2", "2.345"]], ";", "point"),
        ([["s1", "950"], ["s2", "-12.500"]], ";", "point"),
        ([["s1", "5,250 %"], ["s2", "2,345 %"]], ";", "comma"),
    ],
)
def test_two_readings_of_a_number_are_refused_and_can_be_said(tmp_path, rows, sign, word):
    text = lines([["id", "a"], *rows], sign)
    with pytest.raises(ReadingError, match=r"'m', .*t\.csv: column 'a' holds .* may be") as caught:
        table(tmp_path, text).read()
    assert caught.value.options == [f"decimal={word}", f"thousands={word}"]
    mark = {"comma": ",", "point": "."}[word]
    plain = [row[1].strip('"% ') for row in rows]
    as_decimal = [float(cell.replace(mark, ".")) for cell in plain]
    as_thousands = [float(cell.replace(mark, "")) for cell in plain]
    assert read(tmp_path, text, decimal=word)["a"] == as_decimal
    assert read(tmp_path, text, thousands=word)["a"] == as_thousands
    # Nobody asks for it where the column is no number.
    assert table(tmp_path, text, kinds={"a": "category"}).read().shape == (2, 1)


@pytest.mark.parametrize(
    ("other", "expected"), [("0,5", 1.234), ("0.5", 1234), ("1.234,5", 1.234), ("9,876.5", 1234)]
)
def test_other_columns_tell_how_numbers_are_written(tmp_path, other, expected):
    text = lines([["id", "a", "b"], ["s1", "1,234", other], ["s2", "2,345", other]], ";")
    assert read(tmp_path, text)["a"] == pytest.approx([expected, expected / 1234 * 2345])


@pytest.mark.parametrize("odd", ['"3,5"', '"2.345,5"', "12%"])
def test_numbers_written_in_two_ways_are_refused_wherever_they_come(tmp_path, odd):
    for before in (3, 9000):
        rows = "".join(f"s{i},{i}.5\n" for i in range(before))
        source = table(tmp_path, f"id,a\n{rows}z,{odd}\n")
        message = rf"column 'a' holds .* first in row {before + 1}, beside numbers such as"
        for parts in (lambda s: [s.read()], lambda s: list(s.chunks(4000))):
            with pytest.raises(ValueError, match=message):
                parts(source)


def test_currencies_are_not_mixed(tmp_path):
    with pytest.raises(ValueError, match=r"column 'a' holds \['€2'\].*written in two ways"):
        read(tmp_path, "id,a\ns1,$1\ns2,$3\ns3,€2\n")


def test_text_among_numbers_stays_for_who_knows_the_kinds(tmp_path):
    found = read(tmp_path, 'id,a\ns1,"1,5"\ns2,"2,5"\ns3,n.d.\n')
    assert found == {"a": [1.5, 2.5, "n.d."]}
    kept = read(tmp_path, 'id,a\ns1,"1,5"\ns2,"2,5"\ns3,n.d.\n', kinds={"a": "category"})
    assert kept == {"a": ["1,5", "2,5", "n.d."]}


def test_codes_keep_their_zeros(tmp_path):
    text = "id,zip,n\ns1,01234,1\ns2,80331,2\n"
    source = table(tmp_path, text)
    assert source.read()["zip"].tolist() == ["01234", "80331"]
    assert source.notes == ["kept as text for the zeros in front: zip"]
    assert table(tmp_path, text, kinds={"zip": "count"}).read()["zip"].tolist() == [1234, 80331]


def test_margins_of_texts_do_not_count(tmp_path):
    assert read(tmp_path, "id,a\ns1,red\ns2, red\ns3,blue \n") == {"a": ["red", "red", "blue"]}


WESTERN = "id;größe;name\ns1;1,5;Müller – 5 €\ns2;2,5;Café “à la”, 3 m², 20 °C, Noël\n"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_the_bytes_tell_the_encoding(tmp_path, encoding):
    source = table(tmp_path, WESTERN, encoding=encoding)
    found = source.read()
    assert found["größe"].tolist() == [1.5, 2.5]
    assert found["name"].tolist()[0] == "Müller – 5 €"
    shown = "utf-8" if encoding.startswith("utf-8") else encoding
    assert source.reading["encoding"] == shown
    assert (f"encoding {shown}" in source.notes) == (shown != "utf-8")


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1250", "Łódź, Gdańsk"),
        ("cp1251", "Москва"),
        ("mac_roman", "Müller, Café"),
        ("cp850", "Größe, Müller"),
        ("shift_jis", "東京都"),
        ("gb18030", "北京市"),
        ("iso-8859-15", "5 € und mehr"),
        ("cp1253", "Αθήνα"),
    ],
)
def test_other_encodings_are_refused_and_can_be_said(tmp_path, encoding, text):
    text = f'id,name\ns1,"{text}"\ns2,x\n'
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    with pytest.raises(ReadingError, match=r"'m', .*t\.csv: the text is not UTF-8 \(byte 0x"):
        TableFile(tmp_path / "t.csv", "m")
    said = TableFile(tmp_path / "t.csv", "m", options=ModalityFile(encoding=encoding))
    assert said.read()["name"].tolist()[0] == text.split('"')[1]


def test_an_encoding_that_does_not_fit_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(("id,a\n" + "s,1\n" * 9000 + "é,1\n").encode("cp1252"))
    with pytest.raises(ReadingError, match=r"'m', .*is not utf-8 throughout"):
        TableFile(tmp_path / "t.csv", "m", options=ModalityFile(encoding="utf-8")).read()
    with pytest.raises(ValueError, match="unknown encoding 'latin99'"):
        TableFile(tmp_path / "t.csv", "m", options=ModalityFile(encoding="latin99"))
    # The first byte that is not of it comes late, and all of the file is read with it.
    assert TableFile(tmp_path / "t.csv", "m").reading["encoding"] == "cp1252"


@pytest.mark.parametrize("ending", ["gz", "bz2", "xz", "zip", "GZ"])
def test_packed_texts_are_read(tmp_path, ending):
    text, path = b"id,a\ns1,1\ns2,2\n", tmp_path / f"t.CSV.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("t.csv", text)
    else:
        pack = {"gz": gzip, "bz2": bz2, "xz": lzma}[ending.lower()]
        path.write_bytes(pack.compress(text))
    assert TableFile(path, "m").read()["a"].tolist() == [1, 2]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"'m', .*t\.CSV\..*: not a readable table"):
        TableFile(path, "m").read()


def test_a_zip_of_several_files_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
        file.writestr("a.csv", "id,a\n")
        file.writestr("b.csv", "id,a\n")
    with pytest.raises(ValueError, match=r"'m', .*it holds 2 files, expected one"):
        TableFile(tmp_path / "t.zip", "m")


def test_a_zip_of_macos_holds_one_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as file:
        file.writestr("t.csv", "id,a\ns1,1\ns2,2\n")
        file.writestr("__MACOSX/._t.csv", b"\0\5\x16\7")
    assert TableFile(tmp_path / "t.csv.zip", "m").read()["a"].tolist() == [1, 2]


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n"])
def test_line_ends_do_not_matter(tmp_path, end):
    text = 'id,a\ns1,"x, y"\ns2,z\n'.replace("\n", end)
    assert read(tmp_path, text) == {"a": ["x, y", "z"]}


def test_two_delimiters_are_refused_and_can_be_said(tmp_path):
    text = "id,x;y,z\ns1,1;2,3\ns2,3;4,4\n"
    with pytest.raises(ReadingError, match=r"separated by ',', ';'") as caught:
        table(tmp_path, text)
    assert caught.value.options == ["delimiter=comma", "delimiter=semicolon"]
    assert list(table(tmp_path, text, delimiter="comma").read()) == ["x;y", "z"]
    assert list(table(tmp_path, text, delimiter=";").read()) == ["y,z"]


def test_a_file_that_changes_is_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,a\ns1,1\n")
    with unchanged({"m": str(path), "none": None}):
        pass
    with (
        pytest.raises(ValueError, match=r"modality 'm': .*t\.csv changed while it was read"),
        unchanged({"m": str(path)}),
    ):
        path.write_text("id,a\ns1,1\ns2,2\n")


def test_a_change_is_told_before_what_comes_of_it(tmp_path):
    def broken():
        with unchanged({"m": str(tmp_path)}):
            (tmp_path / "new.png").write_bytes(b"x")
            raise KeyError("what comes of it")

    with pytest.raises(ValueError, match="changed while it was read"):
        broken()


@pytest.mark.parametrize("sign", [",", ";", " "])
@pytest.mark.parametrize("short", ["s8999,3", "z"])
def test_short_rows_are_refused_wherever_they_come(tmp_path, sign, short):
    rows = "".join(f"s{i},{i % 7}.5,{i % 9}.5\n" for i in range(8999))
    text = f"id,a,b\n{rows}{short}\n".replace(",", sign)
    source = table(tmp_path, text)
    for read_all in (source.read, lambda: list(source.chunks(5000))):
        with pytest.raises(ValueError, match=r"'m', .*row 9000 after the header has \d cell"):
            read_all()


def test_empty_cells_at_the_end_are_no_short_rows(tmp_path):
    rows = "".join(f's{i},"{i % 7}.5\n",{i % 9}.5\n' for i in range(8999))
    values = table(tmp_path, f"id,a,b\n{rows}\nz,1,\n").read()["b"]
    assert math.isnan(values.iloc[-1])
    assert values.isna().sum() == 1


@pytest.mark.parametrize("sign", ["ab", '"'])
def test_a_delimiter_is_one_sign(tmp_path, sign):
    with pytest.raises(ValueError, match=r"'m', .*delimiter must be comma, .* or one sign, got"):
        table(tmp_path, "id,a\ns1,1\n", delimiter=sign)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_letters_with_a_zero_byte_are_utf_16_too(tmp_path, encoding):
    rows = "".join(f"s{i},\u0100\u4e00,{i}.5\n" for i in range(9))
    source = table(tmp_path, f"id,\u0100,b\n{rows}", encoding=encoding)
    assert source.reading["encoding"] == encoding
    assert source.columns == ["\u0100", "b"]


def test_zero_bytes_are_refused_by_name(tmp_path):
    with pytest.raises(ReadingError, match=r"'m', .*zero bytes") as caught:
        table(tmp_path, "id,a\ns1,1\n", encoding="utf-32-le")
    assert caught.value.options == ["encoding=utf-16-le", "encoding=utf-16-be"]


def test_thousands_may_come_late(tmp_path):
    rows = "".join(f"s{i},{i % 900}.5\n" for i in range(9000))
    source = table(tmp_path, f'id,a\n{rows}z,"2,345.5"\n')
    assert source.read()["a"].tolist()[-2:] == [899.5, 2345.5]
    assert [part["a"].tolist()[-1] for _, part in source.chunks(5000)] == [499.5, 2345.5]


def test_parentheses_are_shown(tmp_path):
    source = table(tmp_path, "id,a,b\ns1,(3),1\ns2,4,2\n")
    assert source.notes == ["parentheses say below zero in a"]
    assert source.read()["a"].tolist() == [-3, 4]


def test_the_first_thousands_are_read_as_the_other_columns_say(tmp_path):
    rows = "".join(f"s{i};{i % 900};{i % 7},5\n" for i in range(6000))
    source = table(tmp_path, f"id;a;b\n{rows}y;1.234;1,5\nz;2.345;2,5\n")
    assert source.read()["a"].tolist()[-3:] == [599, 1234, 2345]
    assert [part["a"].iloc[-1] for _, part in source.chunks(4000)] == [399, 2345]


@pytest.mark.parametrize(
    "text", ['id,a\ns1,"x\ns2,y\n', "id;a;a\ns1;1;2\n", "id,a\ns1,1\ns2,1,2\n"]
)
def test_no_inner_words_of_a_parser(tmp_path, text):
    with pytest.raises(ValueError, match=r"'m', .*t\.csv: ") as caught:
        table(tmp_path, text).read()
    said = str(caught.value)
    assert not any(word in said for word in ("C error", "tokeniz", "pandas", "fields", "codec"))


def test_twenty_thousand_columns_take_seconds(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(40, 20_000)).round(3)
    frame = pd.DataFrame(numbers, [f"s{i}" for i in range(40)], [f"g{i}" for i in range(20_000)])
    frame.to_csv(tmp_path / "t.csv")
    start = time.process_time()
    table = TableFile(tmp_path / "t.csv", "m").read()
    codec = Preprocessing.learn({"m": table}).codecs["m"]
    assert time.process_time() - start < 20  # what other work the machine has does not count
    assert len(codec.names) == 20_000
    np.testing.assert_array_equal(table.to_numpy(), numbers)


def test_labels_are_in_any_text_too(tmp_path):
    (tmp_path / "l.CSV").write_bytes("nr;klasse\n1;groß\n2;klein\n".encode("cp1252"))
    assert read_column(tmp_path / "l.CSV", "labels").to_dict() == {"1": "groß", "2": "klein"}
    (tmp_path / "l.CSV").write_bytes("nr;klasse\n1;Москва\n".encode("cp1251"))
    with pytest.raises(ValueError, match=r"'labels', .*or save it in UTF-8") as caught:
        read_column(tmp_path / "l.CSV", "labels")
    assert not isinstance(caught.value, ReadingError)


def test_names_of_rows_beside_decimal_commas(tmp_path):
    text = '"a";"b"\n"s1";1,5;"x"\n"s2";2,25;"y"\n'
    source = table(tmp_path, text)
    assert source.read().to_dict("list") == {"a": [1.5, 2.25], "b": ["x", "y"]}
    assert source.read().index.tolist() == ["s1", "s2"]


def test_a_column_written_unlike_the_others_is_so_in_every_part(tmp_path):
    rows = [["s1", "1.234,5", "0.5", "7.25"], ["s2", "2.345", "0.5", "7.5"]]
    source = table(tmp_path, lines([["id", "a", "b", "c"], *rows], ";"))
    assert source.read()["a"].tolist() == [1234.5, 2345]
    assert [part["a"].tolist() for _, part in source.chunks(1)] == [[1234.5], [2345]]
    assert source.read()["b"].tolist() == [0.5, 0.5]
