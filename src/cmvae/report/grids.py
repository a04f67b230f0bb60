"""Figures of many images: translations between modalities, clusters, the embedding."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Generator, Tensor

from cmvae.base.arguments import positive_int
from cmvae.data.checks import as_tensor
from cmvae.metrics.clustering import as_categories
from cmvae.metrics.coherence import GenerativeModel
from cmvae.metrics.reading import as_dataset, batches, data_of, restrict
from cmvae.report import drawing
from cmvae.report.drawing import GREY, INK

GAP = 1  # pixels between images side by side
FRAME = 2  # pixels of a cluster's colour around a thumbnail
CELL = 1.15  # inches
MAX_TEXT = 14  # characters of a modality's name above a column


@torch.no_grad()
def cross_generations(
    model: GenerativeModel, data: Any, *, generator: Generator | None = None
) -> dict[str, dict[str, Tensor]]:
    """Generate every modality from every modality that the data hold, one draw for each sample.

    Args:
        model: A CMVAE, or anything with its ``modalities`` and ``predict``.
        data: A few samples, anything that :func:`cmvae.metrics.reading.batches` takes.
        generator: Source of randomness, on the model's device.

    Returns:
        {modality conditioned on: {modality: (n, *input shape)}} on the CPU, in the units of the
        data; NaN for samples that lack the modality conditioned on.
    """
    dataset = as_dataset(data)
    batch = next(batches(dataset, len(dataset)))
    found: dict[str, dict[str, Tensor]] = {m: {} for m in model.modalities if m in batch["data"]}
    for source in found:
        inputs, rows = restrict(batch, (source,))
        if not len(rows):
            continue
        drawn = model.predict(inputs, source, list(model.modalities), generator=generator)
        for target, values in drawn.items():
            images = data_of(model, target, values[:, 0]).cpu()
            whole = images.new_full((len(dataset), *images.shape[1:]), math.nan)
            whole[rows] = images
            found[source][target] = whole
    return found


def generation_grid(
    originals: Mapping[str, Any],
    generated: Mapping[str, Mapping[str, Any]],
    shares: Mapping[str, Mapping[str, float]] | None = None,
) -> Figure:
    """Draw what is generated from each modality, a row for each, in each, a column for each.

    The first row has the originals. Every panel has the same samples in the same places. Rows and
    columns of the same name are self-generation, the others translations.

    Args:
        originals: Modality to images, for the columns; those of a sample without the modality are
            NaN and blank. Images are (n, C, H, W) or (n, H, W): floats in [0, 1], what is beyond
            being cut off, or bytes. One channel or two are drawn as the first in grey, more as the
            first three in colour.
        generated: Modality conditioned on, which may be one that is not drawn, to modality to
            images; targets may be left out, and are blank.
        shares: Likewise, to the share of the images in which a classifier sees the right class, in
            [0, 1], which is written below; None or left out = nothing.

    Raises:
        TypeError: For images that are not numbers.
        ValueError: For no modality, nothing generated, images of other shapes or another number
            than the originals, a target without originals, infinity, a share outside [0, 1].
    """
    if not originals or not generated:
        raise ValueError("originals and generated must each hold a modality at least")
    columns = _all_pictures(originals, "originals")
    rows: list[dict[str, np.ndarray]] = [columns]
    written: list[dict[str, str]] = [{}]
    for source, by_target in generated.items():
        what, own = f"generated[{source!r}]", (shares or {}).get(source) or {}
        unknown = [name for name in by_target if name not in columns]
        if unknown:
            raise ValueError(f"{what} has targets {unknown}; originals has {list(columns)}")
        rows.append(_all_pictures(by_target, what))
        where = f"shares[{source!r}]"
        written.append({m: drawing.percent(x, f"{where}[{m!r}]") for m, x in own.items()})
    n = len(next(iter(columns.values())))
    for row in rows:
        drawing.check_lengths(row, n, "image of the first modality")
    names = ["original", *(f"from {source}" for source in generated)]
    figure, panels = _panels(names, list(columns), CELL, CELL, 0.17)
    across = math.ceil(math.sqrt(n))
    for row, texts, panel_row in zip(rows, written, panels, strict=True):
        for name, panel in zip(columns, panel_row, strict=True):
            if name in row:
                panel.imshow(drawing.tiled(row[name], across, GAP), interpolation="nearest")
            if name in texts:
                panel.set_xlabel(texts[name], fontsize=7, color=GREY, labelpad=2)
    return figure


def cluster_samples_figure(images: Mapping[str, Any], clusters: Any, *, n_each: int = 6) -> Figure:
    """Draw samples of each cluster in every modality: rows are clusters, columns modalities.

    Args:
        images: Modality to images of n samples, as for :func:`generation_grid`: for instance what
            ``CMVAE.decode`` makes of ``CMVAE.generate_from_prior``.
        clusters: The cluster of each sample, n numbers.
        n_each: The first so many samples of a cluster are drawn, the same in every modality.

    Raises:
        TypeError: For what is not numbers.
        ValueError: For no modality, lengths that differ, images of other shapes, ``n_each`` < 1.
    """
    positive_int("n_each", n_each)
    if not images:
        raise ValueError("images must hold a modality at least, got none")
    pictures, groups = _all_pictures(images, "images"), as_categories(clusters, "clusters")
    drawing.check_lengths(pictures, len(groups), "entry of clusters")
    found = np.unique(groups)
    ratio = max(values.shape[2] / values.shape[1] for values in pictures.values())
    tall = CELL / 2.5
    names, wide = [drawing.short(group) for group in found.tolist()], tall * n_each * ratio
    figure, panels = _panels(names, list(pictures), tall, wide, 0.06)
    for group, panel_row in zip(found, panels, strict=True):
        rows = np.flatnonzero(groups == group)[:n_each]
        for values, panel in zip(pictures.values(), panel_row, strict=True):
            panel.imshow(drawing.tiled(values[rows], n_each, GAP), interpolation="nearest")
    return figure


def thumbnail_figure(
    embedding: Any, images: Any, clusters: Any = None, *, n_across: int = 24, max_points: int = 2000
) -> Figure:
    """Draw samples in the plane as their images, framed in the colour of their cluster.

    The plane is cut into cells, and each shows the sample closest to its centre, if it holds one.

    Args:
        embedding: (n, d) finite numbers, projected as by :func:`cmvae.report.embedding_figure`.
        images: n images of one modality, as for :func:`generation_grid`.
        clusters: n cluster indices, or None for no frames.
        n_across: Cells along a side.
        max_points: At most so many samples, drawn at random with a fixed seed, are projected.

    Raises:
        TypeError: For what is not numbers.
        ValueError: For lengths that differ, no samples, wrong shapes, NaN, infinity, numbers < 1.
    """
    by_sample = {"images": _pictures(images, "images")}
    if clusters is not None:
        by_sample["clusters"] = as_categories(clusters, "clusters")
    positive_int("n_across", n_across)
    shown, plane, axis = drawing.choose_and_project(embedding, by_sample, max_points)
    # Row 0 of an image is at the top.
    span = np.maximum(np.ptp(plane, axis=0), 1e-12)
    places = (plane - plane.min(0)) / span * (1 - 1e-9) * n_across
    places[:, 1] = n_across * (1 - 1e-12) - places[:, 1]
    canvas = _paint(places, n_across, **{name: own[shown] for name, own in by_sample.items()})
    figure = Figure(figsize=(7, 7 * canvas.shape[0] / canvas.shape[1] + 0.3), layout="constrained")
    panel = figure.subplots()
    panel.imshow(canvas, interpolation="nearest")
    drawing.name_axes(panel, axis)
    return figure


def _paint(
    places: np.ndarray, n_across: int, images: np.ndarray, clusters: np.ndarray | None = None
) -> np.ndarray:
    """Return a canvas (h, w, 3) with one picture in each cell that holds a place (column, row)."""
    height, width = images.shape[1] + 2 * FRAME, images.shape[2] + 2 * FRAME
    canvas = np.ones((n_across * height, n_across * width, 3))
    cells = np.floor(places).astype(int).clip(0, n_across - 1)
    # Farthest first: the sample closest to the centre of its cell is painted last, and stays.
    order = np.argsort(-np.linalg.norm(places - cells - 0.5, axis=1), kind="stable")
    codes = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    for i in order:
        left, top = cells[i] * (width, height)
        cell = canvas[top : top + height, left : left + width]
        if codes is not None:
            cell[:] = to_rgb(drawing.colour_of(codes[i]))
        cell[FRAME:-FRAME, FRAME:-FRAME] = images[i]
    return canvas


def _pictures(values: Any, name: str) -> np.ndarray:
    """Return images as (n, H, W, 3) in [0, 1], those with NaN white."""
    tensor = as_tensor(values, name).detach().cpu()
    array = tensor.double().numpy() / (1 if tensor.is_floating_point() else 255)
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim != 4 or 0 in array.shape:
        wanted = "images (n, C, H, W) or (n, H, W), none of length 0"
        raise ValueError(f"{name}: expected {wanted}, got {tensor.shape}")
    bad = np.isinf(array).any((1, 2, 3))
    if bad.any():
        raise ValueError(f"{name}: infinity in sample {int(bad.argmax())}")
    return drawing.as_colours(array)


def _all_pictures(images: Mapping[str, Any], what: str) -> dict[str, np.ndarray]:
    return {name: _pictures(own, f"{what}[{name!r}]") for name, own in images.items()}


def _panels(
    rows: list[str], columns: list[str], tall: float, wide: float, gap: float
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of panels ``gap`` inches apart, rows named on the left, columns above."""
    left = 0.2 + 0.08 * max(map(len, rows))
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    size = (left + len(columns) * (wide + 0.1), 0.3 + len(rows) * (tall + gap))
    figure = Figure(figsize=size, layout=layout)
    panels = figure.subplots(len(rows), len(columns), squeeze=False)
    for panel in panels.flat:
        drawing.empty_panel(panel)
    for panel, name in zip(panels[0], columns, strict=True):
        panel.set_title(drawing.shortened(name, MAX_TEXT), fontsize=9, color=INK, parse_math=False)
    for panel, text in zip(panels[:, 0], rows, strict=True):
        drawing.name_row(panel, text)
    return figure, panels.tolist()
