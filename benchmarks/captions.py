"""Images with captions: clusters, and what each modality generates of the other.

    python benchmarks/captions.py                   by the library, and as a user with files has it
    python benchmarks/captions.py --ways "warm-up"  with one cluster first, as for tables

4,000 coloured digits with captions by eleven made-up writers train (``caption_data.py``,
``caption_words.py``); 1,000 others test, with captions by the same writers and by three that are
met there first. Labels score, and do nothing else. Opponents are told that there are ten groups,
our ways are not. A run that was stopped goes on from its last epoch; finished ones in ``--work``
are not run again.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from caption_data import Pairs, splits
from caption_opponents import OPPONENTS, opponent_rows
from caption_scores import about, draw, judges_of, scores
from polymnist import SEEDS, SMALL
from timing import RECORDS, device, table, write_record

from cmvae import CMVAE, CMVAEConfig, MultimodalBaseDataset, fit
from cmvae.base.files import atomic_write
from cmvae.preprocessing import Tokenizer
from cmvae.training.callbacks import CosineDecay
from cmvae.training.checkpoints import last_checkpoint
from cmvae.training.start import Start

EPOCHS, BATCH, RATE = 40, 64, 2e-3
CLUSTERS = 40
OURS = "alignment that lasts"
STARTS = {
    OURS: Start(alignment_epochs=(12, 8), initial_clusters="auto"),
    "warm-up": Start(warmup_epochs=20, initial_clusters="auto"),
}
FILES = {
    "cmvae fit": [],
    "cmvae fit --alignment-epochs 24 16": ["--alignment-epochs", "24", "16"],
}
USUAL = [OURS, "cmvae fit"]
COMMAND = "import sys; sys.argv[0] = 'cmvae'; from cmvae.cli import main; main()"


# Our model
# --------------------------------------------------------------------------------------------------


def build(tokenizer: Tokenizer, seed: int) -> CMVAE:
    """Return a model; the settings are those of benchmarks/polymnist.py."""
    torch.manual_seed(seed)
    return CMVAE(
        CMVAEConfig(
            n_modalities=2,
            input_dims={"image": (3, 28, 28), "caption": tokenizer.shape},
            latent_dim=32,
            modalities_specific_dim=32,
            beta=2.5,
            number_of_clusters=CLUSTERS,
            decoders_dist={"image": "laplace", "caption": "categorical"},
            decoder_dist_params={"image": {"scale": 0.25}},
            prior_and_posterior_dist="normal_with_softplus",
            covariance="full",
            K=1,
            loss="iwae_looser",
            networks={"image": SMALL},
        )
    )


def train(start: Start, tokenizer: Tokenizer, data: MultimodalBaseDataset, seed: int, folder: Path):
    """Train, or go on, in ``folder``; return the model and the minutes of this call."""
    model, last, began = build(tokenizer, seed), last_checkpoint(folder), time.perf_counter()
    fit(
        model,
        data,
        max_epochs=EPOCHS,
        start=start.replace(seed=seed),
        batch_size=BATCH,
        learning_rate=RATE,
        seed=seed,
        run_dir=folder,
        resume_from=last if last.exists() else None,
        overwrite=True,
        callbacks=[CosineDecay()],
        enable_progress_bar=False,
    )
    return model.to(device()).eval(), (time.perf_counter() - began) / 60


def run(way: str, seed: int, tokenizer: Tokenizer, data: dict, judges: dict, folder: Path) -> dict:
    """Return the scores of a run by the library; its model is in ``folder / "model"``."""
    model, minutes = train(STARTS[way], tokenizer, data["train"], seed, folder)
    model.save_pretrained(folder / "model")
    return {"way": way, "seed": seed, "minutes": minutes, **scores(model, data, judges, seed)}


# The door of users with files
# --------------------------------------------------------------------------------------------------


def run_files(
    way: str, seed: int, pairs: dict[str, Pairs], data: dict, judges: dict, folder: Path
) -> dict:
    """Return the scores of ``cmvae fit`` on a folder of images and a file of captions.

    It runs in a process of its own. Its model reads the same numbers of words as the others here,
    as these are learned from the same captions; samples are assigned by the command's own rule.
    """
    began, fitted = time.perf_counter(), folder / "run"
    pairs["train"].write(folder)
    files = {"image": "images", "caption": "captions.csv"}
    given = [word for m, own in files.items() for word in ("--modality", f"{m}={folder / own}")]
    options = [*given, "--seed", seed, *FILES[way], "--out", fitted, "--overwrite"]
    command = [sys.executable, "-c", COMMAND, "fit", *options]
    subprocess.run([*map(str, command)], check=True)
    row = {"way": way, "seed": seed, "minutes": (time.perf_counter() - began) / 60}
    model = CMVAE.from_pretrained(fitted / "model").to(device()).eval()
    return {**row, **scores(model, data, judges, seed, rule="joint")}


# Records
# --------------------------------------------------------------------------------------------------


def summary(rows: list[dict]) -> list[dict]:
    """Return a row for each measure: medians of the ways over seeds, with least and most."""
    ways = list(dict.fromkeys(row["way"] for row in rows))
    measures = list(dict.fromkeys(name for row in rows for name in row))
    found = []
    for name in measures[2:]:  # after way and seed
        line = {"measure": name}
        for way in ways:
            values = [row[name] for row in rows if row["way"] == way and name in row]
            if values:
                low, high = min(values), max(values)
                line[way] = f"{np.median(values):.3g} ({low:.3g} to {high:.3g})"
        found.append(line)
    return found


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ways = [*STARTS, *FILES]
    parser.add_argument("--ways", nargs="+", choices=ways, default=USUAL)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--work", type=Path, default=Path("runs/captions"), help="where runs go")
    parser.add_argument("--out", type=Path, default=RECORDS, help="folder of the records")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pairs = splits()
    tokenizer = Tokenizer.fit(pairs["train"].captions)
    data = {split: own.dataset(tokenizer) for split, own in pairs.items()}
    judges, rows = judges_of(pairs, tokenizer), []
    for way in arguments.ways:
        for seed in arguments.seeds:
            folder = arguments.work / re.sub(r"\W+", "-", way) / f"seed-{seed}"
            done = folder / "scores.json"
            if not done.is_file():
                made = (
                    run(way, seed, tokenizer, data, judges, folder)
                    if way in STARTS
                    else run_files(way, seed, pairs, data, judges, folder)
                )
                with atomic_write(done) as path:
                    path.write_text(json.dumps(made, default=float))
            rows.append(json.loads(done.read_text()))
            print(rows[-1], flush=True)
            if way == OURS and seed == arguments.seeds[0]:
                model = CMVAE.from_pretrained(folder / "model").eval()
                with atomic_write(arguments.out / "captions.png") as path:
                    figure = draw(model, tokenizer, pairs, data, seed)
                    figure.savefig(path, dpi=110, format="png")
    rows += opponent_rows(pairs, arguments.seeds)
    found = summary(rows)
    columns = ["measure", *arguments.ways, *OPPONENTS]
    lines = [*about(pairs, data, judges), *table(found, columns)]
    lines += ["", f"Medians of seeds {arguments.seeds}, with least and most."]
    call = ["python benchmarks/captions.py"]
    if arguments.ways != USUAL:
        call += ["--ways", *map(repr, arguments.ways)]
    if arguments.seeds != SEEDS:
        call += ["--seeds", *map(str, arguments.seeds)]
    write_record("captions", " ".join(call), rows, lines, folder=arguments.out)


if __name__ == "__main__":
    main()
