"""Where a modality is and how it is read: a part of a run's settings."""

from pathlib import Path
from typing import Any

from pydantic import Field

from cmvae.base.settings import Name, PositiveInt, Settings


class ModalityFile(Settings):
    """Where a modality is and how it is read.

    Attributes:
        path: A table, an array, a folder of images, or an .h5mu file; None where the rows were
            given in Python.
        id: The id column of a table; None: a Parquet file's stored index, else the first column.
        array: The array's name in an .npz, or the modality's in an .h5mu; None: the only array, the
            same name.
        layer: The layer of an .h5mu's modality; None: ``X``.
        ids: A text file with the ids of an array, one a line.
        kinds: Column of a table to 'continuous', 'binary', 'count', 'category', 'text' or 'ignore'.
        likelihood: A name of ``cmvae.likelihoods.LIKELIHOODS``; None: as the kinds say.
        likelihood_params: Its parameters.
        network: A name of ``cmvae.networks.NETWORKS``; None: as the shape says.
        size: Height and width that images are scaled to, in pixels.
    """

    path: Name | None = None
    id: str | None = None
    array: str | None = None
    layer: str | None = None
    ids: str | None = None
    kinds: dict[str, str] = Field(default_factory=dict)
    likelihood: str | None = None
    likelihood_params: dict[str, Any] = Field(default_factory=dict)
    network: str | None = None
    size: tuple[PositiveInt, PositiveInt] | None = None

    def resolved(self, folder: Path) -> "ModalityFile":
        """Return a copy with absolute paths, relative ones taken from a folder."""
        places = {"path": self.path, "ids": self.ids}
        return self.replace(
            **{name: str((folder / place).absolute()) for name, place in places.items() if place}
        )
