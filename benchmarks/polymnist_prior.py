"""Where unconditional coherence is lost: by the mixture, or by a decoder that draws another digit.

    python benchmarks/polymnist_prior.py --models runs/polymnist/polymnist-long/seed-*/model

``--models`` are folders that ``polymnist.py`` leaves, one for each of ``--seeds``. Coherence of the
mixture's draws is compared with that of z that encoders read from real test images, as a prior
could draw them at best, and of z nearer to the centres of clusters; w is always of the prior. Then
the mixture's draws, a cluster at a time: the digit that most of its images show, and the share of
them that do, by modality. Writes ``records/polymnist-prior.json`` and ``.md``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from polymnist import SEEDS
from timing import device, table, write_record
from torch import Generator, Tensor

from cmvae import CMVAE
from cmvae.datasets import polymnist_5k
from cmvae.metrics import train_classifiers

N_SAMPLES, TEMPERATURES = 2000, (0.5, 0.0)
AGREE, SHOWN = "all modalities show one digit", "the cluster's digit"


def digits(model: CMVAE, latents: Mapping[str, Any], judges: Mapping[str, Any]) -> Tensor:
    """Return what the classifiers see in the images decoded from latents, (M, n)."""
    images = model.decode(latents)
    return torch.stack([judges[m](images[m]).argmax(-1) for m in model.modalities]).cpu()


def agreement(seen: Tensor) -> float:
    """Return the share of samples of which all modalities show the same."""
    return float((seen == seen[0]).all(0).float().mean())


def by_source(model: CMVAE, test: Any, judges: Mapping[str, Any], seed: int) -> list[dict]:
    """Return coherence by where z comes from: draws of the mixture, real images, near the centres.

    All have the w, and the clusters, of the same draws of the prior.
    """
    drawn = model.generate_from_prior(N_SAMPLES, generator=Generator(device()).manual_seed(seed))
    centres = model.cluster_centers[drawn["clusters"]]
    sources = {"the mixture": drawn["z"]}
    images = {m: x.to(device()) for m, x in test.batch(range(N_SAMPLES))["data"].items()}
    for m in model.modalities:
        generator = Generator(device()).manual_seed(seed)
        read = model.encode({m: images[m]}, flatten=True, generator=generator)
        sources[f"{m} of test images"] = read["z"]
    for share in TEMPERATURES:
        sources[f"{share:g} of the way from the centre"] = centres + share * (drawn["z"] - centres)
    return [
        {"z from": name, AGREE: agreement(digits(model, {**drawn, "z": z}, judges))}
        for name, z in sources.items()
    ]


def by_cluster(model: CMVAE, judges: Mapping[str, Any], seed: int) -> list[dict]:
    """Return for each cluster its digit, and the share of the mixture's draws that show it."""
    drawn = model.generate_from_prior(N_SAMPLES, generator=Generator(device()).manual_seed(seed))
    seen, clusters = digits(model, drawn, judges), drawn["clusters"].cpu()
    rows = []
    for cluster in clusters.unique().tolist():
        own = seen[:, clusters == cluster]
        digit = int(own.flatten().mode().values)
        shares = (own == digit).float().mean(1).tolist()
        row = {SHOWN: digit, **dict(zip(model.modalities, shares, strict=True))}
        rows.append({"n": own.shape[1], **row, AGREE: agreement(own)})
    return sorted(rows, key=lambda row: row[AGREE])


@torch.no_grad()
def main() -> None:
    """Read the models, and record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="one of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    test = polymnist_5k("test")
    judges = train_classifiers(polymnist_5k("train"), test).classifiers
    judges = {m: judge.to(device()) for m, judge in judges.items()}
    sources: list[dict] = []
    clusters: list[dict] = []
    for seed, folder in zip(arguments.seeds, arguments.models, strict=True):
        model = CMVAE.from_pretrained(folder).to(device()).eval()
        sources += [{"seed": seed, **row} for row in by_source(model, test, judges, seed)]
        clusters += [{"seed": seed, **row} for row in by_cluster(model, judges, seed)]
    lines = [*table(sources, list(sources[0])), "", *table(clusters, list(clusters[0]))]
    rows = [{"table": "z from", **row} for row in sources]
    rows += [{"table": "cluster", **row} for row in clusters]
    command = (
        "python benchmarks/polymnist_prior.py --models runs/polymnist/polymnist-long/seed-*/model"
    )
    write_record("polymnist-prior", command, rows, lines)


if __name__ == "__main__":
    main()
