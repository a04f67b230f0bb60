"""MuData files: the one place that knows how :mod:`cmvae.data` reads them."""

from importlib import import_module
from pathlib import Path

from cmvae.run_config import ModalityFile

__all__ = ["h5mu_files"]

HDF5 = b"\x89HDF\r\n\x1a\n"


def h5mu_files(path: Path) -> dict[str, ModalityFile]:
    """Return the modalities of an .h5mu file.

    Raises:
        ValueError: If it is missing, is none, or cannot be read by this installation.
    """
    if not path.is_file():
        raise ValueError(f"no such file: {path}")
    with path.open("rb") as file:
        if file.read(len(HDF5)) != HDF5:
            raise ValueError(f"{path}: not an .h5mu file: it is no HDF5 file")
    try:
        omics = import_module("cmvae.data.omics")
    except ModuleNotFoundError as error:
        raise ValueError(f"{path}: this installation does not read .h5mu files: {error}") from None
    names = list(omics.read_h5mu(path, backed=True).mod)
    return {name: ModalityFile(path=str(path.absolute()), array=name) for name in names}
