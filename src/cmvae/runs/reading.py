"""The files of a run, read and joined; all that is wrong with them is said at once."""

import warnings
from collections.abc import Callable, Mapping

from cmvae.base.words import raise_all
from cmvae.files import open_source
from cmvae.files.join import JoinedRows, RowStore
from cmvae.files.modality import ModalityFile
from cmvae.files.source import unchanged
from cmvae.preprocessing import Preprocessing

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
    rows, errors, learned = {}, [], None
    with warnings.catch_warnings():
        # What NumPy says of infinities is said in words below.
        warnings.simplefilter("ignore", category=RuntimeWarning)
        for name, file in files.items():
            try:
                source = open_source(name, file)
                rows[name] = source.read()
                if tell is not None and source.account:
                    tell(source.account)
            except REFUSED as error:
                errors.append(error)
        try:
            learned = Preprocessing.learn(rows, files) if rows else None
        except REFUSED as error:
            errors.append(error)
    raise_all(errors)
    assert learned is not None
    return learned


def join_files(
    files: Mapping[str, ModalityFile],
    preprocessing: Preprocessing,
    tell: Callable[[str], None] | None = None,
) -> RowStore:
    """Read files of some of the modalities, a part at a time, and join them on their ids.

    Args:
        files: Modality to file.
        preprocessing: What was learned.
        tell: Is told of each file, in a line, what is unusual about it.

    Returns:
        The samples, on disk; to be closed.

    Raises:
        KeyError: For an unknown modality.
        ValueError, TypeError: For rows unlike those learned from, and ids that cannot be joined.
    """
    known, errors = list(preprocessing.codecs), list[Exception]()
    if unknown := [name for name in files if name not in known]:
        errors.append(KeyError(f"unknown modalities {unknown}; those of the run are {known}"))
    store = RowStore([name for name in known if name in files])
    try:
        with unchanged({name: files[name].path for name in store.modalities}):
            for name in store.modalities:
                codec = preprocessing.codecs[name]
                try:
                    source = open_source(name, files[name])
                    for ids, rows in source.chunks(preprocessing.chunk_rows, codec.texts):
                        store.add(name, ids, *codec.encode(rows, name))
                    if tell is not None and source.account:
                        tell(source.account)
                except REFUSED as error:
                    errors.append(error)
        raise_all(errors)
        store.check()
    except BaseException:
        store.close()
        raise
    return store


def read_files(
    files: Mapping[str, ModalityFile],
    preprocessing: Preprocessing | None = None,
    tell: Callable[[str], None] | None = None,
) -> tuple[Preprocessing, JoinedRows]:
    """Read and join the files of a run, and learn from them unless that was done before.

    Raises:
        ValueError, TypeError, KeyError: For what cannot be read, and files that change meanwhile.
    """
    with unchanged({name: file.path for name, file in files.items()}):
        learned = preprocessing or learn_files(files, tell)
        with join_files({name: files[name] for name in learned.codecs}, learned) as store:
            return learned, store.all_rows()
