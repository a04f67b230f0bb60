"""Whether a run folder still is what was written, and still gives the labels that it gave."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cmvae.base.reading import read_json
from cmvae.base.words import counted, listed, message_of, shortened
from cmvae.runs.completing import PART_SAMPLES
from cmvae.runs.folder import (
    FILES,
    ON_REQUEST,
    OPTIONAL,
    OWN_FILES,
    VERSIONS,
    check_folder,
    check_version,
    load_model,
    read_record,
    versions_now,
)
from cmvae.runs.manifest import MANIFEST, Manifest, digest, files_in, read_manifest
from cmvae.runs.reading import REFUSED, hashes_of, read_files

if TYPE_CHECKING:
    from cmvae.files.join import JoinedRows
    from cmvae.runs.run import Run

MOST = 25  # files that differ, to be named
CLOSE = 1e-3  # of probabilities, which are rounded otherwise on other machines
DAMAGES = (*REFUSED, RuntimeError, OSError)


@dataclass(frozen=True)
class Check:
    """What became of one check of a run.

    Attributes:
        what: What was looked at.
        holds: Whether it is as recorded; None where that could not be told.
        found: What was found, in words.
    """

    what: str
    holds: bool | None
    found: str


def verify_run(folder: Path, tell: Callable[[str], None] | None = None) -> Iterator[Check]:
    """Check a run's files, versions, model and labels; nothing is written.

    Args:
        folder: The run folder.
        tell: Is told of each file of the data, in a line, what is unusual about it.

    Yields:
        Each check as it is done. What depends on one that failed is not checked.

    Raises:
        ValueError: If the folder holds no run, or one of another version.
    """
    files = _check_files(folder)
    yield files
    if files.holds is False and not _is_readable(folder):
        for what in ("versions", "model", "labels"):
            yield Check(what, None, "not checked: files of the run differ")
        return
    try:
        yield _check_versions(folder)
        run = load_model(folder, read_record(folder))
    except DAMAGES as error:
        yield Check("model", False, message_of(error))
        yield Check("labels", None, "not checked: the model cannot be read")
        return
    yield Check("model", True, f"loads: {counted(run.model.n_clusters, 'cluster')}")
    yield _check_labels(run, tell)


def _check_files(folder: Path) -> Check:
    """Compare all files of a run with their hashes; what is none of them is said."""
    gone = folder.is_dir() and not (folder / MANIFEST).exists()
    if gone and any((folder / name).exists() for name in OWN_FILES):
        return Check("files", False, f"missing: {MANIFEST}, which has the hashes of the others")
    check_folder(folder)
    try:
        manifest = read_manifest(folder)
    except ValueError as error:
        return Check("files", False, message_of(error))
    if manifest.sealed is not False:
        check_version(folder, manifest)
    present = {name for name in OPTIONAL if (folder / name).exists()}
    known = {*FILES, *present, *manifest.files}
    states = {name: _state(folder, manifest, name) for name in known}
    states[MANIFEST] = "altered" if manifest.sealed is False else ""
    others = sorted({*files_in(folder)} - {*known, MANIFEST})
    bad = [f"{state}: {_plain(name)}" for name, state in sorted(states.items()) if state]
    good = sum(not state for state in states.values())
    more = [f"{len(bad) - MOST} more"] if len(bad) > MOST else []
    words = [*bad[:MOST], *more, f"{good} as recorded", *_beside(others)]
    if manifest.sealed is None:
        words.append(f"{MANIFEST} of an early version, without a hash of its own")
    return Check("files", not bad, "; ".join(words))


def _state(folder: Path, manifest: Manifest, name: str) -> str:
    """Return what is wrong with a file of a run; nothing: an empty text."""
    try:
        is_there = (folder / name).is_file()
    except OSError:  # no file can have such a name
        is_there = False
    if not is_there:
        return "missing"
    if name not in manifest.files:
        return "without a hash"
    return "" if digest(folder / name) == manifest.files[name] else "altered"


def _beside(others: list[str]) -> Iterator[str]:
    """Say which files have no hash: what early versions did not record, and what others added."""
    own = [name for name in others if name in ON_REQUEST]
    added = [name for name in others if name not in own]
    if own:
        yield f"without a hash: {listed(own)}"
    if added:
        yield f"not of the run: {listed(map(_plain, added))}"


def _plain(name: str) -> str:
    """Return the name of a file as it can be printed."""
    return shortened(name if name.isprintable() else repr(name))


def _is_readable(folder: Path) -> bool:
    """Tell whether a run can be read though some of its files differ, as its page may."""
    try:
        read_record(folder)
    except DAMAGES:
        return False
    return True


def _check_versions(folder: Path) -> Check:
    """Say which versions are others than those that the run was made with; none is wrong."""
    then, now = read_json(folder / VERSIONS), versions_now()
    if not isinstance(then, dict):
        return Check("versions", False, f"{VERSIONS} holds none")
    other = [f"{n} {then[n]} then, {now[n]} now" for n in now if then.get(n, now[n]) != now[n]]
    return Check("versions", True, "; ".join(other) or "as recorded")


def _check_labels(run: "Run", tell: Callable[[str], None] | None) -> Check:
    """Assign the samples that a run was trained on again, where its data are at hand."""
    modalities = run.config.modalities
    files = {name: modalities[name] for name in run.preprocessing.codecs}
    given = [name for name, file in files.items() if file.path is None]
    if given:
        return Check("labels", None, f"not checked: {listed(given)} given in Python, in no file")
    try:
        now = hashes_of(files)
        gone = [files[name].path for name, known in now.items() if known is None]
        if gone:
            return Check("labels", None, f"not checked: data are gone: {listed(gone)}")
        known = run.preprocessing.understood
        before = {name: known[name].sha256 if name in known else None for name in files}
        changed = [files[n].path for n in files if before[n] is not None and before[n] != now[n]]
        if changed:
            return Check("labels", None, f"not checked: data have changed: {listed(changed)}")
        rows = read_files(files, run.preprocessing, tell, run.covariate_files)[1]
        found = _compare(run, rows)
    except DAMAGES as error:
        return Check("labels", False, message_of(error))
    if None in before.values():
        return Check("labels", found.holds, f"{found.found}; the run has no hashes of its data")
    return found


def _compare(run: "Run", rows: "JoinedRows") -> Check:
    """Compare the clusters of samples with those that are recorded."""
    data, samples = run.preprocessing.dataset(rows), run.samples
    spans = [(i, i + PART_SAMPLES) for i in range(0, len(rows.ids), PART_SAMPLES)]
    parts = [run.table(rows.part(*span), data[slice(*span)]) for span in spans]
    table = pd.concat(parts, ignore_index=True)
    if table["id"].tolist() != samples["id"].tolist():
        n = counted(len(table), "sample")
        return Check("labels", False, f"other ids than recorded: {n}, {len(samples)} recorded")
    differs = table["cluster"].to_numpy() != samples["cluster"].to_numpy()
    if differs.any():
        ids = listed(table["id"][differs])
        return Check("labels", False, f"{differs.sum()} of {len(table)} differ: {ids}")
    gap = float(np.abs(table["probability"] - samples["probability"]).max())
    same = "the same" if gap == 0 else f"at most {gap:.1g} apart"
    return Check("labels", gap <= CLOSE, f"{len(table)} as recorded; probabilities {same}")
