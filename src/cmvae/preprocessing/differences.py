"""Tables unlike the one that was learned from: columns and categories that are new, or gone."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from cmvae.base.words import SHOWN, UnseenError, counted, listed, quoted, raise_all
from cmvae.files.cell_places import CellRows
from cmvae.preprocessing.cells import CellCodec
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.kinds import as_frame
from cmvae.preprocessing.tables import TableCodec
from cmvae.preprocessing.texts import TextCodec
from cmvae.preprocessing.words import WordCodec

TABLES = TableCodec | WordCodec | TextCodec

_FEW = 0.5  # of the variables of cells: where fewer are there, these may be named in another way
_MANY = 0.25  # of a column's cells: where so many are unknown, another coding is as likely
FEWEST = 10  # cells from which that is told, and rows from which a column without any is named


@dataclass
class Differences:
    """How the tables of a modality differ from what was learned; parts of a table add up.

    Attributes:
        modality: Its name.
        strict: True: every difference is refused; False: none is; None: those alone where a column
            holds unknown values in more than a quarter of its cells, and in ten at least, and
            fewer than half of the variables of cells.
        extra: Columns that were not learned.
        missing: Columns that were learned and are not there.
        renamed: Column to the one that it is read as, from which it differs in blanks or case.
        unseen: Column to unknown values, and how many cells hold each.
        filled: Column to how many of its cells hold something, of those that hold unknown values.
        held: Learned columns with a cell that holds something.
        rows: How many rows there are.
        what: What a column is called.
        empty: Cells of whose counts all are 0.
    """

    modality: str
    strict: bool | None = None
    extra: Sequence[str] = ()
    missing: Sequence[str] = ()
    renamed: dict[str, str] = field(default_factory=dict)
    unseen: dict[str, "Counter[str]"] = field(default_factory=dict)
    filled: "Counter[str]" = field(default_factory=Counter)
    held: set[str] = field(default_factory=set)
    rows: int = 0
    what: str = "column"
    empty: list[str] = field(default_factory=list)

    def matched(self, rows: Any, codec: Codec) -> Any:
        """Return rows with the columns that a codec learned; the others, and what is new, noted.

        Columns are found by name, variables of single cells too. A missing one, and a value that
        was not learned, become missing cells. What is neither is returned as it is.

        Raises:
            ValueError: If none of the columns is there, or variables occur more than once.
        """
        if isinstance(codec, CellCodec) and isinstance(rows, CellRows):
            own = self._variables(rows, codec)
            self.empty += codec.without_counts(own)
            return own
        if not isinstance(codec, TABLES) or not isinstance(rows, pd.DataFrame):
            return rows
        self.rows += len(rows)
        frame = self._columns(rows, codec.own, codec.ignored)
        self.held |= set(map(str, frame.columns[frame.notna().any().to_numpy()]))
        if isinstance(codec, TableCodec):
            for column in codec.columns:
                if column.kind in ("binary", "category") and column.name not in self.missing:
                    self._look_for_unknown(frame, column)
        return frame

    def _columns(
        self, rows: pd.DataFrame, own: Sequence[Any], ignored: Sequence[str]
    ) -> pd.DataFrame:
        """Return the columns ``own`` of a table, missing ones as NaN."""
        frame, wanted = as_frame(rows, self.modality), list(map(str, own))
        passed_over, learned = set(ignored), set(wanted)
        found = {str(name): name for name in frame if str(name) not in passed_over}
        lost = [name for name in wanted if name not in found]
        spare = [name for name in found if name not in learned]
        self.renamed = _alike(lost, spare)
        back = {name: given for given, name in self.renamed.items()}
        self.missing = [name for name in lost if name not in back]
        self.extra = [name for name in spare if name not in self.renamed]
        if len(self.missing) == len(wanted):
            raise ValueError(
                f"modality {self.modality!r}: none of the columns that were learned is there; they "
                f"are {wanted[:SHOWN]}, got {list(found)[:SHOWN]}"
            )
        if self.missing:
            frame = frame.reindex(columns=[*frame.columns, *self.missing])
            found |= {name: name for name in self.missing}
        return frame[[found[back.get(name, name)] for name in wanted]].set_axis(list(own), axis=1)

    def _variables(self, rows: CellRows, codec: CellCodec) -> CellRows:
        """Return cells with the variables that were learned, the others noted."""
        if rows.var_names == codec.var_names:
            return rows
        own, places = set(codec.var_names), codec.places_of(rows, self.modality)
        self.what = "variable"
        self.missing = [n for n, place in zip(codec.var_names, places, strict=True) if place < 0]
        self.extra = [name for name in rows.var_names if name not in own]
        found = len(own) - len(self.missing)
        if not found or (self.strict is None and found < _FEW * len(own)):
            where = f"modality {self.modality!r}: {found} of the {counted(len(own), 'variable')}"
            names = f"it lacks {quoted(self.missing[:SHOWN])}, and has {quoted(self.extra[:SHOWN])}"
            error = UnseenError if found else ValueError
            raise error(f"{where} that were learned: {names}, which training did not: rename them")
        return codec.with_own_variables(rows, places)

    def _look_for_unknown(self, frame: pd.DataFrame, column: Any) -> None:
        cells = frame[column.name]
        there = cells.notna()
        kept = column.known(cells)
        unknown = there & kept.isna()
        self.filled[str(column.name)] += int(there.sum())
        if unknown.any():
            values = Counter(map(repr, cells[unknown].tolist()))
            self.unseen[str(column.name)] = self.unseen.get(str(column.name), Counter()) + values
            frame[column.name] = kept

    def settle(self, codec: Codec) -> list[str]:
        """Return what is to be said of the differences of all rows, a line each, or refuse them.

        Raises:
            UnseenError: A ValueError, for columns with too many unknown values.
            ValueError: For any difference, where it is to be refused.
        """
        where = f"modality {self.modality!r}"
        unknown = self._unknown(codec)
        if self.strict:
            lines = [*(fact for fact, _ in self._of_columns()), *unknown.values()]
            raise_all([ValueError(f"{where}: {line}") for line in lines])
        many = [line for name, line in unknown.items() if self._are_many(name)]
        if self.strict is None:
            end = "so many may be coded in another way: correct or empty them"
            raise_all([UnseenError(f"{where}: {line}; {end}") for line in many])
        lines = [f"{fact}: {done}" for fact, done in self._of_columns()]
        lines += [f"{line}: taken as missing cells" for line in unknown.values()]
        lines += [f"{fact}: taken as missing cells" for fact in self._hollow(codec)]
        if self.empty:
            what = f"no counts in {counted(len(self.empty), 'cell')}"
            why = "nothing tells their cluster; leave them out"
            lines.append(f"{what}, such as {listed(map(repr, self.empty))}: {why}")
        return [f"{where}: {line}" for line in lines]

    def _are_many(self, column: str) -> bool:
        unknown = self.unseen[column].total()
        return unknown >= FEWEST and unknown > _MANY * self.filled[column]

    def _of_columns(self) -> Iterator[tuple[str, str]]:
        """Yield in which columns a table differs, and what is done with them."""
        for given, name in self.renamed.items():
            yield f"column {given!r} is not spelt {name!r}", "taken for it"
        for what, names, done in (
            ("unknown", self.extra, "ignored"),
            ("missing", self.missing, "taken as missing cells"),
        ):
            if names:
                shown = listed(map(repr, names), 2 * SHOWN)
                yield f"{counted(len(names), self.what)} {what}, {shown}", done

    def _hollow(self, codec: Codec) -> Iterator[str]:
        """Yield which columns are there, but hold nothing in many rows; no difference to refuse."""
        if not isinstance(codec, TABLES) or not self.held or self.rows < FEWEST:
            return
        hollow = [name for name in map(str, codec.own) if name not in {*self.held, *self.missing}]
        if hollow:
            shown = listed(map(repr, hollow), 2 * SHOWN)
            yield f"{counted(len(hollow), 'column')} without any value, {shown}"

    def _unknown(self, codec: Codec) -> dict[str, str]:
        """Return column to which unknown values it holds, in words."""
        columns = codec.columns if isinstance(codec, TableCodec) else ()
        by_name: dict[str, Any] = {str(column.name): column for column in columns}
        return {
            name: f"column {name!r} ({by_name[name].kind}) holds unknown values in "
            f"{values.total()} of {counted(self.rows, 'row')}, "
            + listed(f"{value} ({count})" for value, count in values.most_common())
            + f"; known are {listed(map(repr, by_name[name].values))}"
            for name, values in self.unseen.items()
        }


def _alike(lost: Sequence[str], spare: Sequence[str]) -> dict[str, str]:
    """Return which spare columns are lost ones but for blanks and case, one to one."""
    plain = [_plain(name) for name in lost], [_plain(name) for name in spare]
    once = [{key for key, count in Counter(own).items() if count == 1} for own in plain]
    by_plain = dict(zip(plain[0], lost, strict=True))
    return {
        name: by_plain[key]
        for name, key in zip(spare, plain[1], strict=True)
        if key in once[0] & once[1]
    }


def _plain(name: str) -> str:
    return "".join(name.replace("_", " ").split()).casefold()
