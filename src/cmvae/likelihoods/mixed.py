"""A table whose columns have different kinds: a likelihood for each block of neighbours."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from cmvae.base.words import quoted, shortened, shown
from cmvae.likelihoods.base import CountBlock, LearnedScale, Likelihood, check_same_shape
from cmvae.likelihoods.continuous import Laplace, Normal
from cmvae.likelihoods.counts import NegativeBinomial, Poisson
from cmvae.likelihoods.discrete import Bernoulli, Categorical

BLOCKS: dict[str, type[Likelihood]] = {
    "normal": Normal,
    "laplace": Laplace,
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
}


class _Block(NamedTuple):
    """Columns start..stop−1, which have one likelihood."""

    kind: str
    start: int
    stop: int
    params: Mapping[str, Any]
    entry: int  # its place in the description, for the errors

    def cut(self, values: Tensor) -> Tensor:
        """Return the columns of values (*, D)."""
        return values[..., self.start : self.stop]

    def build(self) -> Likelihood:
        """Build the likelihood; errors name the entry."""
        try:
            return BLOCKS[self.kind].build(self.params, (self.stop - self.start,))
        except ValueError as error:
            raise ValueError(f"columns[{self.entry}] ({self.kind!r}): {error}") from error


class Mixed(Likelihood):
    """log p(x) = Σ_b log p_b(x_b) over blocks of neighbouring columns, each with its likelihood.

    A sample is one vector of D numbers and so is the reconstruction: a categorical column of V
    classes takes V of them, one-hot in the data and logits in the reconstruction.

    Args:
        columns: The blocks in order, each (kind, size) or (kind, size, parameters), for instance
            ``[["normal", 3, {"scale": "learned"}], ["bernoulli", 2], ["categorical", 4]]``. Kinds
            are those of ``BLOCKS``. Several categorical columns may be given at once, by a list of
            their numbers of classes: ``["categorical", [4, 3]]``. Parameters are as for the kind
            alone, a scale or a library size that of the block.
        shape: The modality's input shape, which must be (D,); None where it is not known.

    Raises:
        ValueError: For another form, naming the block, or another number of columns.

    Example:
        >>> import torch
        >>> from cmvae.likelihoods import Mixed
        >>> table = Mixed([["normal", 2], ["categorical", 3]])
        >>> table.log_prob(torch.zeros(1, 5), torch.tensor([[0.5, -0.5, 0.0, 1.0, 0.0]])).shape
        torch.Size([1, 3])
    """

    options = ("columns",)
    takes_shape = True
    _filling: Tensor
    _real: Tensor

    def __init__(
        self, columns: Sequence[Any] | None = None, shape: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self._layout = _read_columns(columns)
        self.blocks = nn.ModuleList(block.build() for block in self._layout)
        self.n_values = self._layout[-1].stop
        own = (self.n_values,)
        if shape is not None and tuple(shape) != own:  # before anything of that size is made
            got = f"but the modality has {tuple(shape)}"
            raise ValueError(f"columns describe samples of shape {own}, {got}")
        # They follow from the settings: no part of the weights. Filled in place: on the meta device
        # torch.cat would load PyTorch's compiler, which takes longer than most predictions.
        self.register_buffer("_filling", torch.zeros(own), persistent=False)
        real = torch.zeros(own, dtype=torch.bool, device="cpu")
        self.register_buffer("_real", real, persistent=False)
        for block, likelihood in self._pairs:
            block.cut(self._filling)[:] = likelihood.filling
            block.cut(self._real)[:] = likelihood.real

    @property
    def counts(self) -> list[CountBlock]:
        """The blocks of counts."""
        return [
            own._replace(start=block.start + own.start, stop=block.start + own.stop)
            for block, likelihood in self._pairs
            for own in likelihood.counts
        ]

    @property
    def filling(self) -> Tensor | float:
        """That of each block."""
        return self._filling

    @property
    def real(self) -> Tensor | bool:
        """Those of some blocks."""
        return self._real

    def log_prob(self, reconstruction: Tensor, target: Tensor) -> Tensor:
        """Return the log-density of each column, (*, columns); see ``Likelihood.log_prob``.

        A categorical column, which takes V of the D values, has one.
        """
        self._check_last_axis(reconstruction, target)
        values = []
        for block, likelihood in self._pairs:
            value = likelihood.log_prob(block.cut(reconstruction), block.cut(target))
            values.append(value if value.dim() == reconstruction.dim() else value.unsqueeze(-1))
        return torch.cat(values, -1)

    def log_prob_of_samples(
        self, reconstruction: Tensor, target: Tensor, axes: int, cells: Tensor | None = None
    ) -> Tensor:
        """Return :meth:`log_prob` summed over all but the first ``axes`` axes, block by block."""
        self._check_last_axis(reconstruction, target)
        parts = [
            own.log_prob_of_samples(block.cut(reconstruction), block.cut(target), axes, there)
            for block, own in self._pairs
            for there in [None if cells is None else block.cut(cells)]
        ]
        return torch.stack(parts).sum(0)

    def learned_parts(
        self, reconstruction: Tensor, target: Tensor, cells: Tensor | None = None
    ) -> Iterator[tuple[LearnedScale, Tensor, Tensor, Tensor | None]]:
        """Yield those of the blocks, each with its own columns."""
        for block, own in self._pairs:
            there = None if cells is None else block.cut(cells)
            yield from own.learned_parts(block.cut(reconstruction), block.cut(target), there)

    def mean(self, reconstruction: Tensor) -> Tensor:
        """Return the mean of each block, (*, D), of categorical columns the probabilities."""
        means = [own.mean(block.cut(reconstruction)) for block, own in self._pairs]
        return torch.cat(means, -1)

    def sample(self, reconstruction: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw every block, (*, D), categorical columns one-hot; see ``Likelihood.sample``."""
        drawn = [own.sample(block.cut(reconstruction), generator) for block, own in self._pairs]
        return torch.cat(drawn, -1)

    def check(
        self,
        target: Tensor,
        modality: str,
        shape: Sequence[int] | None = None,
        cells: Tensor | None = None,
    ) -> None:
        """Refuse values that their block cannot have, naming it; see ``Likelihood.check``."""
        super().check(target, modality, (self.n_values,) if shape is None else shape)
        for block, likelihood in self._pairs:
            there = None if cells is None else block.cut(cells)
            try:
                likelihood.check(block.cut(target), modality, (block.stop - block.start,), there)
            except ValueError as error:
                where = f"values {block.start} to {block.stop - 1}, {block.kind!r}"
                raise ValueError(f"{error} ({where})") from None

    @property
    def _pairs(self) -> list[tuple[_Block, Likelihood]]:
        pairs = zip(self._layout, self.blocks, strict=True)
        return [(block, cast(Likelihood, own)) for block, own in pairs]

    def _check_last_axis(self, reconstruction: Tensor, target: Tensor) -> None:
        check_same_shape(reconstruction, target)
        if reconstruction.shape[-1:] != (self.n_values,):
            got = tuple(reconstruction.shape)
            raise ValueError(f"columns describe {self.n_values} values; got the shape {got}")


def _read_columns(columns: object) -> list[_Block]:
    """Turn the description into blocks, one for each categorical column."""
    if isinstance(columns, str) or not isinstance(columns, Sequence) or not columns:
        form = "a list of [kind, size] or [kind, size, parameters]"
        raise ValueError(f"columns must be {form}; got {shown(columns)}")
    blocks: list[_Block] = []
    for i, entry in enumerate(columns):
        kind, size, params = _read_entry(i, entry)
        sizes = list(size) if kind == "categorical" and isinstance(size, list | tuple) else [size]
        for n in sizes or [None]:
            if isinstance(n, bool) or not isinstance(n, Integral) or n < 1:
                allowed = "its size must be a positive integer"
                raise ValueError(f"columns[{i}] ({kind!r}): {allowed}; got {shown(size)}")
            start = blocks[-1].stop if blocks else 0
            blocks.append(_Block(kind, start, start + int(n), params, i))
    return blocks


def _read_entry(index: int, entry: object) -> tuple[str, Any, Mapping[str, Any]]:
    place = f"columns[{index}]"
    if isinstance(entry, str) or not isinstance(entry, Sequence) or len(entry) not in (2, 3):
        raise ValueError(
            f"{place} must be [kind, size] or [kind, size, parameters]; got {shown(entry)}"
        )
    kind, size, params = entry if len(entry) == 3 else (*entry, {})
    if not isinstance(kind, str) or kind not in BLOCKS:
        raise ValueError(
            f"{place}: unknown kind {shortened(repr(kind))}; allowed: {quoted(BLOCKS)}"
        )
    if not isinstance(params, Mapping):
        raise ValueError(f"{place} ({kind!r}): parameters must be a mapping; got {shown(params)}")
    return kind, size, params
