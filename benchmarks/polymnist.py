"""PolyMNIST: clustering, coherence and pictures, with our way to begin and with the paper's.

    python benchmarks/polymnist.py cpu              trains, scores, draws: records/polymnist-cpu.*
    python benchmarks/polymnist.py cpu --missing    half of the modalities missing in training:
    polymnist-cpu-missing.* python benchmarks/polymnist.py cpu --steps      steps until clustering
    ACC 0.5, the paper's and ours

Sizes: ``cpu``, the first three modalities of PolyMNIST-5k, and ``gpu``, all five; ``paper``, the
published files in ``--data FOLDER``. Labels score, and do nothing else. Scores are of the test
tuples; coherence is judged by the digit classifiers of ``benchmarks/digit_classifiers.py``, trained
first where the cache lacks them.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from timing import RECORDS, device, table, write_record

from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.datasets import polymnist_5k, read_polymnist
from cmvae.metrics import (
    clustering_by_subset,
    clustering_scores,
    conditional_coherence,
    frechet_distance,
    train_classifiers,
    unconditional_coherence,
)
from cmvae.models.inference import latent_means
from cmvae.networks import NETWORKS, ConvDecoder, ConvEncoder, NetworkPair
from cmvae.report import (
    cluster_samples_figure,
    cross_generations,
    generation_grid,
    save_figure,
    thumbnail_figure,
)

CLUSTERS = 40
PAPER = {"conditional coherence, leave one out": 0.897, "unconditional coherence": 0.781}
# Half the channels of the default pair: on a CPU twice the steps are worth more.
NETWORKS["small"] = NetworkPair(
    partial(ConvEncoder, channels=(16, 32)), partial(ConvDecoder, channels=(32, 16))
)


@dataclass(frozen=True)
class Size:
    """What a run is made of.

    Attributes:
        modalities: How many, the first ones.
        networks: Entry of ``cmvae.networks.NETWORKS``.
        epochs: Passes over the training tuples.
        alignment: See ``cmvae.fit``.
        batch_size: Samples in a step.
        learning_rate: Largest step size; it falls to a twentieth along half a cosine.
        targets: What is to be reached at least: coherence conditional and unconditional, ACC from
            all modalities and from one, and conditional coherence where half was missing in
            training.
    """

    modalities: int
    networks: str
    epochs: int
    alignment: tuple[int, int]
    batch_size: int
    learning_rate: float
    targets: tuple[float, float, float, float, float]


SIZES = {
    "cpu": Size(3, "small", 42, (3, 9), 128, 3e-3, (0.45, 0.25, 0.50, 0.35, 0.35)),
    "gpu": Size(5, "conv", 150, (3, 30), 128, 2e-3, (0.88, 0.70, 0.95, 0.88, 0.82)),
    "paper": Size(5, "resnet", 250, (3, 20), 128, 1e-3, (0.897, 0.781, 0.95, 0.88, 0.82)),
}


class Cosine(Callback):
    """Let the step size fall along half a cosine, to a twentieth."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        done = trainer.global_step / trainer.estimated_stepping_batches
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = module.learning_rate * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * done)))


class UntilAccuracy(Callback):
    """Note the accuracy of the clusters every so many steps; end training where it is reached."""

    def __init__(self, data: Any, labels: Any, wanted: float = 0.5, every: int = 52) -> None:
        self.data, self.labels, self.wanted, self.every = data, labels, wanted, every
        self.curve: list[tuple[int, float]] = []

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step % self.every:
            return
        clusters = module.model.predict_clusters(self.data).clusters
        self.curve.append((trainer.global_step, clustering_scores(self.labels, clusters)["ACC"]))
        print(self.curve[-1], flush=True)
        trainer.should_stop = self.curve[-1][1] >= self.wanted


# Models
# --------------------------------------------------------------------------------------------------


def build(size: Size, seed: int) -> CMVAE:
    """Return a model with the paper's settings for PolyMNIST."""
    torch.manual_seed(seed)
    shapes = {f"m{i}": (3, 28, 28) for i in range(size.modalities)}
    return CMVAE(
        CMVAEConfig(
            n_modalities=len(shapes),
            input_dims=shapes,
            latent_dim=32,
            modalities_specific_dim=32,
            beta=2.5,
            number_of_clusters=CLUSTERS,
            decoders_dist=dict.fromkeys(shapes, "laplace"),
            decoder_dist_params={name: {"scale": 0.75} for name in shapes},
            K=1,
            loss="iwae_looser",
            networks=size.networks,
        )
    )


def train(model: CMVAE, data: Any, size: Size, seed: int, out: Path) -> dict[str, float]:
    """Train in our way; return what it took."""
    start = time.perf_counter()
    trainer = fit(
        model,
        data,
        max_epochs=size.epochs,
        alignment_epochs=size.alignment,
        initial_clusters="auto",
        batch_size=size.batch_size,
        learning_rate=size.learning_rate,
        seed=seed,
        run_dir=out,
        overwrite=True,
        callbacks=[Cosine()],
    )
    return {"minutes": (time.perf_counter() - start) / 60, "steps": trainer.global_step}


def steps_until(
    settings: str, size: Size, train_data: Any, test: Any, seed: int, most: int, out: Path
) -> dict:
    """Train until test tuples are clustered with ACC 0.5, by all modalities; return the steps."""
    model, until = build(size, seed), UntilAccuracy(test, test.labels)
    begin = (
        {"alignment_epochs": size.alignment, "initial_clusters": "auto"}
        if settings == "ours"
        else {}
    )
    rate = size.learning_rate if settings == "ours" else 1e-3
    length = {"max_epochs": 10_000, "max_steps": most, "batch_size": size.batch_size}
    kept = {"run_dir": out, "overwrite": True, "callbacks": [until]}
    fit(model, train_data, learning_rate=rate, seed=seed, **length, **kept, **begin)
    best = max(until.curve, key=lambda point: point[1])
    reached = best[1] >= until.wanted
    return {
        "settings": settings,
        "seed": seed,
        "steps": until.curve[-1][0],
        "reached": reached,
        "best ACC": best[1],
    }


# Scores
# --------------------------------------------------------------------------------------------------


def score(model: CMVAE, test: Any, classifiers: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return every score of a model on the test tuples."""
    generator = torch.Generator(device()).manual_seed(seed)
    judges = {m: classifiers[m].to(device()) for m in model.modalities}
    coherence = conditional_coherence(model, test, judges, generator=generator)
    free = unconditional_coherence(model, len(test), judges, generator=generator)
    by_subset = clustering_by_subset(model, test, test.labels)
    names = list(model.modalities)
    found = {
        "conditional coherence, leave one out": coherence.leave_one_out,
        "unconditional coherence": free,
        "clustering ACC, all modalities": by_subset["+".join(names)]["ACC"],
        "clustering ACC, one modality (mean)": float(np.mean([by_subset[m]["ACC"] for m in names])),
        "clusters": model.n_clusters,
        "ceiling of conditional coherence": coherence.real.mean_accuracy,
        "ceiling of unconditional coherence": coherence.real.agreement,
    }
    details: list[dict[str, Any]] = []
    for number, share in coherence.by_size.items():
        details.append({"measure": "conditional coherence", "of": f"from {number}", "value": share})
    for m, share in coherence.self_generation.items():
        details.append({"measure": "coherence of self-generation", "of": m, "value": share})
    for subset, scores in by_subset.items():
        details += [
            {"measure": f"clustering {kind}", "of": subset, "value": scores[kind]}
            for kind in ("ACC", "NMI", "ARI")
        ]
    for m, value in distances(model, test, judges, generator).items():
        details.append(
            {
                "measure": "Fréchet distance of samples of the prior, classifiers' features",
                "of": m,
                "value": value,
            }
        )
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


def draw(model: CMVAE, test: Any, scores: Mapping[str, Any], name: str, seed: int) -> None:
    """Save the pictures: generations, samples of every cluster, the embedding in thumbnails."""
    generator = torch.Generator(device()).manual_seed(seed)
    few = test[:9]
    made = cross_generations(model, few, generator=generator)
    by_subset = scores["coherence"].by_subset
    shares = {
        m: {**by_subset[m], m: scores["coherence"].self_generation[m]}
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


# Command
# --------------------------------------------------------------------------------------------------


def data_of_size(name: str, folder: Path | None, missing: bool) -> tuple[Any, Any]:
    """Return training and test tuples."""
    size, rate = SIZES[name], 1.0 if missing else 0.0
    if name == "paper":
        if folder is None:
            raise SystemExit("the size 'paper' needs --data FOLDER, the published files")
        return read_polymnist(folder, "train", missing_rate=rate), read_polymnist(folder, "test")
    return (
        polymnist_5k("train", modalities=size.modalities, missing_rate=rate),
        polymnist_5k("test", modalities=size.modalities),
    )


def summary(found: Mapping[str, float], size: Size, missing: bool) -> list[dict]:
    """Return each score beside its target and the paper's."""
    wanted = dict(zip(found, size.targets[:4], strict=False))
    if missing:
        wanted = {next(iter(found)): size.targets[4]}
    return [
        {
            "measure": measure,
            "measured": value,
            "target": f"≥ {wanted[measure]}" if measure in wanted else "",
            "paper, published data": "" if missing else PAPER.get(measure, ""),
        }
        for measure, value in found.items()
    ]


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument(
        "--missing", action="store_true", help="half of the modalities missing in training"
    )
    parser.add_argument("--steps", action="store_true", help="count steps until ACC 0.5 instead")
    parser.add_argument(
        "--most", type=int, default=1664, help="with --steps: give up after so many"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, help="folder of the published files")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/polymnist"), help="folder of models and checkpoints"
    )
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    train_data, test = data_of_size(arguments.size, arguments.data, arguments.missing)
    name = (
        f"polymnist-{arguments.size}"
        + ("-missing" if arguments.missing else "")
        + ("-steps" if arguments.steps else "")
    )
    command = (
        "python benchmarks/polymnist.py "
        + arguments.size
        + (" --missing" if arguments.missing else "")
    )
    out = arguments.out / name
    if arguments.steps:
        rows = [
            steps_until(way, size, train_data, test, arguments.seed, arguments.most, out / way)
            for way in ("ours", "paper")
        ]
        ratio = rows[1]["steps"] / rows[0]["steps"]
        lines = [
            *table(rows, list(rows[0])),
            "",
            f"the paper's settings / ours: {'' if rows[1]['reached'] else '≥ '}{ratio:.1f} "
            "(target: ≥ 2)",
        ]
        write_record(name, f"{command} --steps", rows, lines)
        return
    classifiers = train_classifiers(
        *(polymnist_5k(split) for split in ("train", "test"))
        if arguments.size != "paper"
        else (train_data, test)
    ).classifiers
    model = build(size, arguments.seed)
    spent = train(model, train_data, size, arguments.seed, out)
    model.to(device()).eval()
    model.save_pretrained(out / "model")
    start = time.perf_counter()
    scores = score(model, test, classifiers, arguments.seed)
    draw(model, test, scores, name, arguments.seed)
    spent["minutes of scoring"] = (time.perf_counter() - start) / 60
    rows = summary(scores["found"], size, arguments.missing)
    lines = [
        *table(rows, list(rows[0])),
        "",
        *table([spent], list(spent)),
        "",
        *table(scores["details"], ["measure", "of", "value"]),
    ]
    write_record(name, command, [*rows, spent, *scores["details"]], lines, seed=arguments.seed)


if __name__ == "__main__":
    main()
