"""How good a clustering is: pure functions of what was found and what is true."""

from cmvae.metrics.clustering import clustering_accuracy, clustering_scores

__all__ = ["clustering_accuracy", "clustering_scores"]
