import warnings

import numpy as np
import pandas as pd
import pytest

from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.variation import check_variation

VARIED = np.arange(12.0).reshape(4, 3)


def test_columns_of_arrays_that_hold_one_value_are_named():
    flat = VARIED.copy()
    flat[:, 1] = 7
    said = "^modality 'a': 1 column of 3 tell no samples apart: 1 is the same in all rows: 7.0$"
    with pytest.warns(UserWarning, match=said):
        check_variation({"a": flat, "b": VARIED}, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_variation({"a": flat, "b": VARIED}, {"a": ["1"]})


@pytest.mark.parametrize(
    "rows",
    [
        np.full((4, 2), 0.1),
        np.where(np.eye(4, 2) > 0, np.nan, 3.0),
        np.ones((4, 2), dtype=np.uint8),
        np.ones((4, 1, 2, 2)),
        np.array([["x"]] * 4, dtype=object),
    ],
)
def test_where_nothing_varies_it_is_said(rows):
    with pytest.warns(UserWarning, match="^nothing varies in modalities 'a', 'b': every number"):
        check_variation({"a": rows, "b": np.zeros((4, 2))}, {})


@pytest.mark.parametrize(
    "rows", [VARIED, pd.DataFrame({"x": [1.0, 1.0]}), np.ones((1, 2)), [[1, 2]], VARIED > 5]
)
def test_of_what_varies_or_cannot_be_told_nothing_is_said(rows):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_variation({"a": rows}, {})


def test_constants_are_learned_without_a_word_of_numpy():
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        Preprocessing.learn({"a": np.ones((6, 3)), "b": np.zeros((6, 2, 2, 2))})
    assert [str(own.message)[:14] for own in given] == ["nothing varies"]
