"""What a run looks like: figures for files, and a page to explore."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmvae.report.content import ReportContent as ReportContent
    from cmvae.report.figures import embedding_figure as embedding_figure
    from cmvae.report.figures import entropy_figure as entropy_figure
    from cmvae.report.figures import save_figure as save_figure
    from cmvae.report.figures import translation_figure as translation_figure
    from cmvae.report.gather import Shown as Shown
    from cmvae.report.gather import gather_report as gather_report
    from cmvae.report.grids import cluster_samples_figure as cluster_samples_figure
    from cmvae.report.grids import cross_generations as cross_generations
    from cmvae.report.grids import generation_grid as generation_grid
    from cmvae.report.grids import thumbnail_figure as thumbnail_figure
    from cmvae.report.page import write_report as write_report
    from cmvae.report.profiles import write_profiles as write_profiles
    from cmvae.report.watch import GenerationGrid as GenerationGrid

# Loaded when first asked for: the page needs no matplotlib, and only watching needs Lightning.
_HOMES = {
    "GenerationGrid": "watch",
    "ReportContent": "content",
    "Shown": "gather",
    "cluster_samples_figure": "grids",
    "cross_generations": "grids",
    "embedding_figure": "figures",
    "entropy_figure": "figures",
    "gather_report": "gather",
    "generation_grid": "grids",
    "save_figure": "figures",
    "thumbnail_figure": "grids",
    "translation_figure": "figures",
    "write_profiles": "profiles",
    "write_report": "page",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'cmvae.report' has no attribute {name!r}")
    return getattr(import_module(f"cmvae.report.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
