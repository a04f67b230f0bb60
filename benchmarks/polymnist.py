"""PolyMNIST: clustering, coherence and pictures along training, in our way and in the paper's.

    python benchmarks/polymnist.py cpu              three seeds: records/polymnist-cpu.*
    python benchmarks/polymnist.py cpu --missing    half of the modalities missing in training
    python benchmarks/polymnist.py cpu --way paper  the paper's objective from the first step
    python benchmarks/polymnist.py cpu --way ours without-views   both: records/polymnist-cpu-ways.*
    python benchmarks/polymnist.py cpu --length 4   four times as long
    python benchmarks/polymnist.py cpu --falling 1  the step size falls from the first step on

Sizes: ``cpu`` and ``long``, the first three modalities of PolyMNIST-5k; ``five`` and ``gpu``, all
five; ``paper``, the published files in ``--data FOLDER``. Labels score, and do nothing else. Scores
are of the test tuples, at eight marks along training; coherence is judged by the digit classifiers
of ``benchmarks/digit_classifiers.py``, trained first where the cache lacks them. A run that was
stopped goes on from its last epoch; finished ones in ``--work`` are not run again.
"""

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback
from polymnist_records import terms_of, write_one, write_ways
from polymnist_scores import (
    ACC,
    ACC_ONE,
    CONDITIONAL,
    SELF,
    UNCONDITIONAL,
    draw,
    score,
)
from timing import device

from cmvae import CMVAE, CMVAEConfig, fit
from cmvae.base.files import atomic_write
from cmvae.datasets import polymnist_5k, read_polymnist
from cmvae.metrics import train_classifiers
from cmvae.models.inference import evaluating
from cmvae.networks import (
    NETWORKS,
    ConvDecoder,
    ConvEncoder,
    NetworkPair,
    ResidualConvDecoder,
)
from cmvae.training.callbacks import CosineDecay
from cmvae.training.checkpoints import last_checkpoint
from cmvae.training.start import Start

MARKS = 8
FALLING = 0.3
SEEDS = [0, 1, 2]
# Half the channels of the default pair: on a CPU twice the steps are worth more.
_ENCODER = partial(ConvEncoder, channels=(16, 32))
SMALL = "small"
NETWORKS[SMALL] = NetworkPair(_ENCODER, partial(ResidualConvDecoder, channels=(32, 16)))
NETWORKS["plain"] = NetworkPair(_ENCODER, partial(ConvDecoder, channels=(32, 16)))


@dataclass(frozen=True)
class Size:
    """What a run is made of.

    Attributes:
        modalities: How many, the first ones.
        networks: Entry of ``cmvae.networks.NETWORKS``.
        epochs: Passes over the training tuples.
        alignment: See ``cmvae.fit``.
        batch_size: Samples in a step.
        learning_rate: Largest step size.
        targets: What is to be reached at least: coherence conditional and unconditional, worst
            self-generation, ACC from all modalities and from one.
        missing: The same of conditional coherence and ACC where half was missing in training.
        cross: ``cross_modal_targets``.
        falling: Share of the steps, the last ones, along which the step size falls to a twentieth.
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
    falling: float = FALLING

    def wanted(self, missing: bool) -> dict[str, float]:
        """Return the targets by measure."""
        if missing:
            return dict(zip((CONDITIONAL, ACC), self.missing, strict=True))
        names = (CONDITIONAL, UNCONDITIONAL, SELF, ACC, ACC_ONE)
        return dict(zip(names, self.targets, strict=True))


@dataclass(frozen=True)
class Way:
    """How a model is made and trained.

    Attributes:
        config: Settings of the model, beside those that all have.
        scale: Of the images' Laplace likelihood.
        networks: Instead of the size's.
        start: What is changed of the plan of training's start; None: the objective from the first
            step, at the step size of the paper.
    """

    config: Mapping[str, Any]
    scale: float = 0.25
    networks: str | None = None
    start: Mapping[str, Any] | None = field(default_factory=dict)


_OURS = Way({"prior_and_posterior_dist": "normal_with_softplus", "covariance": "full"})
WAYS = {
    "ours": _OURS,
    "without-lasting": replace(_OURS, start={"lasting": False}),
    "without-views": replace(_OURS, start={"views": False}),
    "without-information": replace(_OURS, start={"information": None}),
    "without-residual": replace(_OURS, networks="plain"),
    "without-normal": replace(_OURS, config={"prior_and_posterior_dist": "laplace_with_softmax"}),
    "without-sharp": replace(_OURS, scale=0.75),
    "paper": Way({}, scale=0.75, start=None),
}
_CPU = Size(3, SMALL, 10, (3, 2), 64, 2e-3, (0.6, 0.55, 0.55, 0.98, 0.9), (0.5, 0.95))
SIZES = {
    "cpu": _CPU,
    "long": replace(_CPU, epochs=20, targets=(0.8, 0.75, 0.8, 0.98, 0.92), missing=(0.7, 0.96)),
    "five": replace(
        _CPU,
        modalities=5,
        epochs=20,
        cross=1,
        targets=(0.8, 0.75, 0.8, 0.98, 0.92),
        missing=(0.7, 0.96),
    ),
    "gpu": Size(
        5, "conv_residual", 24, (3, 4), 128, 2e-3, (0.9, 0.85, 0.9, 0.98, 0.93), (0.85, 0.97)
    ),
    "paper": Size(
        5, "resnet", 250, (3, 20), 128, 1e-3, (0.897, 0.781, 0.9, 0.95, 0.88), (0.85, 0.97)
    ),
}


class Marks(Callback):
    """Score the model at marks along training, and keep the scores and the minutes in a file."""

    def __init__(
        self, file: Path, data: tuple[Any, Any], judges: Mapping[str, Any], seed: int, epochs: int
    ) -> None:
        self.file, self.data, self.judges, self.seed = file, data, judges, seed
        self.rows = json.loads(file.read_text()) if file.exists() else []
        self.at = {round(epochs * (i + 1) / MARKS) for i in range(MARKS)}
        self.minutes, self.began = 0.0, 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"minutes": self.minutes}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.minutes = state_dict["minutes"]

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.minutes += (time.perf_counter() - self.began) / 60
        epoch = trainer.current_epoch + 1
        if epoch not in self.at or any(row["epoch"] == epoch for row in self.rows):
            return
        # What is drawn for the scores does not change training.
        with torch.random.fork_rng(), evaluating(module.model):
            scored = score(module.model, *self.data, self.judges, self.seed)
        place = {"epoch": epoch, "steps": trainer.global_step, "minutes": self.minutes}
        self.rows.append({**place, **scored["found"], "details": scored["details"]})
        with atomic_write(self.file) as path:
            path.write_text(json.dumps(self.rows, indent=1, default=float))
        shown = {name: round(float(value), 3) for name, value in scored["found"].items()}
        print(place, shown, flush=True)


# Models
# --------------------------------------------------------------------------------------------------


def build(size: Size, way: str, seed: int) -> CMVAE:
    """Return a model of a size, made in one of the ways."""
    torch.manual_seed(seed)
    shapes, chosen = {f"m{i}": (3, 28, 28) for i in range(size.modalities)}, WAYS[way]
    return CMVAE(
        CMVAEConfig.paper(
            "polymnist",
            input_dims=shapes,
            decoder_dist_params={name: {"scale": chosen.scale} for name in shapes},
            networks=chosen.networks or size.networks,
            cross_modal_targets=size.cross,
            **chosen.config,
        )
    )


def train(
    model: CMVAE, data: Any, size: Size, way: str, seed: int, folder: Path, *more: Any
) -> None:
    """Train, or go on, in ``folder``; ``more`` are callbacks."""
    torch.set_float32_matmul_precision("high")
    last, start = last_checkpoint(folder), plan(size, way, seed)
    fit(
        model,
        data,
        max_epochs=size.epochs,
        start=start,
        batch_size=size.batch_size,
        learning_rate=size.learning_rate if start else 1e-3,
        seed=seed,
        run_dir=folder,
        resume_from=last if last.exists() else None,
        overwrite=True,
        callbacks=[*([CosineDecay(size.falling)] if start else []), *more],
        enable_progress_bar=False,
    )
    model.to(device()).eval()


def plan(size: Size, way: str, seed: int) -> Start | None:
    """Return how training starts."""
    changed = WAYS[way].start
    if changed is None:
        return None
    settings = {"alignment_epochs": size.alignment, "initial_clusters": "auto", "seed": seed}
    return Start(**{**settings, **changed})


def run(
    size: Size, way: str, seed: int, data: tuple[Any, Any], judges: Mapping[str, Any], folder: Path
) -> CMVAE:
    """Train, or go on, in ``folder``, with scores in ``scores.json``; return the model."""
    model = build(size, way, seed)
    folder.mkdir(parents=True, exist_ok=True)
    marks = Marks(folder / "scores.json", data, judges, seed, size.epochs)
    train(model, data[0], size, way, seed, folder, marks)
    model.save_pretrained(folder / "model")
    return model


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


def name_of(arguments: argparse.Namespace, way: str) -> str:
    """Return the name of records and of the folder of runs."""
    name = f"polymnist-{arguments.size}" + ("-missing" if arguments.missing else "")
    name += f"-{way}" if way != "ours" else ""
    return name + (f"-{arguments.length:g}x" if arguments.length != 1 else "")


def command_of(arguments: argparse.Namespace) -> str:
    """Return the command that repeats it."""
    options = ["--missing"] if arguments.missing else []
    options += ["--way", *arguments.way] if arguments.way != ["ours"] else []
    options += [f"--length {arguments.length:g}"] if arguments.length != 1 else []
    options += [f"--falling {arguments.falling:g}"] if arguments.falling != FALLING else []
    options += ["--seeds", *map(str, arguments.seeds)] if arguments.seeds != SEEDS else []
    return " ".join(["python benchmarks/polymnist.py", arguments.size, *options])


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("size", choices=SIZES)
    parser.add_argument(
        "--missing", action="store_true", help="half of the modalities missing in training"
    )
    parser.add_argument(
        "--way", choices=WAYS, nargs="+", default=["ours"], help="several: one record of them all"
    )
    parser.add_argument("--length", type=float, default=1, help="times the epochs")
    parser.add_argument(
        "--falling", type=float, default=FALLING, help="share of the steps, see CosineDecay"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--data", type=Path, help="folder of the published files")
    parser.add_argument("--work", type=Path, default=Path("runs/polymnist"), help="where runs go")
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    size = replace(size, epochs=round(size.epochs * arguments.length), falling=arguments.falling)
    if arguments.missing:  # few pairs are there: an alignment thrice as long, as the recipe has it
        first, reading = size.alignment
        size = replace(size, epochs=size.epochs + 2 * first, alignment=(3 * first, reading))
    data = data_of_size(arguments.size, arguments.data, arguments.missing)
    whole = data if arguments.size == "paper" else map(polymnist_5k, ("train", "test"))
    judges = train_classifiers(*whole).classifiers
    rows: list[dict[str, Any]] = []
    terms: list[dict[str, Any]] = []
    for way, seed in product(arguments.way, arguments.seeds):
        name = name_of(arguments, way)
        other = f"-falling-{size.falling:g}" if size.falling != FALLING else ""
        folder = arguments.work / f"{name}{other}" / f"seed-{seed}"
        model = run(size, way, seed, data, judges, folder)
        marks = json.loads((folder / "scores.json").read_text())
        rows += [{"way": way, "seed": seed, **row} for row in marks]
        if len(arguments.way) > 1:
            terms += [{"way": way, "seed": seed, **row} for row in terms_of(folder)]
            write_ways(name_of(arguments, "ways"), command_of(arguments), rows, terms)
            continue
        if seed == arguments.seeds[0]:
            draw(model, data[1], score(model, *data, judges, seed)["coherence"], name, seed)
        write_one(name, command_of(arguments), rows, size.wanted(arguments.missing))


if __name__ == "__main__":
    main()
