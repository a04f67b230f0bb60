"""The data, read for a report: every sample once to assign and sum up, those that are shown a second time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmvae.metrics.reading import batch_at, batches
from cmvae.models.cmvae import CMVAE
from cmvae.report.generated import IMAGES, TABLE, Units
from cmvae.report.moments import Moments

AT_ONCE = 256


@dataclass(frozen=True)
class Assigned:
    """All n samples, assigned to C clusters, and sums over them.

    Attributes:
        clusters: Place of each sample's cluster among the active ones, (n,).
        probability: The probability of it, (n,).
        latents: The mean of q(z|X), (n, d).
        closeness: The log-density of the latents under the cluster's p(z|c), (n,).
        observed: Which modalities each sample has, (n, M) boolean.
        moments: Of the tables.
        ranges: Of images the smallest and the largest observed value.
    """

    clusters: np.ndarray
    probability: np.ndarray
    latents: np.ndarray
    closeness: np.ndarray
    observed: np.ndarray
    moments: dict[str, Moments]
    ranges: dict[str, tuple[float, float]]


@torch.no_grad()
def assign(
    model: CMVAE,
    data: Any,
    units: Units,
    kinds: dict[str, str],
    moments: dict[str, Moments],
    rule: str,
    size: int,
) -> Assigned:
    """Read all samples, ``size`` at a time, and fill the moments of the tables."""
    place = _places(model.active_clusters)
    parts, ranges = [], {m: (np.inf, -np.inf) for m, kind in kinds.items() if kind == IMAGES}
    for batch in batches(data, size):
        found = model.predict_clusters(batch, rule=rule)
        z = model.encode(batch, return_mean=True).z[:, 0]
        own = found.clusters.to(z.device)[:, None]
        closeness = model.mixture.log_prob_clusters(z).gather(1, own)[:, 0]
        clusters = place[found.clusters.cpu().numpy()]
        probability = found.probabilities.gather(1, found.clusters[:, None])[:, 0]
        nothing = torch.zeros(len(clusters), dtype=torch.bool)
        observed = torch.stack(
            [batch["masks"].get(m, nothing) for m in model.modalities], 1
        ).numpy()
        parts.append(
            (clusters, *(t.cpu().double().numpy() for t in (probability, z, closeness)), observed)
        )
        for i, m in enumerate(model.modalities):
            seen = observed[:, i]
            if not seen.any() or kinds[m] not in (IMAGES, TABLE):
                continue
            values = units.of(m, batch["data"][m][torch.as_tensor(seen)])
            if kinds[m] == TABLE:
                moments[m].add(values.reshape(len(values), -1), clusters[seen])
            else:
                ranges[m] = min(ranges[m][0], values.min()), max(ranges[m][1], values.max())
    whole = [np.concatenate(part) for part in zip(*parts, strict=True)]
    return Assigned(whole[0], whole[1], whole[2], whole[3], whole[4], moments, ranges)


def _places(active: Tensor) -> np.ndarray:
    """Return the place of each cluster's index among the active ones."""
    is_active = active.cpu().numpy()
    return np.where(is_active, is_active.cumsum() - 1, -1)


def values_at(
    data: Any, rows: np.ndarray, modality: str, units: Units
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the values of some samples, a few hundred at a time: which have the modality, and the values of those."""
    for start in range(0, len(rows), AT_ONCE):
        chosen = rows[start : start + AT_ONCE]
        batch = batch_at(data, chosen.tolist())
        if modality not in batch["data"]:
            yield np.zeros(len(chosen), bool), np.zeros((0, 1))
            continue
        masks = batch.get("masks") or {}
        seen = masks.get(modality, torch.ones(len(chosen), dtype=torch.bool)).cpu().bool()
        values = batch["data"][modality][seen]
        yield seen.numpy(), units.of(modality, values) if bool(seen.any()) else np.zeros((0, 1))


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
