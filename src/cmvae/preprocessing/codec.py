"""How the rows of one modality become a model's numbers and come back, as a run keeps it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from cmvae.likelihoods import LIKELIHOODS


class Codec(ABC):
    """What was learned of a modality's rows: their coding, scales, sizes or words.

    Attributes:
        type: What the rows are: 'table', 'text', 'images', 'array' or 'omics'.
        shape: The input shape of the model.
        texts: Columns that are texts, whatever they look like.
    """

    type: ClassVar[str]
    shape: tuple[int, ...]
    texts: tuple[str, ...] = ()

    @abstractmethod
    def encode(self, rows: Any, modality: str) -> tuple[Any, np.ndarray]:
        """Return a model's values of rows, an array (n, *) or CSR matrix, and which samples have the modality, (n,).

        Raises:
            ValueError: If the rows are not like those it was learned from; the message names the
                modality.
            TypeError: For text where numbers were.
        """

    def stored(self, values: Any) -> Any:
        """Return values of :meth:`encode`, of samples put together, in the form that a dataset keeps."""
        return values

    @abstractmethod
    def decode(self, values: np.ndarray, sample: bool) -> Any:
        """Return values of the likelihood, (n, *), as rows in the units of the data.

        Args:
            values: Means, or draws.
            sample: Which of the two they are.

        Returns:
            A DataFrame of tables, texts and cells, an array (n, H, W, C) of bytes of images, else
            an array.
        """

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what the rows are."""

    @abstractmethod
    def fields(self) -> dict[str, Any]:
        """Return what :meth:`from_fields` needs, as JSON can hold it."""

    @classmethod
    @abstractmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read what :meth:`fields` returned.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """

    def likelihood(
        self, chosen: str | None, params: Mapping[str, Any], scale: float | str
    ) -> tuple[str, dict]:
        """Return the likelihood's name and parameters.

        Args:
            chosen: A name of ``cmvae.likelihoods.LIKELIHOODS``; None: normal.
            params: Parameters that were asked for.
            scale: That of the normal and Laplace likelihoods.
        """
        name = chosen or "normal"
        own = (
            {"scale": scale} if name in LIKELIHOODS and "scale" in LIKELIHOODS[name].options else {}
        )
        return name, {**own, **params}
