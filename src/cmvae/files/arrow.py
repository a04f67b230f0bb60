"""Tables in Parquet, Feather and Arrow files."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.ipc
import pyarrow.parquet as pq

from cmvae.base.unpacking import check_unpacked
from cmvae.files.arrow_types import NOTHING, kind_of_type
from cmvae.files.modality import ModalityFile
from cmvae.files.number_texts import NumberTexts
from cmvae.files.suffixes import suffix_of

_CODE = re.compile(r"\s*\d*\s*")
# What is raised for files, and for what pandas keeps in them, that are damaged.
_DAMAGED = (
    *(pyarrow.ArrowException, OSError, UnicodeError),
    *(TypeError, KeyError, AttributeError, OverflowError),
)


class ArrowTable:
    """A table whose columns have types; a Parquet file may store an index too.

    Args:
        path: The file.
        modality: Name for the errors.
        options: What is known of it.

    Attributes:
        names: Its columns.
        types: Column to what it holds.
        index: The name of its stored index; None: it has none, or one that only numbers the rows.
        numbers: An index that is stored as a rule, not as a column.
        rows: How many there are, where that is known before they are read.
        reading: What to how it is read.
        notes: What of that is unusual.

    Raises:
        ValueError: For a file that is no such table.
    """

    def __init__(self, path: Path, modality: str, options: ModalityFile) -> None:
        self.path, self.where = path, f"modality {modality!r}, {path}"
        self._options, self._modality = options, modality
        self._is_parquet = suffix_of(path) == ".parquet"
        self.numbers: range | None = None
        self.rows: int | None = None
        with self._told():
            if self._is_parquet:
                found = pq.read_metadata(path)
                self.rows = found.num_rows
                check_unpacked(8 * found.num_rows * found.num_columns, path)
                schema = pq.read_schema(path)
            else:
                with self._opened() as reader:
                    schema = reader.schema
            self.names: list[str] = list(schema.names)
            self.types = {field.name: kind_of_type(field.type) for field in schema}
            if self._is_parquet and not found.num_rows:  # whatever wrote it may not have known
                self.types = dict.fromkeys(self.types, NOTHING)
            self.index = self._stored_index(schema, options.id)
            # Arrow stores pandas' categories as such where they are strings alone.
            stored = (schema.pandas_metadata or {}).get("columns", [])
            self._coded = [own["name"] for own in stored if own["pandas_type"] == "categorical"]
        self.reading = {"format": "parquet" if self._is_parquet else "arrow"}
        self.notes: list[str] = []

    def frames(
        self, rows: int | None, id_column: str, texts: Sequence[str], columns: Sequence[str]
    ) -> Iterator[tuple[Any, pd.DataFrame]]:
        """Yield ids and other columns, in parts of at most ``rows``.

        Where that is None, all at once, and categories as such.
        """
        own = [name for name in self.names if name == id_column or name in set(columns)]
        numbers = NumberTexts(self.where, self._modality, self._options, {}, typed=True)
        first = 0
        with self._told():
            for table in self._parts(rows, own):
                frame = table.to_pandas(ignore_metadata=True)
                if rows is None:
                    coded = [name for name in self._coded if name in columns and name in frame]
                    frame = frame.astype(dict.fromkeys(coded, "category"))
                # Whole numbers that are stored as texts are codes.
                ids, frame = frame.get(id_column), frame[list(columns)]
                kept = {*texts, *(name for name in frame if _is_codes(frame[name]))}
                yield ids, numbers.convert(frame, kept, first)
                first += len(frame)

    def _parts(self, rows: int | None, names: list[str]) -> Iterator[Any]:
        if self._is_parquet:
            # Where a file has checksums, a damaged page is no page of other numbers.
            file = pq.ParquetFile(self.path, page_checksum_verification=True, pre_buffer=False)
            if rows is None:
                yield file.read(columns=names)
                return
            yield from file.iter_batches(batch_size=rows, columns=names)
            return
        with self._opened() as reader:
            if rows is None:
                yield reader.read_all().select(names)
                return
            for batch in _batches(reader):
                for start in range(0, len(batch), rows):
                    yield batch.slice(start, rows).select(names)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open an Arrow file, or a stream in one."""
        with pyarrow.memory_map(str(self.path)) as file:
            try:
                reader = pyarrow.ipc.open_file(file)
            except pyarrow.ArrowInvalid:
                file.seek(0)
                reader = pyarrow.ipc.open_stream(file)
            with reader:
                yield reader

    def _stored_index(self, schema: Any, id_column: str | None) -> str | None:
        """Return the name of the stored index where there is one.

        pandas stores an index of evenly spaced numbers as a range; one that starts at 0 and has no
        name only numbers the rows.
        """
        stored = (schema.pandas_metadata or {}).get("index_columns", [])
        if len(stored) > 1 and id_column is None:
            raise ValueError(f"its index has {len(stored)} levels: name one column with id=NAME")
        index = stored[0] if stored else None
        if isinstance(index, dict):
            name = index.get("name")
            plain = (index["start"], index["step"], name) == (0, 1, None)
            if not plain and id_column in (None, name):
                self.numbers = range(index["start"], index["stop"], index["step"])
                return name or "index"
            return None
        return None if index is None else str(index)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Name the file in what is raised while reading it."""
        try:
            yield
        except (*_DAMAGED, ValueError) as error:
            if str(self.path) in str(error) and not isinstance(error, _DAMAGED):
                raise
            kind = suffix_of(self.path)
            is_inner = isinstance(error, _DAMAGED)
            reason = "it is damaged, or no such file" if is_inner else error
            raise ValueError(f"{self.where}: not a readable {kind} table: {reason}") from error


def _batches(reader: Any) -> Iterator[Any]:
    if hasattr(reader, "num_record_batches"):
        yield from (reader.get_batch(place) for place in range(reader.num_record_batches))
    else:
        yield from reader


def _is_codes(column: "pd.Series[Any]") -> bool:
    if pd.api.types.infer_dtype(column, skipna=True) != "string":
        return False
    return all(map(_CODE.fullmatch, column.dropna().unique()))
