import numpy as np
import pandas as pd
import pytest

from cmvae.files.join import JoinedRows
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.covariates import (
    CovariateCodec,
    chosen_covariates,
    learn_covariates,
    warn_of_covariates,
)


def learn(values, kind=None):
    return CovariateCodec.learn(values, "batch", kind)


def test_texts_and_few_whole_numbers_are_categories():
    assert learn(["b", "a", None, "b", "a", " "]).categories == ("a", "b")
    assert learn([10, 2, 2, 10, np.nan, 10.0]).categories == ("2", "10")
    assert learn(pd.Series(["1", "2", "1", "2"])).categories == ("1", "2")
    assert learn([True, False, True, False]).categories == ("False", "True")
    assert learn(pd.Categorical(["x", "y", "x", "y"])).size == 2


def test_other_numbers_are_standardised():
    codec = learn([20.5, 30.5, 40.5, None])
    assert codec.size == 1
    np.testing.assert_allclose(codec.encode([20.5, 30.5, None], "age"), [-1, 0, np.nan])
    np.testing.assert_allclose(codec.decode(np.array([-1, 0])), [20.5, 30.5])
    assert learn(range(40)).size == 1
    assert learn([1, 2, 3, 1], kind="number").size == 1
    assert learn([0.5, 1.5, 0.5, 1.5], kind="category").categories == ("0.5", "1.5")


def test_categories_are_encoded_by_their_place_and_come_back():
    codec = learn(["b", "a", "b", "a"])
    found = codec.encode(["a", None, "b"], "batch")
    np.testing.assert_array_equal(found, [0, np.nan, 1])
    assert codec.decode(found).tolist() == ["a", None, "b"]
    numbers = learn([1, 2, 1, 2])
    assert numbers.encode(["1", 2.0, 1], "batch").tolist() == [0, 1, 0]


def test_it_comes_back_from_json():
    codecs = learn_covariates({"batch": ["a", "b", "a", "b"], "age": [1.5, 2.5, 4.0, 8.0]})
    learned = Preprocessing.learn({"x": np.arange(8.0).reshape(4, 2)}).replace(covariates=codecs)
    assert Preprocessing.from_json(learned.to_json()) == learned
    assert learned.settings["covariates"] == {"batch": 2, "age": 1}


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ([None, np.nan], None, "no sample has a value"),
        (["a", "b", "c", "d"], None, "4 different values in 4 samples are an id"),
        ([1.0, 2.0, np.inf, 1.0] * 3, None, "a finite number was expected, got inf"),
        ([1.0, 2.0, np.inf, 1.0] * 3, "number", "a finite number was expected, got inf"),
        ([True, False, True, False], "number", "a finite number was expected, got True"),
        (["a", "b", "a", "b"], "number", "a finite number was expected, got 'a'"),
    ],
)
def test_what_is_no_covariate_is_refused(values, kind, words):
    with pytest.raises(ValueError, match=f"covariate 'batch': {words}"):
        learn(values, kind)


def test_whole_numbers_are_the_same_categories_however_they_are_written():
    for values in ([1.0, 2.0] * 2, ["1.0", "2.0"] * 2, ["1", "2.00"] * 2):
        codec = learn(values)
        assert codec.categories == ("1", "2")
        assert codec.encode([2, "2.0", "1", 1.0], "batch").tolist() == [1, 1, 0, 0]
    assert learn(["v1.0", "1.0.0"] * 2).categories == ("1.0.0", "v1.0")
    kept = CovariateCodec(categories=("1.0", "2.0"))  # of a run of before
    assert kept.encode(["1", 2.0], "batch").tolist() == [0, 1]


@pytest.mark.parametrize("values", [["1", "1.0", "1"], ["0.5", "0.50"] * 2, ["a", "a "] * 2])
def test_one_that_is_constant_but_for_its_spelling_is_left_out(values):
    with pytest.warns(UserWarning, match="for all samples that have it: it is left out"):
        assert learn_covariates({"batch": values}) == {}


def test_a_constant_one_is_left_out_with_a_warning():
    with pytest.warns(UserWarning, match="'batch' is 'a' for all samples.*left out"):
        assert learn_covariates({"batch": ["a", "a", None]}) == {}


def test_a_batch_of_one_cell_is_warned_of():
    with pytest.warns(UserWarning, match="only one sample has each of 'c'"):
        assert learn(["a", "b", "a", "b", "c", "a"]).size == 3


def test_unknown_categories_and_names_are_refused():
    codecs = learn_covariates({"batch": ["a", "b", "a", "b"]})
    with pytest.raises(ValueError, match="unknown 'c'; training had 'a', 'b'"):
        codecs["batch"].encode(["a", "c"], "batch")
    with pytest.raises(KeyError, match=r"unknown covariates \['site'\]"):
        chosen_covariates(codecs, {"site": "x"})
    with pytest.raises(TypeError, match="names to values"):
        chosen_covariates(codecs, {"batch": ["a", "b"]})
    assert chosen_covariates(codecs, {"batch": "b"}) == {"batch": 1.0}


def test_what_cannot_be_learned_of_them_is_warned_of():
    codecs = learn_covariates({"batch": ["a", "b", "a", "b"]})
    rows = {"data": {}, "ids": list("wxyz")}
    seen = {"rna": np.ones(4, bool), "protein": np.array([True, False, True, False])}
    told = JoinedRows(**rows, masks=seen, covariates={"batch": ["a", "b", "a", None]})
    with pytest.warns(UserWarning, match="'batch'") as found:
        warn_of_covariates(codecs, told)
    said = [str(own.message) for own in found]
    assert "1 sample of 4 without it" in said[0]
    assert "which samples have modality 'protein': none of 'b' has it" in said[1]
    assert len(said) == 2


@pytest.mark.parametrize(
    ("share", "others", "words"),
    [
        (0.0, 0.2, "none of 'b' has it"),
        (0.04, 0.8, "hardly any of 'b' has it"),
        (0.04, 0.3, None),
        (0.2, 0.8, None),
        (0.0, 0.0, None),
    ],
)
def test_a_modality_that_hardly_any_of_a_category_have_is_warned_of(share, others, words, recwarn):
    batch = ["a"] * 50 + ["b"] * 50
    places = np.arange(50) / 50
    masks = {"rna": np.ones(100, bool), "protein": np.r_[places < others, places < share]}
    rows = JoinedRows([], {}, masks, covariates={"batch": batch})
    warn_of_covariates(learn_covariates({"batch": batch}), rows)
    said = [str(own.message) for own in recwarn]
    assert len(said) == (words is not None)
    assert words is None or f"modality 'protein': {words}" in said[0]


def test_many_samples_are_enough_however_small_their_share(recwarn):
    batch = ["a"] * 100 + ["b"] * 5000 + ["c"] * 100
    protein = np.r_[np.ones(100, bool), np.arange(5000) < 50, np.zeros(100, bool)]
    rows = JoinedRows([], {}, {"protein": protein}, covariates={"batch": batch})
    codecs = learn_covariates({"batch": batch})
    warn_of_covariates(codecs, rows)
    rows.masks["protein"][110:] = False
    warn_of_covariates(codecs, rows)
    first, second = [str(own.message) for own in recwarn]
    assert ": none of 'c' has it" in first
    assert ": none of 'c' and hardly any of 'b' has it" in second
