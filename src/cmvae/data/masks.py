"""Which modalities of which samples are observed."""

import operator
from collections.abc import Sequence
from numbers import Real

import numpy as np

from cmvae.base.words import shown


def random_masks(
    n_samples: int, modalities: Sequence[str], missing_rate: float, seed: int = 0
) -> dict[str, np.ndarray]:
    """Draw masks in which a share of the samples is incomplete.

    Of the n samples ``round(missing_rate * n)`` are incomplete, drawn without replacement; each of
    those keeps a non-empty proper subset of its modalities, every such subset being equally likely.

    Args:
        n_samples: n, at least 1.
        modalities: names of the modalities; at least two unless nothing is to be missing.
        missing_rate: share of incomplete samples, in [0, 1].
        seed: seed of the draw; equal seeds give equal masks.

    Returns:
        Modality -> (n,) bool, True = observed.

    Raises:
        TypeError: for modalities given as one string, or an n_samples that is not an integer.
        ValueError: for a missing_rate outside [0, 1], an n_samples below 1, names that repeat, or
            fewer than two modalities where samples must lose some.
    """
    is_number = isinstance(missing_rate, Real) and not isinstance(missing_rate, bool)
    if not is_number or not 0 <= (rate := float(missing_rate)) <= 1:
        raise ValueError(f"missing_rate: expected a number in [0, 1], got {shown(missing_rate)}")
    if isinstance(modalities, str):
        raise TypeError(f"modalities: expected a sequence of names, got the string {modalities!r}")
    if operator.index(n_samples) < 1:
        raise ValueError(f"n_samples: expected at least 1, got {n_samples}")
    names = list(modalities)
    if not names or len(set(names)) < len(names):
        raise ValueError(f"modalities: expected names that differ, got {names}")
    n_incomplete = round(rate * n_samples)
    if n_incomplete and len(names) < 2:
        only = f"samples with the one modality {names[0]!r}"
        raise ValueError(f"missing_rate: {rate} leaves nothing of {only}")
    rng = np.random.default_rng(seed)
    incomplete = rng.permutation(n_samples)[:n_incomplete]
    observed = np.ones((n_samples, len(names)), dtype=bool)
    observed[incomplete] = _proper_subsets(rng, n_incomplete, len(names))
    return {name: observed[:, column].copy() for column, name in enumerate(names)}


def _proper_subsets(rng: np.random.Generator, n: int, size: int) -> np.ndarray:
    """Return (n, size) bool, rows uniform over those that are neither all True nor all False."""
    subsets = np.zeros((n, size), dtype=bool)
    redraw = np.arange(n)
    while len(redraw):
        subsets[redraw] = rng.random((len(redraw), size)) < 0.5
        kept = subsets[redraw].sum(1)
        redraw = redraw[(kept == 0) | (kept == size)]
    return subsets
