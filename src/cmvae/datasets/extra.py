"""What the extra ``datasets`` installs, imported where it is first used."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["from_extra", "packaged_file"]


def from_extra(module: str) -> Any:
    """Return a module of a package that only some datasets need.

    Raises:
        ImportError: If it is not installed, naming the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(error.name or module) from error


def packaged_file(package: str, path: str) -> Path:
    """Return the place of a file that a package carries; nothing is imported, nothing downloaded.

    Raises:
        ImportError: If the package is not installed, naming the extra.
        ValueError: If it does not carry the file.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise _missing(package)
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise ValueError(f"the installed {package} does not carry {path}: {file} does not exist")
    return file


def _missing(name: str) -> ImportError:
    return ImportError(f"this dataset needs {name}, which is not installed: pip install 'cmvae[datasets]'")
