"""Where the clusters start: one cluster for a warm-up, then a mixture fitted to the latents."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from cmvae.base.arguments import positive_int
from cmvae.clusters.groups import METHODS, find_groups, maximise
from cmvae.data.batches import iterate
from cmvae.models.cmvae import CMVAE
from cmvae.models.inference import evaluating, experts_of, read_batch
from cmvae.models.mixture import MixturePrior

MAX_SAMPLES = 4000
EM_STEPS = 20


@torch.no_grad()
def collapse_clusters(model: CMVAE) -> None:
    """Leave one cluster active, at zero with scale 1: the model is then a VAE without clusters."""
    mixture = model.mixture
    weights = torch.full_like(mixture.logits, 1 / len(mixture.logits))
    mixture.set_components(weights, torch.zeros_like(mixture.centers))
    mixture.keep(torch.arange(len(weights), device=weights.device) == 0)


def initialize_clusters(
    model: CMVAE,
    data: Any,
    n_clusters: int | Literal["auto"] | None = None,
    *,
    method: Literal["spectral", "shared", "gmm"] = "spectral",
    seed: int | None = None,
    batch_size: int = 512,
) -> None:
    """Start the clusters where the latent means of the data lie.

    Samples are grouped by the averages of their experts' means; from these groups the mixture prior
    is fitted to the same points by expectation–maximisation. Covariances are then widened by the
    average one of q(z|X), since the prior is to hold draws: where the data say little of z, the
    means lie much closer together than the draws do. Call it after some training with one cluster
    (:func:`collapse_clusters`), as VaDE does (Jiang et al., 2017), in any training loop;
    ``fit(..., warmup_epochs=…)`` does both.

    Args:
        model: The model; only its mixture prior changes.
        data: What ``CMVAE.encode`` accepts. Of more than 4000 samples, so many drawn at random.
        n_clusters: How many clusters start active: None for all C, ``'auto'`` for as many as the
            data show.
        method: ``'spectral'``: normalised cut of the neighbour graph; ``'auto'`` counts stable
            groups (:func:`cmvae.clusters.spectral.count_groups`). ``'shared'``: likewise, but
            ``'auto'`` counts those that each modality shows by itself
            (:func:`cmvae.clusters.spectral.count_shared_groups`), for modalities that share the
            cluster and little else. ``'gmm'``: a Gaussian mixture, ``'auto'`` by its BIC.
        seed: Seed of the draws; without it, drawn from PyTorch's global generator.
        batch_size: Samples encoded at a time.

    Raises:
        ValueError: For more clusters than C or different samples, an unknown method, and where
            ``'shared'`` groups are to be counted but no sample has two modalities.
    """
    largest = model.model_config.number_of_clusters
    check_number(model, n_clusters, "n_clusters")
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    latents = read_latents(model, data, batch_size, seed)
    seen = latents.means, latents.views, latents.observed
    # Latents are small matrices: more threads than one make these fits ten times slower.
    with threadpool_limits(1):
        labels = find_groups(*seen, n_clusters or largest, largest, method, seed)
        _start_components(model.mixture, latents, labels)


def check_number(model: CMVAE, n_clusters: object, argument: str) -> None:
    """Refuse a number of clusters that is neither None, ``'auto'`` nor one from 1 to C."""
    most = model.model_config.number_of_clusters
    if n_clusters is None or (isinstance(n_clusters, str) and n_clusters == "auto"):
        return
    if positive_int(argument, n_clusters) > most:
        allowed = f"at most number_of_clusters = {most}"
        raise ValueError(f"{argument} must be {allowed}, got {n_clusters}")


@dataclass(frozen=True)
class Latents:
    """What the clusters start from, of n samples."""

    means: np.ndarray  # of q(z|X), (n, d)
    views: np.ndarray  # locations of q(z|x_m), (M, n, d)
    observed: np.ndarray  # (M, n) boolean
    spread: np.ndarray  # average covariance of q(z|X), (d, d), over those left out too


@torch.no_grad()
def read_latents(model: CMVAE, data: Any, batch_size: int, seed: int) -> Latents:
    """Return the latents of the samples, or of MAX_SAMPLES of them, drawn by the seed."""
    with evaluating(model):
        batches = (read_batch(model, part) for part in iterate(data, batch_size))
        chunks = [experts_of(model, batch) for batch in batches]
    loc, scale, observed = (
        torch.cat([getattr(chunk, name) for chunk in chunks], 1).double().cpu().numpy()
        for name in ("loc", "scale", "observed")
    )
    weights = (observed / observed.sum(0))[..., None]
    points = (weights * loc).sum(0)
    offsets = (np.sqrt(weights) * (loc - points)).reshape(-1, points.shape[1])
    within = (weights * scale**2).sum((0, 1)) * model.mixture.unit_variance
    spread = (offsets.T @ offsets + np.diag(within)) / len(points)
    rows = np.arange(len(points))
    if len(points) > MAX_SAMPLES:
        rows = np.random.default_rng(seed).choice(len(points), MAX_SAMPLES, replace=False)
    return Latents(points[rows], loc[:, rows], observed[:, rows] > 0, spread)


@torch.no_grad()
def _start_components(mixture: MixturePrior, latents: Latents, labels: np.ndarray) -> None:
    """Fit the components to grouped points by expectation–maximisation; leave only those active.

    The E step is the mixture's own posterior. In the M step a sample weighs as much as the share of
    modalities it has observed: the latents of the others are blurred. Covariances are widened at
    the end alone, by the same ``spread``: within the steps it would merge clusters.
    """
    points, seen = latents.means, latents.observed.mean(0)
    labels = np.unique(labels, return_inverse=True)[1]
    number = labels.max() + 1
    tensor = torch.as_tensor(points).to(mixture.centers)
    members = np.eye(number)[labels]
    started = torch.arange(len(mixture.logits), device=tensor.device) < number
    for step in range(EM_STEPS + 1):
        weights, means, covariances = maximise(points, members * seen[:, None])
        _install(mixture, weights, means, covariances + (latents.spread if step == EM_STEPS else 0))
        mixture.keep(started)
        members = mixture.posterior(tensor)[:, :number].double().cpu().numpy()


def _install(mixture: MixturePrior, *components: np.ndarray) -> None:
    """Make weights (k,), means (k, d) and covariances (k, d, d) the mixture's first clusters."""
    number, dim = components[1].shape
    size, like = len(mixture.logits), mixture.centers
    whole = (
        np.full(size, components[0].min()),
        like.detach().double().cpu().numpy().copy(),
        np.tile(np.eye(dim) * mixture.unit_variance, (size, 1, 1)),
    )
    for values, given in zip(whole, components, strict=True):
        values[:number] = given
    mixture.set_components(*(torch.as_tensor(values).to(like) for values in whole))
