"""How good a model is: pure functions of what was found, or generated, and what is true."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cmvae.metrics.clustering import clustering_accuracy, clustering_by_subset, clustering_scores
from cmvae.metrics.coherence import (
    ConditionalCoherence,
    GenerativeModel,
    RealCoherence,
    conditional_coherence,
    real_coherence,
    unconditional_coherence,
)
from cmvae.metrics.frechet import frechet_distance, frechet_interval

if TYPE_CHECKING:
    from cmvae.metrics.classifiers import DigitClassifier, TrainedClassifiers, train_classifiers

__all__ = [
    "ConditionalCoherence",
    "DigitClassifier",
    "GenerativeModel",
    "RealCoherence",
    "TrainedClassifiers",
    "clustering_accuracy",
    "clustering_by_subset",
    "clustering_scores",
    "conditional_coherence",
    "frechet_distance",
    "frechet_interval",
    "real_coherence",
    "train_classifiers",
    "unconditional_coherence",
]

# Loaded when first asked for: they need Lightning, whose import takes seconds.
_LATE = {"DigitClassifier", "TrainedClassifiers", "train_classifiers"}


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module 'cmvae.metrics' has no attribute {name!r}")
    return getattr(import_module("cmvae.metrics.classifiers"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
