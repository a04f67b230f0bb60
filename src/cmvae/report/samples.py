"""The samples of a run: assigned to clusters and summed up; those that are shown read once more."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cmvae.data.datasets import IncompleteDataset
from cmvae.preprocessing.codec import Codec
from cmvae.report.moments import Moments
from cmvae.report.prototypes import readable
from cmvae.runs.run import Run


@dataclass(frozen=True)
class Assigned:
    """All n samples, assigned to C clusters.

    Attributes:
        clusters: The cluster of each sample, (n,).
        probability: The probability of it, (n,).
        latents: The mean of q(z|X), (n, d).
        closeness: The log-density of the latents under the cluster's p(z|c), (n,).
        observed: Which modalities each sample has, (n, M) boolean.
    """

    clusters: np.ndarray
    probability: np.ndarray
    latents: np.ndarray
    closeness: np.ndarray
    observed: np.ndarray


@torch.no_grad()
def assign(run: Run, data: IncompleteDataset, size: int) -> Assigned:
    """Assign the samples as the run does, densities of ``size`` of them at a time."""
    clusters, probabilities = run.assign(data)
    latents, mixture = run.embed(data), run.model.mixture
    closeness = []
    for start in range(0, len(clusters), size):
        z = torch.as_tensor(latents[start : start + size], device=mixture.centers.device)
        own = torch.as_tensor(clusters[start : start + size], device=z.device)[:, None]
        closeness.append(mixture.log_prob_clusters(z).gather(1, own)[:, 0].double().cpu().numpy())
    lacking = torch.zeros(len(clusters), dtype=torch.bool)
    masks = [data.masks.get(m, lacking) for m in run.model.modalities]
    probability = probabilities[np.arange(len(clusters)), clusters]
    observed = torch.stack(masks, 1).numpy()
    return Assigned(clusters, probability, latents, np.concatenate(closeness), observed)


def values_of(
    data: IncompleteDataset, modality: str, codec: Codec, rows: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the values of those of some samples that have a modality, ``size`` at a time.

    Args:
        data: All samples.
        modality: Its name.
        codec: Its codec.
        rows: The samples.
        size: How many are read at a time.

    Returns:
        Iterator over places in ``rows``, (B,), and the values there as people read them, (B, *).
    """
    if modality not in data.data:
        return
    places = np.flatnonzero(data.masks[modality].numpy()[rows])
    for start in range(0, len(places), size):
        part = places[start : start + size]
        yield part, readable(codec, data.data[modality][torch.as_tensor(rows[part])])


def telling_values(
    values: np.ndarray, moments: Moments, top: int
) -> list[list[tuple[int, float, float]]]:
    """Return for each sample (B, D) its values furthest from the mean of all, the furthest first.

    Returns:
        For each sample (feature, value, standard deviations from the mean), ``top`` at most.
    """
    scores = moments.scores(values)
    order = np.argsort(-np.abs(scores), axis=1, kind="stable")[:, :top]
    return [
        [(int(j), float(values[i, j]), float(scores[i, j])) for j in row if scores[i, j] != 0]
        for i, row in enumerate(order)
    ]
