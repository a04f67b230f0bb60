"""Where the clusters start: one cluster for a warm-up, then a mixture fitted to the latent means."""

from typing import Any

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture

from cmvae.arguments import positive_int
from cmvae.data.batches import iterate
from cmvae.model import CMVAE
from cmvae.vae import evaluating

__all__ = ["collapse_clusters", "initialize_clusters", "latent_means"]

VARIANCE_FLOOR = 1e-3


@torch.no_grad()
def collapse_clusters(model: CMVAE) -> None:
    """Leave one cluster active, at zero and with scale 1: the model is then a VAE without clusters."""
    mixture = model.mixture
    first = torch.zeros_like(mixture.active)
    first[0] = True
    mixture.set_components(
        torch.full_like(mixture.logits, 1 / len(first)), torch.zeros_like(mixture.centers)
    )
    mixture.keep(first)


def initialize_clusters(model: CMVAE, data: Any, *, n_init: int = 10, seed: int | None = None) -> None:
    """Draft."""
