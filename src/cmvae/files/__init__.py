"""Files of samples: what a file is, how it is read, joined and written."""

from pathlib import Path

from cmvae.files.modality import ModalityFile
from cmvae.files.source import Source
from cmvae.files.suffixes import (
    ANNDATA_SUFFIX,
    ARRAY_SUFFIXES,
    COMPRESSED,
    MUDATA_SUFFIX,
    READ_TABLE_SUFFIXES,
    suffix_of,
)


def open_source(modality: str, file: ModalityFile) -> Source:
    """Open the file of a modality.

    Raises:
        ValueError: If it is missing, damaged, or no kind of file that is read.
        KeyError: For a modality or a layer that an .h5mu or .h5ad file does not have.
        ImportError: If the extra is not installed that reads such a file.
    """
    # Each reader brings a library of its own.
    from cmvae.files.arrays import ArrayFile
    from cmvae.files.images import ImageFolder
    from cmvae.files.mudata import MuDataModality
    from cmvae.files.shards import ShardFolder, shards_of
    from cmvae.files.tables import TableFile

    where = f"modality {modality!r}"
    if file.path is None:
        raise ValueError(f"{where} names no file: its rows were given in Python")
    path = Path(file.path)
    suffix = suffix_of(path)
    if suffix in (MUDATA_SUFFIX, ANNDATA_SUFFIX):
        return MuDataModality(path, modality, file.array, file.layer)
    if file.layer is not None:
        raise ValueError(
            f"{where}: layers are those of {MUDATA_SUFFIX} and {ANNDATA_SUFFIX} files, "
            f"and {path} is none"
        )
    if path.is_dir() and not file.subfolders and shards_of(path):
        return ShardFolder(path, modality, file)
    if path.is_dir():
        return ImageFolder(path, modality, file.subfolders)
    if suffix in ARRAY_SUFFIXES:
        ids = None if file.ids is None else Path(file.ids)
        return ArrayFile(path, modality, file.array, ids, file.layout)
    if suffix in READ_TABLE_SUFFIXES or not path.exists():
        return TableFile(path, modality, file.id, file)
    allowed = ", ".join((*READ_TABLE_SUFFIXES, *ARRAY_SUFFIXES, MUDATA_SUFFIX, ANNDATA_SUFFIX))
    packed = path.suffix.lower() in COMPRESSED
    hint = f"; a packed text has both endings, as {path.stem}.csv{path.suffix}" if packed else ""
    raise ValueError(f"{where}: {path} is no folder of images and none of {allowed}{hint}")
