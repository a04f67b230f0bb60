import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing, TableCodec, WordCodec, learn_codec


def counts(n=40, columns=80, seed=0):
    """Documents of two kinds, which share a fifth of their words; the last word is everywhere."""
    rng = np.random.default_rng(seed)
    rates = np.full((2, columns), 0.02)
    rates[0, : columns // 5] = rates[1, -columns // 5 :] = 1.0
    rows = rng.poisson(rates[np.arange(n) % 2])
    rows[:, -1] = 1 + rng.poisson(1.0, n)
    rows[:, 0] = 0  # a word that no document has
    rows[3] = 0
    rows[3, -1] = 2  # only the word that all have
    return rows


def frame(**options):
    rows = counts(**options)
    return pd.DataFrame(rows, columns=[f"w{j}" for j in range(rows.shape[1])])


def by_hand(rows):
    having = (rows > 0).sum(0)
    weights = np.where(having > 0, np.log(len(rows) / np.maximum(having, 1)), 0)
    weighted = rows * weights
    lengths = np.linalg.norm(weighted, axis=1)
    unit = weighted / np.where(lengths > 0, lengths, 1)[:, None]
    return unit * np.sqrt(rows.shape[1]), weights, np.median(lengths[lengths > 0])


@pytest.mark.parametrize(
    "table",
    [
        counts(),
        counts().astype(float) * 0.3,
        (counts() > 0).astype(np.uint8),
        frame(),
        (frame() > 0).astype(int),
        frame().astype("Int64"),
    ],
)
def test_rows_of_words_are_recognised_weighted_and_scaled(table):
    codec = learn_codec(table, "text")
    assert isinstance(codec, WordCodec)
    want, _, _ = by_hand(np.asarray(table, dtype=float))
    values, observed = codec.encode(table, "text")
    assert (values.dtype, observed.all(), codec.input_shape) == (np.float32, True, (80,))
    np.testing.assert_allclose(values, want, atol=1e-5)
    np.testing.assert_allclose((values**2).sum(1)[:3], 80, rtol=1e-5)
    assert not values[3].any()
    assert codec.describe().startswith("80 words, ")
    assert "log(n / rows with it)" in codec.describe()
    assert codec.likelihood() == ("normal", {"scale": "learned"})


@pytest.mark.parametrize(
    ("table", "options"),
    [
        (frame().iloc[:, :49], {}),
        (frame().assign(w1=1.5 * np.arange(40), w2=-1.0), {}),
        (frame().assign(name="a b"), {}),
        (frame() > 0, {}),
        (frame() * 0, {"kinds": {"w3": "continuous"}}),
        (frame(), {"kinds": {"w3": "continuous"}}),
        (frame(), {"likelihood": "normal"}),
        (counts(), {"likelihood": "negative_binomial"}),
        (np.random.default_rng(0).poisson(0.5, (40, 80)), {}),
    ],
)
def test_other_tables_and_what_was_chosen_are_left_alone(table, options):
    assert isinstance(learn_codec(table, "text", ModalityFile(**options)), TableCodec)


def test_words_come_back_in_the_units_of_the_data():
    table = frame()
    codec = learn_codec(table, "text")
    assert Preprocessing.from_json(Preprocessing(codecs={"text": codec}).to_json()).codecs == {
        "text": codec
    }
    json.loads(codec.to_json())
    values, _ = codec.encode(table, "text")
    back, (_, weights, median) = codec.decode(values, False), by_hand(table.to_numpy())
    assert list(back) == list(table)
    some = np.flatnonzero(values.any(1))
    lengths = np.linalg.norm(back * weights, axis=1)[some]
    np.testing.assert_allclose(lengths, median, rtol=1e-5)
    assert all(
        spearmanr(own, given).statistic > 0.99
        for own, given in zip(back.to_numpy()[some, :-1], table.to_numpy()[some, :-1], strict=True)
    )
    np.testing.assert_allclose(back["w79"], table["w79"].mean(), rtol=1e-5)
    assert (back["w0"] == 0).all()
    assert (codec.readable(values - 1) >= 0).all()
    drawn = codec.decode(values, True)
    assert set(drawn.dtypes) == {np.dtype(np.int64)}
    assert learn_codec(table * 0.5, "text").decode(values, True).dtypes.eq(float).all()


def test_new_rows_are_matched_by_name_and_odd_ones_refused():
    table = frame().assign(note="x")
    codec = learn_codec(table, "text", ModalityFile(kinds={"note": "ignore"}))
    assert codec.describe().endswith("; 1 left out: note")
    values, _ = codec.encode(table, "text")
    np.testing.assert_array_equal(codec.encode(table[table.columns[::-1]], "text")[0], values)
    new = frame(seed=1).assign(w0=5)
    assert np.isfinite(codec.encode(new, "text")[0]).all()
    np.testing.assert_array_equal(
        codec.encode(new, "text")[0], codec.encode(new.assign(w0=0), "text")[0]
    )
    gone = frame().astype(float)
    gone.iloc[2] = np.nan
    values, observed = codec.encode(gone, "text")
    assert np.flatnonzero(~observed).tolist() == [2]
    assert np.isnan(values[2]).all()
    for odd, message in [
        (frame().drop(columns="w5"), r"missing columns \['w5'\]"),
        (frame().assign(more=1), r"unknown columns \['more'\]"),
        (frame().assign(w5=-1), r"below 0 in columns \['w5'\]"),
        (gone.assign(w5=1.0), "single missing cells"),
    ]:
        with pytest.raises(ValueError, match=message):
            codec.encode(odd, "text")
    numbered = learn_codec(frame().assign(w5=np.arange(40)), "text")
    assert numbered.ignored == ("w5",)
    assert numbered == learn_codec(frame(), "text", ModalityFile(kinds={"w5": "ignore"}))


def test_missing_rows_change_nothing_that_is_learned():
    table = frame().astype(float)
    more = pd.concat([table, pd.DataFrame(np.nan, index=[40, 41], columns=table.columns)])
    assert learn_codec(more, "text") == learn_codec(table, "text")


def test_an_odd_likelihood_is_refused():
    with pytest.raises(ValueError, match="'poisson' fits no words"):
        learn_codec(frame(), "text").likelihood("poisson")
