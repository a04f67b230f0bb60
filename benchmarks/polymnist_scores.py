"""What is scored of a model of images, and what is drawn of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from polymnist_latents import score_latents
from timing import RECORDS, device

from cmvae import CMVAE
from cmvae.metrics import (
    clustering_by_subset,
    conditional_coherence,
    frechet_distance,
    unconditional_coherence,
)
from cmvae.models.inference import latent_means
from cmvae.report import (
    cluster_samples_figure,
    cross_generations,
    generation_grid,
    save_figure,
    thumbnail_figure,
)

CONDITIONAL = "conditional coherence, leave one out"
ONE = "conditional coherence, from one"
UNCONDITIONAL = "unconditional coherence"
SELF = "self-generation, worst modality"
ACC, ACC_ONE = "ACC, all modalities", "ACC, one modality (mean)"
DISTANCE = "Fréchet distance, mean"
LIKELIHOOD = "log p(X), 30 draws, 500 tuples"
MEASURES = (CONDITIONAL, ONE, UNCONDITIONAL, SELF, ACC, ACC_ONE, DISTANCE, LIKELIHOOD)


def score(
    model: CMVAE, train: Any, test: Any, classifiers: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return every score of a model on the test tuples, and the coherence that figures show."""
    generator = torch.Generator(device()).manual_seed(seed)
    judges = {m: classifiers[m].to(device()) for m in model.modalities}
    coherence = conditional_coherence(model, test, judges, generator=generator)
    free = unconditional_coherence(model, len(test), judges, generator=generator)
    by_subset = clustering_by_subset(model, test, test.labels)
    names = list(model.modalities)
    apart = distances(model, test, judges, generator)
    latents, by_modality = score_latents(model, train, test)
    found = {
        CONDITIONAL: coherence.leave_one_out,
        ONE: coherence.by_size[1],
        UNCONDITIONAL: free,
        SELF: min(coherence.self_generation.values()),
        ACC: by_subset["+".join(names)]["ACC"],
        ACC_ONE: float(np.mean([by_subset[m]["ACC"] for m in names])),
        DISTANCE: float(np.mean(list(apart.values()))),
        LIKELIHOOD: -float(model.compute_joint_nll(test[:500], K=30, seed=seed)) / 500,
        "clusters": model.n_clusters,
        **latents,
    }
    real = coherence.real
    ceilings = {"conditional": real.mean_accuracy, "unconditional": real.agreement}
    details = {"self": coherence.self_generation, "distance": apart, "ceiling": ceilings}
    details |= {"ACC": {m: by_subset[m]["ACC"] for m in names}, **by_modality}
    return {"found": found, "details": details, "coherence": coherence}


@torch.no_grad()
def distances(
    model: CMVAE, test: Any, judges: Mapping[str, Any], generator: torch.Generator
) -> dict[str, float]:
    """Return the Fréchet distance of the prior's samples from test images, by the classifiers."""
    generated = model.decode(model.generate_from_prior(len(test), generator=generator))
    real = test.batch(range(len(test)))["data"]
    return {
        m: frechet_distance(
            judges[m].features(generated[m]), judges[m].features(real[m].to(device()))
        )
        for m in judges
    }


def draw(model: CMVAE, test: Any, coherence: Any, name: str, seed: int) -> None:
    """Save the pictures: generations, samples of every cluster, the embedding in thumbnails."""
    generator = torch.Generator(device()).manual_seed(seed)
    few = test[:9]
    made = cross_generations(model, few, generator=generator)
    by_subset = coherence.by_subset
    shares = {
        m: {**by_subset[m], m: coherence.self_generation[m]}
        for m in model.modalities
        if m in by_subset
    }
    originals = dict(few.batch(range(9))["data"])
    save_figure(generation_grid(originals, made, shares), RECORDS / f"{name}-generations.png")
    active = model.active_clusters.nonzero().squeeze(-1)[:12].repeat_interleave(6)
    latents = model.generate_from_prior(len(active), cluster=active, generator=generator)
    decoded = {m: values.cpu() for m, values in model.decode(latents).items()}
    save_figure(cluster_samples_figure(decoded, active.cpu()), RECORDS / f"{name}-clusters.png")
    shown = test[:1000]
    clusters = model.predict_clusters(shown).clusters.cpu()
    first = shown.batch(range(1000))["data"][model.modalities[0]]
    picture = thumbnail_figure(latent_means(model, shown).cpu(), first, clusters, n_across=16)
    save_figure(picture, RECORDS / f"{name}-embedding.png")
