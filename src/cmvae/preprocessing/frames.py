"""Tables given in Python: frames joined on their index, arrays matched by row."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from cmvae.base.words import SHOWN
from cmvae.files.arrays import as_images
from cmvae.files.join import JoinedRows
from cmvae.preprocessing.differences import Differences
from cmvae.preprocessing.preprocessing import Preprocessing, is_empty


@dataclass(frozen=True)
class Frames:
    """Tables of several modalities of the same n samples.

    Attributes:
        tables: Modality to DataFrame or array, each with rows of its own.
        places: Modality to the sample of each row, (rows,).
        n_samples: n.
        index: The samples' index, where the tables are DataFrames.
    """

    tables: dict[str, Any]
    places: dict[str, np.ndarray]
    n_samples: int
    index: pd.Index | None

    def encode(self, preprocessing: Preprocessing) -> JoinedRows:
        """Return the samples as a model's numbers; modalities that no sample has are passed over.

        Raises:
            KeyError: For a modality that was not learned.
            ValueError, TypeError: For rows unlike those learned from.
        """
        data, masks = {}, {}
        for name, table in self.tables.items():
            if name not in preprocessing.codecs and is_empty(table):
                continue
            codec, found = preprocessing.codec(name), Differences(name)
            values, observed = codec.encode(found.matched(table, codec), name)
            for line in found.settle(codec):
                warnings.warn(line, stacklevel=2)
            places = self.places[name]
            if len(places) == self.n_samples and (np.diff(places) == 1).all():
                data[name], masks[name] = values, observed
                continue
            data[name] = np.zeros((self.n_samples, *values.shape[1:]), values.dtype)
            masks[name] = np.zeros(self.n_samples, dtype=bool)
            data[name][places], masks[name][places] = values, observed
        ids = range(self.n_samples) if self.index is None else self.index
        return JoinedRows(list(map(str, ids)), data, masks)


def read_frames(tables: Any) -> Frames:
    """Read {modality: DataFrame, Series or array}; frames are joined on their index, outer.

    Samples are in the order in which they first appear.

    Raises:
        TypeError: For names that are no strings, or values that are no table.
        ValueError: For no tables or samples, lengths that differ, arrays mixed with DataFrames that
            have an index of their own, or repeated index entries.
    """
    if not isinstance(tables, Mapping) or not tables:
        got = type(tables).__name__
        raise ValueError(
            f"X must be an array, a DataFrame or a mapping of them, not empty; got {got}"
        )
    if not all(isinstance(name, str) for name in tables):
        raise TypeError(f"modality names must be strings, got {list(tables)}")
    read = {name: _read(name, table) for name, table in tables.items()}
    frames = {n: table for n, table in read.items() if isinstance(table, pd.DataFrame)}
    if len(frames) == len(read):
        index = _joined(frames)
        places = {name: index.get_indexer(frame.index) for name, frame in frames.items()}
        _check_shared(frames)
        if not len(index):
            raise ValueError(f"the tables hold no samples: {dict.fromkeys(read, 0)}")
        return Frames(read, places, len(index), index)
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
            raise TypeError(f"modalities[{name!r}] must be a list of columns, got {columns!r}")
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
    if isinstance(table, pd.DataFrame):
        return table
    try:
        if isinstance(table, np.ma.MaskedArray):
            raise TypeError(
                "masked arrays are not supported, their mask would be lost; put NaN there"
            )
        values = np.asarray(table)
        if values.dtype.kind in "cmM":
            raise TypeError(f"got dtype {values.dtype}")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"modality {name!r} holds something that is no number: {error}") from None
    if values.ndim == 0 or 0 in values.shape[1:]:
        raise ValueError(
            f"modality {name!r}: expected samples along the first axis, got shape {values.shape}"
        )
    return as_images(values)


def as_pandas(table: Any) -> Any:
    """Return a table of another library, whose columns have names, as a DataFrame."""
    named = hasattr(table, "columns") or hasattr(table, "column_names")
    return table.to_pandas() if named and hasattr(table, "to_pandas") else table


def _check_shared(frames: Mapping[str, pd.DataFrame]) -> None:
    """Refuse a table with samples of its own alone."""
    held = {name: frame.index for name, frame in frames.items() if len(frame)}
    for name, own in held.items():
        others = [index for other, index in held.items() if other != name]
        if others and not any(own.isin(index).any() for index in others):
            shown = {other: index[:3].tolist() for other, index in held.items()}
            raise ValueError(
                f"modality {name!r} shares no index entry with any other modality; "
                f"the first of each are {shown}"
            )


def _joined(frames: Mapping[str, pd.DataFrame]) -> pd.Index:
    """Return the index entries of all frames, in the order of their first appearance."""
    index = None
    for name, frame in frames.items():
        own = frame.index
        if len(frames) > 1 and own.hasnans:
            raise ValueError(
                f"modality {name!r}: entries of its index are missing; tables are joined on it"
            )
        if not own.is_unique:
            repeated = own[own.duplicated()].unique()[:SHOWN].tolist()
            raise ValueError(
                f"modality {name!r}: its index repeats {repeated}; tables are joined on it"
            )
        index = own if index is None else index.append(own.difference(index, sort=False))
    assert index is not None
    return index
