"""The files of a run, read and joined; all that is wrong with them is said at once."""

import warnings
from collections.abc import Mapping

from cmvae.base.words import raise_all
from cmvae.files import open_source
from cmvae.files.ids import match_ids
from cmvae.files.join import JoinedRows, RowStore
from cmvae.files.modality import ModalityFile
from cmvae.files.overlap import AS_THEY_ARE
from cmvae.files.source import Source
from cmvae.preprocessing import Preprocessing

REFUSED = (ValueError, TypeError, KeyError, ImportError)


def learn_files(files: Mapping[str, ModalityFile]) -> Preprocessing:
    """Learn how the rows of files become a model's inputs.

    Raises:
        ValueError, TypeError, KeyError, ImportError: For files that cannot be read, and rows that
            cannot be learned from, naming modality and file.
    """
    rows, errors, learned = {}, [], None
    with warnings.catch_warnings():
        # What NumPy says of infinities is said in words below.
        warnings.simplefilter("ignore", category=RuntimeWarning)
        for name, file in files.items():
            try:
                rows[name] = open_source(name, file).read()
            except REFUSED as error:
                errors.append(error)
        try:
            learned = Preprocessing.learn(rows, files) if rows else None
        except REFUSED as error:
            errors.append(error)
    raise_all(errors)
    assert learned is not None
    return learned


def join_files(files: Mapping[str, ModalityFile], preprocessing: Preprocessing) -> RowStore:
    """Read files of some of the modalities, a part at a time, and join them on their ids.

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
    sources, ids, refused = _open_all({name: files[name] for name in names})
    try:
        matching = match_ids(ids, [name for name in ids if sources[name].is_numbered])
    except ValueError as error:
        errors.append(error)
        matching = AS_THEY_ARE
    store = RowStore(names, matching)
    try:
        for name in names:
            codec = preprocessing.codecs[name]
            try:
                if name in refused:
                    raise refused[name]
                for own, rows in sources[name].chunks(preprocessing.chunk_rows, codec.texts):
                    store.add(name, own, *codec.encode(rows, name))
            except REFUSED as error:
                errors.append(error)
        raise_all(errors)
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def _open_all(
    files: Mapping[str, ModalityFile],
) -> tuple[dict[str, Source], dict[str, list[str]], dict[str, Exception]]:
    """Return files, the ids of those that can be read, and what is wrong with the others."""
    sources, ids, refused = {}, {}, dict[str, Exception]()
    for name, file in files.items():
        try:
            sources[name] = open_source(name, file)
            ids[name] = sources[name].ids()
        except REFUSED as error:
            refused[name] = error
    return sources, ids, refused


def read_files(
    files: Mapping[str, ModalityFile], preprocessing: Preprocessing | None = None
) -> tuple[Preprocessing, JoinedRows]:
    """Read and join the files of a run, and learn from them unless that was done before."""
    learned = preprocessing or learn_files(files)
    with join_files({name: files[name] for name in learned.codecs}, learned) as store:
        return learned, store.all_rows()
