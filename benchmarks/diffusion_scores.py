"""What is scored of diffusion decoders, and how guidance and strength are chosen without labels."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import torch
from timing import bfloat16_pays, device
from torch import Generator, Tensor

from cmvae import DCMVAE
from cmvae.metrics import (
    conditional_coherence,
    frechet_distance,
    frechet_interval,
    unconditional_coherence,
)
from cmvae.metrics.coherence import ConditionalCoherence

WAYS = ("self", "cross", "prior")
GUIDANCES, STRENGTHS = (1.0, 1.5, 2.0, 3.0), (0.85, 1.0)
CONDITIONAL, UNCONDITIONAL = "conditional coherence", "unconditional coherence"
RATIO = "distance, refined / unrefined"


def low_precision(enabled: bool = True) -> torch.autocast:
    """Return a context in which what is refined is computed: in bfloat16 where that is faster."""
    return torch.autocast(device().type, torch.bfloat16, enabled=enabled and bfloat16_pays())


@dataclass
class View:
    """A model with its sampling settled, as metrics of coherence take it; it keeps what it makes.

    Attributes:
        model: The model.
        refine: Whether it refines.
        options: Of sampling.
        made: Images by what they are from, ``'m0'``, ``'m0+m1'`` or ``'prior'``, and modality.
    """

    model: DCMVAE
    refine: bool
    options: Mapping[str, Any]
    made: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of the modalities."""
        return self.model.modalities

    def predict(
        self, inputs: Any, cond_mod: Any, gen_mod: Any, *, generator: Generator | None
    ) -> dict[str, Tensor]:
        """Generate modalities, (B, 1, *shape)."""
        given = [cond_mod] if isinstance(cond_mod, str) else cond_mod
        moved = {m: x.to(device()) for m, x in inputs["data"].items()}
        options = {"generator": generator, "refine": self.refine, **self.options}
        with low_precision(self.refine):
            found = self.model.predict(moved, given, gen_mod, **options)
        return self._keep("+".join(given), found)

    def generate_from_prior(self, n_samples: int, *, generator: Generator | None) -> Any:
        """Draw latents."""
        return self.model.generate_from_prior(n_samples, generator=generator)

    def decode(self, embedding: Mapping[str, Any]) -> dict[str, Tensor]:
        """Decode them."""
        with low_precision(self.refine):
            found = self.model.decode(embedding, refine=self.refine, seed=0, **self.options)
        return self._keep("prior", found)

    def _keep(self, source: str, found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        images = {m: own.float().cpu() for m, own in found.items()}
        for m, own in images.items():
            self.made.setdefault((source, m), []).append(own.flatten(0, -4))
        return images

    def images(self, way: str, modality: str) -> Tensor:
        """Return what was made of a modality from itself, from all others, or from the prior."""
        others = "+".join(m for m in self.modalities if m != modality)
        source = {"self": modality, "cross": others, "prior": "prior"}[way]
        return torch.cat(self.made[source, modality])


# The choice of guidance and strength
# --------------------------------------------------------------------------------------------------


def choose(model: DCMVAE, held: Any, options: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return the pairs of guidance and strength with what they reach, the best one first.

    Each modality of held-out training tuples is made from z of another one. The measure is the
    Fréchet joint distance (DeVries et al., "On the Evaluation of Conditional GANs", 2019) of (z,
    features of the refined image) from (z, features of the tuple's own), relative to that of the
    unrefined one, and averaged over modalities: it counts how real images are and whether they go
    with what z says. Features are the means of the CMVAE's own posteriors: no label is seen. Pairs
    are compared by one candidate for each image.
    """
    options = {**options, "candidates": 1}
    plain = _joint_distances(model, held, {"refine": False})
    rows = []
    for guidance, strength in product(GUIDANCES, STRENGTHS):
        pair = {"guidance": guidance, "strength": strength}
        found = _joint_distances(model, held, {**options, **pair})
        ratios = [found[m] / plain[m] for m in found]
        rows.append({**pair, "joint distance, refined / unrefined": float(np.mean(ratios))})
        print(rows[-1], flush=True)
    return sorted(rows, key=lambda row: row["joint distance, refined / unrefined"])


@torch.no_grad()
def _joint_distances(model: DCMVAE, held: Any, options: Mapping[str, Any]) -> dict[str, float]:
    generator, names = Generator(device()).manual_seed(0), model.modalities
    real = {m: x.to(device()) for m, x in held.batch(range(len(held)))["data"].items()}
    found = {}
    for source, target in zip(names, (*names[1:], names[0]), strict=True):
        latents = model.encode({source: real[source]}, source, generator=generator, flatten=True)
        with low_precision(options.get("refine", True)):
            made = model.decode(latents, target, generator=generator, **options)[target].float()
        own, true = (features(model, target, images) for images in (made, real[target]))
        z = latents["z"]
        z = z * (true.norm(dim=1).mean() / z.norm(dim=1).mean())  # it weighs as much as they do
        found[target] = frechet_distance(*(torch.cat([z, x], 1) for x in (own, true)))
    return found


def features(model: DCMVAE, modality: str, images: Tensor) -> Tensor:
    """Return the means of q(z|x) and q(w|x) of images (n, *shape): (n, latent_dim + dim)."""
    found = model.encode({modality: images}, modality, return_mean=True, flatten=True)
    return torch.cat([found["z"], found["modalities_z"][modality]], -1)


# Scores
# --------------------------------------------------------------------------------------------------


def score(
    model: DCMVAE, test: Any, judges: Mapping[str, Any], options: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Return coherence and distances, unrefined and refined, on test tuples.

    ``found`` has what targets are for; ``coherence`` the library's own results by refined or not.
    """
    start, views, coherences, rows = time.perf_counter(), [], [], []
    for refine in (False, True):
        view = View(model, refine, options if refine else {})
        generator = Generator(device()).manual_seed(seed)
        coherences.append(
            conditional_coherence(view, test, judges, max_subsets=len(judges), generator=generator)
        )
        free = unconditional_coherence(view, len(test), judges, generator=generator)
        views.append(view)
        rows.append(
            {
                "refined": refine,
                CONDITIONAL: coherences[-1].leave_one_out,
                "from one": coherences[-1].by_size[1],
                "self, worst": min(coherences[-1].self_generation.values()),
                UNCONDITIONAL: free,
            }
        )
    real = coherences[-1].real
    ceiling = {CONDITIONAL: real.mean_accuracy, UNCONDITIONAL: real.agreement}
    far = distances(views, test, judges)
    found = {name: rows[1][name] for name in (CONDITIONAL, UNCONDITIONAL)}
    found |= {RATIO: ratio(far)} | {f"{RATIO}, {way}": ratio(far, way) for way in WAYS}
    minutes = (time.perf_counter() - start) / 60
    parts = {"coherence": [*rows, {"refined": "ceiling", **ceiling}], "distance": far}
    shares = {str(refined): shares_of(own) for refined, own in enumerate(coherences)}
    return {"found": found, **parts, "shares": shares, "minutes of scoring": minutes}


def shares_of(coherence: ConditionalCoherence) -> dict[str, dict[str, float]]:
    """Return from one modality to each the share of images read right."""
    own = coherence.self_generation
    return {m: {**coherence.by_subset[m], m: own[m]} for m in own}


@torch.no_grad()
def distances(views: list[View], test: Any, judges: Mapping[str, Any]) -> list[dict]:
    """Return a row for each way and modality of distances over the features of classifiers."""
    rows, every = [], test.batch(range(len(test)))["data"]
    for m, judge in judges.items():
        real = _judged(judge, every[m])
        for way, view in product(WAYS, views):
            made = _judged(judge, view.images(way, m))
            low, high = frechet_interval(made, real)
            row = {"way": way, "modality": m, "refined": view.refine, "n": len(made)}
            rows.append({**row, "distance": frechet_distance(made, real), "low": low, "high": high})
    return rows


def _judged(judge: Any, images: Tensor) -> Tensor:
    parts = images.to(device()).split(1000)
    return torch.cat([judge.features(part) for part in parts]).cpu()


def ratio(rows: list[dict], way: str | None = None) -> float:
    """Return the distances of refined images by those of unrefined ones, of one way or of all."""
    sums = [
        sum(
            row["distance"]
            for row in rows
            if row["refined"] is refined and way in (None, row["way"])
        )
        for refined in (True, False)
    ]
    return sums[0] / sums[1]


# Steps of sampling
# --------------------------------------------------------------------------------------------------

CURVE = (
    *(("sde-dpm++", steps) for steps in (5, 12, 25, 50)),
    *((sampler, steps) for sampler in ("dpm++", "ddim") for steps in (12, 25, 50)),
    ("ddpm", 1000),
)
N_CURVE = 100


def curve(
    model: DCMVAE, test: Any, judges: Mapping[str, Any], options: Mapping[str, Any]
) -> list[dict]:
    """Return a row for each sampler and number of steps, on the first modality, from the prior."""
    m = model.modalities[0]
    real = _judged(judges[m], test.batch(range(N_CURVE))["data"][m])
    latents = model.generate_from_prior(N_CURVE, generator=Generator(device()).manual_seed(0))
    rows = []
    for sampler, steps in CURVE:
        start, own = time.perf_counter(), {**options, "sampler": sampler, "steps": steps}
        with low_precision():
            made = _judged(judges[m], model.decode(latents, m, seed=0, **own)[m].float())
        spent = 1e3 * (time.perf_counter() - start) / N_CURVE
        row = {"sampler": sampler, "steps": steps, "modality": m, "n": N_CURVE, "ms_image": spent}
        low, high = frechet_interval(made, real)
        rows.append({**row, "distance": frechet_distance(made, real), "low": low, "high": high})
        print(rows[-1], flush=True)
    return rows
