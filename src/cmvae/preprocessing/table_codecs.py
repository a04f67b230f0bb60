"""Tables of columns of any kind, and texts."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd

from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.coding import TableCoding
from cmvae.preprocessing.kinds import KINDS, IdentifierError, as_frame, column_kinds
from cmvae.preprocessing.tokens import Tokenizer

IGNORE, TEXT = "ignore", "text"
LIKELIHOOD_KINDS = {
    "normal": "continuous",
    "laplace": "continuous",
    "bernoulli": "binary",
    "poisson": "count",
    "negative_binomial": "count",
    "categorical": "category",
}
_SHOWN = 5


class TableCodec(Codec):
    """A table, coded column by column (:class:`cmvae.preprocessing.coding.TableCoding`).

    Args:
        coding: How its columns become numbers.
        ignored: Columns that are left out where they occur.
        median_total: The median of the rows' sums, the library size of counts.
    """

    type = "table"

    def __init__(
        self, coding: TableCoding, ignored: tuple[str, ...] = (), median_total: float = 0.0
    ) -> None:
        self.coding, self.ignored, self.median_total = coding, ignored, median_total
        self.shape = (len(coding.names),)
        self.texts = tuple(
            str(column.name)
            for column in coding.columns
            if column.kind == "category" and all(isinstance(value, str) for value in column.values)
        )

    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers (n, D) float32; see ``Codec``."""
        values = self.coding.encode(_without(as_frame(rows, modality), self.ignored), modality)
        return values, ~np.isnan(values).all(1)

    def decode(self, values: np.ndarray, sample: bool) -> pd.DataFrame:
        """Return a table in the data's units; see ``Codec``."""
        return self.coding.decode(values, sample)

    def describe(self) -> str:
        """Return the columns of each kind and those left out, by name where they are few."""
        parts, columns = (
            [],
            {kind: [str(c.name) for c in self.coding.columns if c.kind == kind] for kind in KINDS},
        )
        for kind, names in {**columns, "left out": list(self.ignored)}.items():
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            parts += [f"{len(names)} {kind}: {', '.join(names[:_SHOWN])}{more}"] if names else []
        return "; ".join(parts)

    def fields(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return {
            "coding": self.coding.to_json(),
            "ignored": list(self.ignored),
            "median_total": self.median_total,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`fields` returned."""
        return cls(
            TableCoding.from_json(fields["coding"]),
            tuple(fields["ignored"]),
            float(fields["median_total"]),
        )

    def likelihood(
        self, chosen: str | None, params: Mapping[str, Any], scale: float | str
    ) -> tuple[str, dict]:
        """Return the likelihood of the kinds, with what was chosen for the columns it fits; see ``Codec``."""
        name, own = self.coding.likelihood(
            scale, "poisson" if chosen == "poisson" else "negative_binomial"
        )
        blocks = [[name, 0, own]] if name != "mixed" else own["columns"]
        if chosen == "laplace":
            blocks = [
                ["laplace" if block[0] == "normal" else block[0], *block[1:]] for block in blocks
            ]
        if chosen not in (None, "mixed") and chosen not in [block[0] for block in blocks]:
            raise ValueError(
                f"likelihood {chosen!r} fits none of the kinds of its columns: {self.describe()}"
            )
        if name == "mixed":
            if params:
                raise ValueError(
                    f"likelihood parameters {dict(params)} need columns of one kind: {self.describe()}"
                )
            return "mixed", {"columns": blocks}
        own = {**own, **params}
        if own.get("library_size") is True and self.median_total > 0:
            own.setdefault("size", self.median_total)
        return str(blocks[0][0]), own


class TextCodec(Codec):
    """One column of texts, as numbers of words (:class:`cmvae.preprocessing.tokens.Tokenizer`)."""

    type = "text"

    def __init__(self, column: str, tokenizer: Tokenizer, ignored: tuple[str, ...] = ()) -> None:
        self.column, self.tokenizer, self.ignored = column, tokenizer, ignored
        self.shape, self.texts = tokenizer.shape, (column,)

    def encode(self, rows: Any, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Return numbers of words (n, length) int64; see ``Codec``."""
        frame = _without(as_frame(rows, modality), self.ignored)
        if list(frame) != [self.column]:
            raise ValueError(
                f"modality {modality!r}: expected the one column {self.column!r}, got {list(frame)[:5]}"
            )
        observed = frame[self.column].notna().to_numpy()
        values = np.zeros((len(frame), self.tokenizer.length), dtype=np.int64)
        values[observed] = self.tokenizer.encode(frame[self.column][observed].tolist())
        return values, observed

    def decode(self, values: np.ndarray, sample: bool) -> pd.DataFrame:
        """Return texts; see ``Codec``."""
        return pd.DataFrame({self.column: self.read_texts(values)})

    def read_texts(self, values: np.ndarray) -> list[str]:
        """Return texts of numbers of words (n, length), or of shares (n, length, words)."""
        return self.tokenizer.decode(values.argmax(-1) if values.ndim == 3 else values)

    def describe(self) -> str:
        """Return how many words there are."""
        return (
            f"texts of up to {self.tokenizer.length} words, {len(self.tokenizer.words)} different"
        )

    def fields(self) -> dict[str, Any]:
        """Return what a run keeps."""
        return {
            "column": self.column,
            "tokenizer": self.tokenizer.to_json(),
            "ignored": list(self.ignored),
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`fields` returned."""
        return cls(
            str(fields["column"]),
            Tokenizer.from_json(fields["tokenizer"]),
            tuple(fields["ignored"]),
        )

    def likelihood(
        self, chosen: str | None, params: Mapping[str, Any], scale: float | str
    ) -> tuple[str, dict]:
        """Return the categorical likelihood."""
        if chosen not in (None, "categorical"):
            raise ValueError(f"likelihood {chosen!r}: that of texts is 'categorical'")
        return "categorical", dict(params)


def learn_table(
    table: Any, kinds: Mapping[str, str], chosen: str | None, modality: str
) -> TableCodec | TextCodec:
    """Learn how a table is coded.

    Args:
        table: All its rows.
        kinds: Column to kind, for columns where the rules of
            :func:`cmvae.preprocessing.kinds.column_kinds` shall not decide: one of its kinds,
            'ignore', or 'text' for the only column.
        chosen: The likelihood asked for, which says the kind of all other columns.
        modality: Name for the errors.

    Raises:
        KeyError: For kinds of columns that are not there.
        ValueError: For unknown kinds, a column of texts beside others, and what the coding refuses.
        TypeError: For text in a column of numbers.
    """
    frame = as_frame(table, modality)
    frame_columns = {str(column): column for column in frame}
    unknown = [column for column in kinds if column not in frame_columns]
    if unknown:
        shown = list(frame_columns)[: 2 * _SHOWN]
        raise KeyError(
            f"modality {modality!r}: kinds of unknown columns {unknown[:_SHOWN]}; it has {shown}"
        )
    wrong = [kind for kind in kinds.values() if kind not in (*KINDS, IGNORE, TEXT)]
    if wrong:
        allowed = ", ".join((*KINDS, TEXT, IGNORE))
        raise ValueError(f"modality {modality!r}: unknown kinds {wrong}; allowed: {allowed}")
    ignored = tuple(column for column, kind in kinds.items() if kind == IGNORE)
    frame = _without(frame, ignored)
    texts = [column for column, kind in kinds.items() if kind == TEXT]
    if texts:
        if len(frame.columns) > 1:
            raise ValueError(
                f"modality {modality!r}: a modality of texts has one column, got {list(frame)[:_SHOWN]}"
            )
        return TextCodec(texts[0], Tokenizer.fit(frame[texts[0]].dropna().astype(str)), ignored)
    implied = LIKELIHOOD_KINDS.get(chosen or "")
    given = dict.fromkeys(frame, implied) if implied else {}
    given |= {frame_columns[column]: kind for column, kind in kinds.items() if kind != IGNORE}
    try:
        coding = TableCoding.of(frame, column_kinds(frame, given, modality), modality)
    except IdentifierError as error:
        options = " ".join(f"--kind {modality}.{column}={IGNORE}" for column in error.columns)
        raise ValueError(f"{error}, as in {options}") from None
    codec = TableCodec(coding, ignored)
    values, observed = codec.encode(frame, modality)
    return TableCodec(coding, ignored, float(np.median(values[observed].sum(1))))


def _without(frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    return frame[[column for column in frame if str(column) not in columns]] if columns else frame
