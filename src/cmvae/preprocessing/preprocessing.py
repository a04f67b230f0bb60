"""From the files of a run to a model's inputs: learned once, kept with the model, applied to other files."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmvae.data.datasets import IncompleteDataset
from cmvae.files.arrays import ARRAY_SUFFIXES, ArrayFile
from cmvae.files.images import ImageFolder
from cmvae.files.join import JoinedRows, RowStore
from cmvae.files.modality import ModalityFile
from cmvae.files.mudata import MUDATA_SUFFIX, MuDataModality, OmicsRows
from cmvae.files.source import Source
from cmvae.files.tables import TABLE_SUFFIXES, TableFile
from cmvae.preprocessing.array_codecs import ArrayCodec, ImageCodec
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.omics_codec import OmicsCodec
from cmvae.preprocessing.table_codecs import TableCodec, TextCodec, learn_table

CODECS: dict[str, type[Codec]] = {
    codec.type: codec for codec in (TableCodec, TextCodec, ImageCodec, ArrayCodec, OmicsCodec)
}
CHUNK_BYTES = 1 << 25
MOST_ROWS = 8192


def open_source(modality: str, file: ModalityFile) -> Source:
    """Open the file of a modality.

    Raises:
        ValueError: If it is missing, damaged, or no kind of file that is read.
        KeyError: For a modality or a layer that an .h5mu file does not have.
        ImportError: For an .h5mu file, if the extra ``omics`` is not installed.
    """
    path = Path(file.path)
    if path.suffix == MUDATA_SUFFIX:
        return MuDataModality(path, modality, file.array, file.layer)
    if file.layer is not None:
        raise ValueError(
            f"modality {modality!r}: layers are those of {MUDATA_SUFFIX} files, and {path} is none"
        )
    if path.is_dir():
        return ImageFolder(path, modality)
    if path.suffix in ARRAY_SUFFIXES:
        return ArrayFile(path, modality, file.array, None if file.ids is None else Path(file.ids))
    if path.suffix in TABLE_SUFFIXES or not path.exists():
        return TableFile(path, modality, file.id)
    allowed = ", ".join((*TABLE_SUFFIXES, *ARRAY_SUFFIXES, MUDATA_SUFFIX))
    raise ValueError(f"modality {modality!r}: {path} is no folder of images and none of {allowed}")


@dataclass(frozen=True)
class Preprocessing:
    """How the rows of each modality become a model's inputs.

    Attributes:
        codecs: Modality to codec, in the model's order.
    """

    codecs: dict[str, Codec]

    @classmethod
    def learn(cls, files: Mapping[str, ModalityFile]) -> "Preprocessing":
        """Learn from files.

        Raises:
            ValueError, TypeError, KeyError: As the files' sources and codecs do, naming modality
                and file.
        """
        return cls({name: _learned(name, file) for name, file in files.items()})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the input shapes."""
        return {name: codec.shape for name, codec in self.codecs.items()}

    def likelihoods(
        self, files: Mapping[str, ModalityFile], scale: float | str
    ) -> dict[str, tuple[str, dict[str, Any]]]:
        """Return the likelihood of each modality, its name and its parameters.

        Raises:
            ValueError: For one that does not fit, naming the modality.
        """
        found = {}
        for name, codec in self.codecs.items():
            file = files[name]
            try:
                found[name] = codec.likelihood(file.likelihood, file.likelihood_params, scale)
            except ValueError as error:
                raise ValueError(f"modality {name!r}: {error}") from None
        return found

    def join(self, files: Mapping[str, ModalityFile]) -> RowStore:
        """Read files of some of the modalities, a part at a time, and join them on their ids.

        Returns:
            The samples, on disk; to be closed.

        Raises:
            KeyError: For an unknown modality.
            ValueError, TypeError: For rows unlike those learned from, and ids that cannot be
                joined.
        """
        unknown = [name for name in files if name not in self.codecs]
        if unknown:
            raise KeyError(
                f"unknown modalities {unknown}; those of the run are {list(self.codecs)}"
            )
        store = RowStore([name for name in self.codecs if name in files])
        try:
            for name in store.modalities:
                codec = self.codecs[name]
                source = open_source(name, files[name])
                if isinstance(source, MuDataModality) != isinstance(codec, OmicsCodec):
                    raise ValueError(
                        f"{source.where}: this is no file of the kind that the modality was learned from"
                    )
                for ids, rows in source.chunks(self.chunk_rows, codec.texts):
                    store.add(name, ids, *codec.encode(rows, name))
            store.check()
        except BaseException:
            store.close()
            raise
        return store

    def dataset(self, rows: JoinedRows) -> IncompleteDataset:
        """Return joined samples as a dataset; bytes of images stay bytes, and sparse values sparse."""
        return IncompleteDataset(
            {name: self.codecs[name].stored(x) for name, x in rows.data.items()}, rows.masks
        )

    @property
    def chunk_rows(self) -> int:
        """How many samples are worked on at a time."""
        largest = max(4 * int(np.prod(codec.shape)) for codec in self.codecs.values())
        return max(1, min(MOST_ROWS, CHUNK_BYTES // largest))

    def to_json(self) -> str:
        """Return everything that was learned as JSON text."""
        content = {
            name: {"type": codec.type, **codec.fields()} for name, codec in self.codecs.items()
        }
        rule = "ids are strings; modalities are joined on them, outer, in order of first appearance"
        return json.dumps({"ids": rule, "modalities": content}, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Preprocessing":
        """Read what :meth:`to_json` wrote.

        Raises:
            ValueError: If it is something else.
        """
        try:
            content = json.loads(text)["modalities"]
            return cls(
                {
                    name: CODECS[fields["type"]].from_fields(fields)
                    for name, fields in content.items()
                }
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"not a stored preprocessing: {error}") from None


def _learned(name: str, file: ModalityFile) -> Codec:
    source = open_source(name, file)
    if isinstance(source, ImageFolder):
        return _no_table(name, file, ImageCodec.of(source.measure(), file.size))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=RuntimeWarning)
        rows = source.read()
    if isinstance(rows, OmicsRows):
        return _no_table(name, file, OmicsCodec.of(rows, name, file.likelihood))
    if not isinstance(rows, np.ndarray):
        return learn_table(rows, file.kinds, file.likelihood, name)
    if rows.dtype == np.uint8 and rows.ndim == 4:
        return _no_table(
            name, file, ImageCodec((int(rows.shape[1]), int(rows.shape[2]), int(rows.shape[3])))
        )
    return _no_table(name, file, ArrayCodec.of(rows, name))


def _no_table(name: str, file: ModalityFile, codec: Codec) -> Codec:
    if file.kinds:
        raise ValueError(
            f"modality {name!r}: kinds are for the columns of tables, and {file.path} is none"
        )
    return codec
