import numpy as np
import pandas as pd
import pytest
import torch

from cmvae.preprocessing.coding import encode_table
from cmvae.preprocessing.tables import Standardiser, read_tables

FRAME = pd.DataFrame({"p": [1.0, 2.0, 3.0], "q": [4.0, 6.0, 5.0]}, index=["x", "y", "z"])


def test_columns_are_matched_by_name():
    standardiser = Standardiser.of(read_tables({"a": FRAME}))
    straight, _ = standardiser.apply(read_tables({"a": FRAME}))
    turned, _ = standardiser.apply(read_tables({"a": FRAME[["q", "p"]]}))
    np.testing.assert_array_equal(turned["a"], straight["a"])
    unnamed, _ = standardiser.apply(read_tables({"a": FRAME.to_numpy()}))
    np.testing.assert_array_equal(unnamed["a"], straight["a"])


def test_other_column_names_are_refused_by_name():
    standardiser = Standardiser.of(read_tables({"a": FRAME}))
    with pytest.raises(ValueError, match=r"'a'.*unknown columns \['r'\].*missing columns \['q'\]"):
        standardiser.apply(read_tables({"a": FRAME.rename(columns={"q": "r"})}))


def test_series_are_joined_on_their_index_too():
    series = pd.Series([30.0, 10.0], index=["z", "x"], name="s")
    tables = read_tables({"a": FRAME, "s": series})
    np.testing.assert_array_equal(tables.data["s"][:, 0], [10.0, np.nan, 30.0])
    assert list(tables.observed["s"]) == [True, False, True]


def test_an_index_beside_arrays_is_refused():
    with pytest.raises(ValueError, match=r"'a' is a DataFrame with an index of its own"):
        read_tables({"a": FRAME, "b": np.ones((3, 2))})
    numbered = FRAME.reset_index(drop=True)
    assert len(read_tables({"a": numbered, "b": np.ones((3, 2))})) == 3


def test_columns_that_occur_twice_are_refused():
    with pytest.raises(ValueError, match=r"'a'.*\['p', 'q'\] occur more than once"):
        read_tables({"a": pd.concat([FRAME, FRAME], axis=1)})


@pytest.mark.parametrize("table", [np.empty((0, 3)), FRAME.iloc[:0]])
def test_tables_without_samples_are_refused(table):
    with pytest.raises(ValueError, match="no samples"):
        read_tables({"a": table})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.array([[1 + 2j], [3]]), "got dtype complex128"),
        (pd.DataFrame({"p": [1 + 2j, 3]}), r"columns \['p'\] hold no numbers"),
        (np.array([["2020-01-01"]], dtype="datetime64[D]"), "got dtype datetime64"),
        (np.ma.masked_array([[1.0, 2.0]], [[True, False]]), "masked arrays are not supported"),
        (torch.ones(2, 2, requires_grad=True), "requires grad"),
        (np.array([["a"]]), "no number: could not convert string"),
    ],
)
def test_what_is_no_table_of_real_numbers_is_refused(table, message):
    with pytest.raises(TypeError, match=f"modality 'a'.*{message}"):
        read_tables({"a": table})


@pytest.mark.parametrize("size", [1e-250, 1.0, 1e7, 1e250, 3e307])
def test_columns_of_any_size_are_standardised(size):
    table = size * np.array([[1.0, 5.0, 0.1], [2.0, 5.0, 0.1], [4.0, 5.0, 0.1]])
    standardiser = Standardiser.of(read_tables({"a": table}))
    data, _ = standardiser.apply(read_tables({"a": table}))
    np.testing.assert_allclose(
        data["a"], [[-1.069045, 0, 0], [-0.267261, 0, 0], [1.336306, 0, 0]], atol=1e-6
    )
    np.testing.assert_allclose(standardiser.restore("a", data["a"]), table, rtol=1e-6)
    values, coding = encode_table(table)
    np.testing.assert_array_equal(values, data["a"])
    np.testing.assert_allclose(coding.decode(values), table, rtol=1e-6)


def test_samples_that_lack_a_modality_do_not_count_in_its_moments():
    table = np.array([[1.0], [np.nan], [3.0]])
    standardiser = Standardiser.of(read_tables({"a": table, "b": np.ones((3, 1))}))
    assert (standardiser.center["a"], standardiser.spread["a"]) == (2.0, 1.0)


def test_tables_are_joined_on_every_sample_that_one_of_them_has():
    tables = read_tables({"a": FRAME, "b": pd.DataFrame({"r": [7.0, 8.0]}, index=["w", "y"])})
    assert list(tables.index) == ["x", "y", "z", "w"]
    assert tables.observed["a"].tolist() == [True, True, True, False]
    np.testing.assert_array_equal(tables.data["b"][:, 0], [np.nan, 8.0, np.nan, 7.0])
