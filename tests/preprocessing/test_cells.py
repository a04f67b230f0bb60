import numpy as np
import pandas as pd
import pytest
import scipy.sparse

from cmvae.files.cell_places import CellRows
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.cells import CellCodec


def rows_of(values, names="xyz", layer=None):
    return CellRows(
        values, pd.Index([f"c{i}" for i in range(values.shape[0])]), tuple(names), layer
    )


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_variables_are_found_by_name_and_others_passed_over(form):
    values = np.array([[1.5, 2, 0], [0, 4, 2], [3, 0, 1]])
    codec = CellCodec.learn(rows_of(form(values)), "a")
    moved = np.hstack([np.full((3, 1), 9.0), values[:, [2, 0, 1]]])
    encoded, seen = codec.encode(rows_of(form(moved), "nzxy"), "a")
    stored = codec.stored(encoded)
    np.testing.assert_allclose(stored[:], (values - values.mean(0)) / values.std(0), atol=1e-6)
    assert seen.all()
    np.testing.assert_allclose(codec.decode(np.asarray(stored[:]), sample=True), values, atol=1e-6)
    with pytest.raises(KeyError, match="modality 'a' lacks 1 variables, such as 'y'"):
        codec.encode(rows_of(form(values), "xnz"), "a")


def test_draws_of_counts_are_whole_numbers_and_means_are_not():
    codec = CellCodec.learn(rows_of(np.array([[1, 2, 0], [0, 4, 2]])), "a")
    drawn = codec.decode(np.array([[3.0, 0.0, 1.0]]), sample=True)
    assert drawn.to_numpy().tolist() == [[3, 0, 1]]
    assert drawn.dtypes.tolist() == [np.int64] * 3
    assert codec.decode(np.array([[0.25, 0.0, 1.5]]), sample=False).to_numpy().tolist() == [
        [0.25, 0.0, 1.5]
    ]
    assert list(drawn) == list("xyz")


@pytest.mark.parametrize(
    ("chosen", "params", "expected"),
    [
        (None, {}, ("negative_binomial", {"library_size": True, "size": 4.5})),
        ("poisson", {"size": 9.0}, ("poisson", {"library_size": True, "size": 9.0})),
        ("poisson", {"library_size": False}, ("poisson", {"library_size": False})),
        ("laplace", {}, ("laplace", {"scale": 0.5})),
        ("normal", {"scale": 2.0}, ("normal", {"scale": 2.0})),
    ],
)
def test_likelihoods_are_detected_and_overridden(chosen, params, expected):
    codec = CellCodec.learn(rows_of(np.array([[1, 2, 0], [0, 4, 2]])), "a", chosen)
    assert codec.likelihood(chosen, params, 0.5) == expected


def test_a_value_is_the_sum_of_the_entries_at_its_place():
    parts = (np.array([0.5, 1.0, 0.5, 1.0]), np.array([1, 0, 1, 0]), np.array([0, 3, 4]))
    twice = scipy.sparse.csr_array(parts, shape=(2, 3))
    assert CellCodec.learn(rows_of(twice), "a").dist == "bernoulli"
    assert twice.data.tolist() == [0.5, 1.0, 0.5, 1.0]
    twice.data[2] = 1.5
    assert CellCodec.learn(rows_of(twice), "a").dist == "negative_binomial"


def test_the_description_says_what_the_variables_are():
    names = tuple(f"g{i}" for i in range(9))
    described = CellCodec(var_names=names, layer="raw", dist="poisson").describe()
    assert described == "9 counts of layer raw: g0, g1, g2, g3, g4 and 4 more"
    assert CellCodec(var_names=("p", "q"), dist="bernoulli").describe() == "2 binary: p, q"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dist": "cauchy"}, r"codecs\.a\.omics\.dist must be 'negative_binomial', "),
        ({"dist": None}, r"codecs\.a\.omics\.dist must be "),
        ({"spread": [1.0]}, "center and spread must hold 3 numbers, one for each variable"),
        ({"center": []}, "center and spread must hold 3 numbers"),
        ({"center": [], "spread": []}, "center and spread must hold 3 numbers"),
        ({"spread": [0.0] * 3}, r"codecs\.a\.omics\.spread\.0.* must be a positive number"),
        ({"var_names": []}, r"codecs\.a\.omics\.var_names"),
        ({"cells": 3}, "cells"),
        ({"type": "cells"}, r"codecs\.a.*'cells'"),
    ],
)
def test_a_stored_codec_that_does_not_fit_is_refused(change, message):
    codec = CellCodec.learn(rows_of(np.array([[1.5, 2, 0], [0, 4, 2]])), "a")
    stored = Preprocessing(codecs={"a": codec}).to_plain()
    assert Preprocessing.from_plain(stored).codecs == {"a": codec}
    stored["codecs"]["a"] |= change
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_plain(stored)


def test_missing_values_are_passed_over_and_coded_as_nan():
    rng = np.random.default_rng(0)
    values = rng.normal(3, 2, size=(30, 4))
    gaps = np.where(rng.random(values.shape) > 0.2, values, np.nan)
    gaps[5] = np.nan
    names, variables = pd.Index([f"c{i}" for i in range(30)]), tuple("pqrs")
    codec = CellCodec.learn(CellRows(gaps, names, variables), "m")
    assert codec.dist == "normal"
    np.testing.assert_allclose(codec.center, np.nanmean(gaps, 0))
    coded, observed = codec.encode(CellRows(gaps, names, variables), "m")
    assert np.flatnonzero(~observed).tolist() == [5]
    np.testing.assert_array_equal(np.isnan(coded), np.isnan(gaps))
    counts = np.where(np.isnan(gaps), np.nan, rng.poisson(20, values.shape))
    codec = CellCodec.learn(CellRows(counts, names, variables), "m")
    assert codec.dist == "negative_binomial"
    assert codec.size == pytest.approx(np.median(4 * np.nanmean(np.delete(counts, 5, 0), 1)))
    gaps[:, 2] = np.nan
    with pytest.raises(ValueError, match="'m': no values in variables r"):
        CellCodec.learn(CellRows(gaps, names, variables), "m")


@pytest.mark.parametrize("form", [np.asarray, scipy.sparse.csr_array])
def test_counts_of_peaks_become_binary_where_that_is_asked_for(form):
    values = np.array([[0, 2, 1], [4, 0, 0]])
    with pytest.warns(UserWarning, match="'a': counts, such as 2, are read as 'bernoulli': 1 wh"):
        codec = CellCodec.learn(rows_of(form(values)), "a", "bernoulli")
    rows = rows_of(form(values))
    encoded, _ = codec.encode(rows, "a")
    assert scipy.sparse.issparse(encoded) == scipy.sparse.issparse(rows.values)
    np.testing.assert_array_equal(codec.stored(encoded)[:], values > 0)
    kept = rows.values.toarray() if scipy.sparse.issparse(rows.values) else rows.values
    np.testing.assert_array_equal(kept, values)  # what was given is as it was
    with pytest.raises(
        ValueError, match=r"'bernoulli' needs 0 and 1, or counts.*got -1 in cell 'c0'"
    ):
        codec.encode(rows_of(form(-(values > 0).astype(int))), "a")


def test_binary_peaks_are_taken_without_a_copy():
    peaks = scipy.sparse.csr_array(np.array([[0, 1, 1], [1, 0, 0]], dtype=np.float32))
    codec = CellCodec.learn(rows_of(peaks), "a")
    assert codec.dist == "bernoulli"
    assert np.shares_memory(codec.encode(rows_of(peaks), "a")[0].data, peaks.data)


def test_variables_named_twice_are_refused_and_cells_without_counts_found():
    values = np.array([[1, 2, 0], [0, 0, 0], [3, 1, 2]])
    with pytest.raises(ValueError, match="'a': variables 'y' occur more than once; make var_names"):
        CellCodec.learn(rows_of(values, "xyy"), "a")
    codec = CellCodec.learn(rows_of(values), "a")
    assert codec.size == 4.5
    lacking = np.where([[False], [False], [True]], np.nan, values)
    for own in (scipy.sparse.csr_array(values), lacking):
        assert codec.without_counts(rows_of(own)) == ["c1"]
    assert not CellCodec.learn(rows_of(values), "a", "normal").without_counts(rows_of(values))
