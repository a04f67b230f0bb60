"""Covariates of samples: what is known of them, and is not to make clusters."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmvae.base.words import quoted, shown
from cmvae.data.checks import as_tensor, sample_list


def as_covariates(given: Any, n_samples: int) -> dict[str, Tensor]:
    """Return covariates, name to n_samples numbers, as float32; NaN is a missing one.

    Raises:
        TypeError: for what is no mapping from strings to numeric arrays.
        ValueError: for another shape, or infinity.
    """
    if not isinstance(given, Mapping):
        got = type(given).__name__
        raise TypeError(f"covariates: expected a mapping {{name: n numbers}}, got {got}")
    found = {}
    for name, values in given.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"covariates: names must be strings, not empty; got {shown(name)}")
        numbers = as_tensor(values, f"covariate {name!r}").to(torch.float32)
        if tuple(numbers.shape) != (n_samples,):
            got = f"got {tuple(numbers.shape)}"
            raise ValueError(f"covariate {name!r}: expected shape ({n_samples},), {got}")
        if not torch.compiler.is_compiling() and numbers.isinf().any():
            which = sample_list(numbers.isinf())
            raise ValueError(f"covariate {name!r}: infinity in {which}; NaN is a missing value")
        found[name] = numbers
    return found


def read_covariates(
    given: Mapping[str, Any], sizes: Mapping[str, int], n_samples: int, first: int = 0
) -> Tensor:
    """Return the covariates that a model has, (n_samples, C) float32, NaN where they are missing.

    Args:
        given: Name to n_samples numbers; of a category its index.
        sizes: The model's: name to the number of categories, 1 for a number.
        n_samples: How many samples there are.
        first: The place of the first of them in what the user gave.

    Raises:
        KeyError: for a covariate that the model does not have.
        TypeError, ValueError: as :func:`as_covariates`, and for an unknown category.
    """
    numbers = as_covariates(given, n_samples)
    if unknown := [name for name in numbers if name not in sizes]:
        known = f"the model has [{quoted(sizes)}]: CMVAEConfig(covariates={{name: categories}})"
        raise KeyError(f"unknown covariates [{quoted(unknown)}]; {known}")
    missing = torch.full((n_samples,), torch.nan)
    columns = [numbers.get(name, missing) for name in sizes]
    for name, column in zip(sizes, columns, strict=True):
        _check_categories(name, column, sizes[name], first)
    device = next((own.device for own in numbers.values()), missing.device)
    return torch.stack([column.to(device) for column in columns], 1)


def joined_covariates(parts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the covariates of single samples, each with those of all; what one lacks is NaN."""
    names = list(dict.fromkeys(name for own in parts for name in own))
    missing = torch.tensor(torch.nan)
    return [{name: own.get(name, missing) for name in names} for own in parts]


def _check_categories(name: str, column: Tensor, size: int, first: int) -> None:
    if size == 1 or torch.compiler.is_compiling():
        return
    bad = ~(column.isnan() | ((column >= 0) & (column < size) & (column == column.round())))
    if bad.any():
        got = f"got {column[bad][0].item():g} at {sample_list(bad, first)}"
        allowed = f"expected a category from 0 to {size - 1}, or NaN where it is missing"
        raise ValueError(f"covariate {name!r}: {allowed}; {got}")
