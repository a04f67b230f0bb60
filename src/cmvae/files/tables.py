"""Tables in CSV, TSV and Parquet files, whole or a part at a time."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet as pq

from cmvae.base.words import SHOWN
from cmvae.files.source import Source, checked_ids
from cmvae.files.suffixes import TABLE_SUFFIXES

MISSING = ["", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "null", "NULL", "None"]
_ROWS = 8192


class TableFile(Source):
    """A table with an id column.

    Args:
        path: A .csv, .tsv or .parquet file.
        modality: Name for the errors.
        id_column: The column of ids; None: a Parquet file's stored index where it has one, else the
            first column.

    Attributes:
        id_column: The column of ids.
        columns: The others, in the order of the file.

    Raises:
        ValueError: For a file that is missing or no table, columns that repeat, or an id column
            that is not there.
    """

    def __init__(self, path: Path, modality: str, id_column: str | None = None) -> None:
        super().__init__(path, modality)
        self._is_parquet = path.suffix == ".parquet"
        self._separator = "\t" if path.suffix == ".tsv" else ","
        self._numbers: range | None = (
            None  # ids that a Parquet file stores as a rule, not as a column
        )
        with self._readable():
            names, index = (
                self._parquet_columns(id_column) if self._is_parquet else (self._header(), None)
            )
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"{self.where}: columns {repeated[:SHOWN]} occur more than once")
        self.id_column = id_column or index or names[0]
        if self.id_column not in names and self._numbers is None:
            raise ValueError(
                f"{self.where}: no id column {self.id_column!r}; its columns are {names[:10]}"
            )
        self.columns = [
            name for name in names if name != self.id_column or self._numbers is not None
        ]
        if not self.columns:
            raise ValueError(
                f"{self.where}: the table has no columns beside the ids, {self.id_column!r}"
            )

    @property
    def is_numbered(self) -> bool:
        """Whether ids have no name, as those that pandas writes of an index without one."""
        return self._numbers is None and self.id_column.startswith("Unnamed: ")

    def read(self) -> pd.DataFrame:
        """Return the whole table, its index the ids."""
        if not self._is_parquet:
            with self._readable():
                return self._indexed(self._csv(None))
        with self._readable():
            table = pq.ParquetFile(self.path).read()
            frame = table.to_pandas(ignore_metadata=True)
        # Arrow stores pandas' categories as such where they are strings alone.
        stored = (table.schema.pandas_metadata or {}).get("columns", [])
        coded = [own["name"] for own in stored if own["pandas_type"] == "categorical"]
        kept = [name for name in coded if name in self.columns]
        return self._indexed(frame.astype(dict.fromkeys(kept, "category")))

    def chunks(
        self, rows: int = _ROWS, texts: Sequence[str] = ()
    ) -> Iterator[tuple[list[str], pd.DataFrame]]:
        """Yield ids and rows; see ``Source``."""
        first = 0
        with self._readable():
            if self._is_parquet:
                batches = pq.ParquetFile(self.path).iter_batches(batch_size=rows)
                frames: Iterator[pd.DataFrame] = (
                    batch.to_pandas(ignore_metadata=True) for batch in batches
                )
            else:
                frames = self._csv(rows, texts)
            for frame in frames:
                table = self._indexed(frame, first)
                first += len(table)
                yield table.index.tolist(), table

    def _csv(self, rows: int | None, texts: Sequence[str] = ()) -> Any:
        """Return the table, or with ``rows`` what iterates over its parts."""
        options: Any = {"chunksize": rows}
        return pd.read_csv(
            self.path,
            sep=self._separator,
            dtype=dict.fromkeys([self.id_column, *texts], str),
            # An id may be called NA.
            na_values={self.id_column: [""], **dict.fromkeys(self.columns, MISSING)},
            keep_default_na=False,
            encoding="utf-8-sig",
            low_memory=False,
            **options,
        )

    def _header(self) -> list[str]:
        with self.path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter=self._separator)
            header, first = next(lines, []), next(lines, [])
        if not header:
            raise ValueError("the file is empty")
        if len(first) > len(header):
            raise ValueError(
                f"the first row has {len(first)} fields, the header {len(header)}: "
                "name every column"
            )
        # pandas writes an index without a name so, and reads it by this one.
        return [name or f"Unnamed: {place}" for place, name in enumerate(header)]

    def _parquet_columns(self, id_column: str | None) -> tuple[list[str], str | None]:
        """Return the columns of a Parquet file, and the name of its stored index where it has one.

        pandas stores an index of evenly spaced numbers as a range; one that starts at 0 and has no
        name only numbers the rows.
        """
        schema = pq.read_schema(self.path)
        stored = (schema.pandas_metadata or {}).get("index_columns", [])
        if len(stored) > 1 and id_column is None:
            raise ValueError(f"its index has {len(stored)} levels: name one column with id=NAME")
        index = stored[0] if stored else None
        if isinstance(index, dict):
            name = index.get("name")
            plain = (index["start"], index["step"], name) == (0, 1, None)
            if not plain and id_column in (None, name):
                self._numbers = range(index["start"], index["stop"], index["step"])
                return list(schema.names), name or "index"
            index = None
        return list(schema.names), index

    def _indexed(self, frame: pd.DataFrame, first: int = 0) -> pd.DataFrame:
        if self._numbers is None:
            ids = checked_ids(frame[self.id_column], self.where, first)
        else:
            ids = list(map(str, self._numbers[first : first + len(frame)]))
        table = frame[self.columns]
        table.index = pd.Index(ids, dtype=object)
        return table

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Name the file in what is raised while reading it."""
        try:
            yield
        except (ValueError, pyarrow.ArrowException, csv.Error) as error:
            if str(self.path) in str(error):
                raise
            raise ValueError(
                f"{self.where}: not a readable {self.path.suffix} table: {error}"
            ) from error


def read_column(
    path: Path, what: str, id_column: str | None = None, column: str | None = None
) -> "pd.Series[str]":
    """Return one column of a table as strings, its index the ids; empty cells are left out.

    Args:
        path: A table.
        what: What it holds, for the errors.
        id_column: The column of ids, as for :class:`TableFile`.
        column: The column; None: the only one.

    Raises:
        ValueError: If the file is no table, the column is not there, or ids repeat.
    """
    if path.suffix not in TABLE_SUFFIXES:
        raise ValueError(f"{what} must be a table ({', '.join(TABLE_SUFFIXES)}), got {path}")
    source = TableFile(path, what, id_column)
    if column is None and len(source.columns) > 1:
        raise ValueError(
            f"{path} has several columns beside the ids, name one with column=NAME: "
            f"{source.columns[:10]}"
        )
    name = column or source.columns[0]
    if name not in source.columns:
        raise ValueError(f"{path}: no column {name!r}; it has {source.columns[:10]}")
    table = pd.concat([frame[name] for _, frame in source.chunks(texts=[name])])
    if not table.index.is_unique:
        repeated = table.index[table.index.duplicated()].unique()[:SHOWN].tolist()
        raise ValueError(f"{path}: duplicate ids: {repeated}")
    return table.dropna().astype(str)
