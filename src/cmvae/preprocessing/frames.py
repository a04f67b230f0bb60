"""Tables given in Python: frames joined on their index, arrays matched by row."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import SHOWN, quoted, shown
from cmvae.files.arrays import as_images
from cmvae.files.ids import match_ids
from cmvae.files.join import JoinedRows
from cmvae.files.modality import ModalityFile
from cmvae.files.overlap import AS_THEY_ARE, Join, Matching
from cmvae.files.spellings import id_text
from cmvae.files.spool import NumberedRows, NumberTexts
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.differences import FEWEST, Differences
from cmvae.preprocessing.libraries import as_pandas
from cmvae.preprocessing.preprocessing import Preprocessing, is_empty
from cmvae.preprocessing.sampling import MOST_NUMBERS, TableSample
from cmvae.preprocessing.tables import TableCodec

_PART_ENTRIES = 1 << 20  # of a large table, that are coded at a time


@dataclass(frozen=True)
class Frames:
    """Tables of several modalities of the same n samples.

    Attributes:
        tables: Modality to DataFrame or array, each with rows of its own.
        places: Modality to the sample of each row, (rows,).
        n_samples: n.
        index: The samples' index, where the tables are DataFrames.
        matching: How the entries of their indexes came together.
    """

    tables: dict[str, Any]
    places: dict[str, np.ndarray]
    n_samples: int
    index: pd.Index | None
    matching: Matching = AS_THEY_ARE

    def aligned(self, name: str) -> pd.DataFrame | None:
        """Return a table of all n samples, NaN where they have no row; None where none was given.

        An array of more than two axes gives none either.
        """
        table = self.tables.get(name)
        if table is None or table.ndim > 2:
            return None
        rows = np.full(self.n_samples, -1)
        rows[self.places[name]] = np.arange(len(table))
        return pd.DataFrame(table).reset_index(drop=True).reindex(rows).reset_index(drop=True)

    def learn(self, options: Mapping[str, ModalityFile]) -> Preprocessing:
        """Learn how the tables become a model's numbers; large ones are learned from samples.

        Args:
            options: Modality to how its table is to be read.

        Raises:
            ValueError, TypeError, KeyError: As :meth:`Preprocessing.learn` does.
        """
        tables = {name: own for name, own in self.tables.items() if own.ndim <= 2}
        if sum(own.size for own in tables.values()) <= MOST_NUMBERS:
            return Preprocessing.learn(self.tables, options)
        samples = {name: TableSample() for name in tables}
        for name, own in tables.items():
            for part in _parts(own):
                samples[name].add(part)
        drawn = {name: own.table() for name, own in samples.items()}
        return Preprocessing.learn({**self.tables, **drawn}, options, samples)

    def covariates(self, given: Any) -> dict[str, np.ndarray]:
        """Return covariates as n values each, in the order of the samples.

        Args:
            given: Name to n values, or a DataFrame; Series with an index of their own are joined on
                it where the tables are DataFrames. None: none.

        Raises:
            TypeError: For what is neither.
            ValueError: For another length, or entries of an index that repeat.
        """
        if given is None:
            return {}
        given = as_pandas(given)
        if not isinstance(given, Mapping | pd.DataFrame):
            got = type(given).__name__
            raise TypeError(f"covariates must be a mapping of names to n values, got {got}")
        return {str(name): self._in_order(str(name), given[name]) for name in given}

    def _in_order(self, name: str, values: Any) -> np.ndarray:
        own = as_pandas(values)
        if isinstance(own, pd.Series) and self.index is not None:
            ids = list(map(id_text, self.index))
            if not own.index.equals(pd.RangeIndex(len(own))) or len(own) != len(ids):
                own = own.set_axis(list(map(id_text, own.index)))
                if not own.index.is_unique:
                    raise ValueError(f"covariate {name!r}: entries of its index repeat")
                own = own.reindex(ids)
        if isinstance(own, str) or np.ndim(own) != 1 or len(own) != self.n_samples:
            got = f"got {shown(values)}" if np.ndim(own) != 1 else f"got {len(own)}"
            wanted = f"expected {self.n_samples} values, one for each sample"
            raise ValueError(f"covariate {name!r}: {wanted}, {got}")
        return np.asarray(own, dtype=object)

    def encode(
        self, preprocessing: Preprocessing, covariates: Any = None, *, tell: bool = True
    ) -> JoinedRows:
        """Return the samples as a model's numbers; modalities that no sample has are passed over.

        With ``covariates``, and with ``tell`` also how they were joined.

        Raises:
            KeyError: For a modality that was not learned.
            ValueError, TypeError: For rows unlike those learned from.
        """
        data, masks = {}, {}
        for name, table in self.tables.items():
            if name not in preprocessing.codecs and is_empty(table):
                continue
            values, observed = _encoded(table, preprocessing.codec(name), name)
            places = self.places[name]
            if len(places) == self.n_samples and (np.diff(places) == 1).all():
                data[name], masks[name] = values, observed
                continue
            data[name] = np.zeros((self.n_samples, *values.shape[1:]), values.dtype)
            masks[name] = np.zeros(self.n_samples, dtype=bool)
            data[name][places], masks[name][places] = values, observed
        ids = NumberTexts(self.n_samples) if self.index is None else list(map(str, self.index))
        join = Join.of_masks(masks, self.matching) if masks and tell else None
        known = self.covariates(covariates)
        return JoinedRows(ids, data, masks, join, known)


def _encoded(table: Any, codec: Codec, modality: str) -> tuple[Any, np.ndarray]:
    """Return the numbers of a table and which rows are there; warn of what differs."""
    if isinstance(codec, TableCodec) and len(table) < FEWEST:
        block = codec.plain_numbers(table)
        if block is not None:
            return codec.encode_numbers(block)
    found, observed, start = Differences(modality), np.empty(len(table), dtype=bool), 0
    values: Any = _coded_later(table, codec)
    for part in _parts(table):
        own = slice(start, start + len(part))
        start = own.stop
        coded, observed[own] = codec.encode(found.matched(part, codec), modality)
        if values is None and len(part) == len(table):
            values = coded
        elif values is None:
            values = np.empty((len(table), *coded.shape[1:]), coded.dtype)
        if isinstance(values, np.ndarray) and values is not coded:
            values[own] = coded
    for line in found.settle(codec):
        warnings.warn(line, stacklevel=3)
    return values, observed


class CodedRows(NumberedRows):
    """Rows of a large array of plain numbers, which are coded when they are read: no copy is held.

    Args:
        table: The array, (n, columns).
        codec: How its rows become numbers.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, table: np.ndarray, codec: TableCodec) -> None:
        self._table, self._codec, self.shape = table, codec, codec.input_shape

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._table)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return rows by their numbers, (n,) int64, as (n, *shape) float32."""
        return self._codec.encode(self._table[rows])[0]


def _coded_later(table: Any, codec: Codec) -> CodedRows | None:
    """Return the rows of a large array, if they are nothing but finite or missing numbers."""
    is_large = isinstance(table, np.ndarray) and table.size > MOST_NUMBERS
    if not is_large or not isinstance(codec, TableCodec):
        return None
    are_plain = all(codec.plain_numbers(part) is not None for part in _parts(table))
    return CodedRows(table, codec) if are_plain else None


def _parts(table: Any) -> Iterator[Any]:
    """Yield the rows of a table or an array, of a large one some at a time."""
    if table.size <= MOST_NUMBERS:
        yield table
        return
    step = max(1, _PART_ENTRIES // max(1, math.prod(table.shape[1:])))
    rows = table.iloc if isinstance(table, pd.DataFrame) else table
    for start in range(0, len(table), step):
        yield rows[start : start + step]


def read_frames(tables: Any) -> Frames:
    """Read {modality: DataFrame, Series or array}; frames are joined on their index, outer.

    Entries of indexes are matched as the ids of files are (:func:`cmvae.files.ids.match_ids`): as
    they read, so that 1 is '1', and then in other spellings. An index that only numbers the rows
    from 0 joins them by their place. Samples are in the order in which they first appear, under the
    entry of the first frame that has them.

    Raises:
        TypeError: For names that are no strings, or values that are no table.
        ValueError: For no tables or samples, lengths that differ, arrays mixed with DataFrames that
            have an index of their own, repeated index entries, and indexes that share nothing or
            cannot be matched.
    """
    if not isinstance(tables, Mapping) or not tables:
        got = type(tables).__name__
        raise ValueError(
            f"X must be an array, a DataFrame or a mapping of them, not empty; got {got}"
        )
    if not all(isinstance(name, str) for name in tables):
        raise TypeError(f"modality names must be strings, got {shown(list(tables))}")
    if "" in tables:
        raise ValueError(f"modality names must not be empty, got {quoted(tables)}")
    read = {name: _read(name, table) for name, table in tables.items()}
    frames = {n: table for n, table in read.items() if isinstance(table, pd.DataFrame)}
    if len(frames) == len(read):
        _check_indexes(frames)
        index, places, matching = _joined({name: frame.index for name, frame in frames.items()})
        _check_shared(frames, places)
        if not len(index):
            raise ValueError(f"the tables hold no samples: {dict.fromkeys(read, 0)}")
        return Frames(read, places, len(index), index, matching)
    for name, frame in frames.items():
        if not frame.index.equals(pd.RangeIndex(len(frame))):
            raise ValueError(
                f"modality {name!r} is a DataFrame with an index of its own, but others are arrays "
                "without one: give all as DataFrames, to join them on it, or all as arrays"
            )
    lengths = {name: len(table) for name, table in read.items()}
    n = next(iter(lengths.values()))
    if len(set(lengths.values())) > 1:
        raise ValueError(f"modalities differ in their number of samples: {lengths}")
    if not n:
        raise ValueError(f"the tables hold no samples: {lengths}")
    return Frames(read, dict.fromkeys(read, np.arange(n)), n, None)


def check_no_list(tables: Any) -> None:
    """Refuse a list of tables, whose modalities would have no names.

    Raises:
        TypeError: Saying what to give.
    """
    is_list = isinstance(tables, list | tuple)
    if is_list and any(len(getattr(own, "shape", ())) > 1 for own in tables):
        raise TypeError(
            f"X is a {type(tables).__name__} of {len(tables)} tables: give a mapping "
            "{modality: table}, with a name for each"
        )


def check_no_cells(tables: Any) -> None:
    """Refuse a MuData or an AnnData, which are no tables.

    Raises:
        TypeError: Saying where they go.
    """
    if hasattr(tables, "obs_names"):
        kind = type(tables).__name__
        way = "from_mudata" if hasattr(tables, "mod") else "from_anndata"
        raise TypeError(
            f"X is {kind}, which this estimator does not read: cmvae.omics.{way} and cmvae.fit do, "
            f"or the command line, cmvae fit; a table of it is a DataFrame of its X"
        )


def split_columns(table: Any, modalities: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Cut one array or DataFrame (n, features) into modalities by column indices or names.

    Raises:
        ValueError: If the table is not two-dimensional.
        KeyError: For a column that is not there.
    """
    if not isinstance(modalities, Mapping):
        got = type(modalities).__name__
        raise TypeError(f"modalities must be a mapping of names to columns, got {got}")
    frame = table = as_pandas(table)
    if not isinstance(table, pd.DataFrame):
        values = np.asarray(table)
        if values.ndim != 2:
            raise ValueError(f"X with modalities= must have two axes, got shape {values.shape}")
        frame = pd.DataFrame(values)
    parts = {}
    for name, columns in modalities.items():
        if isinstance(columns, str) or not isinstance(columns, Iterable):
            raise TypeError(f"modalities[{name!r}] must be a list of columns, got {shown(columns)}")
        try:
            by_name = all(column in frame.columns for column in columns)
            part = frame[list(columns)] if by_name else frame.iloc[:, list(columns)]
        except (IndexError, TypeError, ValueError) as error:
            raise KeyError(
                f"modalities[{name!r}] names columns that X does not have: {error}"
            ) from None
        parts[name] = part if frame is table else part.to_numpy()
    return parts


def _read(name: str, table: Any) -> Any:
    """Return a DataFrame, or an array (n, *) of what can be numbers."""
    table = as_pandas(table)
    if isinstance(table, pd.Series):
        return table.to_frame()
    if hasattr(table, "obs_names"):
        raise TypeError(
            f"modality {name!r} is an AnnData: put it into a MuData, mudata.MuData({{{name!r}: "
            "adata}), for cmvae.omics.from_mudata, or give its X as a DataFrame"
        )
    if hasattr(table, "toarray"):
        raise TypeError(
            f"modality {name!r} is a sparse matrix: give a dense array, as its toarray() returns, "
            "or a MuData to cmvae.omics.from_mudata"
        )
    if isinstance(table, pd.DataFrame):
        return table
    try:
        if isinstance(table, np.ma.MaskedArray):
            raise TypeError(
                "masked arrays are not supported, their mask would be lost; put NaN there"
            )
        values = _as_array(table)
        if values.dtype.kind in "cmMV":
            raise TypeError(f"got dtype {values.dtype}")
    except TypeError as error:
        raise TypeError(f"modality {name!r} holds something that is no number: {error}") from None
    if values.ndim == 0 or 0 in values.shape[1:]:
        raise ValueError(
            f"modality {name!r}: expected samples along the first axis, got shape {values.shape}"
        )
    return as_images(values, name)


def _as_array(table: Any) -> np.ndarray:
    """Return an array of what can be one; ``TypeError`` for what cannot, in our words."""
    if hasattr(table, "detach"):  # a tensor
        import torch

        if table.layout != torch.strided or table.is_meta or table.is_nested:
            raise TypeError("got a tensor that is not dense, or holds nothing")
        if table.requires_grad:
            raise TypeError("got a tensor that requires grad: detach it")
        table = table.cpu()
        table = table.float() if table.dtype == torch.bfloat16 else table
    try:
        return np.asarray(table)
    except ValueError:
        raise TypeError("got rows that differ in length") from None
    except (TypeError, RuntimeError, OverflowError):
        raise TypeError(f"got {shown(table)}") from None


def _check_shared(frames: Mapping[str, pd.DataFrame], places: Mapping[str, np.ndarray]) -> None:
    """Refuse a table with samples of its own alone."""
    held = [name for name, frame in frames.items() if len(frame)]
    for name in held:
        others = [places[other] for other in held if other != name]
        if others and not np.isin(places[name], np.concatenate(others)).any():
            first = {other: frames[other].index[:3].tolist() for other in held}
            raise ValueError(
                f"modality {name!r} shares no index entry with any other modality; "
                f"the first of each are {first}"
            )


def _check_indexes(frames: Mapping[str, pd.DataFrame]) -> None:
    """Refuse indexes on which nothing can be joined."""
    for name, frame in frames.items():
        own = frame.index
        if isinstance(own, pd.RangeIndex):
            continue  # all there, and none twice
        codes = own.codes if isinstance(own, pd.MultiIndex) else ()
        if len(frames) > 1 and (any(-1 in level for level in codes) if codes else own.hasnans):
            raise ValueError(
                f"modality {name!r}: entries of its index are missing; tables are joined on it"
            )
        repeated = own[pd.Series(list(map(id_text, own)), dtype=object).duplicated().to_numpy()]
        if len(repeated):
            raise ValueError(
                f"modality {name!r}: its index repeats {repeated.unique()[:SHOWN].tolist()}; "
                "tables are joined on it"
            )


def _joined(
    indexes: Mapping[str, pd.Index],
) -> tuple[pd.Index, dict[str, np.ndarray], Matching]:
    """Return the samples' index, the sample of each row of each table, and what was matched."""
    first, own = next(iter(indexes.items()))
    if len(indexes) == 1 and isinstance(own, pd.RangeIndex):
        return own, {first: np.arange(len(own))}, AS_THEY_ARE
    ids = {name: list(map(id_text, own)) for name, own in indexes.items()}
    matching = match_ids(ids, _numbered(indexes, ids))
    index, known, places = None, dict[str, int](), {}
    for name, own in indexes.items():
        names = matching.names(name, ids[name])
        is_new = np.array([one not in known for one in names], dtype=bool)
        for one in names:
            known.setdefault(one, len(known))
        places[name] = np.array([known[one] for one in names], dtype=np.int64)
        if index is None:
            index = own
        elif is_new.any():
            index = index.append(own[is_new])
    assert index is not None
    return index, places, matching


def _numbered(indexes: Mapping[str, pd.Index], ids: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the tables whose index numbers the rows from 0, where others have other numbers.

    Slices of such tables, which keep their numbers, are of other lengths.
    """
    plain = {name: own for name, own in indexes.items() if own.name is None}
    ranges = {name: own for name, own in plain.items() if isinstance(own, pd.RangeIndex)}
    return [
        name
        for name, own in ranges.items()
        if own.equals(pd.RangeIndex(len(own)))
        and any(
            not set(ids[name]).issuperset(theirs)
            and (other not in ranges or len(theirs) == len(own))
            for other, theirs in ids.items()
        )
    ]
