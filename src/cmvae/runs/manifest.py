"""The manifest of a run folder: the files that make the run, and their hashes."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from cmvae.base.files import atomic_write
from cmvae.base.reading import read_json
from cmvae.base.words import shortened

MANIFEST = "manifest.json"
VERSION = 3
Hashes = dict[str, str]


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Attributes:
        version: The version of the run folder's form.
        files: File to SHA-256, paths taken from the folder.
        sealed: Whether it is as it was written; None where that cannot be told, as of early runs.
    """

    version: Any
    files: Hashes
    sealed: bool | None = None


def write_manifest(folder: Path, names: Iterable[str]) -> None:
    """Write which of some files a run folder holds, with their hashes."""
    files = {name: digest(folder / name) for name in names if (folder / name).is_file()}
    with atomic_write(folder / MANIFEST) as temporary:
        temporary.write_text(_text(files), encoding="utf-8")


def record_files(folder: Path, names: Iterable[str]) -> None:
    """Bring the hashes of some files of a run up to date; those of the others stay."""
    files = {
        name: known for name, known in read_manifest(folder).files.items() if name not in names
    }
    found = {name: digest(folder / name) for name in names if (folder / name).is_file()}
    with atomic_write(folder / MANIFEST) as temporary:
        temporary.write_text(_text(files | found), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a run folder.

    Raises:
        ValueError: If it is missing or damaged, or names files outside of the folder.
    """
    path = folder / MANIFEST
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise ValueError(f"{path} is damaged: it names no version and no files")
    files = {str(name): str(known) for name, known in content["files"].items()}
    found = Manifest(content.get("version"), files, _is_sealed(path, content, files))
    outside = [name for name in files if not _is_inside(name)]
    if outside:
        raise ValueError(
            f"{path} is damaged: it names {shortened(repr(outside[0]))}, no file of the run"
        )
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files in a folder with their places in it.

    Hidden files of a folder, those whose names begin with a point, do not count.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    whole = hashlib.sha256()
    for name in sorted(files_in(path)):
        if not PurePosixPath(name).name.startswith("."):
            whole.update(f"{digest(path / name)} {name}\n".encode(errors="surrogateescape"))
    return whole.hexdigest()


def files_in(folder: Path) -> list[str]:
    """Return the files of a folder at any depth; links to folders are not followed."""
    found = []
    for place, _, names in os.walk(folder):
        paths = [Path(place, name) for name in names]
        found += [path.relative_to(folder).as_posix() for path in paths if path.is_file()]
    return found


def _text(files: Hashes, version: Any = VERSION) -> str:
    content = {"version": version, "files": files}
    seal = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "seal": seal}, indent=1) + "\n"


def _is_sealed(path: Path, content: dict[str, Any], files: Hashes) -> bool | None:
    """Tell whether a manifest is to the letter what was written; None where there is no seal."""
    if set(content) == {"version", "files"}:
        return None
    return path.read_text(encoding="utf-8") == _text(files, content.get("version"))


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts
