"""What a run looks like: figures."""

from cmvae.report.figures import embedding_figure, entropy_figure, save_figure, translation_figure
from cmvae.report.generations import cluster_samples_figure, cross_generations, generation_grid, thumbnail_figure

__all__ = [
    "cluster_samples_figure",
    "cross_generations",
    "embedding_figure",
    "entropy_figure",
    "generation_grid",
    "save_figure",
    "thumbnail_figure",
    "translation_figure",
]
