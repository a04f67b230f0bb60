"""Names of a run's clusters: read, checked, kept beside the run."""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cmvae.base.files import atomic_write
from cmvae.base.reading import read_json
from cmvae.base.words import counted, quoted
from cmvae.files.suffixes import TABLE_SUFFIXES
from cmvae.files.tables import TableFile

NAMES = "names.json"  # of a run folder
LONGEST = 60

Pairs = Sequence[tuple[str, str]]
"""Numbers of clusters and their names, as they are written."""


def cluster_names(text: str, n_clusters: int) -> dict[int, str]:
    """Return the names of clusters by number; those left out keep their number alone.

    Args:
        text: ``0=young,1=old``, or the path of a table whose first column has the numbers and
            whose second the names.
        n_clusters: How many clusters there are.

    Raises:
        ValueError: For another form, a cluster that is not there or named twice, and a name that is
            empty, too long, not printable, another one's, or the number of another cluster.
    """
    is_table = Path(text).suffix in TABLE_SUFFIXES and not re.match(r"\s*\d+\s*=", text)
    pairs = _read_table(Path(text)) if is_table else _read_text(text)
    return check_names(pairs, n_clusters, f"names: {text}" if is_table else "names")


def check_names(pairs: Pairs, n_clusters: int, where: str) -> dict[int, str]:
    """Return names by number; see :func:`cluster_names`. ``where`` begins the errors."""
    found: dict[int, str] = {}
    for written, name in pairs:
        own = unicodedata.normalize("NFC", name.strip())
        number = _number(written.strip(), n_clusters, where)
        if number in found:
            raise ValueError(f"{where}: cluster {number} is named twice")
        if not own:
            raise ValueError(f"{where}: the name of cluster {number} is empty; leave it out")
        if len(own) > LONGEST or not own.isprintable():
            allowed = f"a name has at most {LONGEST} printable characters"
            raise ValueError(f"{where}: {allowed}, got {own[: 2 * LONGEST]!r} for {number}")
        if own.isdecimal() and int(own) != number:
            what = f"cluster {number} cannot be named {own!r}"
            raise ValueError(f"{where}: {what}: that is the number of a cluster")
        same = [k for k, other in found.items() if other.casefold() == own.casefold()]
        if same:
            raise ValueError(f"{where}: clusters {same[0]} and {number} have the same name {own!r}")
        found[number] = own
    if not found:
        raise ValueError(f"{where}: no names given")
    return dict(sorted(found.items()))


def find_clusters(wanted: Sequence[str], names: Mapping[int, str], n_clusters: int) -> list[int]:
    """Return clusters that are given by number or by name, each once.

    Raises:
        ValueError: For one that is not there.
    """
    by_name = {name.casefold(): number for number, name in names.items()}
    found = []
    for text in wanted:
        own = unicodedata.normalize("NFC", text.strip()).casefold()
        if own in by_name:
            found.append(by_name[own])
        elif own.isascii() and own.isdecimal() and int(own) < n_clusters:
            found.append(int(own))
        else:
            allowed = f"must be from 0 to {n_clusters - 1}"
            allowed += f", or one of {quoted(names.values())}" if names else ""
            raise ValueError(f"cluster {allowed}, got {text!r}")
    return list(dict.fromkeys(found))


def write_names(folder: Path, names: Mapping[int, str]) -> None:
    """Keep names in a run folder, in the place of those before."""
    with atomic_write(folder / NAMES) as temporary:
        text = json.dumps({str(k): name for k, name in names.items()}, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")


def read_names(folder: Path, n_clusters: int) -> dict[int, str]:
    """Return the names that are kept in a run folder; empty where there are none.

    Raises:
        ValueError: For a file that is damaged, or names that :func:`cluster_names` refuses.
    """
    path = folder / NAMES
    if not path.is_file():
        return {}
    way = "remove it, and name the clusters"
    try:
        kept = read_json(path)
    except ValueError as error:
        raise ValueError(f"{error}: {way}") from None
    if not isinstance(kept, dict) or not all(isinstance(name, str) for name in kept.values()):
        raise ValueError(f"{path} is damaged, it must be a mapping of numbers to names: {way}")
    return check_names(list(kept.items()), n_clusters, str(path))


def _number(text: str, n_clusters: int, where: str) -> int:
    if text.isascii() and text.isdecimal() and int(text) < n_clusters:
        return int(text)
    there = f"there are {counted(n_clusters, 'cluster')}, from 0 to {n_clusters - 1}"
    raise ValueError(f"{where}: no cluster {text!r}; {there}")


def _read_text(text: str) -> Pairs:
    parts = [part.partition("=") for part in text.split(",")]
    if not all(sign and re.fullmatch(r"\s*\S+\s*", number) for number, sign, _ in parts):
        form = "0=young,1=old, or the path of a table with the columns cluster and name"
        raise ValueError(f"names must be {form}, got {text!r}")
    return [(number, name) for number, _, name in parts]


def _read_table(path: Path) -> Pairs:
    """Return the first two columns of a table."""
    if not path.is_file():
        raise ValueError(f"names: no such file: {path}")
    source = TableFile(path, "names")
    if len(source.columns) != 1:
        got = [source.id_column, *source.columns]
        raise ValueError(f"names: {path} must have two columns, cluster and name, got {got[:10]}")
    if source.id_column.isdecimal():
        raise ValueError(f"names: {path}: its first row must name the columns: cluster, name")
    own = source.columns[0]
    table = pd.concat([frame[own] for _, frame in source.chunks(texts=[own])])
    return list(zip(map(str, table.index), table.fillna("").astype(str), strict=True))
