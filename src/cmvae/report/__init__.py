"""What a run looks like: figures for files, and a page to explore."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmvae.report.content import ReportContent
    from cmvae.report.figures import (
        embedding_figure,
        entropy_figure,
        save_figure,
        translation_figure,
    )
    from cmvae.report.gather import Shown, gather_report
    from cmvae.report.grids import (
        cluster_samples_figure,
        cross_generations,
        generation_grid,
        thumbnail_figure,
    )
    from cmvae.report.page import write_report
    from cmvae.report.watch import GenerationGrid

__all__ = [
    "GenerationGrid",
    "ReportContent",
    "Shown",
    "cluster_samples_figure",
    "cross_generations",
    "embedding_figure",
    "entropy_figure",
    "gather_report",
    "generation_grid",
    "save_figure",
    "thumbnail_figure",
    "translation_figure",
    "write_report",
]

# Loaded when first asked for: the page needs no matplotlib, and only watching needs Lightning.
_FIGURES = ("embedding_figure", "entropy_figure", "save_figure", "translation_figure")
_GRIDS = ("cluster_samples_figure", "cross_generations", "generation_grid", "thumbnail_figure")
_HOMES = {
    "GenerationGrid": "watch",
    "ReportContent": "content",
    "Shown": "gather",
    "gather_report": "gather",
    "write_report": "page",
    **dict.fromkeys(_FIGURES, "figures"),
    **dict.fromkeys(_GRIDS, "grids"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmvae.report' has no attribute {name!r}")
    return getattr(import_module(f"cmvae.report.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
