"""A table that is learned from a sample is coded as one that is learned whole."""

import numpy as np
import pandas as pd
import pytest

from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.sampling import TableSample

N, KEPT = 3000, 200


def table():
    """Return columns of every kind, each with something rare in a row of its own."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "plain": rng.normal(3, 2, N),
            "grade": rng.integers(1, 6, N),
            "rare fraction": rng.integers(0, 2, N).astype(float),
            "rare third": rng.integers(0, 2, N),
            "nearly constant": np.full(N, 7.0),
            "counts": rng.poisson(9, N),
            "colour": rng.choice(["red", "blue"], N),
            "answer": rng.choice(["yes", "no"], N),
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(900, size=N), "D"),
        }
    )
    frame.loc[1234, "plain"] = np.nan
    frame.loc[2345, "rare fraction"] = 0.5
    frame.loc[501, "rare third"] = 2
    frame.loc[777, "nearly constant"] = 8
    frame.loc[2001, "colour"] = "violet"
    frame.loc[[5, 2999]] = np.nan  # of samples that lack the modality
    frame.loc[~frame.index.isin([5, 2999]), "row"] = rng.permutation(N - 2)
    return frame


def learned(rows, kinds=None, parts=None, wanted=KEPT):
    """Return what is learned of rows, whole, or from a sample of so many parts."""
    options = {"t": ModalityFile(kinds=kinds or {})}
    if parts is None:
        return Preprocessing.learn({"t": rows}, options)
    sample = TableSample(wanted)
    for start in range(0, len(rows), -(-len(rows) // parts)):
        sample.add(rows[start : start + -(-len(rows) // parts)])
    return Preprocessing.learn({"t": sample.table()}, options, {"t": sample})


@pytest.mark.parametrize("parts", [1, 7])
def test_kinds_values_and_figures_are_those_of_all_rows(parts):
    frame, kinds = table(), {"when": "date"}
    whole, sampled = learned(frame, kinds), learned(frame, kinds, parts)
    one, two = whole.codecs["t"], sampled.codecs["t"]
    assert two.kinds == one.kinds
    assert two.ignored == one.ignored == ("row",)
    for own, other in zip(one.columns, two.columns, strict=True):
        if own.kind == "continuous":
            assert other.center == pytest.approx(own.center, rel=1e-12)
            assert other.spread == pytest.approx(own.spread, rel=1e-12)
        elif own.kind != "date":  # whose scale is that of the sample
            assert other == own
    known, drawn = whole.understood["t"], sampled.understood["t"]
    assert drawn.samples == known.samples == N - 2
    for own, other in zip(known.columns, drawn.columns, strict=True):
        assert (other.kind, other.missing, other.range) == (own.kind, own.missing, own.range)


def test_all_rows_of_a_small_table_are_kept():
    frame = table()
    assert learned(frame, {"when": "date"}, 5, N).codecs["t"].columns[-1].kind == "date"
    sample = TableSample(N)
    for start in range(0, N, 700):
        sample.add(frame[start : start + 700])
    pd.testing.assert_frame_equal(sample.table(), frame)


def test_the_sample_is_random_and_the_same_however_the_rows_come():
    values = np.arange(20_000)[:, None] * [0.5, 0]
    found = []
    for size in (20_000, 999):
        sample = TableSample(1000)
        for start in range(0, len(values), size):
            sample.add(values[start : start + size])
        found.append(sample.table())
    kept = [set(own[:, 0]) for own in found]
    assert isinstance(found[0], np.ndarray)
    assert len(kept[0] & kept[1]) > 990  # beside the first rows of what is new
    assert abs(np.mean([*kept[0]]) - 5000) < 300
    assert np.all(np.diff(found[0][:, 0]) > 0)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (2900, "a word", "holds text among numbers"),
        (1700, np.inf, "holds infinite values"),
        (2100, [1, 2], "lists or the like"),
    ],
)
def test_what_is_refused_is_refused_wherever_it_is(place, value, message):
    frame = table()[["plain", "grade"]].astype(object)
    frame.at[place, "plain"] = value
    for parts in (None, 4):
        with pytest.raises((ValueError, TypeError), match=message):
            learned(frame.infer_objects(), parts=parts)


def test_means_of_large_numbers_are_those_of_the_whole():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"far": 1e9 + rng.normal(size=N), "huge": rng.normal(size=N) * 1e200})
    whole, sampled = (learned(frame, parts=own).codecs["t"].columns for own in (None, 6))
    assert sampled[0].center == pytest.approx(whole[0].center, rel=1e-14)
    assert sampled[0].spread == pytest.approx(whole[0].spread, rel=1e-8)
    # Squares that overflow leave the figures of the sample.
    assert sampled[1].spread == pytest.approx(whole[1].spread, rel=0.3)
