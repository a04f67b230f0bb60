"""Predictions over many machines: a run applied to a dataset of Ray Data, extra ``ray``."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.parquet as pq

from cmvae.base.extras import from_extra
from cmvae.runs.folder import read_record
from cmvae.runs.rows import RowPredictor

EXTRA = "ray"
BATCH_ROWS = 8192


def predict(
    run: str | Path,
    dataset: Any,
    *,
    id_column: str = "id",
    workers: int = 2,
    with_fit: bool = True,
    strict: bool | None = None,
    done: str | Path | None = None,
    **options: Any,
) -> Any:
    """Return id, cluster, probability, modalities and fit of each row of a Ray dataset.

    Nothing is computed until the result is written or looked at. Each worker reads the run once.
    The rows hold the modalities side by side, as :class:`cmvae.runs.rows.RowPredictor` takes them.

    After a failure, read the data anew, name what is written as ``done``, and write into the same
    folder: rows whose ids are there are left out. Each worker then holds these ids.

    Args:
        run: The run folder, where every machine of the cluster can read it.
        dataset: A ``ray.data.Dataset``.
        id_column: The column of ids.
        workers: How many processes predict at a time, each with one model.
        with_fit: Whether to measure the fit, which takes most of the time.
        strict: What is refused of values that were not learned.
        done: A folder of Parquet files, results that are written already; it may be missing.
        **options: For ``ray.data.Dataset.map_batches``, such as ``num_cpus=2``.

    Returns:
        A ``ray.data.Dataset``.

    Raises:
        ImportError: If the extra is not installed.
        ValueError: For a folder that holds no run, an id column that is not there, no workers, or
            results that are not whole.

    Example:
        >>> import ray  # doctest: +SKIP
        >>> rows = ray.data.read_parquet("/shared/rows")  # doctest: +SKIP
        >>> found = predict("/shared/run", rows, workers=64, done="/shared/out")  # doctest: +SKIP
        >>> found.write_parquet("/shared/out")  # doctest: +SKIP
    """
    data = from_extra("ray.data", EXTRA, "cmvae.ray")
    if workers < 1:
        raise ValueError(f"workers must be 1 at least, got {workers}")
    read_record(
        Path(run), with_samples=False
    )  # a wrong folder is told here, not by each of the workers
    names = dataset.columns() or []  # None of a dataset without rows
    if id_column not in names:
        raise ValueError(f"no id column {id_column!r}; the columns of the dataset are {names}")
    ids = None if done is None else _ids_in(Path(done), id_column)
    return dataset.map_batches(
        _Worker,
        fn_constructor_args=(str(run), id_column, with_fit, strict, ids),
        batch_format="pandas",
        compute=data.ActorPoolStrategy(size=workers),
        **{"batch_size": BATCH_ROWS, **options},
    )


class _Worker(RowPredictor):
    """A worker's predictions, without the rows whose ids are ``done``, an Arrow array."""

    def __init__(
        self, run: str, id_column: str, with_fit: bool, strict: bool | None, done: Any
    ) -> None:
        super().__init__(run, id_column, with_fit, strict)
        self.done = pd.Index([] if done is None else done.to_pandas())

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        return super().__call__(rows[~rows[self.id_column].isin(self.done)])


def _ids_in(folder: Path, id_column: str) -> Any:
    """Return the ids of results, None where there are none."""
    found: Any = None
    for path in sorted(folder.rglob("*.parquet")):
        try:
            own = pq.read_table(path, columns=[id_column], partitioning=None).select([id_column])
            # A part without rows may have no type, and texts have two.
            tables = [own] if found is None else [found, own]
            found = pyarrow.concat_tables(tables, promote_options="permissive")
        except (pyarrow.ArrowException, KeyError, OSError) as error:
            raise ValueError(
                f"done: {path} is no whole file of results with ids {id_column!r}: remove it"
            ) from error
    return None if found is None else found[id_column]
