"""What a report asks of a run: samples assigned, their values, and what clusters generate."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cmvae.base.arguments import seeded
from cmvae.data.datasets import IncompleteDataset
from cmvae.data.observed import coded_values
from cmvae.preprocessing.codec import Codec
from cmvae.runs.run import Run


@dataclass(frozen=True)
class Assigned:
    """All n samples, assigned to C clusters."""

    clusters: np.ndarray  # (n,)
    probability: np.ndarray  # of that cluster, (n,)
    latents: np.ndarray  # means of q(z|X), (n, d)
    closeness: np.ndarray  # log-densities of the latents under the cluster's p(z|c), (n,)
    observed: np.ndarray  # which modalities each sample has, (n, M) boolean


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
    run: Run, data: IncompleteDataset, modality: str, rows: np.ndarray, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what :func:`coded_values` does, values as people read them."""
    codec = run.preprocessing.codecs[modality]
    for part, values in coded_values(data, modality, rows, size):
        yield part, readable(codec, values)


@dataclass(frozen=True)
class Prototypes:
    """What is generated from each of C clusters, by modality, as people read it."""

    centres: dict[str, np.ndarray]  # decoded at the centre, private latents zero, (C, *)
    draws: dict[str, np.ndarray]  # of images, draws from the cluster, (C, n_draws, *)


@torch.no_grad()
def generate(run: Run, n_draws: int, seed: int) -> Prototypes:
    """Generate images and texts from the clusters of a run, the same for the same seed."""
    model, codecs = run.model, run.preprocessing.codecs
    generator = seeded(seed, model.cluster_centers.device)
    clusters = torch.arange(run.n_clusters, device=model.cluster_centers.device)
    chosen = clusters.repeat_interleave(n_draws)
    drawn = model.generate_from_prior(len(chosen), cluster=chosen, generator=generator)
    none = {m: w.new_zeros(len(clusters), w.shape[1]) for m, w in drawn.modalities_z.items()}
    at_centres = {"z": model.cluster_centers[clusters], "modalities_z": none}
    if (known := model.covariates) is not None:
        unknown = torch.full((len(clusters), len(known.sizes)), torch.nan, device=clusters.device)
        at_centres["covariates"] = known.named(known.usual(unknown))
    shown = [m for m in model.modalities if codecs[m].content in ("images", "text")]
    images = [m for m in shown if codecs[m].content == "images"]
    centres = model.to_data(model.decode(at_centres, shown)) if shown else {}
    draws = model.to_data(model.decode(drawn, images)) if images else {}
    return Prototypes(
        centres={m: readable(codecs[m], _array(own)) for m, own in centres.items()},
        draws={
            m: readable(codecs[m], _array(x.unflatten(0, (-1, n_draws)))) for m, x in draws.items()
        },
    )


def readable(codec: Codec, values: np.ndarray) -> np.ndarray:
    """Return a model's values (n, *) as people read them: n texts, or float64 (n, *)."""
    found = np.asarray(codec.readable(values))
    return found if codec.content == "text" else found.astype(np.float64)


def _array(values: Tensor) -> np.ndarray:
    return np.asarray(values.detach().cpu().numpy())
