import numpy as np
import pandas as pd
import pytest

from cmvae.preprocessing import column_kinds, encode_table


@pytest.mark.parametrize(
    "cells",
    [["no", "yes"], ["N", "Y"], ["FALSE", "TRUE"], ["f", "t"], ["Nein", "Ja"], ["No ", "YES"]],
)
def test_yes_and_no_are_one_binary_column(cells):
    frame = pd.DataFrame({"a": [cells[0], cells[1], cells[1], cells[0]], "b": [0.5, 1.5, 2, 3]})
    assert column_kinds(frame) == ["binary", "continuous"]
    values, codec = encode_table(frame)
    assert codec.names == ["b", "a"]
    np.testing.assert_array_equal(values[:, 1], [0, 1, 1, 0])
    assert codec.decode(values, sample=True)["a"].tolist() == frame["a"].tolist()
    assert type(codec).from_json(codec.to_json()) == codec


def test_answers_may_be_written_in_another_way_later():
    frame = pd.DataFrame({"a": ["yes", "no", "Yes", "yes"], "b": [0.5, 1.5, 2, 3]})
    _, codec = encode_table(frame)
    assert codec.columns[0].values == ("no", "yes")
    for cells in (["TRUE", "f", "Y", "n"], [True, False, True, False], [1, 0, 1, 0]):
        values, _ = codec.encode(frame.assign(a=cells), "m")
        assert values[:, 1].tolist() == [1, 0, 1, 0]
    with pytest.raises(ValueError, match=r"'m': column 'a' \(binary\) holds \['maybe'\]"):
        codec.encode(frame.assign(a=["yes", "maybe", "no", "no"]), "m")


@pytest.mark.parametrize(
    "cells", [["yes", "yes"], ["yes", "no", "maybe"], ["yes", "f"], ["M", "F"]]
)
def test_other_texts_are_categories(cells):
    frame = pd.DataFrame({"a": cells, "b": range(len(cells))})
    assert column_kinds(frame)[0] == "category"
    assert column_kinds(pd.DataFrame({"a": pd.Categorical(["no", "yes"]), "b": [0.5, 1]}))[0] == (
        "category"
    )
