"""Codecs as modules without checks: raw tensors in, a model's numbers out, for exporters."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from cmvae.base.arrays import standardise
from cmvae.preprocessing.arrays import ArrayCodec, ImageCodec
from cmvae.preprocessing.cells import ENTRIES, CellCodec
from cmvae.preprocessing.codec import Codec
from cmvae.preprocessing.columns import Binary, Category, Continuous, Count
from cmvae.preprocessing.dates import YEAR, Date, DateAndSeason
from cmvae.preprocessing.kinds import KINDS
from cmvae.preprocessing.tables import TableCodec
from cmvae.preprocessing.words import WordCodec

FAR = 1e8  # where log(x + √(x² + 1)) is log 2x to the last digit of float64


class Coded(NamedTuple):
    """A model's numbers of B samples of a modality.

    Attributes:
        values: (B, *) float32, finite: 0 where something is missing, or was refused.
        observed: Which samples have the modality, (B,) boolean.
        refused: Which samples hold what a codec refuses, (B,) boolean.
        cells: Of vectors which numbers are there, (B, D) boolean.
    """

    values: Tensor
    observed: Tensor
    refused: Tensor
    cells: Tensor | None


class TraceableCodec(nn.Module):
    """What a codec does to raw values that are tensors already.

    Attributes:
        shape: The shape of one sample of the raw values.
        dtype: Their dtype.
        columns: Of tables, what each of the raw columns is.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float64
    columns: Sequence[dict[str, Any]] = ()
    typical: float | Sequence[float] = 1.0

    def example(self, n: int) -> Tensor:
        """Return n samples to trace with and to compare by, as there may be, all the same."""
        typical = torch.tensor(self.typical, dtype=self.dtype)
        return typical.expand(n, *self.shape).contiguous()


def traceable_codec(codec: Codec, modality: str) -> TraceableCodec:
    """Return the module of a codec.

    Raises:
        ValueError: For one that has none, naming the modality and why.
    """
    if isinstance(codec, TableCodec):
        seasons = [own.name for own in codec.columns if isinstance(own, DateAndSeason)]
        if not seasons:
            return TraceableTable(codec.columns)
        why = f"the season of dates, columns {seasons}, takes a calendar"
    elif isinstance(codec, CellCodec):
        blocks = {"count": _AnyCounted} if codec.dist == "bernoulli" else {}
        return TraceableTable(_variables(codec), blocks)
    elif isinstance(codec, WordCodec):
        return TraceableWords(codec)
    elif isinstance(codec, ArrayCodec):
        return TraceableArray(codec)
    elif isinstance(codec, ImageCodec):
        return TraceableImages(codec)
    else:
        why = "texts are cut into words before, which is no arithmetic"
    raise ValueError(
        f"modality {modality!r} cannot be exported: {why}; predict with cmvae itself, or train "
        "without it"
    )


class TraceableTable(TraceableCodec):
    """A table: (B, columns) float64, NaN where a cell is missing.

    Numbers are as they are in the table, dates days since 1970. Categories and binary columns are
    the ``codes`` of their values; other codes are missing cells, as unknown values are. Rows that
    hold numbers beyond float32, or no counts where counts should be, are refused.

    Args:
        columns: The columns.
        blocks: Kind to what codes neighbouring columns of it, where that is not the usual.
    """

    def __init__(self, columns: Sequence[Any], blocks: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.shape = (len(columns),)
        self.columns = [_described(column) for column in columns]
        self.typical = [_typical(column) for column in columns]
        places = sorted(range(len(columns)), key=lambda j: KINDS.index(columns[j].kind))
        self.blocks = nn.ModuleList()
        for kind, group in groupby(places, key=lambda j: str(columns[j].kind)):
            make = {**_BLOCKS, **(blocks or {})}[kind]
            self.blocks.append(make(own := list(group), [columns[j] for j in own]))

    def forward(self, raw: Tensor) -> Coded:
        """Code rows (B, columns); NaN becomes 0."""
        parts = [block(raw) for block in self.blocks]
        values = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        return _coded(values)


class TraceableWords(TraceableCodec):
    """Rows of words: (B, columns) float64, weighted and scaled to one length."""

    weights: Tensor

    def __init__(self, codec: WordCodec) -> None:
        super().__init__()
        self.shape = (len(codec.columns),)
        self.columns = [{"name": name, "kind": "word"} for name in codec.columns]
        self.register_buffer("weights", torch.tensor(codec.weights, dtype=torch.float64))

    def forward(self, raw: Tensor) -> Coded:
        """Code rows (B, columns); rows with numbers below 0, or infinite ones, are refused."""
        there = ~raw.isnan()
        seen = raw.masked_fill(~there, 0)
        largest = seen.amax(1, keepdim=True)
        seen = seen / torch.where(largest > 0, largest, 1) * self.weights
        lengths = seen.square().sum(1, keepdim=True).sqrt()
        full = there.sum(1, keepdim=True).to(raw.dtype).sqrt()
        values = seen * (full / torch.where(lengths > 0, lengths, 1))
        values = values.masked_fill((raw < 0) | raw.isinf(), torch.inf)  # which is refused
        return _coded(values.masked_fill(~there, torch.nan))


class TraceableArray(TraceableCodec):
    """Arrays: (B, *shape) float64; samples that are NaN throughout lack the modality."""

    def __init__(self, codec: ArrayCodec) -> None:
        super().__init__()
        self.shape, self.center, self.spread = codec.shape, codec.center, codec.spread
        self.typical = codec.center

    def forward(self, raw: Tensor) -> Coded:
        """Code arrays; samples that are NaN in part, or infinite, are refused."""
        values = standardise(raw, self.center, self.spread).to(torch.float32)
        axes = list(range(1, raw.ndim))
        observed = (~raw.isnan()).any(axes)
        finite = is_finite(values)
        refused = observed & ~finite.all(axes)
        return Coded(values.masked_fill(~finite, 0), observed, refused, None)


class TraceableImages(TraceableCodec):
    """Images: (B, C, H, W) uint8 of the model's own size, all of them there."""

    dtype = torch.uint8

    def __init__(self, codec: ImageCodec) -> None:
        super().__init__()
        self.shape = codec.shape

    def forward(self, raw: Tensor) -> Coded:
        """Code images as numbers in [0, 1]."""
        nothing = torch.zeros_like(raw.flatten(1)[:, 0], dtype=torch.bool)
        return Coded(raw.to(torch.float32) / 255, ~nothing, nothing, None)


class _Numbers(nn.Module):
    """Neighbouring columns of numbers: those ``places`` of the raw values, standardised."""

    center: Tensor
    spread: Tensor

    def __init__(self, places: Sequence[int], columns: Sequence[Any]) -> None:
        super().__init__()
        self.places = list(places)
        self.names = sorted({own.transform for own in columns if isinstance(own, Continuous)})
        scales = np.array([column.scale for column in columns]).T
        if isinstance(columns[0], Date):
            # (days − first) / YEAR first, as in cmvae.preprocessing.dates.
            first = [column.first for column in columns]
            self.register_buffer("first", torch.tensor(first, dtype=torch.float64))
        is_plain = bool((scales[0] == 0).all() and (scales[1] == 1).all())
        self.is_scaled = not is_plain
        self.register_buffer("center", torch.tensor(scales[0]))
        self.register_buffer("spread", torch.tensor(scales[1]))
        for name in self.names:
            chosen = [j for j, own in enumerate(columns) if own.transform == name]
            self.register_buffer(f"{name}_mask", _mask(chosen, len(columns)))
        if self.names and self.names != ["none"]:
            for field in ("origin", "unit"):
                own = [getattr(column, field) for column in columns]
                self.register_buffer(field, torch.tensor(own, dtype=torch.float64))

    def forward(self, raw: Tensor) -> Tensor:
        x = _picked(raw, self.places)
        if hasattr(self, "first"):
            x = (x - self.get_buffer("first")) / YEAR
        if self.names and self.names != ["none"]:
            scaled = (x - self.get_buffer("origin")) / self.get_buffer("unit")
            for name in self.names:
                if name != "none":
                    x = torch.where(self.get_buffer(f"{name}_mask"), _forward(scaled, name), x)
        return standardise(x, self.center, self.spread) if self.is_scaled else x


class _Counts(nn.Module):
    """Whole numbers from 0; others become infinite, which is refused."""

    def __init__(self, places: Sequence[int], columns: Sequence[Any]) -> None:
        super().__init__()
        self.places = list(places)

    def forward(self, raw: Tensor) -> Tensor:
        x = _picked(raw, self.places)
        return x.masked_fill((x < 0) | (x.round() != x) & ~x.isnan(), torch.inf)


class _AnyCounted(_Counts):
    """Whole numbers from 0, which become 1 where anything was counted."""

    def forward(self, raw: Tensor) -> Tensor:
        x = super().forward(raw)
        return torch.where(is_finite(x), x.clamp_max(1), x)


class _Codes(nn.Module):
    """Categories, one-hot, or binary columns as they are; unknown codes are missing cells."""

    codes: Tensor
    of_column: Tensor

    def __init__(self, places: Sequence[int], columns: Sequence[Any]) -> None:
        super().__init__()
        codes = [codes_of(column) for column in columns]
        self.is_binary = isinstance(columns[0], Binary)
        self.places = [j for j, own in zip(places, codes, strict=True) for _ in own]
        self.register_buffer("codes", torch.tensor([c for own in codes for c in own]).double())
        widths = torch.tensor([len(own) for own in codes])
        self.register_buffer("of_column", torch.arange(len(codes)).repeat_interleave(widths))
        self.register_buffer("membership", nn.functional.one_hot(self.of_column).double())

    def forward(self, raw: Tensor) -> Tensor:
        hot = (_picked(raw, self.places) == self.codes).double()
        known = hot @ self.get_buffer("membership")  # (B, columns): 1 where one of the codes is it
        if self.is_binary:
            second = hot[:, 1::2]
            return second.masked_fill(known == 0, torch.nan)
        return hot.masked_fill(known.index_select(1, self.of_column) == 0, torch.nan)


_BLOCKS: dict[str, Any] = {
    "continuous": _Numbers,
    "date": _Numbers,
    "binary": _Codes,
    "count": _Counts,
    "category": _Codes,
}


def codes_of(column: Binary | Category) -> list[float]:
    """Return what stands for each of a column's values: numbers for themselves, else its place."""
    values = column.values
    texts = any(isinstance(value, str) for value in values)
    return [float(place if texts else value) for place, value in enumerate(values)]


def _described(column: Any) -> dict[str, Any]:
    """Return what a raw column is, as JSON can hold it."""
    own: dict[str, Any] = {"name": column.name, "kind": column.kind}
    if isinstance(column, Binary | Category):
        own |= {"values": list(column.values), "codes": codes_of(column)}
    return own


def _typical(column: Any) -> float:
    """Return a raw value that is in the middle of those of a column."""
    if isinstance(column, Continuous):
        return float(column.undo(np.array([column.center]))[0])
    if isinstance(column, Date):
        return column.first + column.center * YEAR
    return float(round(column.mean)) if isinstance(column, Count) else codes_of(column)[0]


def _variables(codec: CellCodec) -> list[Any]:
    """Return the variables of cells as the columns of a table."""
    if codec.dist in ENTRIES:
        return [Count(name=name) for name in codec.var_names]
    scales = zip(codec.var_names, codec.center, codec.spread, strict=True)
    return [Continuous(name=name, center=c, spread=s) for name, c, s in scales]


def is_finite(values: Tensor) -> Tensor:
    """Tell which values are finite, in two operations of ONNX instead of six."""
    return values.abs() < torch.inf


def _coded(numbers: Tensor) -> Coded:
    """Return numbers (B, D), NaN where a cell is missing and infinite where one is refused."""
    values = numbers.to(torch.float32)
    cells, finite = ~values.isnan(), is_finite(values)
    return Coded(values.masked_fill(~finite, 0), cells.any(1), (cells & ~finite).any(1), cells)


def _picked(raw: Tensor, places: Sequence[int]) -> Tensor:
    """Return columns of raw values, a slice of them where they are neighbours."""
    first, last = places[0], places[-1]
    if list(places) == list(range(first, last + 1)):
        return raw if len(places) == raw.shape[1] else raw[:, first : last + 1]
    return raw.index_select(1, torch.tensor(list(places), device=raw.device))


def _forward(scaled: Tensor, transform: str) -> Tensor:
    """Return a transform of cmvae.preprocessing.transforms, by operations that exporters know."""
    size = scaled.abs()
    if transform == "sqrt":
        grown = size.sqrt()
    elif transform == "log1p":
        grown = size.log1p()
    else:
        near = size.clamp_max(FAR)
        small = (near + near.square() / (1 + (near.square() + 1).sqrt())).log1p()
        grown = torch.where(size > FAR, size.log() + np.log(2.0), small)
    return scaled.sign() * grown


def _mask(places: Sequence[int], size: int) -> Tensor:
    mask = torch.zeros(size, dtype=torch.bool)
    mask[list(places)] = True
    return mask
