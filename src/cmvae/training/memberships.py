"""What is wanted of a few samples among many: rows of a tall table, the others being 0."""

from typing import Any

import numpy as np
import torch
from torch import Tensor


class FewRows:
    """A table (n, C) of which few rows are not 0, looked up by their places.

    Args:
        places: Where these are, (k,).
        values: What they hold, (k, C).
        device: Where they are looked up.

    Example:
        >>> table = FewRows(np.array([7, 2]), np.array([[1.0, 0.0], [0.5, 0.5]]))
        >>> table[torch.tensor([2, 3])]
        tensor([[0.5000, 0.5000],
                [0.0000, 0.0000]], dtype=torch.float64)
    """

    def __init__(self, places: np.ndarray, values: np.ndarray, device: Any = "cpu") -> None:
        order = places.argsort()
        self._places = torch.from_numpy(places[order]).to(device)
        self._values = torch.from_numpy(values[order]).to(device)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Return the rows at some places, (B,), as (B, C)."""
        wanted = rows.to(self._places.device)
        found = torch.searchsorted(self._places, wanted).clamp_max(len(self._places) - 1)
        is_there = self._places[found] == wanted
        return torch.where(is_there.unsqueeze(-1), self._values[found], 0)
