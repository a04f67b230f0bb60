"""What a run looks like: figures for files, and a page to explore."""

from cmvae.report.content import ReportContent
from cmvae.report.figures import embedding_figure, entropy_figure, save_figure, translation_figure
from cmvae.report.gather import gather_report, units_of_table
from cmvae.report.generations import (
    cluster_samples_figure,
    cross_generations,
    generation_grid,
    thumbnail_figure,
)
from cmvae.report.page import write_report

__all__ = [
    "ReportContent",
    "cluster_samples_figure",
    "cross_generations",
    "embedding_figure",
    "entropy_figure",
    "gather_report",
    "generation_grid",
    "save_figure",
    "thumbnail_figure",
    "translation_figure",
    "units_of_table",
    "write_report",
]
