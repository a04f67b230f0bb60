"""Arguments that all questions about cells share."""

from typing import Any

from cmvae.base.words import shown
from cmvae.omics import OmicsData


def check_cells(cells: Any) -> None:
    """Refuse what is not cells as a model takes them, by ``TypeError``."""
    if not isinstance(cells, OmicsData):
        raise TypeError(
            f"cells: expected what cmvae.omics.from_mudata returns, got {type(cells).__name__}"
        )


def check_names(argument: str, names: Any) -> None:
    """Refuse a single name where several are asked for, whose letters would be taken for names."""
    if isinstance(names, str):
        raise TypeError(f"{argument}: expected a sequence of names, got the string {shown(names)}")
