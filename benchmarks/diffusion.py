"""Diffusion decoders of all modalities of a CMVAE on PolyMNIST-5k: coherence and distances.

    python benchmarks/diffusion.py cpu --cmvae runs/polymnist/polymnist-cpu/seed-*/model
    python benchmarks/diffusion.py cpu              trains the CMVAEs too
    python benchmarks/diffusion.py cpu --length 4   decoders trained four times as long
    python benchmarks/diffusion.py cpu --steps      also images against steps of sampling

``--cmvae`` takes a folder for each of ``--seeds``, as benchmarks/polymnist.py leaves them; without
it that benchmark trains them first. Guidance and strength are chosen on training tuples that the
decoders have not seen, without labels (``diffusion_scores.choose``). What is finished in ``--work``
is not done again, and a training that was stopped goes on from its last epoch. Writes
``records/diffusion-SIZE.json`` and ``.md``, medians over seeds, and of the first seed ``.png``,
given, unrefined and refined, and ``-generations.png``, refined from each modality to each.

Distances are over the penultimate features of the digit classifiers. ``self``: x_m from itself;
``cross``: from all other modalities; ``prior``: from the clusters.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusion_pictures as pictures
import numpy as np
import polymnist
import torch
from diffusion_scores import (
    CONDITIONAL,
    RATIO,
    UNCONDITIONAL,
    choose,
    curve,
    score,
)
from timing import RECORDS, bfloat16_pays, device, table, write_record

from cmvae import CMVAE, DCMVAE, DiffusionConfig, fit
from cmvae.base.files import atomic_write
from cmvae.datasets import polymnist_5k
from cmvae.metrics import train_classifiers
from cmvae.training.callbacks import CosineDecay
from cmvae.training.checkpoints import can_resume, last_checkpoint


@dataclass(frozen=True)
class Size:
    """What a run costs.

    Attributes:
        decoder: Settings of every decoder.
        epochs: Passes over the training tuples.
        batch_size: Samples in a step.
        learning_rate: Largest step size of Adam; it falls to a twentieth along half a cosine.
        sampling: How to sample, but for guidance and strength.
        n_samples: Test tuples that are scored.
        held: Training tuples that decoders do not see, by which is chosen how to sample.
        targets: Least coherence, conditional and unconditional, and largest ratio of distances.
    """

    decoder: DiffusionConfig
    epochs: int
    batch_size: int
    learning_rate: float
    sampling: dict[str, Any]
    n_samples: int
    targets: tuple[float, float, float]
    held: int = 384

    def wanted(self) -> dict[str, str]:
        """Return the targets by measure."""
        least = {CONDITIONAL: self.targets[0], UNCONDITIONAL: self.targets[1]}
        return {name: f"≥ {value}" for name, value in least.items()} | {
            RATIO: f"≤ {self.targets[2]}"
        }


_CPU = Size(
    decoder=DiffusionConfig(
        latents=True,
        channels=(48, 96),
        patch=2,
        layers_per_block=1,
        attention=False,
        prediction="v",
        schedule="cosine",
        ema_decay=0.995,
    ),
    epochs=6,
    batch_size=64,
    learning_rate=2e-3,
    sampling={"sampler": "sde-dpm++", "steps": 12, "candidates": 4},
    n_samples=500,
    targets=(0.75, 0.7, 0.15),
)
SIZES = {
    "cpu": _CPU,
    "long": replace(_CPU, epochs=24, n_samples=2000, targets=(0.85, 0.8, 0.15)),
    "gpu": Size(
        decoder=DiffusionConfig(
            latents=True,
            channels=(96, 192),
            patch=2,
            prediction="v",
            schedule="cosine",
        ),
        epochs=24,
        batch_size=256,
        learning_rate=1e-3,
        sampling={"sampler": "sde-dpm++", "steps": 12},
        n_samples=1000,
        targets=(0.92, 0.88, 0.12),
    ),
}
SMOKE = {"epochs": 1, "n_samples": 48, "batch_size": 16, "held": 48}
SMOKE_SAMPLES = 128


# Models
# --------------------------------------------------------------------------------------------------


def trained_cmvae(name: str, seed: int, data: Any, smoke: bool, folder: Path) -> Path:
    """Train the CMVAE that benchmarks/polymnist.py trains, or go on; return its folder."""
    size = polymnist.SIZES[name]
    size = replace(size, epochs=4, alignment=(1, 1)) if smoke else size
    if not (folder / "cmvae").is_dir():
        model = polymnist.build(size, "ours", seed)
        polymnist.train(model, data, size, "ours", seed, folder / "cmvae-run")
        model.save_pretrained(folder / "cmvae")
    return folder / "cmvae"


def trained_decoders(cmvae: Path, data: Any, size: Size, seed: int, folder: Path) -> DCMVAE:
    """Train the decoders of a CMVAE that are not finished yet, one by one; return the whole."""
    base = CMVAE.from_pretrained(cmvae)
    whole = DCMVAE(base, size.decoder)
    for m in whole.modalities:
        if not (folder / m).is_dir():
            train_decoder(base, m, data, size, seed, folder)
        own = DCMVAE.from_pretrained(folder / m).decoders[m]
        whole.decoders[m].load_state_dict(own.state_dict())
    return whole.to(device()).eval()


def train_decoder(
    cmvae: CMVAE, modality: str, data: Any, size: Size, seed: int, folder: Path
) -> None:
    """Train the decoder of one modality, or go on; save it."""
    torch.manual_seed(seed)
    model, run = DCMVAE(cmvae, {modality: size.decoder}), folder / f"{modality}-run"
    start = time.perf_counter()
    fit(
        model,
        data,
        max_epochs=size.epochs,
        batch_size=size.batch_size,
        learning_rate=size.learning_rate,
        seed=seed,
        run_dir=run,
        resume_from=last_checkpoint(run) if can_resume(run) else None,
        overwrite=True,
        precision="bf16-mixed" if bfloat16_pays() else "32-true",
        gradient_clip_val=1.0,
        callbacks=[CosineDecay()],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    model.save_pretrained(folder / modality)
    print(f"{modality}: {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


# A seed
# --------------------------------------------------------------------------------------------------


def once(file: Path, make: Callable[[], Any]) -> Any:
    """Return what a file holds, made first where it is not there."""
    if not file.exists():
        found = make()
        with atomic_write(file) as path:
            path.write_text(json.dumps(found, indent=1, default=float))
    return json.loads(file.read_text())


def run(
    cmvae: Path,
    size: Size,
    seed: int,
    data: tuple[Any, Any],
    judges: Mapping[str, Any],
    folder: Path,
) -> tuple[DCMVAE, dict[str, Any], dict[str, Any]]:
    """Train, choose and score; return the model, how it samples, and the scores."""
    train, test = data
    model = trained_decoders(cmvae, train[: -size.held], size, seed, folder)
    tried = once(folder / "choice.json", lambda: choose(model, train[-size.held :], size.sampling))
    options = {**size.sampling, **{name: tried[0][name] for name in ("guidance", "strength")}}
    own = {m: judges[m].to(device()) for m in model.modalities}
    found = once(
        folder / "scores.json", lambda: score(model, test[: size.n_samples], own, options, seed)
    )
    return model, options, {**found, "tried": tried}


# Report
# --------------------------------------------------------------------------------------------------


def summary(scores: list[dict], size: Size) -> list[dict]:
    """Return each measure: median, spread, target, ceiling, and what it is unrefined."""
    rows, wanted = [], size.wanted()
    for name in scores[0]["found"]:
        values = [own["found"][name] for own in scores]
        row = {"measure": name, "median": float(np.median(values))}
        row |= {"least to most": f"{min(values):.3g} to {max(values):.3g}"}
        if name in (CONDITIONAL, UNCONDITIONAL):
            plain = [own["coherence"][0][name] for own in scores]
            row |= {"unrefined": float(np.median(plain))}
            row |= {"ceiling": float(np.median([own["coherence"][2][name] for own in scores]))}
        rows.append({**row, "target": wanted.get(name, "")})
    return rows


def record(command: str, name: str, size: Size, scores: dict[int, dict], steps: list[dict]) -> None:
    """Write what there is."""
    parts: dict[str, list[dict]] = {"target": summary(list(scores.values()), size)}
    for kind in ("tried", "coherence", "distance"):
        parts[kind] = [{"seed": seed, **row} for seed, own in scores.items() for row in own[kind]]
    chosen = [next(row for row in parts["tried"] if row["seed"] == seed) for seed in scores]
    columns = {
        "target": ["measure", "median", "least to most", "unrefined", "ceiling", "target"],
        "coherence": ["seed", "refined", CONDITIONAL, "from one", "self, worst", UNCONDITIONAL],
        "distance": ["seed", "way", "modality", "refined", "n", "distance", "low", "high"],
    }
    lines = [line for kind, own in columns.items() for line in (*table(parts[kind], own), "")]
    lines += ["Chosen without labels, on training tuples:", "", *table(chosen, list(chosen[0])), ""]
    if steps:
        parts["steps"] = steps
        lines += [*table(steps, list(steps[0])), ""]
    sampling = ", ".join(f"{option} {value}" for option, value in size.sampling.items())
    precision = "bfloat16" if bfloat16_pays() else "float32"
    lines += [f"Sampled with {sampling}, in {precision}. Distances of finite samples are biased"]
    lines += ["upwards; the intervals take that out: they may lie below."]
    rows = [{"table": kind, **row} for kind, part in parts.items() for row in part]
    write_record(name, command, rows, lines)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--cmvae", type=Path, nargs="+", help="a saved CMVAE for each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=polymnist.SEEDS)
    parser.add_argument("--length", type=float, default=1, help="times the epochs")
    parser.add_argument("--steps", action="store_true", help="score steps of sampling too")
    parser.add_argument("--work", type=Path, default=Path("runs/diffusion"), help="where runs go")
    parser.add_argument(
        "--smoke", action="store_true", help="run through everything, and record nothing"
    )
    arguments = parser.parse_args()
    if arguments.cmvae and len(arguments.cmvae) != len(arguments.seeds):
        got = f"{len(arguments.cmvae)} folders for {len(arguments.seeds)} seeds"
        parser.error(f"--cmvae takes a folder for each of --seeds, got {got}")
    size = SIZES[arguments.size]
    size = replace(size, epochs=round(size.epochs * arguments.length))
    if arguments.smoke:
        size = replace(size, **SMOKE)
    judges = train_classifiers(polymnist_5k("train"), polymnist_5k("test")).classifiers
    command = f"python benchmarks/diffusion.py {arguments.size}"
    name = f"diffusion-{arguments.size}"
    if arguments.length != 1:
        command, name = f"{command} --length {arguments.length:g}", f"{name}-{arguments.length:g}x"
    if arguments.seeds != polymnist.SEEDS:
        command = " ".join([command, "--seeds", *map(str, arguments.seeds)])
    run_seeds(arguments, size, judges, command, name)


def run_seeds(
    arguments: argparse.Namespace, size: Size, judges: Mapping[str, Any], command: str, name: str
) -> None:
    """Run the seeds, and record after each."""
    number = polymnist.SIZES[arguments.size].modalities
    data = [polymnist_5k(split, modalities=number) for split in ("train", "test")]
    if arguments.smoke:
        data[0] = data[0][:SMOKE_SAMPLES]
    scores: dict[int, dict] = {}
    steps: list[dict] = []
    for place, seed in enumerate(arguments.seeds):
        folder = arguments.work / name / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        cmvae = arguments.cmvae[place] if arguments.cmvae else None
        cmvae = cmvae or trained_cmvae(arguments.size, seed, data[0], arguments.smoke, folder)
        model, options, scores[seed] = run(cmvae, size, seed, (data[0], data[1]), judges, folder)
        if place == 0:
            if arguments.steps:
                steps = once(
                    folder / "steps.json", lambda m=model, o=options: curve(m, data[1], judges, o)
                )
            where = folder if arguments.smoke else RECORDS
            pictures.draw_ways(model, data[1], options, where / f"{name}.png")
            shares = scores[seed]["shares"]["1"]
            pictures.draw_each(model, data[1], options, shares, where / f"{name}-generations.png")
        if arguments.smoke:
            print(json.dumps(summary(list(scores.values()), size), indent=1))
        else:
            record(command, name, size, scores, steps)


if __name__ == "__main__":
    main()
