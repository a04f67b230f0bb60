"""CUBICC, photographs of birds and captions of them: the paper's settings, or ours.

    python benchmarks/cubicc.py --data FOLDER              the published files: records/cubicc.*
    python benchmarks/cubicc.py --data FOLDER --way ours   encoders' alignment first, to the end

FOLDER holds images.pt, captions.pt, labels.pt and three files NAME_split.npy, which
``cmvae.datasets.cubicc`` reads. Labels score, and do nothing else. The paper's settings are those
that its authors' program has by default: 64 shared and 32 private dimensions, 35 clusters, Normal
latents, 10 draws, DReG gradients as in print, 300 epochs in batches of 32 with a step size of
0.001; photographs with a Laplace likelihood of scale 0.01, weighted by words / pixels, captions
weighted by 5; β 1, and 5 in one of their commands (``--beta 5``). Clusters are then pruned on the
training pairs, as the paper does. Its networks are not repeated: ``resnet`` and ``sequence`` are
those of this package. A run that was stopped goes on from its last epoch.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from timing import RECORDS, device, table, write_record

from cmvae import CMVAE, CMVAEConfig, MultimodalBaseDataset, fit
from cmvae.base.files import atomic_write
from cmvae.datasets import cubicc
from cmvae.metrics import clustering_by_subset, train_classifiers
from cmvae.models.inference import evaluating
from cmvae.training.checkpoints import last_checkpoint

EPOCHS, BATCH, RATE = 300, 32, 1e-3
SPLITS = ("train", "validation", "test")
WAYS = ("paper", "ours")
ALIGNMENT = (10, 10)


def build(data: dict[str, MultimodalBaseDataset], way: str, beta: float, seed: int) -> CMVAE:
    """Return a model with the paper's settings, or with ours where they differ."""
    torch.manual_seed(seed)
    captions = [own.data["caption"] for own in data.values()]
    image = tuple(data["train"].batch([0])["data"]["image"].shape[1:])
    words = captions[0].shape[1], 1 + max(int(own.max()) for own in captions)
    shapes, config = {"image": image, "caption": words}, {"beta": beta}
    if way == "ours":
        config |= {
            "K": 1,
            "loss": "iwae_looser",
            "dreg_estimator": "unbiased",
            "decoder_dist_params": {"image": {"scale": 0.25}},
            "uses_likelihood_rescaling": False,
            "rescale_factors": None,
            "networks": {"image": "conv_residual"},
            "covariance": "full",
        }
    return CMVAE(CMVAEConfig.paper("cubicc", input_dims=shapes, **config))


def run(
    arguments: argparse.Namespace, data: dict[str, MultimodalBaseDataset], seed: int
) -> tuple[CMVAE, int]:
    """Train, or go on; return the model, in eval mode, and the clusters that pruning left."""
    folder = arguments.work / arguments.way / f"seed-{seed}"
    model, last = build(data, arguments.way, arguments.beta, seed), last_checkpoint(folder)
    ours = {"alignment_epochs": ALIGNMENT, "initial_clusters": "auto"}
    fit(
        model,
        data["train"],
        max_epochs=arguments.epochs,
        batch_size=BATCH,
        learning_rate=RATE,
        seed=seed,
        run_dir=folder,
        resume_from=last if last.exists() else None,
        overwrite=True,
        enable_progress_bar=False,
        **(ours if arguments.way == "ours" else {}),
    )
    model.to(device()).eval()
    if arguments.way == "paper":
        model.prune_clusters(data["train"])
    model.save_pretrained(folder / "model")
    return model, model.n_clusters


@torch.no_grad()
def image_coherence(
    model: CMVAE, test: MultimodalBaseDataset, judge: torch.nn.Module, seed: int
) -> dict[str, float]:
    """Return how often a classifier sees the species in photographs, real ones and generated."""
    generator, right = torch.Generator(device()).manual_seed(seed), {}
    labels, pairs = test.labels, test.batch(range(len(test)))["data"]
    made = {m: model.predict(test, m, "image", generator=generator)["image"][:, 0] for m in pairs}
    with evaluating(judge):
        for name, images in {**made, "real": pairs["image"]}.items():
            classes = judge.to(images)(images.clamp(0, 1)).argmax(-1).cpu()
            right[name] = float((classes == labels).float().mean())
    return {
        "caption → image": right["caption"],
        "image → itself": right["image"],
        "real images (ceiling)": right["real"],
    }


def scores(model: CMVAE, data: dict, judge: torch.nn.Module, seed: int) -> dict[str, float]:
    """Return the scores of the test pairs."""
    by_subset = clustering_by_subset(model, data["test"], data["test"].labels)
    found = {
        f"{name} {subset}": by_subset[subset][name]
        for subset in ("image+caption", "image", "caption")
        for name in ("ACC", "NMI", "ARI")
    }
    return {**found, **image_coherence(model, data["test"], judge, seed)}


def judge_of(data: dict[str, MultimodalBaseDataset], epochs: int) -> torch.nn.Module:
    """Return a classifier of photographs."""
    alone = {
        split: MultimodalBaseDataset({"image": own.data["image"]}, own.labels)
        for split, own in data.items()
    }
    species = 1 + max(int(own.labels.max()) for own in data.values())
    trained = train_classifiers(alone["train"], alone["test"], n_classes=species, epochs=epochs)
    return trained.classifiers["image"]


def record(arguments: argparse.Namespace, rows: list[dict]) -> None:
    """Write medians of the seeds, with least and most."""
    lines = []
    for name in [own for own in rows[0] if own not in ("way", "seed")]:
        values = [row[name] for row in rows]
        spread = f"{min(values):.3g} to {max(values):.3g}"
        lines.append({"measure": name, "median": np.median(values), "least to most": spread})
    name = "cubicc" + ("" if arguments.way == "paper" else f"-{arguments.way}")
    command = f"python benchmarks/cubicc.py --data FOLDER --way {arguments.way}"
    command += f" --beta {arguments.beta:g} --epochs {arguments.epochs}"
    shown = table(lines, list(lines[0]))
    write_record(name, command, rows, shown, folder=arguments.out)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the published files")
    parser.add_argument("--way", choices=WAYS, default="paper")
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--work", type=Path, default=Path("runs/cubicc"), help="where runs go")
    parser.add_argument("--out", type=Path, default=RECORDS, help="folder of the records")
    arguments = parser.parse_args()
    try:
        data = {split: cubicc(arguments.data, split) for split in SPLITS}
    except ValueError as error:
        raise SystemExit(f"--data: {error}") from None
    judge, rows = judge_of(data, min(20, arguments.epochs)), []
    for seed in arguments.seeds:
        model, clusters = run(arguments, data, seed)
        found = {"clusters": clusters, **scores(model, data, judge, seed)}
        rows.append({"way": arguments.way, "seed": seed, **found})
        file = arguments.work / arguments.way / f"seed-{seed}" / "scores.json"
        with atomic_write(file) as path:
            path.write_text(json.dumps(rows[-1], default=float))
        record(arguments, rows)


if __name__ == "__main__":
    main()
