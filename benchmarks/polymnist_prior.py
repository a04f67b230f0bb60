"""Where unconditional coherence is lost: by the mixture, or by a decoder that draws another digit.

    python benchmarks/polymnist_prior.py --models runs/polymnist/polymnist-long/seed-*/model

``--models`` are folders that ``polymnist.py`` leaves, one for each of ``--seeds``. Coherence of the
mixture's draws is compared with that of z that encoders read from real test images, as a prior
could draw them at best, and of z nearer to the centres of clusters; w is always of the prior. The
real images themselves show what the judges disagree on. Then the mixture's draws, a cluster at a
time: the digit that most of its images show, the share of them that do, by modality, and its share
of all draws on which modalities disagree. Writes ``records/polymnist-prior.json`` and ``.md``.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from timing import device, table, write_record
from torch import Generator, Tensor

from cmvae import CMVAE
from cmvae.datasets import polymnist_5k
from cmvae.metrics import train_classifiers

N_SAMPLES, TEMPERATURES = 2000, (0.5, 0.0)
AGREE, SHOWN, LOST = "all modalities show one digit", "the cluster's digit", "of all that disagree"
REAL = "no decoder: real images"


def digits(images: Mapping[str, Tensor], judges: Mapping[str, Any]) -> Tensor:
    """Return what the classifiers of M modalities see in n images of each, (M, n)."""
    return torch.stack([judge(images[m]).argmax(-1) for m, judge in judges.items()]).cpu()


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
    seen = {name: digits(model.decode({**drawn, "z": z}), judges) for name, z in sources.items()}
    seen[REAL] = digits(images, judges)
    return [{"z from": name, AGREE: agreement(own)} for name, own in seen.items()]


def by_cluster(model: CMVAE, judges: Mapping[str, Any], seed: int) -> list[dict]:
    """Return for each cluster its digit, the share of its draws that show it, and what it loses."""
    drawn = model.generate_from_prior(N_SAMPLES, generator=Generator(device()).manual_seed(seed))
    seen, clusters = digits(model.decode(drawn), judges), drawn["clusters"].cpu()
    rows, lost = [], (seen != seen[0]).any(0)
    for cluster in clusters.unique().tolist():
        own = seen[:, clusters == cluster]
        digit = int(own.flatten().mode().values)
        shares = (own == digit).float().mean(1).tolist()
        row = {SHOWN: digit, **dict(zip(model.modalities, shares, strict=True))}
        share = float(lost[clusters == cluster].sum() / lost.sum().clamp(min=1))
        rows.append({"n": own.shape[1], **row, AGREE: agreement(own), LOST: share})
    return sorted(rows, key=lambda row: row[AGREE])


@torch.no_grad()
def main() -> None:
    """Read the models, and record."""
    import polymnist  # it registers the models' networks, which tests of the above do not need

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="one of each seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=polymnist.SEEDS)
    arguments = parser.parse_args()
    if len(arguments.models) != len(arguments.seeds):
        got = f"{len(arguments.models)} folders for {len(arguments.seeds)} seeds"
        parser.error(f"--models takes a folder for each of --seeds, got {got}")
    test = polymnist_5k("test")
    judges = train_classifiers(polymnist_5k("train"), test).classifiers
    sources: list[dict] = []
    clusters: list[dict] = []
    for seed, folder in zip(arguments.seeds, arguments.models, strict=True):
        model = CMVAE.from_pretrained(folder).to(device()).eval()
        own = {m: judges[m].to(device()) for m in model.modalities}
        sources += [{"seed": seed, **row} for row in by_source(model, test, own, seed)]
        clusters += [{"seed": seed, **row} for row in by_cluster(model, own, seed)]
    lines = [*table(sources, list(sources[0])), "", *table(clusters, list(clusters[0]))]
    rows = [{"table": "z from", **row} for row in sources]
    rows += [{"table": "cluster", **row} for row in clusters]
    folders = "runs/polymnist/polymnist-long/seed-*/model"
    command = f"python benchmarks/polymnist_prior.py --models {folders}"
    if arguments.seeds != polymnist.SEEDS:
        command = " ".join([command, "--seeds", *map(str, arguments.seeds)])
    write_record("polymnist-prior", command, rows, lines)


if __name__ == "__main__":
    main()
