import numpy as np
import pandas as pd
import pytest

from cmvae.preprocessing.kinds import IdentifierError, column_kinds, kind_notes, without

RNG = np.random.default_rng(0)
N = 200
COUNTS = RNG.poisson(20, N) * RNG.integers(0, 3, N)
GRADES = RNG.integers(1, 6, N)


def kind(values, **arguments):
    return column_kinds(pd.DataFrame({"x": values}), **arguments)[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RNG.normal(size=N), "continuous"),
        (COUNTS, "count"),
        (COUNTS.astype(float), "count"),
        (COUNTS.astype(object), "count"),
        (COUNTS.astype(np.uint8), "count"),
        (COUNTS - 5, "continuous"),
        (COUNTS + 0.5, "continuous"),
        (GRADES, "continuous"),
        (RNG.integers(18, 91, N), "continuous"),
        (RNG.integers(1990, 2020, N), "continuous"),
        (RNG.integers(0, 10, N), "continuous"),
        (RNG.integers(0, 11, N), "count"),
        (np.arange(0, 100, 10).repeat(3), "continuous"),
        (np.append(COUNTS, np.inf), "continuous"),
        ([f"name {i % 10}" for i in range(20)], "category"),
        (RNG.integers(2, 21, N), "count"),
        (RNG.integers(2, 20, N), "continuous"),
        (np.tile([0, 1], 5), "binary"),
        (np.tile([0.0, 1.0], 5), "binary"),
        (np.tile([True, False], 5), "binary"),
        ([True, None] * 5, "binary"),
        ([1, 2] * 5, "continuous"),
        ([1] * 9, "continuous"),
        ([0] * 9, "continuous"),
        ([True] * 9, "binary"),
        ([np.nan] * 9, "continuous"),
        (["a", "b", None] * 5, "category"),
        (["a"] * 5, "category"),
        (["1", "2"] * 50, "category"),
        (pd.Categorical([1, 2] * 5), "category"),
        (pd.Categorical([str(i) for i in range(N)]), "category"),
        (pd.array([1, None, 30] * 9, dtype="Int64"), "continuous"),
        (pd.array([True, None] * 9, dtype="boolean"), "binary"),
        (pd.array(["a", None] * 9, dtype="string"), "category"),
    ],
)
def test_kinds_follow_the_rules(values, expected):
    assert kind(values) == expected


def test_tables_of_counts_have_rare_columns():
    counts = np.stack([COUNTS, RNG.integers(0, 2, N), np.zeros(N), RNG.integers(0, 4, N)], 1)
    assert column_kinds(counts) == ["count"] * 4
    assert column_kinds(pd.DataFrame(counts)) == ["count"] * 4
    assert column_kinds(np.stack([COUNTS, RNG.integers(0, 2, N), GRADES], 1)) == [
        "count",
        "binary",
        "continuous",
    ]
    assert column_kinds(np.stack([COUNTS, RNG.integers(0, 2, N) - 0.5], 1)) == [
        "count",
        "continuous",
    ]
    assert column_kinds(RNG.integers(0, 5, (N, 3))) == ["continuous"] * 3
    assert column_kinds(COUNTS) == ["count"]
    gone = counts.copy()
    gone[3:9] = np.nan
    assert column_kinds(gone) == ["count"] * 4
    assert column_kinds(pd.DataFrame({"a": COUNTS, "b": COUNTS > 9})) == ["count", "binary"]
    assert column_kinds(pd.DataFrame({"a": COUNTS, "b": np.nan})) == ["count", "continuous"]
    assert column_kinds(pd.DataFrame(counts, dtype=object)) == ["count"] * 4
    assert column_kinds(counts, {2: "count"}) == ["count", "binary", "count", "continuous"]


def test_kinds_can_be_named():
    frame = pd.DataFrame({"a": COUNTS, "b": GRADES, "id": range(N)})
    assert column_kinds(frame, {"b": "category", "id": "count"}) == ["count", "category", "count"]
    with pytest.raises(KeyError, match=r"'t'.*\['c'\].*'a', 'b', 'id'"):
        column_kinds(frame, {"c": "count"}, "t")
    with pytest.raises(
        ValueError, match=r"'t'.*\['number'\]; allowed: 'continuous', 'binary', 'count', 'category'"
    ):
        column_kinds(frame, {"b": "number"}, "t")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.to_datetime(["2020-01-01", "2021-05-05"]), "column 'x' holds dates, not numbers"),
        ([1.5, "n/a", 2.5, None, 3.5], r"text among numbers: \['n/a'\]"),
        (["1", "2", "?"], r"text among numbers: \['\?'\]"),
    ],
)
def test_dates_and_text_among_numbers_are_refused_unless_named(values, message):
    with pytest.raises((ValueError, TypeError), match=f"'t': .*{message}"):
        kind(list(values), modality="t")
    assert kind(list(values), kinds={"x": "category"}) == "category"


def test_large_whole_numbers_are_amounts_and_small_ones_counts():
    incomes = np.exp(RNG.normal(10.5, 0.8, N)).round()
    for amounts in (incomes, incomes.round(-3), incomes.astype(int), np.append(incomes, np.nan)):
        assert kind(amounts) == "continuous"
    assert kind((incomes / 1000).round()) == "count"
    several = pd.DataFrame({"a": incomes, "b": incomes[::-1]}).astype(int)
    several.iloc[[3, 5], [0, 1]] = 0  # a 0 in every column: what sequencing counts
    assert column_kinds(several) == ["count"] * 2


def test_what_may_surprise_is_said():
    frame = pd.DataFrame(
        {
            "income": np.exp(RNG.normal(10.5, 0.8, N)).round(),
            "built_year": RNG.integers(1900, 2024, N),
            "site_id": RNG.integers(1, 6, N),
            "age": RNG.integers(18, 91, N),
            "size": RNG.normal(size=N),
            "visits": COUNTS,
        }
    )
    kinds = dict(zip(frame, column_kinds(frame), strict=True))
    notes = kind_notes(frame, kinds)
    assert list(notes) == ["income", "built_year", "site_id"]
    assert "different whole numbers, large ones: taken as continuous" in notes["income"]
    assert notes["built_year"] == "holds years: taken as continuous"
    assert notes["site_id"] == "is named as ids, but its 5 numbers repeat: taken as continuous"
    assert not kind_notes(frame, {"age": "continuous"})


def test_a_table_of_nothing_else_is_refused():
    frame = pd.DataFrame({"n": [1, 2], "day": 3})
    assert list(without(frame, {"n": "counts up"}, "t")) == ["day"]
    reasons = {"n": "counts up", "day": "is the same in all rows: 3"}
    with pytest.raises(
        IdentifierError, match=r"'t': nothing to learn from in 2 columns: 'n' counts up, 'day' is"
    ) as told:
        without(frame, reasons, "t")
    assert (told.value.modality, told.value.columns) == ("t", ["n", "day"])


def test_other_contents_are_refused():
    with pytest.raises(
        TypeError, match=r"'t': column 'x' holds complex.*convert it or leave it out"
    ):
        kind(np.array([1 + 2j, 3.0]), modality="t")


def test_cells_that_hold_lists_are_refused():
    table = pd.DataFrame({"o": [[1], [2]] * 15})
    with pytest.raises(TypeError, match="'t': column 'o' holds lists or the like"):
        column_kinds(table, modality="t")


def test_other_shapes_are_refused():
    for bad, message in [
        (np.zeros((2, 2, 2)), r"\(2, 2, 2\)"),
        (np.zeros((2, 0)), "no columns"),
        (object(), "expected a table, got object"),
        ([object(), object()], "expected a table, got files"),
    ]:
        with pytest.raises(ValueError, match=message):
            column_kinds(bad)
    with pytest.raises(ValueError, match=r"columns \['a'\] occur more than once"):
        column_kinds(pd.DataFrame([[1, 2]], columns=["a", "a"]))
