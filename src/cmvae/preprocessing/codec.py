"""How the rows of one modality become a model's numbers and come back."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cmvae.base.settings import Settings
from cmvae.files.writing import open_rows

Params = dict[str, Any]
Likelihood = tuple[str, Params]
Writer = Callable[[list[str], Any, np.ndarray | None], None]
"""Writes part of a modality: n ids, n rows, and their clusters or None."""


class Entry(NamedTuple):
    """What one number of a sample is.

    Attributes:
        column: The column that it comes from.
        kind: 'continuous', 'binary', 'count', 'category' or 'words'.
        level: Of a category, and of a binary column, the value whose share a mean of it is.
        transform: What the column went through before it was standardised.
    """

    column: str
    kind: str = "continuous"
    level: str = ""
    transform: str = "none"

    @property
    def name(self) -> str:
        """The column, and where it is not plain the value: ``smokes``, ``colour=red``."""
        is_plain = not self.level or (self.kind == "binary" and self.level in ("1", "True"))
        return self.column if is_plain else f"{self.column}={self.level}"


class Codec(Settings):
    """What was learned of a modality's rows: their kinds of columns, scales, sizes or words.

    Attributes:
        content: What the rows are for whoever looks at them: 'table', 'text', 'images' or 'array'.
    """

    content: ClassVar[str]

    @property
    @abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The input shape of the model."""

    @property
    def names(self) -> list[str]:
        """What each number of a table is; none of what is no table."""
        return []

    @property
    def entries(self) -> list[Entry]:
        """What each number is, in their order; without names ``feature 0`` and so on."""
        names = self.names or [f"feature {i}" for i in range(math.prod(self.input_shape))]
        return [Entry(name) for name in names]

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns of a file that are texts, whatever they look like."""
        return ()

    @abstractmethod
    def encode(self, rows: Any, modality: str) -> tuple[Any, np.ndarray]:
        """Return a model's values of n rows, and which of them have the modality.

        Returns:
            An array (n, *) or CSR matrix, and (n,) boolean.

        Raises:
            ValueError: If the rows are not like those it was learned from, naming the modality.
            TypeError: For text where numbers were.
        """

    def stored(self, values: Any) -> Any:
        """Return values of :meth:`encode` in the form that a dataset keeps."""
        return values

    @abstractmethod
    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return values of the likelihood, (n, *), as rows in the units of the data.

        Args:
            values: Means, or draws.
            sample: Which of the two they are.

        Returns:
            A DataFrame of tables, texts and cells, bytes (n, H, W, C) of images, else an array.
        """

    def readable(self, values: np.ndarray) -> Any:
        """Return a model's values, (n, *), as people read them: numbers, images, or n texts."""
        return values

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what the rows are."""

    def likelihood(
        self,
        chosen: str | None = None,
        params: Mapping[str, Any] | None = None,
        scale: float | str = "learned",
    ) -> Likelihood:
        """Return the name and the parameters of the likelihood, as ``CMVAEConfig`` takes them.

        Args:
            chosen: A name of ``cmvae.likelihoods.LIKELIHOODS``; None: as the rows say.
            params: Parameters that were asked for.
            scale: That of the normal and Laplace likelihoods, a number or 'learned'.

        Raises:
            ValueError: For a likelihood that does not fit the rows.
        """
        return self._likelihood(chosen, dict(params or {}), scale)

    def _likelihood(self, chosen: str | None, params: Params, scale: float | str) -> Likelihood:
        name = chosen or "normal"
        own = {"scale": scale} if name in ("normal", "laplace") else {}
        return name, {**own, **params}

    @contextmanager
    def open_writer(self, folder: Path, name: str, suffix: str, **options: Any) -> Iterator[Writer]:
        """Give what writes decoded rows into a folder: as a table ``NAME.csv`` or ``.parquet``.

        Options are those of :func:`cmvae.files.writing.open_rows`.
        """
        with open_rows(folder / f"{name}{suffix}", **options) as append:

            def write(ids: list[str], rows: Any, clusters: np.ndarray | None) -> None:
                own = {"id": ids} if clusters is None else {"id": ids, "cluster": clusters}
                for place, (column, values) in enumerate(own.items()):
                    while column in rows:  # a name that no column of the data has
                        column += "_"
                    rows.insert(place, column, values)
                append(rows)

            yield write
