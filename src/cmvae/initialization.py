"""Where the clusters start: one cluster for a warm-up, then a mixture fitted to the latent means."""

from typing import Any, Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from cmvae.arguments import positive_int
from cmvae.data.batches import iterate
from cmvae.model import CMVAE
from cmvae.vae import evaluating

__all__ = ["collapse_clusters", "fit_mixture", "initialize_clusters", "latent_means"]

COVARIANCE_TYPES = {"identity": "spherical", "diagonal": "diag", "full": "full"}
RELATIVE_FLOOR = 1e-3  # of the latents' variance: no cluster gets thinner
ABSOLUTE_FLOOR = 1e-6


@torch.no_grad()
def collapse_clusters(model: CMVAE) -> None:
    """Leave one cluster active, at zero and with scale 1: the model is then a VAE without clusters."""
    mixture = model.mixture
    weights = torch.full_like(mixture.logits, 1 / len(mixture.logits))
    mixture.set_components(weights, torch.zeros_like(mixture.centers))
    mixture.keep(torch.arange(len(weights), device=weights.device) == 0)


@torch.no_grad()
def latent_means(model: CMVAE, data: Any, batch_size: int = 8192) -> Tensor:
    """Return the mean of q(z|X) of every sample, (n, latent_dim), with networks in eval mode."""
    with evaluating(model):
        return torch.cat([model.encode(chunk, return_mean=True).z[:, 0] for chunk in iterate(data, batch_size)])


def initialize_clusters(
    model: CMVAE,
    data: Any,
    n_clusters: int | Literal["auto"] | None = None,
    *,
    n_init: int = 20,
    seed: int | None = None,
    batch_size: int = 8192,
) -> None:
    """Start the clusters where the latent means of the data lie.

    A Gaussian mixture is fitted by expectation–maximisation to the means of q(z|X), as VaDE does after its
    pretraining (Jiang et al., 2017), from the best of ``n_init`` k-means solutions. Its weights and means, and
    where the model learns them its covariances, become those of the prior. Call it after some training with one
    cluster (:func:`collapse_clusters`), in any training loop; ``fit(..., warmup_epochs=…)`` does both.

    Args:
        model: The model; only its mixture prior changes.
        data: Samples, anything that ``CMVAE.encode`` accepts.
        n_clusters: How many clusters start active. None: all C of the model. ``'auto'``: the number from 1 to C
            for which the Bayesian information criterion of the mixture (Schwarz, 1978) is smallest.
        n_init: k-means starts.
        seed: Seed of the fit; without it, drawn from PyTorch's global generator.
        batch_size: Samples encoded at a time.

    Raises:
        ValueError: If ``n_clusters`` exceeds C or the number of different samples.
    """
    largest = model.model_config.number_of_clusters
    if n_clusters not in ("auto", None) and positive_int("n_clusters", n_clusters) > largest:
        raise ValueError(f"n_clusters must be at most number_of_clusters = {largest}, got {n_clusters}")
    positive_int("n_init", n_init)
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    means = latent_means(model, data, batch_size).double().cpu().numpy()
    kind = COVARIANCE_TYPES[model.model_config.covariance]
    distinct = len(np.unique(means, axis=0))
    if n_clusters == "auto":
        fits = [fit_mixture(means, k, kind, n_init, seed) for k in range(1, min(largest, distinct) + 1)]
        best = min(fits, key=lambda fitted: fitted.bic(means))
    else:
        wanted = n_clusters or largest
        if wanted > distinct:
            raise ValueError(f"{wanted} clusters cannot start from {distinct} different samples")
        best = fit_mixture(means, wanted, kind, n_init, seed)
    _install(model, best)


def fit_mixture(points: np.ndarray, n_clusters: int, covariance_type: str, n_init: int, seed: int) -> GaussianMixture:
    """Fit a Gaussian mixture to points (n, d), from the best of ``n_init`` k-means solutions.

    Starting from k-means rather than choosing among starts by their likelihood keeps large groups from being
    merged in favour of small dense ones. A full-covariance mixture takes a mixture with one covariance for all
    clusters as the next step on its way.
    """
    # Latents are small matrices: more threads than one made these fits ten times slower.
    with threadpool_limits(1):
        kmeans = KMeans(n_clusters, n_init=n_init, random_state=seed).fit(points)
        weights = np.bincount(kmeans.labels_, minlength=n_clusters) / len(points)
        centers = kmeans.cluster_centers_
        for kind in ("tied", "full") if covariance_type == "full" else (covariance_type,):
            mixture = GaussianMixture(
                n_clusters,
                covariance_type=kind,
                means_init=centers,
                weights_init=weights / weights.sum(),
                reg_covar=max(RELATIVE_FLOOR * float(points.var(0).mean()), ABSOLUTE_FLOOR),
                max_iter=200,
                random_state=seed,
            ).fit(points)
            weights, centers = mixture.weights_, mixture.means_
    return mixture


def _install(model: CMVAE, fitted: GaussianMixture) -> None:
    """Make the fitted components the first of the model's clusters, and leave only those active."""
    mixture = model.mixture
    number, dim = fitted.means_.shape
    weights = np.full(len(mixture.logits), 1 / number)
    centers = mixture.centers.detach().double().cpu().numpy().copy()
    covariances = np.tile(np.eye(dim) * mixture.unit_variance, (len(weights), 1, 1))
    weights[:number], centers[:number] = fitted.weights_, fitted.means_
    if mixture.covariance == "full":
        covariances[:number] = fitted.covariances_
    elif mixture.covariance == "diagonal":
        covariances[:number] = np.einsum("cd,de->cde", fitted.covariances_, np.eye(dim))
    like = mixture.centers
    mixture.set_components(*(torch.as_tensor(value).to(like) for value in (weights, centers, covariances)))
    mixture.keep(torch.arange(len(weights), device=like.device) < number)
