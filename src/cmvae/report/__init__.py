"""What a run looks like: figures."""

from cmvae.report.figures import embedding_figure, entropy_figure, save_figure, translation_figure

__all__ = ["embedding_figure", "entropy_figure", "save_figure", "translation_figure"]
