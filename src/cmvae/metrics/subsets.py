"""Subsets of the modalities: all of a size, or some drawn at random; their names."""

from collections.abc import Sequence
from itertools import combinations
from math import comb

import torch
from torch import Generator

from cmvae.base.arguments import positive_int


def subset_name(names: Sequence[str]) -> str:
    """Return ``'a+b'`` for the modalities a and b."""
    return "+".join(names)


def choose_subsets(
    names: Sequence[str], size: int, limit: int | None = None, generator: Generator | None = None
) -> list[tuple[str, ...]]:
    """Return the subsets of one size; where there are more than ``limit``, so many at random.

    Each has the names in their order. A limit that is no positive integer is refused.
    """
    if limit is None or comb(len(names), size) <= positive_int("max_subsets", limit):
        return list(combinations(names, size))
    device = "cpu" if generator is None else generator.device
    chosen: set[tuple[int, ...]] = set()
    while len(chosen) < limit:
        order = torch.randperm(len(names), generator=generator, device=device)
        chosen.add(tuple(sorted(order[:size].tolist())))
    return [tuple(names[i] for i in subset) for subset in sorted(chosen)]
