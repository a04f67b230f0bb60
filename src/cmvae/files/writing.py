"""Tables and images of results as files; tables a part at a time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet as pq
from PIL import Image

from cmvae.base.files import atomic_write
from cmvae.files.spreadsheets import guarded

_DIGITS = 9  # all that float32 has


@contextmanager
def open_rows(
    path: Path, digits: int | None = _DIGITS, spreadsheet: bool = False
) -> Iterator[Callable[[pd.DataFrame], None]]:
    """Give a function that appends rows to a CSV, TSV or Parquet file.

    Texts have so many ``digits`` of a number, None: all. For a ``spreadsheet`` those that it would
    compute are guarded (:func:`cmvae.files.spreadsheets.guarded`); Parquet needs no guard.

    Example:
        >>> with open_rows(Path("rows.csv")) as append:  # doctest: +SKIP
        ...     append(pd.DataFrame({"id": ["s1"]}))
    """
    with atomic_write(path) as temporary:
        if path.suffix == ".parquet":
            yield from _parquet_rows(temporary)
            return
        floats = None if digits is None else f"%.{digits}g"
        separator = "\t" if path.suffix == ".tsv" else ","
        with temporary.open("w", encoding="utf-8", newline="") as file:

            def append(rows: pd.DataFrame) -> None:
                own = guarded(rows) if spreadsheet else rows
                own.to_csv(
                    file, sep=separator, index=False, header=not file.tell(), float_format=floats
                )

            yield append


def _parquet_rows(path: Path) -> Iterator[Callable[[pd.DataFrame], None]]:
    writers: list[Any] = []
    try:

        def append(rows: pd.DataFrame) -> None:
            schema = writers[0].schema if writers else None
            table = pyarrow.Table.from_pandas(rows, schema=schema, preserve_index=False)
            if not writers:
                writers.append(pq.ParquetWriter(path, table.schema))
            writers[0].write_table(table)

        yield append
    finally:
        for writer in writers:
            writer.close()


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write bytes (H, W, C) as a PNG, C being 1 or 3; else the first channel is grey."""
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(path, format="PNG")
