"""Arguments that all questions about cells share."""

from typing import Any

from cmvae.omics import OmicsData


def check_cells(cells: Any) -> None:
    """Refuse what is not cells as a model takes them, by ``TypeError``."""
    if not isinstance(cells, OmicsData):
        raise TypeError(
            f"cells: expected what cmvae.omics.from_mudata returns, got {type(cells).__name__}"
        )
