"""What decoders know of samples beside their latents: covariates, encoded, drawn where missing."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import generator_keyword
from cmvae.base.words import quoted, shown
from cmvae.data.covariates import read_covariates

LEVELS = 101  # quantiles of a number that are kept


class Covariates(nn.Module):
    """The covariates of a model: their encoding, and how they occurred in training.

    A category is encoded by an indicator, a number by itself. Until :meth:`fit` all categories
    are equally probable, and numbers 0.

    Args:
        sizes: Name to the number of categories, 1 for a number.

    Attributes:
        sizes: The same.
        shares: Of each category how much of the training data it was, (ΣK,).
        levels: Of each number the quantiles it had, (numbers, LEVELS).
    """

    shares: Tensor
    levels: Tensor

    def __init__(self, sizes: Mapping[str, int]) -> None:
        super().__init__()
        self.sizes = dict(sizes)
        counts = [size for size in self.sizes.values() if size > 1]
        even = [1 / size for size in counts for _ in range(size)]
        self.register_buffer("shares", torch.tensor(even))
        self.register_buffer("levels", torch.zeros(len(self.sizes) - len(counts), LEVELS))

    @property
    def width(self) -> int:
        """How many numbers the encoding has."""
        return sum(self.sizes.values())

    def forward(self, values: Tensor) -> Tensor:
        """Return the encoding (*, width) of values (*, C), none of them missing."""
        parts = []
        for column, size in zip(values.unbind(-1), self.sizes.values(), strict=True):
            own = column.unsqueeze(-1)
            indicators = own == torch.arange(size, device=values.device)
            parts.append(indicators.to(values.dtype) if size > 1 else own)
        return torch.cat(parts, -1)

    def draw(self, n_samples: int, generator: Generator | None = None) -> Tensor:
        """Draw values (n_samples, C), each covariate by itself, as they occurred in training."""
        shares, levels, columns = self._shares(), self._levels(), []
        for size in self.sizes.values():
            options: dict[str, Any] = generator_keyword(generator)
            if size > 1:
                own = torch.multinomial(next(shares), n_samples, replacement=True, **options)
                columns.append(own.to(self.levels.dtype))
                continue
            own = torch.rand(n_samples, device=self.levels.device, **options) * (LEVELS - 1)
            quantiles, low = next(levels), own.floor().long().clamp(max=LEVELS - 2)
            columns.append(torch.lerp(quantiles[low], quantiles[low + 1], own - low))
        return torch.stack(columns, 1)

    def filled(
        self, values: Tensor, generator: Generator | None = None, alike: bool = False
    ) -> Tensor:
        """Return values (n, C) in which those that are missing, NaN, are drawn.

        For each sample by itself, or for all ``alike``.
        """
        if not torch.compiler.is_compiling() and not bool(values.isnan().any()):
            return values
        drawn = self.draw(1 if alike else len(values), generator)
        return values.where(~values.isnan(), drawn.to(values))

    def usual(self, values: Tensor) -> Tensor:
        """Return values (*, C) of which those that are missing, NaN, are the most frequent ones.

        Of numbers the median.
        """
        shares, levels = self._shares(), self._levels()
        usual = [
            next(shares).argmax().to(values) if size > 1 else next(levels)[LEVELS // 2].to(values)
            for size in self.sizes.values()
        ]
        return values.where(~values.isnan(), torch.stack(usual))

    @torch.no_grad()
    def fit(self, values: Iterable[Tensor]) -> None:
        """Learn how they occurred, from values (n, C) in parts; missing ones do not count."""
        shares, levels = self._shares(), self._levels()
        found = torch.cat(list(values)).to(self.levels)
        for column, size in zip(found.unbind(1), self.sizes.values(), strict=True):
            own, kept = column[~column.isnan()], next(shares if size > 1 else levels)
            if not len(own):
                continue
            if size > 1:
                kept.copy_(torch.bincount(own.long(), minlength=size) / len(own))
            else:
                at = torch.linspace(0, len(own) - 1, LEVELS, device=own.device).round().long()
                kept.copy_(own.sort().values[at])

    def given(self, chosen: Any, n_samples: int) -> Tensor:
        """Return values (n_samples, C) of a mapping, name to one value or to n_samples; else NaN.

        Raises:
            KeyError, TypeError, ValueError: For what is none of them, naming the covariate.
        """
        if chosen is not None and not isinstance(chosen, Mapping):
            raise TypeError(f"covariates must be a mapping of names to values, got {shown(chosen)}")
        columns = {name: _repeated(name, own, n_samples) for name, own in (chosen or {}).items()}
        return read_covariates(columns, self.sizes, n_samples).to(self.levels)

    def named(self, values: Tensor) -> dict[str, Tensor]:
        """Return values (*, C) by name."""
        return dict(zip(self.sizes, values.unbind(-1), strict=True))

    # To cut a tensor into no parts can be exported, but not be read again.
    def _shares(self) -> Any:
        sizes = [size for size in self.sizes.values() if size > 1]
        return iter(self.shares.split(sizes)) if sizes else iter(())

    def _levels(self) -> Any:
        return iter(self.levels) if len(self.levels) else iter(())


def refuse_covariates(chosen: Any) -> None:
    """Refuse covariates that are given to a model without any."""
    if chosen:
        names = quoted(chosen) if isinstance(chosen, Mapping) else shown(chosen)
        raise KeyError(f"unknown covariates [{names}]: the model was built without covariates")


def _repeated(name: str, own: Any, n_samples: int) -> Any:
    """Return one value as n_samples of it; others as they are."""
    many = isinstance(own, Sequence) or getattr(own, "ndim", 0) > 0
    if many:
        return own
    try:
        return torch.full((n_samples,), float(own))
    except (TypeError, ValueError):
        raise TypeError(f"covariate {name!r}: expected a number, got {shown(own)}") from None
