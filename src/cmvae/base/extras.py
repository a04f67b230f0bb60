"""Optional packages, imported where they are first used."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any


def from_extra(module: str, extra: str, what: str) -> Any:
    """Return a module of a package that an extra installs.

    Args:
        module: Its name.
        extra: The extra of this package.
        what: What needs it, for the message.

    Raises:
        ImportError: If it is not installed, naming the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise missing(error.name or module, extra, what) from error


def missing(package: str, extra: str, what: str) -> ImportError:
    """Return the error that names a package and the extra that installs it."""
    return ImportError(
        f"{what} needs {package}, which is not installed: pip install 'cmvae[{extra}]'",
        name=package,
    )


def packaged_file(package: str, path: str, extra: str, what: str) -> Path:
    """Return the place of a file that a package carries; nothing is imported, nothing downloaded.

    Raises:
        ImportError: If the package is not installed, naming the extra.
        ValueError: If it does not carry the file.
    """
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing(package, extra, what)
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise ValueError(f"the installed {package} does not carry {path}: {file} does not exist")
    return file
