"""Rows and texts wait in files and come back as they were, in any order."""

import os

import numpy as np
import pytest

from cmvae.files.spool import Spool, TextSpool


def spooled(values):
    spool = Spool(values.dtype, values.shape[1:])
    for part in np.array_split(values, 3):
        spool.append(part)
    return spool


@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int64])
@pytest.mark.parametrize("rows", [[], [4], [3, 4, 5, 0, 9, 9], list(range(10)), [-1 % 10, 2, 1]])
def test_rows_come_back_in_any_order(dtype, rows):
    values = np.arange(60).reshape(10, 3, 2).astype(dtype)
    spool = spooled(values)
    np.testing.assert_array_equal(spool.take(np.array(rows, dtype=np.int64)), values[rows])
    assert len(spool) == 10
    spool.append(values[:2])  # reading has not moved where rows are added
    np.testing.assert_array_equal(spool.take(np.array([10, 11])), values[:2])


def test_a_call_that_reads_less_than_all_is_followed_by_others(monkeypatch):
    values, read = np.arange(40.0).reshape(10, 4), os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, at: read(file, [views[0][:24]], at))
    np.testing.assert_array_equal(spooled(values).take(np.arange(2, 9)), values[2:9])


def test_rows_that_were_never_written_are_told_of():
    with pytest.raises(OSError, match="rows that wait in a file are gone: 10 were written"):
        spooled(np.zeros((10, 2))).take(np.array([10]))


def test_gaps_are_those_of_rows_that_are_seen():
    values = np.zeros((10, 2), dtype=np.float32)
    values[7, 1] = np.nan
    seen = np.ones(10, dtype=bool)
    assert spooled(values).has_gaps(seen)
    seen[7] = False
    assert not spooled(values).has_gaps(seen)
    assert not spooled(values).has_gaps(np.zeros(10, dtype=bool))
    assert not spooled(np.zeros((4, 2), dtype=np.uint8)).has_gaps(np.ones(4, dtype=bool))


def test_texts_are_a_sequence():
    given = ["a", "", "größer", "東京", "b" * 50, "x"]
    texts = TextSpool()
    texts.append(given[:2])
    texts.append([])
    texts.append(given[2:])
    assert list(texts) == given
    assert (texts[2], texts[-1], texts[1:4], texts[4:99], texts[5:2]) == (
        *("größer", "x"),
        *(given[1:4], given[4:], []),
    )
    with pytest.raises(IndexError, match="there are 6 texts, got the place 6"):
        texts[6]
