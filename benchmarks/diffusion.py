"""Diffusion decoders of a CMVAE on PolyMNIST-5k: Fréchet distances, coherence, steps and time.

    python benchmarks/diffusion.py --size cpu --cmvae runs/polymnist/polymnist-cpu/seed-0/model

takes a CMVAE that benchmarks/polymnist.py left (or trains it first), trains the decoders, or reads
them with ``--decoders FOLDER``, and writes ``records/diffusion-SIZE.json``, ``.md`` and ``.png``.
On a CPU each decoder is trained by a process of its own, as many at a time as there are cores.

Distances are over the penultimate features of the digit classifiers, between as many generated
images as there are real ones of the test set, each with a bootstrap interval. ``self``: x_m from
itself; ``cross``: from the next modality; ``prior``: from the clusters. Coherence is among the
modalities that are refined.
"""

import argparse
import multiprocessing
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import polymnist
import torch
from timing import RECORDS, device, table, write_record
from torch import Generator, Tensor

from cmvae import CMVAE, DCMVAE, DiffusionConfig, fit
from cmvae.datasets import polymnist_5k
from cmvae.diffusion.sampling import Sampler
from cmvae.metrics import (
    conditional_coherence,
    frechet_distance,
    frechet_interval,
    train_classifiers,
    unconditional_coherence,
)

SEED = 0
WAYS = ("self", "cross", "prior")
SHOWN = 8  # images in a row of the grid


@dataclass(frozen=True)
class Size:
    """What a run costs.

    Attributes:
        modalities: The modalities that are refined; the CMVAE may have more.
        decoder: Settings of every decoder.
        epochs: Passes over the training tuples.
        batch_size: Samples in a step.
        learning_rate: Largest step size of Adam; it falls to a twentieth along half a cosine.
        precision: Lightning's name of it.
        sampling: How to sample.
        n_samples: Images behind a distance or a coherence.
        n_curve: Images behind a distance of the curve over steps.
        targets: Largest ratio of distances, and largest loss of coherence.
    """

    modalities: tuple[str, ...]
    decoder: DiffusionConfig
    epochs: int
    batch_size: int
    learning_rate: float
    precision: str
    sampling: dict[str, Any]
    n_samples: int
    n_curve: int
    targets: tuple[float, float, float]


SIZES = {
    "cpu": Size(
        modalities=("m0", "m1"),
        decoder=DiffusionConfig(
            channels=(48, 96),
            patch=2,
            layers_per_block=1,
            attention=False,
            prediction="v",
            schedule="cosine",
            ema_decay=0.995,
        ),
        epochs=10,
        batch_size=64,
        learning_rate=1e-3,
        precision="bf16-mixed",
        sampling={"sampler": "sde-dpm++", "guidance": 3.0, "strength": 0.8},
        n_samples=500,
        n_curve=100,
        targets=(0.6, 0.02, 1.15),
    ),
    "gpu": Size(
        modalities=("m0", "m1", "m2", "m3", "m4"),
        decoder=DiffusionConfig(
            channels=(96, 192, 192), prediction="v", schedule="cosine", ema_decay=0.9995
        ),
        epochs=200,
        batch_size=256,
        learning_rate=3e-4,
        precision="bf16-mixed",
        sampling={"sampler": "sde-dpm++", "guidance": 1.5},
        n_samples=2000,
        n_curve=2000,
        targets=(0.3, 0.01, 1.1),
    ),
}
SMOKE_SAMPLES = 256
SMOKE = {"epochs": 1, "n_samples": 64, "n_curve": 16, "batch_size": 16}
CURVE = (
    *(("sde-dpm++", steps) for steps in (5, 10, 25, 50)),
    *((sampler, steps) for sampler in ("dpm++", "ddim") for steps in (10, 25, 50)),
    ("ddpm", 1000),
)


class View:
    """Some modalities of a model with its sampling settled, as the metrics of coherence take it."""

    def __init__(self, model: DCMVAE, modalities: Sequence[str], **options: Any) -> None:
        self.model, self.modalities, self.options = model, tuple(modalities), options

    def predict(
        self, inputs: Any, cond_mod: Any, gen_mod: Any, *, generator: Generator | None
    ) -> dict[str, Tensor]:
        with low_precision(**self.options):
            return self.model.predict(
                inputs, cond_mod, gen_mod, generator=generator, **self.options
            )

    def generate_from_prior(self, n_samples: int, *, generator: Generator | None) -> Any:
        return self.model.generate_from_prior(n_samples, generator=generator)

    def decode(self, embedding: Mapping[str, Any]) -> dict[str, Tensor]:
        with low_precision(**self.options):
            return self.model.decode(embedding, self.modalities, **self.options)


def low_precision(refine: bool = True, **_: Any) -> torch.autocast:
    """Return a context in which what is refined is computed in bfloat16, as in training."""
    return torch.autocast(device().type, torch.bfloat16, enabled=refine)


# Models
# --------------------------------------------------------------------------------------------------


def trained_cmvae(name: str, data: Any, smoke: bool, out: Path) -> Path:
    """Train the CMVAE that benchmarks/polymnist.py trains; return its folder."""
    size = polymnist.SIZES[name]
    if smoke:
        size = replace(size, epochs=4, alignment=(1, 1))
    model = polymnist.build(size, "ours", SEED)
    polymnist.train(model, data, size, "ours", SEED, out / "cmvae-run")
    model.save_pretrained(out / "cmvae")
    return out / "cmvae"


def trained_decoders(
    cmvae: Path, size: Size, n_samples: int, out: Path
) -> tuple[DCMVAE, dict[str, float]]:
    """Train the decoders of a saved CMVAE; return them and what the training took."""
    start = time.perf_counter()
    workers = 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, len(size.modalities))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [
            pool.submit(train_decoder, cmvae, m, size, n_samples, out, workers)
            for m in size.modalities
        ]
        steps = [job.result() for job in jobs]
    model = DCMVAE(CMVAE.from_pretrained(cmvae), dict.fromkeys(size.modalities, size.decoder))
    for m in size.modalities:
        model.decoders[m].load_state_dict(DCMVAE.from_pretrained(out / m).decoders[m].state_dict())
    model.save_pretrained(out / "decoders")
    return model, {
        "minutes of training": (time.perf_counter() - start) / 60,
        "steps": steps[0],
        "epochs": size.epochs,
    }


def train_decoder(
    cmvae: Path, modality: str, size: Size, n_samples: int, out: Path, workers: int
) -> int:
    """Train and save the decoder of one modality, with a share of the cores; return its steps."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    torch.manual_seed(SEED)
    model = DCMVAE(CMVAE.from_pretrained(cmvae), {modality: size.decoder})
    data = polymnist_5k("train", modalities=len(model.modalities))[:n_samples]
    trainer = fit(
        model,
        data,
        max_epochs=size.epochs,
        batch_size=size.batch_size,
        learning_rate=size.learning_rate,
        seed=SEED,
        run_dir=out / f"{modality}-run",
        overwrite=True,
        precision=size.precision,
        gradient_clip_val=1.0,
        callbacks=[polymnist.Cosine()],
        enable_progress_bar=False,
    )
    model.save_pretrained(out / modality)
    return trainer.global_step


def cost(model: DCMVAE, size: Size) -> dict[str, float]:
    """Return a decoder's parameters, milliseconds of a training step and of an image (25 steps)."""
    decoder = next(iter(model.decoders.values()))
    decoder.train()
    x = torch.rand(size.batch_size, *decoder.shape, device=device())
    seconds = []
    for _ in range(8):
        start = time.perf_counter()
        with low_precision():
            loss = decoder.loss(x, x).mean()
        loss.backward()
        synchronise()
        seconds.append(time.perf_counter() - start)
    decoder.zero_grad(set_to_none=True)
    model.eval()
    start = time.perf_counter()
    with low_precision():
        decoder.sample(x, Sampler(**size.sampling))
    synchronise()
    return {
        "parameters": sum(p.numel() for p in decoder.denoiser.parameters()),
        "ms_step": 1e3 * sorted(seconds)[len(seconds) // 2],
        "ms_image": 1e3 * (time.perf_counter() - start) / len(x),
        "threads": torch.get_num_threads(),
    }


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# Generation and distances
# ------------------------------------------------------------------------------------------


def images_of(data: Any, modality: str, n: int) -> Tensor:
    """Return the first images of a modality, (n, 3, 28, 28) in [0, 1]."""
    return data.batch(range(n))["data"][modality]


def following(model: DCMVAE, modality: str) -> str:
    """Return the modality after one, from which it is generated."""
    names = model.modalities
    return names[(names.index(modality) + 1) % len(names)]


def generate(model: DCMVAE, data: Any, way: str, target: str, n: int, **options: Any) -> Tensor:
    """Return n images of a modality, (n, 3, 28, 28): from itself, the next one or the prior."""
    generator = Generator(device()).manual_seed(SEED)
    source = target if way == "self" else following(model, target)
    with low_precision(**options):
        if way == "prior":
            latents = model.generate_from_prior(n, generator=generator)
            return (
                model.decode(latents, target, generator=generator, **options)[target].float().cpu()
            )
        parts = [
            model.predict(
                {source: images.to(device())}, source, target, generator=generator, **options
            )[target][:, 0]
            for images in images_of(data, source, n).split(1000)
        ]
    return torch.cat(parts).float().cpu()


@torch.no_grad()
def features(classifier: Any, images: Tensor) -> Tensor:
    return torch.cat([classifier.features(part) for part in images.split(1000)])


def distance(classifier: Any, images: Tensor, real: Tensor) -> dict[str, float]:
    """Return the distance of images from real ones, and its interval."""
    found, expected = features(classifier, images), features(classifier, real)
    low, high = frechet_interval(found, expected)
    return {"distance": frechet_distance(found, expected), "low": low, "high": high}


def distances(
    model: DCMVAE, train: Any, test: Any, classifiers: Mapping[str, Any], size: Size
) -> list[dict]:
    """Return a row for each way and modality, unrefined and refined, and one for real images."""
    rows = []
    for m in size.modalities:
        real = images_of(test, m, size.n_samples)
        floor = distance(classifiers[m], images_of(train, m, size.n_samples), real)
        rows.append({"way": "real", "modality": m, "refined": "", "n": size.n_samples, **floor})
        for way in WAYS:
            for refine in (False, True):
                images = generate(
                    model, test, way, m, size.n_samples, refine=refine, **size.sampling
                )
                row = {"way": way, "modality": m, "refined": refine, "n": size.n_samples}
                rows.append({**row, **distance(classifiers[m], images, real)})
    return rows


def curve(model: DCMVAE, test: Any, classifiers: Mapping[str, Any], size: Size) -> list[dict]:
    """Return a row for each sampler and number of steps, on the first modality, from the prior."""
    m, rows = size.modalities[0], []
    real = images_of(test, m, size.n_curve)
    for sampler, steps in CURVE:
        start = time.perf_counter()
        images = generate(
            model,
            test,
            "prior",
            m,
            size.n_curve,
            **{**size.sampling, "sampler": sampler, "steps": steps},
        )
        spent = 1e3 * (time.perf_counter() - start) / size.n_curve
        row = {
            "sampler": sampler,
            "steps": steps,
            "modality": m,
            "n": size.n_curve,
            "ms_image": spent,
        }
        rows.append({**row, **distance(classifiers[m], images, real)})
        print(rows[-1], flush=True)
    return rows


def coherence(model: DCMVAE, test: Any, classifiers: Mapping[str, Any], size: Size) -> list[dict]:
    """Return conditional and unconditional coherence, unrefined and refined."""
    rows = []
    chosen = {m: classifiers[m].to(device()) for m in size.modalities}
    for refine in (False, True):
        view = View(model, size.modalities, refine=refine, **size.sampling)
        generator = Generator(device()).manual_seed(SEED)
        found = conditional_coherence(view, test[: size.n_samples], chosen, generator=generator)
        free = unconditional_coherence(view, size.n_samples, chosen, generator=generator)
        row = {"refined": refine, "conditional": found.leave_one_out, "unconditional": free}
        rows.append({**row, "ceiling": found.real.mean_accuracy, "n": size.n_samples})
    return rows


# Report
# --------------------------------------------------------------------------------------------------


def summary(
    far: list[dict], near: list[dict], steps: list[dict], targets: tuple[float, float, float]
) -> list[dict]:
    """Return each target beside what was measured."""
    rows = []
    for way in WAYS:
        plain, refined = (
            sum(row["distance"] for row in far if row["way"] == way and row["refined"] is refine)
            for refine in (False, True)
        )
        measure = f"distance, {way}, refined / unrefined"
        rows.append({"measure": measure, "measured": refined / plain, "target": f"≤ {targets[0]}"})
    for kind in ("conditional", "unconditional"):
        loss = near[0][kind] - near[1][kind]
        rows.append(
            {"measure": f"{kind} coherence lost", "measured": loss, "target": f"≤ {targets[1]}"}
        )
    by_steps = {(row["sampler"], row["steps"]): row["distance"] for row in steps}
    for name, sampler in (
        ("DPM-Solver++, stochastic", "sde-dpm++"),
        ("DPM-Solver++, deterministic", "dpm++"),
    ):
        ratio = by_steps[sampler, 25] / by_steps["ddpm", 1000]
        rows.append(
            {
                "measure": f"distance, 25 {name} / 1000 DDPM",
                "measured": ratio,
                "target": f"≤ {targets[2]}",
            }
        )
    return rows


def draw_grid(model: DCMVAE, test: Any, size: Size, path: Path) -> None:
    """Save images, a column for each modality: given, from the CMVAE, and refined."""
    figure, columns = plt.subplots(
        8,
        len(size.modalities),
        figsize=(0.5 * SHOWN * len(size.modalities) + 1.2, 4.2),
        squeeze=False,
    )
    for m, axes in zip(size.modalities, columns.T, strict=True):
        rows = {}
        for way, source in (("self", m), ("cross", following(model, m)), ("prior", None)):
            if source is not None:
                rows[f"{way}: given"] = images_of(test, source, SHOWN)
            rows[f"{way}: CMVAE"] = generate(model, test, way, m, SHOWN, refine=False)
            rows[f"{way}: refined"] = generate(model, test, way, m, SHOWN, **size.sampling)
        axes[0].set_title(m)
        for axis, (label, images) in zip(axes, rows.items(), strict=True):
            axis.imshow(torch.cat(list(images.clamp(0, 1)), 2).permute(1, 2, 0))
            axis.set_xticks([])
            axis.set_yticks([])
            if m == size.modalities[0]:
                axis.set_ylabel(label, rotation=0, ha="right", va="center")
    figure.subplots_adjust(hspace=0.06, wspace=0.03)
    figure.savefig(path, bbox_inches="tight", dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--cmvae", type=Path, help="folder of a saved CMVAE of PolyMNIST-5k")
    parser.add_argument(
        "--decoders", type=Path, help="folder of a saved D-CMVAE, to be measured as it is"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/diffusion"), help="folder of models and checkpoints"
    )
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="run through everything in a minute, and record nothing",
    )
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    if arguments.smoke:
        size = replace(size, **SMOKE)
    train, test = polymnist_5k("train"), polymnist_5k("test")
    classifiers = train_classifiers(train, test).classifiers
    model = None if arguments.decoders is None else DCMVAE.from_pretrained(arguments.decoders)
    known = model or (CMVAE.from_pretrained(arguments.cmvae) if arguments.cmvae else None)
    number = len(known.modalities) if known else polymnist.SIZES[arguments.size].modalities
    train, test = (polymnist_5k(split, modalities=number) for split in ("train", "test"))
    if arguments.smoke:
        train, test = train[:SMOKE_SAMPLES], test[:128]
    spent: dict[str, float] = {}
    start = time.perf_counter()
    if model is None:
        cmvae = arguments.cmvae or trained_cmvae(
            arguments.size, train, arguments.smoke, arguments.out
        )
        start = time.perf_counter()
        model, spent = trained_decoders(cmvae, size, len(train), arguments.out)
    model.to(device()).eval()
    report(model, train, test, classifiers, size, arguments, spent, start)


def report(
    model: DCMVAE,
    train: Any,
    test: Any,
    classifiers: Mapping[str, Any],
    size: Size,
    arguments: Any,
    spent: dict,
    start: float,
) -> None:
    """Measure, and write the record; a smoke run only shows it."""
    used = cost(model, size)
    far = distances(model, train, test, classifiers, size)
    steps = curve(model, test, classifiers, size)
    near = coherence(model, test, classifiers, size)
    reached = summary(far, near, steps, size.targets)
    if spent:
        used |= spent | {"minutes in all": (time.perf_counter() - start) / 60}
    sampling = ", ".join(f"{name} {value}" for name, value in size.sampling.items())
    lines = [
        *table(reached, ["measure", "measured", "target"]),
        "",
        *table(far, ["way", "modality", "refined", "n", "distance", "low", "high"]),
        "",
        *table(near, ["refined", "conditional", "unconditional", "ceiling", "n"]),
        "",
        *table(steps, ["sampler", "steps", "modality", "n", "distance", "low", "high", "ms_image"]),
        "",
        *table([used], list(used)),
        "",
        f"Sampled with {sampling}, steps 25 where nothing else is said, in bfloat16. Distances of "
        "finite samples are biased upwards; the intervals take that out: they may lie below.",
    ]
    name = f"diffusion-{arguments.size}"
    picture = arguments.out / f"{name}.png"
    arguments.out.mkdir(parents=True, exist_ok=True)
    draw_grid(model, test, size, picture)
    if arguments.smoke:
        print("\n".join(lines))
        return
    parts = {"target": reached, "distance": far, "coherence": near, "steps": steps, "cost": [used]}
    rows = [{"table": kind, **row} for kind, part in parts.items() for row in part]
    command = f"python benchmarks/diffusion.py --size {arguments.size}"
    write_record(name, command, rows, lines, seed=SEED)
    shutil.copyfile(picture, RECORDS / f"{name}.png")


if __name__ == "__main__":
    main()
