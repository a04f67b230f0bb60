import numpy as np
import pandas as pd
import polars
import pyarrow
import pytest

from cmvae.preprocessing import Preprocessing, column_kinds, encode_table
from cmvae.preprocessing.frames import read_frames
from cmvae.preprocessing.libraries import as_pandas

FRAME = pd.DataFrame(
    {"a": [1.5, 2.5, 7.0], "g": ["x", "y", "x"], "b": [True, False, True], "n": [3.5, -1.0, 0.25]}
)


def dask(frame):
    return pytest.importorskip("dask.dataframe").from_pandas(frame, npartitions=2)


LIBRARIES = {
    "polars": polars.from_pandas,
    "lazy polars": lambda frame: polars.from_pandas(frame).lazy(),
    "pyarrow": lambda frame: pyarrow.Table.from_pandas(frame, preserve_index=False),
    "a batch of pyarrow": lambda frame: pyarrow.RecordBatch.from_pandas(
        frame, preserve_index=False
    ),
    "dask": dask,
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_are_found_by_name_in_any_order(library):
    values, codec = encode_table(FRAME)
    for order in (list(FRAME), ["n", "b", "a", "g"]):
        table = LIBRARIES[library](FRAME[order])
        np.testing.assert_array_equal(codec.encode(table, "m")[0], values)
        own = {"m": codec}
        np.testing.assert_array_equal(
            read_frames({"m": table}).encode(Preprocessing(codecs=own)).data["m"], values
        )
    assert column_kinds(LIBRARIES[library](FRAME)) == column_kinds(FRAME)
    assert encode_table(LIBRARIES[library](FRAME))[1] == codec
    assert Preprocessing.learn({"m": LIBRARIES[library](FRAME)}).codecs["m"] == codec


@pytest.mark.parametrize("library", LIBRARIES)
def test_columns_that_are_not_there_are_named(library):
    _, codec = encode_table(FRAME)
    table = LIBRARIES[library](FRAME.rename(columns={"n": "other"}))
    with pytest.raises((ValueError, KeyError), match=r"'m'.*'(n|other)'"):
        codec.encode(table, "m")


def test_series_keep_their_names():
    assert as_pandas(polars.Series("size", [1.5, 2.5])).name == "size"
    assert encode_table(polars.Series("size", [1.5, 2.5]))[1].names == ["size"]
    assert as_pandas(pyarrow.chunked_array([[1.5, 2.5]])).name is None


def test_what_is_no_frame_stays_as_it_is():
    for value in (np.zeros((2, 2)), [1, 2], {"a": 1}, "text", FRAME, None):
        assert as_pandas(value) is value


@pytest.mark.parametrize(
    "cells", [["1,5", "2,5"], ["1,234.5", "7,000.5"], ["12 %", "3 %"], ["$3", "$4"]]
)
def test_numbers_as_texts_of_a_frame_are_refused_by_name(cells):
    frame = pd.DataFrame({"a": cells, "b": [0.5, 1.5]})
    with pytest.raises(ValueError, match=r"'t': column 'a' holds numbers as texts: \["):
        column_kinds(frame, modality="t")
    assert column_kinds(frame, {"a": "category"}, "t") == ["category", "continuous"]
