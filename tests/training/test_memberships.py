"""Few rows of a tall table are looked up by place; all others are 0."""

import numpy as np
import pytest
import torch

from cmvae.training.memberships import FewRows


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_those_of_the_whole_table(dtype):
    places = np.array([8, 0, 5])
    values = np.random.default_rng(0).random((3, 4)).astype(dtype)
    whole = torch.zeros(10, 4, dtype=torch.from_numpy(values).dtype)
    whole[torch.from_numpy(places)] = torch.from_numpy(values)
    wanted = torch.tensor([9, 5, 0, 0, 8, 1, 4, 6])
    assert torch.equal(FewRows(places, values)[wanted], whole[wanted])
