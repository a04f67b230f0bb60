"""Where a modality is and how it is read: a part of a run's settings."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from cmvae.base.settings import Flag, Name, PositiveInt, Settings

LONGEST_NAME = 255  # of a file, in bytes


def _place(path: str) -> str:
    if "\0" in path or any(len(part.encode()) > LONGEST_NAME for part in path.split("/")):
        raise ValueError(f"must be a path of names of at most {LONGEST_NAME} bytes, without zeros")
    return path


Place = Annotated[Name, AfterValidator(_place)]


class CovariateFile(Settings):
    """Where a covariate is.

    Attributes:
        path: A table with ids, or an .h5mu or .h5ad file; None where it was given in Python.
        column: Its column, of the others a key of ``.obs``; None: the only one.
        id: The id column of a table; None: as for :class:`ModalityFile`.
        kind: 'category' or 'number'; None: as its values look.
    """

    path: Place | None = None
    column: Name | None = None
    id: Name | None = None
    kind: Literal["category", "number"] | None = None

    def resolved(self, folder: Path) -> "CovariateFile":
        """Return a copy with an absolute path, a relative one taken from a folder."""
        return self.replace(path=str((folder / self.path).absolute())) if self.path else self


class ModalityFile(Settings):
    """Where a modality is and how it is read.

    Attributes:
        path: A table, an array, a folder of images, or an .h5mu or .h5ad file; None where the rows
            were given in Python.
        id: The id column of a table; None: a Parquet file's stored index, else the first column.
        array: The array's name in an .npz, or the modality's in an .h5mu; None: the only array, the
            same name.
        layer: The place of the values of an .h5mu or .h5ad, a layer say
            (:mod:`cmvae.files.cell_places`); None: ``X``.
        ids: A text file with the ids of an array, one a line.
        kinds: Column of a table to 'continuous', 'date', 'date+season', 'binary', 'count',
            'category', 'text' or 'ignore'.
        likelihood: A name of ``cmvae.likelihoods.LIKELIHOODS``; None: as the kinds say.
        likelihood_params: Its parameters.
        network: A name of ``cmvae.networks.NETWORKS``; None: as the shape says.
        size: Height and width that images are scaled to, in pixels.
        delimiter: What stands between the cells of a text: 'comma', 'semicolon', 'tab', 'pipe',
            'blank' or the sign itself. This and what follows is found in the file where it is None.
        decimal: The decimal sign, 'point' or 'comma'.
        thousands: What stands between thousands: 'comma', 'point', 'apostrophe' or 'blank'.
        encoding: The encoding of a text, as Python names it.
        sheet: The sheet of an .xlsx file.
        subfolders: Whether the images in subfolders are read too, their ids being relative paths.
        depth: How images of sixteen bits a channel become images of eight: by the upper eight of
            the bits that are 'used' in the folder, or of the 'full' sixteen.
        layout: Where the channels of an array of images are: 'first' (n, C, H, W), 'last'
            (n, H, W, C), or 'none' (n, H, W).
    """

    path: Place | None = None
    id: str | None = None
    array: str | None = None
    layer: str | None = None
    ids: Place | None = None
    kinds: dict[str, str] = Field(default_factory=dict)
    likelihood: str | None = None
    likelihood_params: dict[str, Any] = Field(default_factory=dict)
    network: str | None = None
    size: tuple[PositiveInt, PositiveInt] | None = None
    delimiter: Name | None = None
    decimal: Literal["point", "comma"] | None = None
    thousands: Literal["comma", "point", "apostrophe", "blank"] | None = None
    encoding: Name | None = None
    sheet: Name | None = None
    subfolders: Flag = False
    depth: Literal["used", "full"] | None = None
    layout: Literal["first", "last", "none"] | None = None

    def resolved(self, folder: Path) -> "ModalityFile":
        """Return a copy with absolute paths, relative ones taken from a folder."""
        places = {"path": self.path, "ids": self.ids}
        return self.replace(
            **{name: str((folder / place).absolute()) for name, place in places.items() if place}
        )
