import warnings

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from scipy.sparse import csr_array

from cmvae import CMVAEClusterer
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.frames import (
    CodedRows,
    check_no_cells,
    check_no_list,
    read_frames,
    split_columns,
)

FRAME = pd.DataFrame({"p": [1.0, 2.0, 3.5], "q": [4.0, 6.0, 5.5]}, index=["x", "y", "z"])


def encoded(learned, tables):
    return read_frames(tables).encode(learned)


@pytest.fixture
def learned():
    return Preprocessing.learn(read_frames({"a": FRAME}).tables)


def test_columns_are_matched_by_name(learned):
    straight = encoded(learned, {"a": FRAME}).data["a"]
    for table in (FRAME[["q", "p"]], FRAME.to_numpy()):
        np.testing.assert_array_equal(encoded(learned, {"a": table}).data["a"], straight)
    with pytest.warns(
        UserWarning, match=r"'a': 1 column (unknown, 'r': ignored|missing, 'q')"
    ) as told:
        other = encoded(learned, {"a": FRAME.rename(columns={"q": "r"})}).data["a"]
    assert len(told) == 2
    np.testing.assert_array_equal(np.isnan(other), [[False, True]] * len(FRAME))
    with pytest.raises(ValueError, match="'a': none of the columns that were learned is there"):
        encoded(learned, {"a": FRAME.rename(columns={"q": "r", "p": "s"})})


def test_tables_are_joined_on_every_sample_that_one_of_them_has():
    other = pd.Series([30.5, 10.0, 5.0], index=["z", "w", "x"], name="s")
    frames = read_frames({"a": FRAME, "s": other})
    assert list(frames.index) == ["x", "y", "z", "w"]
    rows = frames.encode(Preprocessing.learn(frames.tables))
    assert rows.ids == ["x", "y", "z", "w"]
    assert rows.masks["a"].tolist() == [True, True, True, False]
    assert rows.masks["s"].tolist() == [True, False, True, True]
    expected = (other[["x", "z", "w"]] - other.mean()) / other.std(ddof=0)
    np.testing.assert_allclose(rows.data["s"][[0, 2, 3], 0], expected, rtol=1e-6)
    assert rows.patterns() == ["a+s", "a", "a+s", "s"]


@pytest.mark.parametrize(
    ("first", "second", "differs"),
    [
        ([100, 101, 102], ["100", "101", "102"], None),
        (["100", "101", "102"], [100, 101, 102], None),
        ([1, 2, 3], [1.0, 2.0, 3.0], "how a number is written"),
        ([b"x", b"y", b"z"], ["x", "y", "z"], None),
        (["x", "y", "z"], ["X ", "Y ", "Z "], "blanks and letter case"),
        (["007", "008", "009"], [7, 8, 9], "leading zeros"),
        (
            pd.date_range("2020-01-01", periods=3),
            ["2020-01-01", "2020-01-02", "2020-01-03"],
            "a time of midnight",
        ),
        (pd.MultiIndex.from_tuples([("s", 1), ("s", 2), ("t", 1)]), None, None),
    ],
)
def test_indexes_are_joined_as_they_read_under_the_first(first, second, differs):
    other = FRAME.set_axis(first if second is None else second)[::-1]
    frames = read_frames({"a": FRAME.set_axis(first), "b": other})
    pd.testing.assert_index_equal(frames.index, FRAME.set_axis(first).index)
    assert {name: own.tolist() for name, own in frames.places.items()} == {
        "a": [0, 1, 2],
        "b": [2, 1, 0],
    }
    remarks = frames.matching.remarks
    assert len(remarks) == (differs is not None)
    assert not differs or f"differ only in {differs}, such as" in remarks[0]
    rows = frames.encode(Preprocessing.learn(frames.tables))
    np.testing.assert_array_equal(rows.data["a"], rows.data["b"])
    assert str(rows.join) == "in both 3; only a 0; only b 0"


def test_default_indexes_join_rows_and_are_not_taken_for_ids():
    rows = FRAME.reset_index(drop=True)
    assert read_frames({"a": rows, "b": rows[["q"]]}).places["b"].tolist() == [0, 1, 2]
    ids = rows.set_axis([1, 2, 3])
    with pytest.raises(ValueError, match="rows of 'a' are numbered from 0; 'b' has 3 rows with th"):
        read_frames({"a": rows, "b": ids})
    with pytest.raises(ValueError, match="give 'b' the ids of its rows"):
        read_frames({"a": ids.rename_axis("id"), "b": rows})
    with pytest.raises(ValueError, match="give 'a' the ids of its rows"):
        read_frames({"a": rows, "b": rows.set_axis(pd.RangeIndex(1, 4))})
    # An index with a name is of ids; slices keep their numbers.
    assert len(read_frames({"a": rows.rename_axis("id"), "b": ids}).index) == 4
    assert not read_frames({"a": rows, "b": rows[1:]}).matching.remarks
    more = pd.concat([rows, rows], ignore_index=True)
    assert not read_frames({"a": rows, "b": more[1:5]}).matching.remarks
    assert not read_frames({"a": rows, "b": rows.iloc[[2, 0]]}).matching.remarks
    (remark,) = read_frames({"a": rows, "b": ids.set_axis([1, 7, 2]).iloc[:2]}).matching.remarks
    assert "'b' has 2 rows with the ids 1, 7, and 1 were joined with these numbers" in remark


def test_samples_that_lack_a_modality_do_not_count_in_its_moments():
    table = np.array([[1.0], [np.nan], [3.0]])
    learned = Preprocessing.learn({"a": table, "b": np.ones((3, 1))})
    column = learned.codecs["a"].columns[0]
    assert (column.center, column.spread) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("tables", "error", "message"),
    [
        ({"a": FRAME, "b": np.ones((3, 2))}, ValueError, "'a' is a DataFrame with an index of its"),
        ({"a": np.empty((0, 3))}, ValueError, "no samples"),
        ({"a": FRAME.iloc[:0]}, ValueError, "no samples"),
        ({}, ValueError, "not empty; got dict"),
        ({1: FRAME}, TypeError, r"modality names must be strings, got \[1\]"),
        ({"a": np.ones((3, 2)), "b": np.ones((4, 2))}, ValueError, "differ in their number"),
        ({"a": pd.concat([FRAME, FRAME])}, ValueError, r"'a': its index repeats \['x', 'y', 'z'\]"),
        ({"a": np.array([[1 + 2j], [3]])}, TypeError, "'a'.*got dtype complex128"),
        ({"a": np.array([["2020-01-01"]], dtype="datetime64[D]")}, TypeError, "dtype datetime64"),
        (
            {"a": np.ma.masked_array([[1.0]], [[True]])},
            TypeError,
            "masked arrays are not supported",
        ),
        ({"a": torch.ones(2, 2, requires_grad=True)}, TypeError, "'a'.*requires grad"),
        (
            {"a": FRAME, "b": FRAME.set_axis([0, 1, 2]), "c": FRAME[:0]},
            ValueError,
            r"'a' shares no index entry .*\['x', 'y', 'z'\], 'b': \[0, 1, 2\]",
        ),
        (
            {"a": FRAME, "b": FRAME.set_axis(["x", None, "z"])},
            ValueError,
            "'b': entries .* missing",
        ),
        (
            {"a": FRAME.set_axis(["x", "X", "z"]), "b": FRAME.set_axis(["q", "Z", "X"])},
            ValueError,
            r"'b': 1 id .* only in letter case.* 'x' and 'X' of modality 'a' are one id",
        ),
        ({"a": FRAME.set_axis(["1", 1, 2])}, ValueError, r"'a': its index repeats \[1\]"),
        ({"a": FRAME.set_axis(["x", "x ", "z"])}, ValueError, "'x' and 'x ' look the same"),
        ({"a": np.float64(3)}, ValueError, r"'a'.*got shape \(\)"),
    ],
)
def test_what_cannot_be_joined_is_refused(tables, error, message):
    with pytest.raises(error, match=message):
        read_frames(tables)


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        (pd.DataFrame({"p": [1 + 2j, 3]}), TypeError, "'a': column 'p' holds complex"),
        (pd.concat([FRAME, FRAME], axis=1), ValueError, r"'a'.*\['p', 'q'\] occur more than once"),
        (np.array([["a"]]), TypeError, "'a': column 0 holds something that is no number"),
    ],
)
def test_what_is_no_table_of_cells_is_refused(table, error, message):
    with pytest.raises(error, match=message):
        Preprocessing.learn(read_frames({"a": table}).tables)


def test_tables_of_other_libraries_keep_the_names_of_their_columns(learned):
    rows = FRAME.reset_index(drop=True)
    table = pyarrow.Table.from_pandas(rows, preserve_index=False)
    for other in (table, table.select(["q", "p"])):
        found = encoded(learned, {"a": other}).data["a"]
        np.testing.assert_array_equal(found, encoded(learned, {"a": rows}).data["a"])


def test_a_table_is_cut_by_columns_that_it_has():
    parts = split_columns(FRAME, {"a": FRAME.columns[1:], "b": [0]})
    assert [list(part) for part in parts.values()] == [["q"], ["p"]]
    for modalities, error, message in (
        (["p"], TypeError, "modalities must be a mapping .* got list"),
        ({"a": "pq"}, TypeError, r"modalities\['a'\] must be a list of columns, got 'pq'"),
        ({"a": ["p", "r"]}, KeyError, r"modalities\['a'\] names columns that X does not have"),
    ):
        with pytest.raises(error, match=message):
            split_columns(FRAME, modalities)


def test_rows_numbered_from_zero_lie_beside_arrays():
    frames = read_frames({"a": FRAME.reset_index(drop=True), "b": np.ones((3, 2))})
    assert (frames.n_samples, frames.index) == (3, None)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([np.zeros((3, 2)), np.zeros((3, 4))], r"X is a list of 2 tables: give a mapping"),
        ((pd.DataFrame({"a": [1.0]}),), r"X is a tuple of 1 tables: give a mapping"),
    ],
)
def test_a_list_of_tables_has_no_names(tables, message):
    with pytest.raises(TypeError, match=message):
        check_no_list(tables)
    check_no_list([[1.0, 2.0], [3.0, 4.0]])  # rows


def test_cells_and_columns_named_twice_are_refused_by_the_estimator():
    mudata, anndata = pytest.importorskip("mudata"), pytest.importorskip("anndata")
    adata = anndata.AnnData(np.ones((3, 2), dtype=np.float32))
    with pytest.raises(TypeError, match=r"X is AnnData, .*cmvae\.omics\.from_anndata"):
        check_no_cells(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mudata's next version
        mdata = mudata.MuData({"rna": adata})
    with pytest.raises(TypeError, match=r"X is MuData, .*cmvae\.omics\.from_mudata"):
        CMVAEClusterer().fit(mdata)
    with pytest.raises(ValueError, match=r"columns \['a'\] occur more than once"):
        CMVAEClusterer().fit(pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]))


def test_other_things_that_hold_matrices_are_refused_by_what_they_are():
    class AnnData:
        obs_names, shape = ("p", "q"), (2, 2)

    for made, words in ((csr_array(np.eye(3)), "sparse matrix"), (AnnData(), "AnnData")):
        with pytest.raises(TypeError, match=rf"'m' is an? {words}: .*MuData"):
            read_frames({"m": made})


@pytest.mark.parametrize("as_array", [True, False])
def test_large_tables_are_learned_and_coded_in_parts_as_if_at_once(monkeypatch, as_array):
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, (500, 4))
    values[7, 1] = np.nan
    values[[3, 99]] = np.nan
    other = pd.DataFrame({"colour": rng.choice(["red", "blue"], 500), "n": rng.poisson(5, 500)})
    tables = {"a": values} if as_array else {"a": pd.DataFrame(values), "b": other}
    frames = read_frames(tables)
    whole = frames.learn({})
    expected = frames.encode(whole)
    monkeypatch.setattr("cmvae.preprocessing.frames.MOST_NUMBERS", 100)
    monkeypatch.setattr("cmvae.preprocessing.frames._PART_ENTRIES", 150)
    again = frames.learn({})
    assert again.understood.keys() == whole.understood.keys()
    found, same = frames.encode(again), frames.encode(whole)
    assert found.are_read_later == as_array  # no copy of them is held
    for name in tables:
        one, two = whole.codecs[name], again.codecs[name]
        assert two.kinds == one.kinds
        values, own = held(found.data[name]), held(same.data[name])
        np.testing.assert_allclose(values, expected.data[name], rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(found.masks[name], expected.masks[name])
        np.testing.assert_array_equal(own, expected.data[name])
    assert found.cells().keys() == expected.cells().keys() == {"a"}
    assert list(found.ids) == list(expected.ids)


def held(values):
    """Return values that may be read later."""
    return values.take(np.arange(500)) if isinstance(values, CodedRows) else values
