import numpy as np
import pandas as pd
import pyarrow
import pytest

from cmvae.files.tables import TableFile

FRAME = pd.DataFrame({"key": ["007", "NA", "x"], "a": [1.5, np.nan, 3.0], "b": ["NA", "v", None]})


def written(path, frame):
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".feather":
        frame.to_feather(path)
    else:
        with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return path


@pytest.mark.parametrize("ending", ["parquet", "feather", "arrow"])
def test_columns_have_the_types_that_the_file_says(tmp_path, ending):
    source = TableFile(written(tmp_path / f"t.{ending}", FRAME), "m")
    table = source.read()
    assert table.index.tolist() == ["007", "NA", "x"]
    assert table["b"].tolist()[:2] == ["NA", "v"]  # what is missing is so in the file
    assert [ids for ids, _ in source.chunks(1)] == [["007"], ["NA"], ["x"]]
    (tmp_path / f"t.{ending}").write_bytes(b"none")
    with pytest.raises(ValueError, match=rf"'m', .*not a readable \.{ending} table"):
        TableFile(tmp_path / f"t.{ending}", "m")


@pytest.mark.parametrize("ending", ["parquet", "feather", "arrow"])
def test_numbers_in_texts_are_numbers_and_whole_ones_codes(tmp_path, ending):
    frame = pd.DataFrame({"id": ["p", "q"], "a": ["1,5", "2,25"], "zip": ["123", "456"]})
    table = TableFile(written(tmp_path / f"t.{ending}", frame), "m").read()
    assert table["a"].tolist() == [1.5, 2.25]
    assert table["zip"].tolist() == ["123", "456"]


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_damage_is_told_in_plain_words(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    path.write_bytes(b"id")
    with pytest.raises(ValueError, match=r"'m', .*: it is damaged, or no such file$"):
        TableFile(path, "m").read()
