import json

import numpy as np
import pandas as pd
import pytest

from cmvae.base.plain import as_plain, read_state, stored_state


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        ({"a": pd.Index(["x", "y"]), "b": np.arange(2)}, {"a": ["x", "y"], "b": [0, 1]}),
        ((np.float64(0.5), range(2), pd.Series([1])), [0.5, [0, 1], [1]]),
        (None, None),
    ],
)
def test_what_numpy_and_pandas_hold_becomes_json(value, plain):
    assert as_plain(value) == plain
    assert json.loads(json.dumps(as_plain(value))) == plain


def test_random_states_come_back():
    for state in (None, 3, np.int64(3)):
        assert read_state(json.loads(json.dumps(stored_state(state)))) == state
    assert stored_state(np.random) is None
    state = np.random.RandomState(5)
    state.normal()
    again = read_state(json.loads(json.dumps(stored_state(state))))
    assert again.normal() == state.normal()
