"""What log-likelihoods training samples have, and where others stand among them."""

from typing import Annotated

import numpy as np
from pydantic import Field

from cmvae.base.settings import Settings
from cmvae.runs.drift import Margin


class FitReference(Settings):
    """Log-likelihoods of training samples, by the modalities that are looked at.

    Of each set of modalities the log-likelihood of these alone, divided by how many numbers are
    there; so samples that lack some are compared with samples seen alike.

    Attributes:
        quantiles: Modalities, joined by +, to the quantiles of what training samples have, from the
            least to the largest, in equal steps.
        margins: Modality to how its numbers are distributed.
    """

    quantiles: dict[str, Annotated[tuple[float, ...], Field(min_length=2)]]
    margins: dict[str, tuple[Margin, ...]] = Field(default_factory=dict)

    def percentiles(self, scores: np.ndarray, patterns: list[str]) -> np.ndarray:
        """Return the percentiles of scores (n,) among those of training, NaN where none are known.

        Args:
            scores: Log-likelihoods of samples, divided by how many numbers are there.
            patterns: The modalities of each sample, joined by +, in the order of the model.
        """
        found, kinds = np.full(len(scores), np.nan), np.array(patterns, dtype=object)
        for pattern, quantiles in self.quantiles.items():
            own = kinds == pattern
            found[own] = np.interp(scores[own], quantiles, np.linspace(0, 100, len(quantiles)))
        return found.round(1)
