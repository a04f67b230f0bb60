"""The ids of several modalities in DuckDB: joined, counted and read in order, however many."""

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow

from cmvae.base.files import scratch_folder
from cmvae.files.ids import RARE
from cmvae.files.spellings import ALIKE, normal_ids

MEMORY = "128MB"  # for ids, before they go to the disk
_FIRST = 1 << 40  # what no modality has rows of
_AT_ONCE = 1 << 16  # ids in memory


class IdTables:
    """The ids of the rows of modalities, which are numbered from 0; rows are too.

    Args:
        number: How many modalities there are.
    """

    def __init__(self, number: int) -> None:
        self._places = range(number)
        self._counts = [0] * number
        self._are_numbers = [True] * number  # whether the ids are those of the rows, from 0 on
        self._is_joined = self._is_renamed = False
        self._open = ExitStack()
        folder = self._open.enter_context(scratch_folder("cmvae-join-"))
        # One thread: more would each take memory, and the order is theirs.
        settings: Any = {"threads": 1, "memory_limit": MEMORY, "temp_directory": str(folder)}
        self._base: Any = self._open.enter_context(duckdb.connect(":memory:", config=settings))
        for place in self._places:
            self._base.execute(f"CREATE TABLE m{place} (row BIGINT, id VARCHAR, seen BOOLEAN)")

    def close(self) -> None:
        """Remove what is on the disk."""
        self._open.close()

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self._ask("SELECT count(*) FROM samples")[0][0])

    def add(self, place: int, ids: Sequence[str], observed: np.ndarray) -> None:
        """Add the ids of a modality's next rows, and whether these hold anything, (n,) boolean."""
        first = self._counts[place]
        self._counts[place] = stop = first + len(ids)
        self._is_joined = False
        if self._are_numbers[place]:
            self._are_numbers[place] = list(ids) == list(map(str, range(first, stop)))
        texts = pyarrow.array(ids, pyarrow.string())
        seen = pyarrow.array(observed, pyarrow.bool_())
        self._insert(f"m{place}", {"row": np.arange(first, stop), "id": texts, "seen": seen})

    def _insert(self, name: str, columns: Mapping[str, Any], values: str = "*") -> None:
        with disk_errors():
            self._base.register("added", pyarrow.table(columns))
            self._base.execute(f"INSERT INTO {name} SELECT {values} FROM added")
            self._base.unregister("added")

    def of(self, place: int) -> list[str]:
        """Return all ids of a modality, in order."""
        return [name for (name,) in self._ask(f"SELECT id FROM m{place} ORDER BY row", False)]

    def rename(self, place: int, renamed: Mapping[str, str]) -> None:
        """Give ids of a modality other names."""
        names = {"old": list(renamed), "new": list(renamed.values())}
        self._base.register("renamed", pyarrow.table(names))
        self._ask(f"UPDATE m{place} SET id = new FROM renamed WHERE id = old", False)
        self._base.unregister("renamed")
        self._is_joined, self._is_renamed = False, True

    def are_plain(self, places: Sequence[int]) -> bool:
        """Tell whether ids that are not the same are surely not others in another spelling.

        So it is where, of each modality and those before it, one has all ids of the other; where no
        two of a modality differ only in their spelling, most of a modality's are elsewhere, and
        rows are not numbered beside others.
        """
        if self._look_alike():
            return False
        has = [f"have{place} NOTNULL" for place in places]
        kinds = self._ask(f"SELECT {', '.join([*has, 'count(*)'])} FROM samples GROUP BY ALL")
        for last, place in enumerate(places):
            counts = np.zeros((2, 2), dtype=np.int64)
            for *own, count in kinds:
                counts[int(own[last]), int(any(own[:last]))] += count
            if last and (counts[1, 0] and counts[0, 1]):
                return False
            elsewhere = sum(n for *own, n in kinds if own[last] and sum(own) > 1)
            alone = sum(n for *own, n in kinds if own[last] and sum(own) == 1)
            if 0 < elsewhere < RARE * (elsewhere + alone):
                return False
            if self._are_numbers[place] and elsewhere and len(kinds) > 1:
                return False
        return True

    def _look_alike(self) -> bool:
        """Tell whether two ids of all modalities differ only in their spelling."""
        is_spelled = False
        self._ask("CREATE OR REPLACE TABLE spellings (id UBIGINT, alike UBIGINT)")
        for ids, _ in self.batches(_AT_ONCE, 0):
            alike = normal_ids(ids, ALIKE)
            is_spelled = is_spelled or alike != ids
            texts = (pyarrow.array(own, pyarrow.string()) for own in (ids, alike))
            columns = dict(zip(("id", "alike"), texts, strict=True))
            self._insert("spellings", columns, "hash(id), hash(alike)")
        query = "SELECT count(DISTINCT id) > count(DISTINCT alike) FROM spellings"
        found = is_spelled and bool(self._ask(query)[0][0])
        self._ask("DROP TABLE spellings")
        return found

    def first(self, place: int) -> list[str]:
        """Return the first ids of samples that have a modality."""
        query = f"SELECT id FROM samples WHERE row{place} NOTNULL LIMIT 3"
        return [name for (name,) in self._ask(query)]

    def repeated(self, place: int) -> list[str]:
        """Return the ids that occur more than once in a modality, sorted."""
        query = f"SELECT id FROM m{place} GROUP BY id HAVING count(*) > 1 ORDER BY id"
        return [name for (name,) in self._ask(query, False)]

    def shares(self, place: int) -> bool:
        """Tell whether a sample has a modality and another one."""
        others = " OR ".join(f"row{other} NOTNULL" for other in self._places if other != place)
        query = f"SELECT 1 FROM samples WHERE row{place} NOTNULL AND ({others}) LIMIT 1"
        return bool(self._ask(query))

    def without_rows(self) -> list[str]:
        """Return the ids of samples that have none of the modalities."""
        absent = " AND ".join(f"row{place} ISNULL" for place in self._places)
        return [name for (name,) in self._ask(f"SELECT id FROM samples WHERE {absent}")]

    def overlap(self) -> list[tuple[Any, ...]]:
        """Return which modalities samples have, a boolean each, and how many samples these."""
        has = ", ".join(f"row{place} NOTNULL" for place in self._places)
        return self._ask(f"SELECT {has}, count(*) FROM samples GROUP BY ALL ORDER BY ALL")

    def batches(self, rows: int, start: int) -> Iterator[tuple[list[str], np.ndarray]]:
        """Yield ids and the row of each modality, (n, modalities) int64, -1 where there is none.

        Args:
            rows: How many samples at a time.
            start: The first of them.
        """
        self._join()
        own = ", ".join(f"coalesce(row{place}, -1) AS row{place}" for place in self._places)
        with disk_errors(), self._base.cursor() as cursor:
            query = f"SELECT id, {own} FROM samples OFFSET {start}"
            for table in _in_parts(cursor.sql(query).to_arrow_reader(rows), rows):
                ids = table["id"].to_numpy().tolist()
                yield ids, np.stack([column.to_numpy() for column in table.columns[1:]], 1)

    def _ask(self, query: str, of_samples: bool = True) -> list[tuple[Any, ...]]:
        if of_samples:
            self._join()
        with disk_errors():
            found: list[tuple[Any, ...]] = self._base.execute(query).fetchall()
            return found

    def _join(self) -> None:
        """Make the view of samples, unless it is there: id, and the rows of each modality."""
        if self._is_joined:
            return
        if self._are_the_same():  # nothing to be joined, and in order already
            rows = ", ".join(
                f"row AS have{place}, if(seen, row, NULL) AS row{place}" for place in self._places
            )
            query = f"SELECT id, {rows} FROM m0"
        else:
            rows = " UNION ALL ".join(
                f"SELECT {place} AS place, row, id, seen FROM m{place}" for place in self._places
            )
            columns = ", ".join(
                f"max(row) FILTER (place = {place}) AS have{place}, "
                f"max(row) FILTER (place = {place} AND seen) AS row{place}"
                for place in self._places
            )
            first = f"min(place * {_FIRST} + row)"
            made = f"SELECT id, {columns} FROM ({rows}) GROUP BY id ORDER BY {first}"
            query = "FROM joined"
            self._ask(f"CREATE OR REPLACE TABLE joined AS {made}", False)
        self._ask(f"CREATE OR REPLACE VIEW samples AS {query}", False)
        self._is_joined = True

    def _are_the_same(self) -> bool:
        """Tell whether all modalities have the same ids in the same order, and hold them alike."""
        if self._is_renamed or len(set(self._counts)) > 1:
            return False
        differ = (
            f"SELECT 1 FROM m0 POSITIONAL JOIN m{place} "
            f"WHERE m0.id <> m{place}.id OR m0.seen <> m{place}.seen LIMIT 1"
            for place in self._places[1:]
        )
        return not any(self._ask(query, False) for query in differ)


def _in_parts(batches: Any, rows: int) -> Iterator[Any]:
    """Yield tables of ``rows`` rows, the last one of what is left."""
    left = batches.schema.empty_table()
    for batch in batches:
        left = pyarrow.concat_tables([left, pyarrow.Table.from_batches([batch])])
        while len(left) >= rows:
            yield left.slice(0, rows)
            left = left.slice(rows)
    if len(left):
        yield left


@contextmanager
def disk_errors() -> Iterator[None]:
    """Name what was done where the disk is full."""
    try:
        yield
    except (duckdb.IOException, duckdb.OutOfMemoryException, duckdb.TransactionException) as error:
        raise OSError(errno.ENOSPC, f"joining the modalities on disk failed: {error}") from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(errno.ENOSPC, f"joining the modalities on disk failed: {error}") from error
