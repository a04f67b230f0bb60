import numpy as np
import pandas as pd
import pytest

from cmvae.files.tables import TableFile
from cmvae.preprocessing import column_kinds

FRAME = pd.DataFrame({"key": ["007", "NA", "x y"], "a": [1.5, np.nan, 3.0], "b": ["u", "v", None]})


def written(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_ids_are_strings_and_parts_are_the_whole(tmp_path, suffix):
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        FRAME.to_parquet(path)
    else:
        FRAME.to_csv(path, index=False, sep="\t" if suffix == "tsv" else ",")
    source = TableFile(path, "t")
    assert (source.id_column, source.columns) == ("key", ["a", "b"])
    whole = source.read()
    assert whole.index.tolist() == ["007", "NA", "x y"]
    np.testing.assert_array_equal(whole["a"], FRAME["a"])
    assert whole["b"].tolist()[:2] == ["u", "v"]
    assert whole["b"].isna().tolist() == [False, False, True]
    parts = list(source.chunks(2))
    assert [ids for ids, _ in parts] == [["007", "NA"], ["x y"]]
    pd.testing.assert_frame_equal(
        pd.concat([part for _, part in parts]), whole, check_dtype=False, check_index_type=False
    )


def test_the_id_column_can_be_named(tmp_path):
    path = written(tmp_path, "t.csv", "a,key\n1,s1\n2,s2\n")
    assert TableFile(path, "t", "key").read().index.tolist() == ["s1", "s2"]
    assert TableFile(path, "t").read().index.tolist() == ["1", "2"]


def test_an_index_without_a_name_is_the_id(tmp_path):
    FRAME[["a", "b"]].set_index(pd.Index(["s1", "02", "s3"])).to_csv(tmp_path / "t.csv")
    source = TableFile(tmp_path / "t.csv", "t")
    assert source.columns == ["a", "b"]
    assert source.read().index.tolist() == ["s1", "02", "s3"]
    assert next(source.chunks(2))[0] == ["s1", "02"]
    path = written(tmp_path, "u.csv", "id,,a\ns1,1,2\ns2,3,4\n")
    assert TableFile(path, "t").read().to_numpy().tolist() == [[1, 2], [3, 4]]


def test_a_stored_index_of_parquet_is_the_id(tmp_path):
    values = pd.DataFrame({"a": [1.0, 2.0], "b": [3, 4]})
    values.set_index(pd.Index([11, 12])).to_parquet(tmp_path / "plain.parquet")
    values.set_index(pd.Index(["p", "q"], name="cell")).to_parquet(tmp_path / "named.parquet")
    values.to_parquet(tmp_path / "none.parquet")
    assert TableFile(tmp_path / "plain.parquet", "t").read().index.tolist() == ["11", "12"]
    named = TableFile(tmp_path / "named.parquet", "t")
    assert (named.id_column, named.columns, named.read().index.tolist()) == (
        "cell",
        ["a", "b"],
        ["p", "q"],
    )
    assert TableFile(tmp_path / "named.parquet", "t", "b").read().index.tolist() == ["3", "4"]
    assert TableFile(tmp_path / "none.parquet", "t").columns == ["b"]
    assert [ids for ids, _ in TableFile(tmp_path / "plain.parquet", "t").chunks(1)] == [
        ["11"],
        ["12"],
    ]
    assert TableFile(tmp_path / "plain.parquet", "t").columns == ["a", "b"]
    assert TableFile(tmp_path / "plain.parquet", "t", "b").read().index.tolist() == ["3", "4"]
    values.set_index(pd.Index([7, 3], name="n")).to_parquet(tmp_path / "uneven.parquet")
    assert TableFile(tmp_path / "uneven.parquet", "t", "n").read().index.tolist() == ["7", "3"]


@pytest.mark.parametrize("values", [[2, 0, 2], [0.5, 1.5, 0.5], [True, False, True], list("bab")])
def test_categories_of_parquet_stay_categories(tmp_path, values):
    frame = pd.DataFrame({"g": pd.Categorical(values), "x": [1.0, 2.0, 3.0]}, index=list("pqr"))
    frame.to_parquet(tmp_path / "t.parquet")
    found = TableFile(tmp_path / "t.parquet", "t").read()
    assert column_kinds(found) == column_kinds(frame) == ["category", "continuous"]
    assert found["g"].tolist() == values


def test_columns_can_be_said_to_be_texts(tmp_path):
    path = written(tmp_path, "t.csv", "id,code,n\ns1,007,1\ns2,08,2\n")
    ((_, plain),) = TableFile(path, "t").chunks(9)
    ((_, texts),) = TableFile(path, "t").chunks(9, texts=["code"])
    assert plain["code"].tolist() == [7, 8]
    assert texts["code"].tolist() == ["007", "08"]
    assert texts["n"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "the file is empty"),
        ("t.csv", "id,a,a\ns1,1,2\n", r"columns \['a'\] occur more than once"),
        ("t.csv", "a,b\ns1,1,2\n", r"every row has 3 cells, .*, but the header .* has 2"),
        ("t.csv", "id,a\ns1,1\ns2,1,5\n", "row 2 after the header has 3 cells, the header 2"),
        ("t.csv", "id,a\n,1\ns1,2\n", r"1 rows have no id, the first \[0\]"),
        ("t.csv", "id\ns1\n", "no columns beside the ids"),
        ("t.parquet", "PAR", "not a readable .parquet table"),
    ],
)
def test_bad_tables_are_named(tmp_path, name, text, message):
    path = written(tmp_path, name, text)
    with pytest.raises(ValueError, match=message) as caught:
        TableFile(path, "m").read()
    assert "'m'" in str(caught.value)
    assert name in str(caught.value)
