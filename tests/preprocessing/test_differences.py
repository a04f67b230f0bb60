import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from cmvae.base.words import UnseenError
from cmvae.files.cell_places import CellRows
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import learn_codec
from cmvae.preprocessing.cells import CellCodec
from cmvae.preprocessing.differences import Differences

RNG = np.random.default_rng(0)
N = 60
TABLE = pd.DataFrame(
    {
        "size": RNG.normal(size=N),
        "Home Town": np.array(["Rome", "Oslo", "Bonn"])[np.arange(N) % 3],
        "level": np.arange(N) % 4,
        "member": np.arange(N) % 2,
        "country": "DE",
    }
)
CODEC = learn_codec(TABLE, "t", ModalityFile(kinds={"level": "category"}))


def encoded(table, strict=None, parts=1, codec=CODEC):
    """Return the numbers of a table that is read in parts, and what is said of it."""
    found, values = Differences("t", strict), []
    for rows in np.array_split(np.arange(len(table)), parts):
        values.append(codec.encode(found.matched(table.iloc[rows], codec), "t")[0])
    return np.concatenate(values), found.settle(codec)


def test_columns_are_found_by_name_in_any_order():
    values, said = encoded(TABLE)
    assert not said
    np.testing.assert_array_equal(values, CODEC.encode(TABLE, "t")[0])
    for other in (TABLE[TABLE.columns[::-1]], TABLE.drop(columns="country")):
        np.testing.assert_array_equal(encoded(other)[0], values)
        assert not encoded(other, strict=True)[1]


def test_other_columns_are_named_and_ignored():
    values, said = encoded(TABLE.assign(b=1, a="x"), parts=3)
    np.testing.assert_array_equal(values, encoded(TABLE)[0])
    assert said == ["modality 't': 2 columns unknown, 'b', 'a': ignored"]


def test_a_missing_column_is_missing_cells():
    values, said = encoded(TABLE.drop(columns=["Home Town", "size"]), parts=2)
    assert said == ["modality 't': 2 columns missing, 'size', 'Home Town': taken as missing cells"]
    gone = CODEC.encode(TABLE.assign(size=np.nan, **{"Home Town": None}), "t")[0]
    np.testing.assert_array_equal(values, gone)
    assert np.isnan(values).sum() == N * 4


def test_a_column_that_holds_nothing_is_told_but_no_difference():
    other = TABLE.assign(size=np.nan, **{"Home Town": None})
    said = [
        "modality 't': 2 columns without any value, 'size', 'Home Town': taken as missing cells"
    ]
    assert encoded(other, parts=3)[1] == said
    assert encoded(other, strict=True)[1] == said
    assert not encoded(other[:5])[1]  # of few rows it is no surprise
    other.loc[50, "size"] = 1.0
    assert encoded(other, parts=3)[1] == [
        "modality 't': 1 column without any value, 'Home Town': taken as missing cells"
    ]
    assert not encoded(TABLE.assign(**dict.fromkeys(TABLE, np.nan)))[1]  # the modality is missing


def test_blanks_and_case_do_not_hide_a_column():
    other = TABLE.rename(columns={"Home Town": "home_town ", "size": "SIZE"})
    values, said = encoded(other)
    np.testing.assert_array_equal(values, encoded(TABLE)[0])
    assert sorted(said) == [
        "modality 't': column 'SIZE' is not spelt 'size': taken for it",
        "modality 't': column 'home_town ' is not spelt 'Home Town': taken for it",
    ]
    two = TABLE.drop(columns="size").assign(Size=1.0, SIZE=2.0)
    assert encoded(two)[1] == [
        "modality 't': 2 columns unknown, 'Size', 'SIZE': ignored",
        "modality 't': 1 column missing, 'size': taken as missing cells",
    ]


def test_unknown_values_are_missing_cells_and_counted_over_all_parts():
    other = TABLE.copy()
    other.loc[[3, 30, 40], "Home Town"] = ["Lima", "Lima", "Kyiv"]
    other.loc[50, "level"] = 9
    other.loc[7, "member"] = 2
    values, said = encoded(other, parts=4)
    assert len(said) == 3
    assert (
        "modality 't': column 'member' (binary) holds unknown values in 1 of 60 rows, 2 (1); "
        "known are 0, 1: taken as missing cells"
    ) in said
    (town,) = [line for line in said if "Home Town" in line]
    assert "unknown values in 3 of 60 rows, 'Lima' (2), 'Kyiv' (1); known are 'Bonn', 'O" in town
    rows = np.flatnonzero(np.isnan(values).any(1)).tolist()
    assert rows == [3, 7, 30, 40, 50]
    whole = np.delete(np.arange(N), rows)
    np.testing.assert_array_equal(values[whole], encoded(TABLE)[0][whole])


def test_many_unknown_values_are_refused_unless_asked_for():
    other = TABLE.assign(**{"Home Town": TABLE["Home Town"].str.upper()})
    with pytest.raises(
        UnseenError, match=r"'Home Town'.*60 of 60 rows.*so many.*another way: corr"
    ):
        encoded(other, parts=3)
    values, said = encoded(other, strict=False)
    assert len(said) == 1
    assert np.isnan(values).sum() == 3 * N
    for few in (9, 15):  # of 9 cells nothing is told, and 15 are no more than a quarter
        some = TABLE.copy()
        some.loc[: few - 1, "Home Town"] = "Lima"
        assert len(encoded(some if few == 15 else some.iloc[:few])[1]) == 1
    some.loc[:15, "Home Town"] = "Lima"
    with pytest.raises(UnseenError, match="16 of 60"):
        encoded(some)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "'t': 1 column unknown, 'extra'$"),
        ({"Home Town": ["Lima", *TABLE["Home Town"][1:]]}, "unknown values in 1 of 60 rows, 'Lima"),
    ],
)
def test_strict_refuses_any_difference(change, message):
    with pytest.raises(ValueError, match=message):
        encoded(TABLE.assign(**change), strict=True)
    with pytest.raises(ValueError, match="1 column missing, 'size'"):
        encoded(TABLE.drop(columns="size"), strict=True)


def test_another_table_is_refused():
    with pytest.raises(
        ValueError, match=r"'t': none of the columns .* are \['size', .*got \['z'\]"
    ):
        encoded(pd.DataFrame({"z": [1.0]}), strict=False)


def test_words_and_texts_are_found_by_name_too():
    words = pd.DataFrame(RNG.poisson(0.2, (N, 60))).add_prefix("w")
    codec = learn_codec(words, "t")
    values, said = encoded(words.drop(columns="w3").assign(more=1), codec=codec)
    assert len(said) == 2
    assert np.isnan(values[:, 3]).all()
    text = pd.DataFrame({"note": ["a b", "b c"] * 9})
    codec = learn_codec(text, "t", ModalityFile(kinds={"note": "text"}))
    values, said = encoded(text.assign(more=1), codec=codec)
    assert said == ["modality 't': 1 column unknown, 'more': ignored"]
    np.testing.assert_array_equal(values, codec.encode(text, "t")[0])


def test_what_is_no_frame_is_left_to_the_codec():
    array = RNG.normal(size=(5, 2))
    assert Differences("t").matched(array, learn_codec(array, "t")) is array


# Single cells
# ------------------------------------------------------------------------------------------

COUNTS = RNG.poisson(3.0, (8, 6))
GENES = ("g0", "g1", "g2", "g3", "g4", "g5")


def cells_of(names, form=scipy.sparse.csr_array, values=COUNTS):
    columns = [GENES.index(name) if name in GENES else 0 for name in names]
    cells = pd.Index([f"c{i}" for i in range(len(values))])
    return CellRows(form(values[:, columns]), cells, tuple(names))


CELLS = CellCodec.learn(cells_of(GENES), "t")


def encoded_cells(rows, strict=None):
    found = Differences("t", strict)
    values, observed = CELLS.encode(found.matched(rows, CELLS), "t")
    assert observed.all()
    return values, found.settle(CELLS)


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, np.asarray])
def test_variables_in_another_order_are_the_same_and_more_are_ignored(form):
    values, said = encoded_cells(cells_of(["new", *GENES[::-1]], form))
    assert scipy.sparse.issparse(values) == (form is not np.asarray)
    dense = values.toarray() if scipy.sparse.issparse(values) else values
    np.testing.assert_array_equal(dense, COUNTS)
    assert said == ["modality 't': 1 variable unknown, 'new': ignored"]
    assert not encoded_cells(cells_of(GENES[::-1], form), strict=True)[1]


@pytest.mark.parametrize("form", [scipy.sparse.csr_array, np.asarray])
def test_variables_that_are_not_there_are_missing_cells_not_zeros(form):
    values, said = encoded_cells(cells_of(["g5", "g0", "g2"], form))
    assert np.isnan(values).any(0).tolist() == [False, True, False, True, True, False]
    np.testing.assert_array_equal(values[:, [0, 2, 5]], COUNTS[:, [0, 2, 5]])
    assert said == ["modality 't': 3 variables missing, 'g1', 'g3', 'g4': taken as missing cells"]


@pytest.mark.parametrize(
    ("names", "strict", "error", "message"),
    [
        (
            ["g1", "G3", "g0"],
            None,
            UnseenError,
            "'t': 2 of the 6 variables that were learned: it lacks 'g2', .* has 'G3', which",
        ),
        (["G1"], False, ValueError, "'t': 0 of the 6 variables"),
        ([*GENES, "g9"], True, ValueError, "1 variable unknown, 'g9'"),
        (GENES[1:], True, ValueError, "1 variable missing, 'g0'"),
        ([*GENES, "g1"], False, ValueError, "variables 'g1' occur more than once; make var_names"),
    ],
)
def test_cells_of_other_variables_are_refused(names, strict, error, message):
    with pytest.raises(error, match=message):
        encoded_cells(cells_of(names), strict)


def test_few_variables_are_taken_where_that_is_asked_for():
    assert np.isnan(encoded_cells(cells_of(["g1", "g0"]), strict=False)[0]).sum() == 8 * 4


def test_cells_without_counts_are_told_of_training_and_of_new_cells():
    values = np.random.default_rng(0).poisson(3.0, (12, 3))
    values[[2, 7]] = 0
    rows = CellRows(values, pd.Index([f"c{i}" for i in range(12)]), ("x", "y", "z"))
    codec, found = CellCodec.learn(rows, "rna"), Differences("rna")
    for part in (slice(0, 5), slice(5, 12)):
        own = CellRows(values[part, ::-1], rows.obs_names[part], ("z", "y", "x"))
        found.matched(own, codec)
    (said,) = found.settle(codec)
    assert said.startswith(
        "modality 'rna': no counts in 2 cells, such as 'c2', 'c7': nothing tells"
    )
