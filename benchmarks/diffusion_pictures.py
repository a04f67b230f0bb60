"""What is drawn of diffusion decoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusion_scores import View
from matplotlib.figure import Figure
from timing import device
from torch import Generator

from cmvae import DCMVAE
from cmvae.base.files import atomic_write
from cmvae.report import cross_generations, generation_grid, save_figure

SHOWN = 8  # images in a row


def draw_ways(model: DCMVAE, test: Any, options: Mapping[str, Any], path: Path) -> None:
    """Save images, a column for each modality: given, from the CMVAE, and refined."""
    names, originals = model.modalities, test.batch(range(SHOWN))["data"]
    made = {refine: _made(model, originals, refine, options) for refine in (False, True)}
    figure = Figure(figsize=(0.5 * SHOWN * len(names) + 1.2, 4.2))
    panels = figure.subplots(8, len(names), squeeze=False)
    for place, m in enumerate(names):
        source = names[(place + 1) % len(names)]
        rows = {"self: given": originals[m]}
        for way, given in (("self", m), ("cross", source), ("prior", "prior")):
            if way == "cross":
                rows["cross: given"] = originals[source]
            for refine, own in made.items():
                rows[f"{way}: {'refined' if refine else 'CMVAE'}"] = torch.cat(own.made[given, m])
        for axis, (label, images) in zip(panels[:, place], rows.items(), strict=True):
            axis.imshow(torch.cat(list(images.clamp(0, 1)), 2).permute(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            if place == 0:
                axis.set_ylabel(label, rotation=0, ha="right", va="center")
        panels[0, place].set_title(m)
    figure.subplots_adjust(hspace=0.06, wspace=0.03)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, bbox_inches="tight", dpi=130, format="png")


def _made(
    model: DCMVAE, originals: Mapping[str, Any], refine: bool, options: Mapping[str, Any]
) -> View:
    """Return a view that has generated from each modality and from the prior."""
    view, generator = View(model, refine, options if refine else {}), _generator()
    for source, images in originals.items():
        view.predict({"data": {source: images}}, source, list(originals), generator=generator)
    view.decode(view.generate_from_prior(SHOWN, generator=generator))
    return view


def draw_each(
    model: DCMVAE,
    test: Any,
    options: Mapping[str, Any],
    shares: Mapping[str, Mapping[str, float]],
    path: Path,
) -> None:
    """Save refined images from each modality to each, with the shares that are read right."""
    few = test[:9]
    made = cross_generations(View(model, True, options), few, generator=_generator())
    save_figure(generation_grid(dict(few.batch(range(9))["data"]), made, shares), path)


def _generator() -> Generator:
    return Generator(device()).manual_seed(0)
