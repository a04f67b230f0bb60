"""Where the clusters start: one cluster for a warm-up, then a mixture fitted to the latent means."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from cmvae.base.arguments import positive_int
from cmvae.clusters.spectral import count_groups, count_shared_groups, spectral_groups
from cmvae.data.batches import iterate
from cmvae.models.cmvae import CMVAE
from cmvae.models.mixture import MixturePrior
from cmvae.models.vae import evaluating

METHODS = ("spectral", "shared", "gmm")
MAX_SAMPLES = 4000
RELATIVE_FLOOR = 1e-3  # of the latents' variance: no cluster gets thinner
ABSOLUTE_FLOOR = 1e-6
N_INIT = 20
EM_STEPS = 20


@torch.no_grad()
def collapse_clusters(model: CMVAE) -> None:
    """Leave one cluster active, at zero and with scale 1: the model is then a VAE without clusters."""
    mixture = model.mixture
    weights = torch.full_like(mixture.logits, 1 / len(mixture.logits))
    mixture.set_components(weights, torch.zeros_like(mixture.centers))
    mixture.keep(torch.arange(len(weights), device=weights.device) == 0)


@torch.no_grad()
def latent_means(model: CMVAE, data: Any, batch_size: int = 512) -> Tensor:
    """Return the mean of q(z|X) of every sample, (n, latent_dim), with networks in eval mode."""
    with evaluating(model):
        return torch.cat(
            [model.encode(chunk, return_mean=True).z[:, 0] for chunk in iterate(data, batch_size)]
        )


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
    is fitted to the same points by expectation–maximisation: weights, centres and, where the model
    learns them, covariances. These are then widened by the average covariance of q(z|X), since the
    prior is to hold draws: where the data say little of z, the means lie much closer together than
    the draws do. Call it after some training with one cluster (:func:`collapse_clusters`), as VaDE
    does (Jiang et al., 2017), in any training loop; ``fit(..., warmup_epochs=…)`` does both.

    Args:
        model: The model; only its mixture prior changes.
        data: Samples, anything that ``CMVAE.encode`` accepts. Of more than 4000, so many drawn at
            random.
        n_clusters: How many clusters start active. None: all C of the model. ``'auto'``: as many as
            the data show, at most C.
        method: ``'spectral'``: normalised cut of the neighbour graph; ``'auto'`` counts stable
            groups (:func:`cmvae.clusters.spectral.count_groups`). ``'shared'``: the same groups,
            but ``'auto'`` counts those that each modality shows by itself
            (:func:`cmvae.clusters.spectral.count_shared_groups`): for modalities that share the
            cluster and little else, where groups of the averages may be of one modality's own
            making. ``'gmm'``: a Gaussian mixture fitted by expectation–maximisation to the average
            of the experts' means, from k-means; ``'auto'`` has the smallest Bayesian information
            criterion (Schwarz, 1978).
        seed: Seed of the draws; without it, drawn from PyTorch's global generator.
        batch_size: Samples encoded at a time.

    Raises:
        ValueError: If ``n_clusters`` exceeds C or the number of different samples, the method is
            unknown, or ``'shared'`` groups are to be counted where no sample has two modalities.
    """
    largest = model.model_config.number_of_clusters
    check_number(model, n_clusters, "n_clusters")
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {method!r}")
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    latents = _read_latents(model, data, batch_size, seed)
    means, distinct = latents.means, len(np.unique(latents.means, axis=0))
    wanted = n_clusters if n_clusters == "auto" else n_clusters or largest
    if wanted != "auto" and wanted > distinct:
        raise ValueError(f"{wanted} clusters cannot start from {distinct} different samples")
    # Latents are small matrices: more threads than one make these fits ten times slower.
    with threadpool_limits(1):
        if method == "gmm":
            labels = _mixture_groups(means, wanted, min(largest, distinct), seed)
        else:
            number = (
                wanted
                if wanted != "auto"
                else _count(latents, min(largest, distinct), method, seed)
            )
            labels = spectral_groups(means, number)
        _start_components(model.mixture, latents, labels)


def check_number(model: CMVAE, n_clusters: object, argument: str) -> None:
    """Refuse a number of clusters that is neither None, ``'auto'`` nor one from 1 to C.

    Raises:
        TypeError: If it is of another type.
        ValueError: If it is out of range.
    """
    largest = model.model_config.number_of_clusters
    if n_clusters is None or (isinstance(n_clusters, str) and n_clusters == "auto"):
        return
    if positive_int(argument, n_clusters) > largest:
        raise ValueError(
            f"{argument} must be at most number_of_clusters = {largest}, got {n_clusters}"
        )


@dataclass(frozen=True)
class _Latents:
    """What the clusters start from.

    Attributes:
        means: Means of q(z|X), (n, d).
        views: Locations of q(z|x_m), (M, n, d).
        observed: (M, n) boolean.
        spread: The average covariance of q(z|X), (d, d), over all samples, those included that are
            left out here.
    """

    means: np.ndarray
    views: np.ndarray
    observed: np.ndarray
    spread: np.ndarray


@torch.no_grad()
def _read_latents(model: CMVAE, data: Any, batch_size: int, seed: int) -> _Latents:
    """Return the latents of the samples, or of MAX_SAMPLES of them."""
    with evaluating(model):
        chunks = [model._experts(model._read(chunk)) for chunk in iterate(data, batch_size)]
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
    return _Latents(points[rows], loc[:, rows], observed[:, rows] > 0, spread)


def _count(latents: _Latents, largest: int, method: str, seed: int) -> int:
    """Return the number of groups by the rule of a method."""
    if method != "shared":
        return count_groups(latents.means, largest, seed)
    if not (latents.observed.sum(0) > 1).any():
        raise ValueError(
            "method 'shared' counts groups that modalities agree on, but no sample has two modalities"
        )
    return count_shared_groups(latents.means, latents.views, latents.observed, largest)


def _mixture_groups(points: np.ndarray, wanted: int | str, largest: int, seed: int) -> np.ndarray:
    """Group points (n, d) by a full-covariance Gaussian mixture, from the best of several k-means solutions.

    A mixture with one covariance for all clusters is a step on the way: large groups are then not
    merged in favour of small dense ones, as they are where the start of the largest likelihood is
    taken.
    """
    fits = []
    for number in range(1, largest + 1) if wanted == "auto" else [int(wanted)]:
        kmeans = KMeans(number, n_init=N_INIT, random_state=seed).fit(points)
        weights, centers = (
            np.bincount(kmeans.labels_, minlength=number) / len(points),
            kmeans.cluster_centers_,
        )
        for kind in ("tied", "full"):
            mixture = GaussianMixture(
                number,
                covariance_type=kind,
                means_init=centers,
                weights_init=weights / weights.sum(),
                reg_covar=max(RELATIVE_FLOOR * float(points.var(0).mean()), ABSOLUTE_FLOOR),
                max_iter=200,
            ).fit(points)
            weights, centers = mixture.weights_, mixture.means_
        fits.append(mixture)
    return min(fits, key=lambda fitted: fitted.bic(points)).predict(points)


@torch.no_grad()
def _start_components(mixture: MixturePrior, latents: _Latents, labels: np.ndarray) -> None:
    """Fit the mixture's components to grouped points by expectation–maximisation; leave only those active.

    The E step is the mixture's own posterior, whatever its family and form of covariance. In the M
    step a sample weighs as much as the share of modalities it has observed: the latents of the
    others are blurred. All covariances are widened at the end, and by the same ``spread``: within
    the steps it would merge clusters.
    """
    points, seen = latents.means, latents.observed.mean(0)
    labels = np.unique(labels, return_inverse=True)[1]
    number = labels.max() + 1
    tensor = torch.as_tensor(points).to(mixture.centers)
    members = np.eye(number)[labels]
    started = torch.arange(len(mixture.logits), device=tensor.device) < number
    for step in range(EM_STEPS + 1):
        weights, means, covariances = _maximise(points, members * seen[:, None])
        _install(mixture, weights, means, covariances + (latents.spread if step == EM_STEPS else 0))
        mixture.keep(started)
        members = mixture.posterior(tensor)[:, :number].double().cpu().numpy()


def _maximise(points: np.ndarray, members: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights (k,), means (k, d) and covariances (k, d, d) of points (n, d) with memberships (n, k).

    Covariances are posterior modes under an inverse-Wishart prior of d + 2 degrees at the
    covariance within all components (Fraley and Raftery, 2007).
    """
    dim = points.shape[1]
    counts = members.sum(0) + np.finfo(float).eps
    means = members.T @ points / counts[:, None]
    centred = points[:, None] - means
    scatter = np.stack(
        [(members[:, k, None] * x).T @ x for k, x in enumerate(centred.swapaxes(0, 1))]
    )
    prior = dim + 2
    floor = max(RELATIVE_FLOOR * float(points.var(0).mean()), ABSOLUTE_FLOOR) * np.eye(dim)
    shared = scatter.sum(0) / counts.sum() + floor
    covariances = (scatter + prior * shared) / (counts + prior)[:, None, None] + floor
    return counts / counts.sum(), means, covariances


def _install(
    mixture: MixturePrior, weights: np.ndarray, means: np.ndarray, covariances: np.ndarray
) -> None:
    """Make the components the first of the mixture's clusters."""
    number, dim = means.shape
    all_weights = np.full(len(mixture.logits), weights.min())
    all_centers = mixture.centers.detach().double().cpu().numpy().copy()
    all_covariances = np.tile(np.eye(dim) * mixture.unit_variance, (len(all_weights), 1, 1))
    all_weights[:number], all_centers[:number], all_covariances[:number] = (
        weights,
        means,
        covariances,
    )
    like = mixture.centers
    mixture.set_components(
        *(torch.as_tensor(v).to(like) for v in (all_weights, all_centers, all_covariances))
    )
