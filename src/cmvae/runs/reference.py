"""What log-likelihoods training samples have, and where others stand among them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from pydantic import Field

from cmvae.base.reading import read_json
from cmvae.base.settings import Ascending, Settings
from cmvae.base.words import SHOWN
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

    quantiles: dict[str, Annotated[Ascending, Field(min_length=2)]]
    margins: dict[str, tuple[Margin, ...]] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, modalities: Sequence[str]) -> Self:
        """Read a file that :meth:`to_json` wrote, of a run of some modalities.

        Raises:
            ValueError: If it is none, naming it.
        """
        found = cls.from_plain(read_json(path), str(path))
        if unknown := [name for name in found.margins if name not in modalities]:
            raise ValueError(f"{path}: margins names unknown modalities {unknown[:SHOWN]}")
        return found

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
