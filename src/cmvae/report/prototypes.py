"""What a model generates at its clusters, as people read it."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cmvae.base.arguments import seeded
from cmvae.preprocessing.codec import Codec
from cmvae.runs.run import Run


@dataclass(frozen=True)
class Prototypes:
    """What is generated from each of C clusters.

    Attributes:
        centres: Modality to what is decoded at the centre of each cluster, private latents zero,
            (C, *), numbers in the units of the data, images or texts.
        draws: Of images, modality to draws from each cluster, (C, n_draws, *).
    """

    centres: dict[str, np.ndarray]
    draws: dict[str, np.ndarray]


@torch.no_grad()
def generate(run: Run, n_draws: int, seed: int) -> Prototypes:
    """Generate from the clusters of a run, the same for the same seed."""
    model, codecs = run.model, run.preprocessing.codecs
    generator = seeded(seed, model.cluster_centers.device)
    clusters = torch.arange(run.n_clusters, device=model.cluster_centers.device)
    chosen = clusters.repeat_interleave(n_draws)
    drawn = model.generate_from_prior(len(chosen), cluster=chosen, generator=generator)
    none = {m: w.new_zeros(len(clusters), w.shape[1]) for m, w in drawn.modalities_z.items()}
    at_centres = {"z": model.cluster_centers[clusters], "modalities_z": none}
    centres = model.to_data(model.decode(at_centres))
    images = [m for m in model.modalities if codecs[m].content == "images"]
    draws = model.to_data(model.decode(drawn, images)) if images else {}
    by_cluster = {m: values.unflatten(0, (-1, n_draws)) for m, values in draws.items()}
    return Prototypes(
        *(
            {m: readable(codecs[m], own) for m, own in each.items()}
            for each in (centres, by_cluster)
        )
    )


def readable(codec: Codec, values: Tensor) -> np.ndarray:
    """Return a model's values (n, *) as people read them: n texts, or float64 (n, *)."""
    found = np.asarray(codec.readable(values.detach().cpu().numpy()))
    return found if codec.content == "text" else found.astype(np.float64)
