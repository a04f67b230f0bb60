"""The files of a run, read and joined; all that is wrong with them is said at once."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmvae.base.words import Refusals, message_of, raise_all
from cmvae.files import open_source
from cmvae.files.join import JoinedRows, RowStore
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.files.source import Source, unchanged
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.covariates import learn_covariates
from cmvae.preprocessing.differences import Differences
from cmvae.preprocessing.sampling import MOST_NUMBERS, TableSample
from cmvae.preprocessing.understanding import ModalitySummary
from cmvae.runs.covariates import read_covariate_files
from cmvae.runs.manifest import digest

UNNAMED = "Unnamed: "  # what pandas calls columns without a name
_READ_ROWS, _READ_CELLS = 1 << 15, 1 << 22  # at a time, of tables learned from a sample
REFUSED = (ValueError, TypeError, KeyError, ImportError)


def learn_files(
    files: Mapping[str, ModalityFile], tell: Callable[[str], None] | None = None
) -> Preprocessing:
    """Learn how the rows of files become a model's inputs.

    Args:
        files: Modality to file.
        tell: Is told of each file, in a line, what is unusual about it.

    Raises:
        ValueError, TypeError, KeyError, ImportError: For files that cannot be read, and rows that
            cannot be learned from, naming modality and file.
    """
    rows, sources, learned = {}, dict[str, Source](), None
    errors: list[Exception] = []
    with warnings.catch_warnings():
        # What NumPy says of infinities is said in words below.
        warnings.simplefilter("ignore", category=RuntimeWarning)
        for name, file in files.items():
            try:
                sources[name] = open_source(name, file)
            except REFUSED as error:
                errors.append(error)
        large, samples = _too_large(sources), dict[str, TableSample]()
        for name, source in sources.items():
            try:
                if name in large:
                    samples[name] = _sample_of(source)
                rows[name] = samples[name].table() if name in large else source.read()
                if tell is not None and source.account:
                    tell(source.account)
            except REFUSED as error:
                errors.append(error)
        if tell is not None and samples and not errors:
            tell(_said_of_samples(samples))
        try:
            learned = Preprocessing.learn(rows, files, samples) if rows else None
        except REFUSED as error:
            found = error.errors if isinstance(error, Refusals) else [error]
            errors += [_with_file(own, files) for own in found]
    raise_all(errors)
    assert learned is not None
    understood = {
        name: own.replace(path=files[name].path, **_about(sources[name]))
        for name, own in learned.understood.items()
    }
    return learned.replace(understood=understood)


def _too_large(sources: Mapping[str, Source]) -> list[str]:
    """Return the tables that are learned from a sample: all, where they are too large together."""
    sizes = {name: own.numbers for name, own in sources.items() if own.numbers is not None}
    return list(sizes) if sum(sizes.values()) > MOST_NUMBERS else []


def _sample_of(source: Source) -> TableSample:
    """Return the rows of a table to learn from.

    It is read again where a column turns out to hold texts only after numbers.
    """
    rows, texts = max(1, min(_READ_ROWS, _READ_CELLS // source.width)), sorted(source.codes)
    while True:
        sample = TableSample()
        for _, part in source.chunks(rows, texts):
            sample.add(part)
        if sample.mixed <= set(texts):
            return sample
        texts += sorted(sample.mixed)


def _said_of_samples(samples: Mapping[str, TableSample]) -> str:
    """Say that tables were too large to be held."""
    most = max(own.rows_seen for own in samples.values())
    return (
        f"Too large to be held ({most} rows, more than {MOST_NUMBERS} numbers in all): rows wait "
        "in files, kinds of columns are told by a sample, and means are those of all rows"
    )


def _about(source: Source) -> dict[str, Any]:
    """Return how a file was read: the name of its ids, in which form, and what is not plain."""
    column = getattr(source, "id_column", None)
    plain = ", ".join(f"{what} {how}" for what, how in source.reading.items())
    return {
        "id": None if column is None or column.startswith(UNNAMED) else column,
        "reading": "; ".join(part for part in (plain, *source.notes) if part),
    }


def join_files(
    files: Mapping[str, ModalityFile],
    preprocessing: Preprocessing,
    strict: bool | None = None,
    tell: Callable[[str], None] | None = None,
    covariates: Mapping[str, CovariateFile] | None = None,
) -> RowStore:
    """Read files of some of the modalities, a part at a time, and join them on their ids.

    Columns are found by name. Those that are missing or new, and unknown categories, are told in
    warnings, or refused, as :class:`cmvae.preprocessing.differences.Differences` has it.

    Args:
        files: Modality to file.
        preprocessing: What was learned of the modalities.
        strict: Which differences are refused: True: all, False: none, None: many unknown values.
        tell: Is told of each file, in a line, what is unusual about it.
        covariates: Name to file of covariates of the samples.

    Returns:
        The samples, on disk; to be closed.

    Raises:
        KeyError: For an unknown modality.
        ValueError, TypeError: For rows unlike those learned from, and ids that cannot be joined.
    """
    known, errors = list(preprocessing.codecs), list[Exception]()
    if unknown := [name for name in files if name not in known]:
        errors.append(KeyError(f"unknown modalities {unknown}; those of the run are {known}"))
    names = [name for name in known if name in files]
    said, broken = list[str](), set[str]()
    store = RowStore(names)
    try:
        with unchanged({name: files[name].path for name in names}):
            numbered, wrong = [], list[Exception]()
            for name in names:
                try:
                    broken.add(name)  # until its ids are read
                    source, lines = open_known(name, files[name], preprocessing)
                    said += lines
                    numbered += [name] if source.is_numbered else []
                    said += _add(store, source, preprocessing, strict, broken)
                    if tell is not None and source.account:
                        tell(source.account)
                except REFUSED as error:
                    found = error.errors if isinstance(error, Refusals) else [error]
                    wrong += [_with_file(own, {name: files[name]}) for own in found]
        try:
            store.match(numbered, broken)
        except ValueError as error:
            errors.append(error)
        raise_all([*errors, *wrong])
        _check(store, said, files)
        if covariates:
            store.covariates = read_covariate_files(covariates, store.ids())
        for line in said:  # not before all is well: a refusal is one line
            warnings.warn(line, stacklevel=2)
    except BaseException:
        store.close()
        raise
    return store


def _add(
    store: RowStore,
    source: Source,
    preprocessing: Preprocessing,
    strict: bool | None,
    broken: set[str],
) -> list[str]:
    """Add the rows of a modality's file; return what is to be said of their differences.

    Where rows are refused the ids of all are read on, as others may be matched with them; where
    these cannot be read the modality is among the ``broken``.
    """
    name = source.modality
    codec, met = preprocessing.codecs[name], Differences(name, strict)
    refusal: Exception | None = None
    for ids, rows in source.chunks(preprocessing.read_rows, codec.texts):
        try:
            if refusal is None:
                store.add(name, ids, *codec.encode(met.matched(rows, codec), name))
                continue
        except REFUSED as error:
            refusal = error
        store.add_ids(name, ids, np.zeros(len(ids), dtype=bool))
    broken.remove(name)
    if refusal is not None:
        raise refusal
    return met.settle(codec)


def _check(store: RowStore, said: Sequence[str], files: Mapping[str, ModalityFile]) -> None:
    """Refuse what cannot be joined; of samples without anything also what may be the reason."""
    try:
        store.check()
    except ValueError as error:
        if "nothing observed" in str(error):
            for line in said:
                error.add_note(line)
        raise _with_file(error, files) from None


def _with_file(error: Exception, files: Mapping[str, ModalityFile]) -> Exception:
    """Return an error with the file of its modality as a note, unless it names it."""
    text = message_of(error)
    for name, file in files.items():
        if file.path and f"modality {name!r}" in text and file.path not in text:
            error.add_note(file.path)
    return error


def _with_known_ids(
    source: Source, file: ModalityFile, summary: ModalitySummary
) -> tuple[Source, list[str]]:
    """Return a file's rows with the ids in the column of that name that held them when learned.

    Wherever that stands, unless the file's is named. Of a file without it the first column, or the
    index, is taken, and that is said.

    Raises:
        ValueError: If that one was learned as something else.
    """
    own = getattr(source, "id_column", None)
    if file.id is not None or summary.id is None or own in (None, summary.id):
        return source, []
    if summary.id in getattr(source, "columns", ()):
        return open_source(source.modality, file.replace(id=summary.id)), []
    gone = f"{source.where}: no column {summary.id!r}, which held the ids"
    if own in [column.name for column in summary.columns]:
        raise ValueError(
            f"{gone}, and the first one, {own!r}, holds something else: name the column of ids "
            "with id=NAME"
        )
    return source, [f"{gone}: taken from {own!r}"]


def open_known(
    name: str, file: ModalityFile, preprocessing: Preprocessing
) -> tuple[Source, list[str]]:
    """Return the rows of a modality's file, with ids where they were, and what is to be said."""
    source, summary = open_source(name, file), preprocessing.understood.get(name)
    return (source, []) if summary is None else _with_known_ids(source, file, summary)


def read_files(
    files: Mapping[str, ModalityFile],
    preprocessing: Preprocessing | None = None,
    tell: Callable[[str], None] | None = None,
    covariates: Mapping[str, CovariateFile] | None = None,
) -> tuple[Preprocessing, JoinedRows]:
    """Read and join the files of a run, and learn from them unless that was done before.

    Returns:
        What was learned, with the hashes of the files as they are now; and the samples.

    Raises:
        ValueError, TypeError, KeyError: For what cannot be read, and files that change meanwhile.
    """
    with unchanged({name: file.path for name, file in files.items()}):
        learned = preprocessing or learn_files(files, tell)
        own = {name: files[name] for name in learned.codecs}
        with join_files(own, learned, covariates=covariates) as store:
            large = store.numbers > MOST_NUMBERS
            rows = store.rows_on_disk(learned.read_rows) if large else store.all_rows()
        if preprocessing is None and covariates:
            kinds = {name: file.kind for name, file in covariates.items()}
            known = learn_covariates(rows.covariates, kinds)
            kept = {name: rows.covariates[name] for name in known}
            learned, rows = learned.replace(covariates=known), replace(rows, covariates=kept)
        understood = learned.understood
        hashes = hashes_of({name: files[name] for name in understood})
        found = {name: own.replace(sha256=hashes[name]) for name, own in understood.items()}
        return learned.replace(understood=found), rows


def hashes_of(files: Mapping[str, ModalityFile]) -> dict[str, str | None]:
    """Return the hash of each modality's file, None of one that is not there.

    Of ids that are in a file of their own it depends too.
    """
    parts = {name: [own.path, own.ids] for name, own in files.items()}
    paths = {path for own in parts.values() for path in own if path is not None}
    hashes = {path: digest(Path(path)) for path in paths if Path(path).exists()}
    found: dict[str, str | None] = {}
    for name, (path, ids) in parts.items():
        own = hashes.get(path or "")
        found[name] = own if own is None or ids is None else f"{own}+{hashes.get(ids)}"
    return found
