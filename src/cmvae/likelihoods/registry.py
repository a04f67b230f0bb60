"""Likelihoods by name, and what builds them from a modality's settings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from cmvae.base.words import quoted, shown
from cmvae.likelihoods.base import Likelihood
from cmvae.likelihoods.custom import Custom
from cmvae.likelihoods.mixed import BLOCKS, Mixed

LIKELIHOODS: dict[str, type[Likelihood]] = {**BLOCKS, "mixed": Mixed}


def build_likelihood(
    dist: str | Callable[[Tensor, Tensor], Tensor],
    params: Mapping[str, Any] | None,
    modality: str,
    shape: Sequence[int] | None = None,
) -> Likelihood:
    """Build the likelihood of a modality, which errors name.

    Args:
        dist: A name of ``LIKELIHOODS``, or a function (reconstruction, target) → elementwise
            log-probability.
        params: Arguments of the likelihood, such as ``{"scale": 0.75}``; None: its defaults.
        modality: Name of the modality.
        shape: The modality's input shape, which some likelihoods need; None where it is not known.

    Raises:
        ValueError: For a name, parameter or value that is not allowed, or a shape that is needed.
    """
    params = dict(params or {})
    if not (callable(dist) or (isinstance(dist, str) and dist in LIKELIHOODS)):
        allowed = f"allowed: {quoted(LIKELIHOODS)} or a callable"
        raise ValueError(f"likelihood of modality {modality!r}: got {shown(dist)}; {allowed}")
    try:
        if isinstance(dist, str):
            return LIKELIHOODS[dist].build(params, shape)
        if params:
            raise ValueError(f"got {list(params)}; allowed: none")
    except ValueError as error:
        what = f"likelihood parameters of modality {modality!r} ({dist!r})"
        raise ValueError(f"{what}: {error}") from error
    return Custom(dist)
