"""What a model generates for a report, and what kind each modality is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from cmvae.data.checks import check_known
from cmvae.models.cmvae import CMVAE

IMAGES, TABLE, TEXT = "images", "table", "text"

Converter = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Units:
    """How values of each modality, as the model has them, become values that people read.

    Attributes:
        converters: Modality to what turns (n, *shape) into values of the data, of any shape, or
            into n texts.
        images: Names of the modalities that are images; None: those whose values are (n, 1 to 4, H,
            W).
    """

    converters: Mapping[str, Converter]
    images: Sequence[str] | None

    def check(self, modalities: Sequence[str]) -> None:
        """Raise ``KeyError`` for a modality that the model does not have."""
        check_known(self.converters, modalities, "to_units")
        check_known(self.images or [], modalities, "images")

    def of(self, modality: str, values: Tensor) -> np.ndarray:
        """Return values (n, *), floating or texts.

        Raises:
            ValueError: Where a converter returns another number of samples.
        """
        array = values.detach().cpu().numpy()
        if modality in self.converters:
            converted = np.asarray(self.converters[modality](array))
            if converted.shape[:1] != array.shape[:1]:
                raise ValueError(
                    f"to_units[{modality!r}] made {converted.shape[:1]} of {len(array)} samples: it must keep their "
                    "number"
                )
            array = converted
        return array if array.dtype.kind in "OUT" else array.astype(np.float64)

    def kind(self, modality: str, values: np.ndarray) -> str:
        """Return ``'text'``, ``'images'`` or ``'table'``."""
        if values.dtype.kind in "OUT":
            return TEXT
        if self.images is None:
            return IMAGES if values.ndim == 4 and values.shape[1] <= 4 else TABLE
        return IMAGES if modality in self.images else TABLE


@dataclass(frozen=True)
class Generated:
    """What the model generates for each active cluster, in units of the data.

    Attributes:
        kinds: Modality to ``'table'``, ``'images'`` or ``'text'``.
        centres: Modality to what is decoded at the centre of each cluster, private latents zero,
            (C, *).
        draws: Of images, modality to draws from each cluster, (C, n_draws, *).
    """

    kinds: dict[str, str]
    centres: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]


@torch.no_grad()
def generate(
    model: CMVAE, units: Units, active: Tensor, n_draws: int, generator: Generator
) -> Generated:
    """Generate from the active clusters (C,), the same for the same generator."""
    chosen = active.repeat_interleave(n_draws)
    drawn = model.generate_from_prior(len(chosen), cluster=chosen, generator=generator)
    none = {m: w.new_zeros(len(active), w.shape[1]) for m, w in drawn.modalities_z.items()}
    at_centres = model.to_data(
        model.decode({"z": model.cluster_centers[active], "modalities_z": none})
    )
    centres = {m: units.of(m, values) for m, values in at_centres.items()}
    kinds = {m: units.kind(m, values) for m, values in centres.items()}
    pictured = [m for m, kind in kinds.items() if kind == IMAGES]
    decoded = model.to_data(model.decode(drawn, pictured)) if pictured else {}
    draws = {m: units.of(m, values) for m, values in decoded.items()}
    return Generated(
        kinds,
        centres,
        {m: values.reshape(len(active), n_draws, *values.shape[1:]) for m, values in draws.items()},
    )
