"""Where the clusters start: one cluster for a warm-up, then a mixture fitted to the latents."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import Subset

from cmvae.base.arguments import positive_int
from cmvae.base.arrays import moments, standardise
from cmvae.base.words import shown
from cmvae.clusters.covariates import without_covariates
from cmvae.clusters.groups import METHODS, Groups, Known, Method, find_groups
from cmvae.clusters.mixtures import maximise
from cmvae.clusters.sources import Views
from cmvae.data.batches import iterate
from cmvae.data.loading import as_dataset
from cmvae.likelihoods import CountBlock
from cmvae.models.cmvae import CMVAE
from cmvae.models.generation import given_covariates
from cmvae.models.inference import evaluating, experts_of, likelihood_of, read_batch
from cmvae.models.mixture import MixturePrior

MAX_SAMPLES = 4000
RESERVOIR = 2**15  # samples that are encoded for it
MOST_ENTRIES = 2**25

Measured = Callable[[str, np.ndarray], Any]
Remover = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
    method: Method = "consensus",
    seed: int | None = None,
    batch_size: int = 512,
    companions: Iterable[CMVAE] = (),
    latents: Sequence[np.ndarray] = (),
    measured: Measured | None = None,
    counted: np.ndarray | None = None,
) -> Groups:
    """Start the clusters where the latent means of the data lie.

    Samples are grouped; each group's mean and covariance over the averages of its samples' experts'
    means start a component of the mixture prior. Covariances are widened by the average one of
    q(z|X), since the prior is to hold draws: where the data say little of z, the means lie much
    closer together than the draws do. Call it after some training with one cluster
    (:func:`collapse_clusters`), as VaDE does (Jiang et al., 2017), in any training loop;
    ``fit(..., warmup_epochs=…)`` does both. What covariates add to latents and data is taken away
    before groups are sought (:mod:`cmvae.clusters.covariates`).

    Args:
        model: The model; only its mixture prior changes.
        data: What ``CMVAE.encode`` accepts. Of more than 32,768 samples so many are encoded, and
            of more than 4000 of these so many grouped, both drawn at random.
        n_clusters: How many clusters start active: None for all C, ``'auto'`` for as many as the
            data show.
        method: ``'consensus'``: partitions compete, of the latents of the model and of its
            companions, and of neighbour graphs of the data where all modalities are vectors; a
            judge weighs them, without labels (:mod:`cmvae.clusters.consensus`); ``'auto'`` counts
            groups by :func:`cmvae.clusters.number.count_clusters`. ``'spectral'``: the normalised
            cut of the neighbour graph of the model's latents alone, likewise counted.
            ``'shared'``: such a cut, but ``'auto'`` counts groups that each modality shows by
            itself (:func:`cmvae.clusters.spectral.count_shared_groups`), for modalities that share
            the cluster and little else. ``'gmm'``: a Gaussian mixture, ``'auto'`` by its BIC.
        seed: Seed of the draws; without it, drawn from PyTorch's global generator.
        batch_size: Samples encoded at a time.
        companions: Other models of the same data, which propose groups too.
        latents: Means of q(z|X), (n, d), that several models had of the samples at an earlier start
            (``known.latents`` of what it returned): these are grouped instead.
        measured: Modality and values (n, D) to the values as they were measured; by default they
            are as given. Directions (cosines) among these are compared.
        counted: Places of the samples among which ``'shared'`` groups are counted, (r,); None: all.

    Returns:
        The groups (:class:`cmvae.clusters.groups.Groups`), and which samples they are of.

    Raises:
        ValueError: For more clusters than C or different samples, an unknown method, and where
            ``'shared'`` groups are to be counted but no sample has two modalities.
    """
    largest = model.model_config.number_of_clusters
    check_number(model, n_clusters, "n_clusters")
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}, got {shown(method)}")
    if seed is None:
        seed = int(torch.randint(2**31, ()))
    # Latents are small matrices: more threads than one make these fits ten times slower.
    with threadpool_limits(1):
        own = read_latents(model, data, batch_size, seed)
        some = Subset(as_dataset(data), own.rows.tolist())
        remove = _remover(read_codes(model, some, batch_size), seed)
        among = None if counted is None else np.isin(own.rows, counted)
        everywhere = np.ones(len(own.rows), dtype=bool)
        pairs = zip(own.experts, own.observed, strict=True)
        experts = np.stack([remove(points, seen) for points, seen in pairs])
        means: tuple[np.ndarray, ...] = (remove(own.means, everywhere),)
        known = Known(own.rows, means, experts, own.observed, counted=among)
        if method == "consensus":
            others = [read_latents(other, some, batch_size, seed).means for other in companions]
            others = [remove(own, everywhere) for own in others if np.isfinite(own).all()]
            views = read_views(model, some, batch_size, measured, remove)
            known = replace(known, latents=tuple(latents) or (*means, *others), views=views)
        groups = find_groups(known, n_clusters or largest, largest, method, seed)
        _start_components(model.mixture, own, groups)
    return groups


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

    rows: np.ndarray  # which samples, (n,)
    means: np.ndarray  # of q(z|X), (n, d)
    experts: np.ndarray  # locations of q(z|x_m), (M, n, d)
    observed: np.ndarray  # (M, n) boolean
    spread: np.ndarray  # average covariance of q(z|X), (d, d), over those left out too


@torch.no_grad()
def read_latents(model: CMVAE, data: Any, batch_size: int, seed: int) -> Latents:
    """Return the latents of the samples, or of MAX_SAMPLES of them, drawn by the seed.

    Covariances are averages over RESERVOIR samples at most.
    """
    dataset, held = as_dataset(data), None
    if len(dataset) > RESERVOIR:
        drawn = np.random.default_rng(seed).choice(len(dataset), RESERVOIR, replace=False)
        held = np.sort(drawn)
        data = Subset(dataset, held.tolist())
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
    places = rows if held is None else held[rows]
    return Latents(places, points[rows], loc[:, rows], observed[:, rows] > 0, spread)


def read_views(
    model: CMVAE,
    data: Any,
    batch_size: int = 512,
    measured: Measured | None = None,
    remove: Remover | None = None,
) -> Views | None:
    """Return the samples' own vectors, counts as their logarithms; None where some are none.

    What covariates add to them is taken away by ``remove``, from counts in their logarithms.

    Missing cells are filled in as the model, in its present state, reconstructs them. There are no
    vectors either where they would take too much memory (``MOST_ENTRIES`` numbers).
    """
    shapes = (model.model_config.input_dims or {}).values()
    if not shapes or any(len(shape) != 1 for shape in shapes):
        return None
    if sum(shape[0] for shape in shapes) * len(data) > MOST_ENTRIES:
        return None
    chunks = list(iterate(data, batch_size))
    parts = [read_batch(model, chunk) for chunk in chunks]
    has_filled = any(bool((~own).any()) for part in parts for own in part.cells.values())
    held: list[dict[str, Tensor]] = [part.data for part in parts]
    if has_filled:
        held = [model.impute(chunk, steps=0) for chunk in chunks]
    observed = torch.cat([part.observed for part in parts], 1).cpu().numpy()
    values, raw = [], []
    for name, seen in zip(model.modalities, observed, strict=True):
        if not seen.any():
            continue
        given = torch.cat([part[name] for part in held]).double().cpu().numpy()
        own = np.where(seen[:, None], given, 0.0)
        counts = likelihood_of(model, name).counts
        raw.append(own if measured is None else np.asarray(measured(name, own), dtype=float))
        values.append(_with_log_counts(own, counts))
        if remove is not None:
            values[-1] = remove(values[-1], seen)
            raw[-1] = _without(remove, raw[-1], seen, counts)
    return Views(values, raw, observed[observed.any(1)], has_filled)


def read_codes(model: CMVAE, data: Any, batch_size: int) -> np.ndarray | None:
    """Return the encoding of covariates of samples, (n, width), missing ones the usual ones."""
    if model.covariates is None:
        return None
    values = torch.cat(given_covariates(model, data, batch_size))
    like = model.covariates.levels
    codes: Tensor = model.covariates(model.covariates.usual(values.to(like)))
    return codes.double().cpu().numpy()


def _remover(codes: np.ndarray | None, seed: int) -> Remover:
    """Return what takes from points (n, d) what covariates add to those that are seen, (n,)."""

    def remove(points: np.ndarray, seen: np.ndarray) -> np.ndarray:
        if codes is None:
            return points
        found = points.copy()
        found[seen] = without_covariates(points[seen], codes[seen], seed)
        return found

    return remove


def _without(
    remove: Remover, raw: np.ndarray, seen: np.ndarray, counts: Sequence[CountBlock]
) -> np.ndarray:
    """Return values as they were measured less what covariates add, counts in logarithms."""
    logs = raw.copy()
    for start, stop, *_ in counts:
        logs[:, start:stop] = np.log1p(raw[:, start:stop].clip(0))
    found = remove(logs, seen)
    for start, stop, *_ in counts:
        found[:, start:stop] = np.expm1(found[:, start:stop].clip(0))
    return found


def _with_log_counts(values: np.ndarray, counts: list[CountBlock]) -> np.ndarray:
    """Return values (n, D) whose counts are log(1 + x), of shares where sizes differ, centred."""
    values = values.copy()
    for start, stop, size, *_ in counts:
        own = values[:, start:stop]
        if size is not None:
            own = own * (size / np.maximum(own.sum(1, keepdims=True), 1))
        own = np.log1p(own)
        values[:, start:stop] = standardise(own, *moments(own))
    return values


@torch.no_grad()
def _start_components(mixture: MixturePrior, latents: Latents, groups: Groups) -> None:
    """Start the components at groups of points, and leave only those active.

    A sample weighs as much as the share of modalities it has observed: the latents of the others
    are blurred.
    """
    points, seen = latents.means, latents.observed.mean(0)
    labels = np.unique(groups.labels, return_inverse=True)[1]
    number = labels.max() + 1
    members = np.eye(number)[labels]
    weights, means, covariances = maximise(points, members * seen[:, None])
    _install(mixture, weights, means, covariances + latents.spread)
    mixture.keep(torch.arange(len(mixture.logits), device=mixture.logits.device) < number)


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
