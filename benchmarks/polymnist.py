"""PolyMNIST: clustering, coherence and pictures along training, in our way and in the paper's.

    python benchmarks/polymnist.py cpu              three seeds: records/polymnist-cpu.*
    python benchmarks/polymnist.py cpu --missing    half of the modalities missing in training
    python benchmarks/polymnist.py cpu --way paper  the paper's objective from the first step
    python benchmarks/polymnist.py cpu --length 4   four times as long

Sizes: ``cpu`` and ``long``, the first three modalities of PolyMNIST-5k; ``five`` and ``gpu``, all
five; ``paper``, the published files in ``--data FOLDER``. Labels score, and do nothing else. Scores
are of the test tuples, at eight marks along training; coherence is judged by the digit classifiers
of ``benchmarks/digit_classifiers.py``, trained first where the cache lacks them. A run that was
stopped goes on from its last epoch; finished ones in ``--work`` are not run again.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback
from matplotlib.figure import Figure
from polymnist_scores import (
    ACC,
    ACC_ONE,
    CONDITIONAL,
    DISTANCE,
    LIKELIHOOD,
    MEASURES,
    SELF,
    UNCONDITIONAL,
    draw,
    score,
)
from timing import RECORDS, device, table, write_record

from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.base.files import atomic_write
from cmvae.datasets import polymnist_5k, read_polymnist
from cmvae.metrics import train_classifiers
from cmvae.models.inference import evaluating
from cmvae.networks import NETWORKS, ConvEncoder, NetworkPair, ResidualConvDecoder
from cmvae.training.checkpoints import last_checkpoint
from cmvae.training.fit import make_loader
from cmvae.training.module import CMVAEModule
from cmvae.training.start import Start

CLUSTERS = 40
MARKS = 8
TIMED = 20  # steps
PUBLISHED = {CONDITIONAL: 0.897, UNCONDITIONAL: 0.781}
# Half the channels of the default pair: on a CPU twice the steps are worth more.
NETWORKS["small"] = NetworkPair(
    partial(ConvEncoder, channels=(16, 32)), partial(ResidualConvDecoder, channels=(32, 16))
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
        targets: What is to be reached at least: coherence conditional and unconditional, worst
            self-generation, ACC from all modalities and from one.
        missing: The same of conditional coherence and ACC where half was missing in training.
        cross: ``cross_modal_targets``.
    """

    modalities: int
    networks: str
    epochs: int
    alignment: tuple[int, int]
    batch_size: int
    learning_rate: float
    targets: tuple[float, float, float, float, float]
    missing: tuple[float, float]
    cross: int | None = None

    def wanted(self, missing: bool) -> dict[str, float]:
        """Return the targets by measure."""
        if missing:
            return dict(zip((CONDITIONAL, ACC), self.missing, strict=True))
        names = (CONDITIONAL, UNCONDITIONAL, SELF, ACC, ACC_ONE)
        return dict(zip(names, self.targets, strict=True))


_CPU = Size(3, "small", 24, (3, 3), 64, 2e-3, (0.6, 0.55, 0.55, 0.98, 0.9), (0.5, 0.95))
SIZES = {
    "cpu": _CPU,
    "long": replace(_CPU, epochs=100, targets=(0.8, 0.75, 0.8, 0.98, 0.92), missing=(0.7, 0.96)),
    "five": replace(
        _CPU,
        modalities=5,
        epochs=60,
        cross=1,
        targets=(0.8, 0.75, 0.8, 0.98, 0.92),
        missing=(0.7, 0.96),
    ),
    "gpu": Size(
        5, "conv_residual", 60, (3, 6), 128, 2e-3, (0.9, 0.85, 0.9, 0.98, 0.93), (0.85, 0.97)
    ),
    "paper": Size(
        5, "resnet", 250, (3, 20), 128, 1e-3, (0.897, 0.781, 0.9, 0.95, 0.88), (0.85, 0.97)
    ),
}


class Cosine(Callback):
    """Let the step size fall along half a cosine, to a twentieth."""

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        done = trainer.global_step / trainer.estimated_stepping_batches
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = module.learning_rate * (
                0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
            )


class Marks(Callback):
    """Score the model at marks along training, and keep the scores and the minutes in a file."""

    def __init__(self, file: Path, test: Any, judges: Mapping[str, Any], seed: int, epochs: int):
        self.file, self.test, self.judges, self.seed = file, test, judges, seed
        self.rows = json.loads(file.read_text()) if file.exists() else []
        self.at = {round(epochs * (i + 1) / MARKS) for i in range(MARKS)}
        self.minutes, self.began = self.rows[-1]["minutes"] if self.rows else 0.0, 0.0

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.minutes += (time.perf_counter() - self.began) / 60
        epoch = trainer.current_epoch + 1
        if epoch not in self.at or any(row["epoch"] == epoch for row in self.rows):
            return
        # What is drawn for the scores does not change training.
        with torch.random.fork_rng(), evaluating(module.model):
            scored = score(module.model, self.test, self.judges, self.seed)
        place = {"epoch": epoch, "steps": trainer.global_step, "minutes": self.minutes}
        self.rows.append({**place, **scored["found"], "details": scored["details"]})
        with atomic_write(self.file) as path:
            path.write_text(json.dumps(self.rows, indent=1, default=float))
        shown = {name: round(float(value), 3) for name, value in scored["found"].items()}
        print(place, shown, flush=True)


# Models
# --------------------------------------------------------------------------------------------------


def build(size: Size, way: str, seed: int) -> CMVAE:
    """Return a model with our settings or with the paper's for PolyMNIST."""
    torch.manual_seed(seed)
    shapes = {f"m{i}": (3, 28, 28) for i in range(size.modalities)}
    ours = way == "ours"
    return CMVAE(
        CMVAEConfig(
            n_modalities=len(shapes),
            input_dims=shapes,
            latent_dim=32,
            modalities_specific_dim=32,
            beta=2.5,
            number_of_clusters=CLUSTERS,
            decoders_dist=dict.fromkeys(shapes, "laplace"),
            decoder_dist_params={name: {"scale": 0.25 if ours else 0.75} for name in shapes},
            prior_and_posterior_dist="normal_with_softplus" if ours else "laplace_with_softmax",
            covariance="full" if ours else "identity",
            K=1,
            loss="iwae_looser",
            networks=size.networks,
            cross_modal_targets=size.cross,
        )
    )


def train(
    model: CMVAE, data: Any, size: Size, way: str, seed: int, folder: Path, *more: Any
) -> None:
    """Train, or go on, in ``folder``; ``more`` are callbacks."""
    torch.set_float32_matmul_precision("high")
    ours, last = way == "ours", last_checkpoint(folder)
    begin: dict[str, Any] = {"alignment_epochs": size.alignment, "initial_clusters": "auto"}
    fit(
        model,
        data,
        max_epochs=size.epochs,
        batch_size=size.batch_size,
        learning_rate=size.learning_rate if ours else 1e-3,
        seed=seed,
        run_dir=folder,
        resume_from=last if last.exists() else None,
        overwrite=True,
        callbacks=[*([Cosine()] if ours else []), *more],
        enable_progress_bar=False,
        **(begin if ours else {}),
    )
    model.to(device()).eval()


def run(
    size: Size, way: str, seed: int, data: tuple[Any, Any], judges: Mapping[str, Any], folder: Path
) -> CMVAE:
    """Train, or go on, in ``folder``, with scores in ``scores.json``; return the model."""
    model = build(size, way, seed)
    folder.mkdir(parents=True, exist_ok=True)
    marks = Marks(folder / "scores.json", data[1], judges, seed, size.epochs)
    train(model, data[0], size, way, seed, folder, marks)
    model.save_pretrained(folder / "model")
    return model


def epochs_within(minutes: float, size: Size, way: str, data: Any) -> int:
    """Return how many epochs take so long, by the time of some of the last ones' steps."""
    model = build(size, way, 0).to(device()).train()
    module, count = CMVAEModule(model, size.learning_rate), 2 * TIMED
    module.options = Start(alignment_epochs=size.alignment).options(math.inf, 2.5)
    module.views = way == "ours"
    optimizer, loader = (
        module.configure_optimizers(),
        make_loader("data", data, size.batch_size, True),
    )
    for index, batch in zip(range(count), loader, strict=False):
        if index == TIMED:
            start = time.perf_counter()
        moved = module.transfer_batch_to_device(batch, device(), 0)
        optimizer.zero_grad()
        module.train_output(moved).loss.backward()
        optimizer.step()
        float(next(model.parameters()).detach().sum())  # waits for the device
    step = (time.perf_counter() - start) / TIMED
    return max(2 * sum(size.alignment) + 1, int(60 * minutes / step / len(loader)))


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


def summary(rows: list[dict], size: Size, missing: bool) -> list[dict]:
    """Return each measure at the end: median, spread, target, the paper's figure."""
    last = max(row["epoch"] for row in rows)
    ends, wanted = [row for row in rows if row["epoch"] == last], size.wanted(missing)
    found = []
    for name in (*MEASURES, "clusters", "minutes"):
        values = [row[name] for row in ends]
        spread = f"{min(values):.3g} to {max(values):.3g}"
        own = {"measure": name, "median": float(np.median(values)), "least to most": spread}
        target = f"≥ {wanted[name]}" if name in wanted else ""
        published = "" if missing else PUBLISHED.get(name, "")
        found.append({**own, "target": target, "paper, published data": published})
    return found


def curves(rows: list[dict]) -> Figure:
    """Draw the measures along the steps: medians over seeds, and their range."""
    shown = (CONDITIONAL, UNCONDITIONAL, SELF, ACC, ACC_ONE, DISTANCE, LIKELIHOOD)
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    axes[-1].set_axis_off()
    for axis, name in zip(axes, shown, strict=False):
        steps = sorted({row["steps"] for row in rows})
        values = [[row[name] for row in rows if row["steps"] == at] for at in steps]
        axis.plot(steps, [np.median(each) for each in values], marker="o", markersize=3)
        axis.fill_between(steps, [*map(min, values)], [*map(max, values)], alpha=0.25)
        axis.set_title(name, fontsize=9)
        axis.set_xlabel("steps", fontsize=8)
        axis.tick_params(labelsize=7)
    return figure


def record(arguments: argparse.Namespace, size: Size, rows: list[dict]) -> None:
    """Write what there is."""
    name, options = name_of(arguments), [arguments.size]
    options += ["--missing"] if arguments.missing else []
    options += ["--way paper"] if arguments.way == "paper" else []
    options += [f"--minutes {arguments.minutes:g}"] if arguments.minutes else []
    options += [f"--length {arguments.length:g}"] if arguments.length != 1 else []
    seeds = sorted({row["seed"] for row in rows})
    ends = summary(rows, size, arguments.missing)
    along = [{k: v for k, v in row.items() if k != "details"} for row in rows]
    columns = ["seed", "steps", "minutes", *MEASURES]
    lines = [*table(ends, list(ends[0])), "", f"seeds {seeds}", "", *table(along, columns)]
    write_record(name, f"python benchmarks/polymnist.py {' '.join(options)}", rows, lines)
    with atomic_write(RECORDS / f"{name}-curves.png") as path:
        curves(rows).savefig(path, dpi=110, format="png")


def name_of(arguments: argparse.Namespace) -> str:
    """Return the name of records and of the folder of runs."""
    name = f"polymnist-{arguments.size}" + ("-missing" if arguments.missing else "")
    name += f"-{arguments.way}" if arguments.way != "ours" else ""
    return name + (f"-{arguments.length:g}x" if arguments.length != 1 else "")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument(
        "--missing", action="store_true", help="half of the modalities missing in training"
    )
    parser.add_argument("--way", choices=("ours", "paper"), default="ours")
    parser.add_argument("--length", type=float, default=1, help="times the epochs")
    parser.add_argument("--minutes", type=float, help="as many epochs as take so long instead")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, help="folder of the published files")
    parser.add_argument("--work", type=Path, default=Path("runs/polymnist"), help="where runs go")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    size = replace(size, epochs=round(size.epochs * arguments.length))
    data = data_of_size(arguments.size, arguments.data, arguments.missing)
    if arguments.minutes:
        size = replace(size, epochs=epochs_within(arguments.minutes, size, arguments.way, data[0]))
        print(f"{size.epochs} epochs", flush=True)
    whole = data if arguments.size == "paper" else map(polymnist_5k, ("train", "test"))
    judges = train_classifiers(*whole).classifiers
    name, rows = name_of(arguments), []
    for seed in arguments.seeds:
        folder = arguments.work / name / f"seed-{seed}"
        model = run(size, arguments.way, seed, data, judges, folder)
        rows += [{"seed": seed, **row} for row in json.loads((folder / "scores.json").read_text())]
        if seed == arguments.seeds[0]:
            coherence = score(model, data[1], judges, seed)["coherence"]
            draw(model, data[1], coherence, name, seed)
        record(arguments, size, rows)


if __name__ == "__main__":
    main()
