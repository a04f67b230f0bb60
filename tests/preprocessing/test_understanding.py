import numpy as np
import pandas as pd
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import IdentifierError, Preprocessing
from cmvae.preprocessing.preprocessing import SENTENCES
from cmvae.preprocessing.understanding import ModalitySummary, summarise

RNG = np.random.default_rng(0)
N = 60
TABLE = pd.DataFrame(
    {
        "customer_id": RNG.choice(10**5, N, replace=False),
        "size": RNG.normal(size=N),
        "income": np.exp(RNG.normal(10.5, 0.8, N)).round(),
        "plan": np.array(["basic", "pro", "team"])[np.arange(N) % 3],
        "zip": RNG.integers(10000, 99999, N),
        "country": "DE",
        "fax": np.nan,
    }
)


def understood(table, **options):
    options = {"t": ModalityFile(**options)}
    learned = Preprocessing.learn({"t": table}, options)
    return learned, learned.understood["t"]


def test_of_each_column_kind_range_and_example_are_kept_and_what_was_done():
    learned, own = understood(TABLE)
    kinds = {column.name: column.kind for column in own.columns}
    assert list(kinds) == list(TABLE)
    assert kinds == {
        **dict.fromkeys(["customer_id", "zip", "country", "fax"], "left out"),
        **{"size": "continuous", "income": "continuous", "plan": "category"},
    }
    assert own.samples == N
    notes = {column.name: column.note for column in own.columns if column.note}
    assert set(notes) == {"customer_id", "zip", "country", "fax", "income"}
    assert notes["fax"] == "holds nothing"
    ranges = {column.name: column.range for column in own.columns}
    assert ranges["plan"] == "3 values: basic, pro, team"
    assert ranges["income"] == f"{TABLE['income'].min():.0f} to {TABLE['income'].max():.0f}"
    (plan,) = [column for column in own.columns if column.name == "plan"]
    assert plan.example == "basic"
    assert learned.codecs["t"].ignored == ("fax", "customer_id", "zip", "country")
    assert Preprocessing.from_json(learned.to_json()) == learned
    (line,) = own.say_left_out("t")
    assert line.startswith("modality 't': 4 columns left out: 'customer_id' holds 60 different num")
    assert "'country' is the same in all rows: DE" in line
    assert "'income' holds" in own.say_noted("t")[0]


def test_what_is_named_is_taken_as_it_is_named():
    kinds = {
        "zip": "category",
        "country": "category",
        "customer_id": "continuous",
        "size": "ignore",
    }
    learned, own = understood(TABLE, kinds=kinds)
    assert [column.name for column in own.left_out] == ["fax"]
    assert learned.codecs["t"].ignored == ("size", "fax")
    assert {c.name: c.kind for c in own.columns} == {
        **kinds,
        **{"size": "left out", "income": "continuous", "plan": "category", "fax": "left out"},
    }
    assert understood(TABLE[["size", "zip"]], likelihood="normal")[1].left_out == ()


def test_columns_left_out_change_nothing_else():
    kept, own = understood(TABLE[["size", "income", "plan"]])
    assert own.left_out == ()
    assert understood(TABLE)[0].codecs["t"].columns == kept.codecs["t"].columns
    values, _ = understood(TABLE)[0].codecs["t"].encode(TABLE.assign(zip="new", country=2), "t")
    np.testing.assert_array_equal(
        values, kept.codecs["t"].encode(TABLE[["size", "income", "plan"]], "t")[0]
    )


def test_a_table_of_nothing_but_such_columns_is_refused():
    with pytest.raises(IdentifierError, match=r"'t': nothing to learn from in 3 columns: 'cust"):
        understood(TABLE[["customer_id", "zip", "country"]])


def test_missing_cells_are_counted_among_the_rows_that_are_there():
    table = pd.DataFrame({"a": [1.0, np.nan, np.nan, 4.0], "b": ["x", "y", None, "z" * 99]})
    found = summarise(table, "what", {"a": "continuous", "b": "category"}, {})
    assert found.samples == 3
    assert [column.missing for column in found.columns] == [round(1 / 3, 6), 0]
    assert found.columns[0].range == "1 to 4"
    assert found.columns[1].range == f"3 values: x, y, {'z' * 31}…"
    dates = pd.DataFrame({"d": pd.to_datetime(["2020-03-01", None, "2019-01-01"]), "c": 1})
    assert (
        summarise(dates, "", {}, {}).columns[0].range
        == "2019-01-01 00:00:00 to 2020-03-01 00:00:00"
    )
    nothing = summarise(table.iloc[2:3], "", {}, {})
    assert (nothing.samples, nothing.columns) == (0, ())


def test_arrays_are_numbers_and_nothing_of_them_is_left_out():
    array = np.stack([np.arange(N), np.zeros(N), RNG.normal(size=N)], 1)
    learned, own = understood(array)
    assert learned.codecs["t"].input_shape == (3,)
    assert [column.kind for column in own.columns] == ["continuous"] * 3
    assert own.say_left_out("t") == []
    assert understood(RNG.normal(size=(N, 2, 2)))[1] == ModalitySummary(
        what="arrays of 2 × 2", samples=N
    )


def test_tables_of_counts_and_words_keep_rare_columns():
    counts = pd.DataFrame(RNG.poisson(9, (N, 6)) * RNG.integers(0, 2, (N, 6))).add_prefix("g")
    assert understood(counts.assign(g2=0))[1].left_out == ()
    words = pd.DataFrame(RNG.poisson(0.2, (N, 60))).add_prefix("w").assign(w7=0)
    learned, own = understood(words.assign(row_id=range(N)))
    assert learned.codecs["t"].type == "words"
    assert [column.name for column in own.left_out] == ["row_id"]
    assert own.columns[0].kind == "word"


def test_bytes_in_any_encoding_are_left_out_with_a_word():
    table = pd.DataFrame({"bytes": [b"\xff"] * 30, "x": np.sin(np.arange(30.0))})
    learned = Preprocessing.learn({"m": table}, {"m": ModalityFile()})
    assert learned.understood["m"].columns[0].kind == "left out"
    assert learned.understood["m"].columns[0].range == "1 value: \\xff"
    table["bytes"] = [b"\xff", *(f"t{i}" for i in range(29))]
    learned = Preprocessing.learn({"m": table}, {"m": ModalityFile()})
    assert learned.understood["m"].columns[0].note == "holds 30 different texts in 30 rows"


def test_a_table_of_sentences_alone_is_text_and_says_so():
    said = [f"a {size} bird on {of}" for size in ("red", "wee", "fat") for of in "abcdefghij"]
    learned, own = understood(pd.DataFrame({"said": said * 2}))
    assert learned.codecs["t"].input_shape == (5, 2 + 15)
    assert own.columns[0].kind == "text"
    (line,) = own.say_noted("t")
    assert line == f"modality 't': 1 column noted: 'said' {SENTENCES}"
    kinds = {"other": "ignore"}
    assert understood(pd.DataFrame({"said": said, "other": 1.0}), kinds=kinds)[1].noted
    own = understood(pd.DataFrame({"said": said}), kinds={"said": "category"})[1]
    assert own.columns[0].kind == "category"
    assert not own.noted
    with pytest.raises(IdentifierError, match="'said' holds 30 different texts in 30 rows"):
        understood(pd.DataFrame({"said": said}), likelihood="mixed")
