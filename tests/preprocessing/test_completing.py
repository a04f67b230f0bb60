import numpy as np
import pandas as pd

from cmvae.preprocessing import encode_table
from cmvae.preprocessing.completing import complete_table


def tables(n=60):
    """Return a table of every kind of column, with and without gaps."""
    rng = np.random.default_rng(0)
    whole = pd.DataFrame(
        {
            "height": rng.normal(170, 10, n),
            "visits": rng.poisson(30, n) * rng.integers(0, 3, n),
            "smokes": rng.integers(0, 2, n).astype(bool),
            "colour": rng.choice(["red", "blue"], n),
            "stage": pd.Categorical(rng.choice(["I", "II"], n)),
        }
    )
    there = rng.random(whole.shape) > 0.3
    gaps = whole.astype(object).where(there)
    return whole, gaps.assign(stage=gaps["stage"].astype(whole["stage"].dtype)), there


def test_cells_that_are_there_stay_and_others_have_the_kind_of_their_column():
    whole, gaps, there = tables()
    codec = encode_table(gaps)[1]
    values = codec.encode(whole)[0]
    completed = complete_table(codec, values, gaps)
    assert list(completed) == list(whole)
    for column, own in whole.items():
        assert completed[column].dtype == own.dtype or column == "colour"
        if column == "height":
            np.testing.assert_allclose(completed[column], own, rtol=1e-5)
            seen = there[:, 0]
            assert (completed[column][seen] == own[seen]).all()
        else:
            assert completed[column].tolist() == own.tolist()


def test_means_become_the_more_probable_value_and_whole_counts():
    whole, gaps, there = tables()
    codec = encode_table(whole)[1]
    values = codec.encode(whole)[0].astype(float)
    values[:, codec.names.index("visits")] = 3.4
    values[:, codec.names.index("smokes")] = 0.6
    values[:, codec.names.index("colour=red")] = 0.7
    values[:, codec.names.index("colour=blue")] = 0.3
    completed = complete_table(codec, values, gaps)
    assert set(completed["visits"][~there[:, 1]]) == {3}
    assert set(completed["smokes"][~there[:, 2]]) == {True}
    assert set(completed["colour"][~there[:, 3]]) == {"red"}


def test_columns_left_out_stay_and_columns_that_lack_altogether_are_made():
    whole, _, _ = tables()
    codec = encode_table(whole)[1]
    given = whole[["colour"]].assign(note="x")
    completed = complete_table(codec, codec.encode(whole)[0], given)
    assert list(completed) == ["colour", "note", "height", "visits", "smokes", "stage"]
    assert (completed["note"] == "x").all()
    assert completed["visits"].tolist() == whole["visits"].tolist()
    assert list(complete_table(codec, codec.encode(whole)[0], None)) == list(whole)
