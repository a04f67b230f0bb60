"""Figures for files, drawn without ``pyplot``: no global state, no window, nothing to close."""

import math
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.patheffects
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from cmvae.base.files import atomic_write
from cmvae.base.words import counted
from cmvae.data.checks import as_tensor
from cmvae.metrics.clustering import as_categories
from cmvae.report import drawing
from cmvae.report.drawing import GREY, INK, PALETTE

DPI = 150
MAX_POINTS = 2000
MAX_IN_LEGEND = 20
LONGEST_AT_MEDIAN = 3  # characters
POINT_SIZE = 14.0
PALE = 0.45  # of the opacity and the area of a complete sample's point


def embedding_figure(
    embedding: Any,
    clusters: Any,
    labels: Any = None,
    n_observed: Any = None,
    *,
    max_points: int = MAX_POINTS,
) -> Figure:
    """Draw samples in the plane, coloured by cluster and, in a second panel, by label.

    The projection is t-SNE (van der Maaten and Hinton, 2008) started from the principal components,
    or the principal components themselves where there are fewer than 50 samples or at most two
    dimensions; it is the same each time. Each cluster's number is written at its median.

    Args:
        embedding: (n, d) finite numbers, one row for each sample.
        clusters: n cluster indices.
        labels: n numbers or strings, or None for no second panel.
        n_observed: How many modalities each sample has observed, n integers; those with fewer than
            the most are drawn smaller and paler. None = all complete.
        max_points: At most so many samples, drawn at random with a fixed seed, are shown.

    Raises:
        TypeError: For what is not numbers (or, for labels, strings).
        ValueError: For lengths that differ, no samples, wrong shapes, NaN, infinity, numbers < 1.
    """
    groups = {"clusters": as_categories(clusters, "clusters")}
    if labels is not None:
        groups["labels"] = as_categories(labels, "labels")
    n = len(groups["clusters"])
    counts = np.ones(n) if n_observed is None else as_categories(n_observed, "n_observed")
    by_sample = {**groups, "n_observed": counts}
    shown, plane, axis = drawing.choose_and_project(embedding, by_sample, max_points)
    is_complete = (counts == counts.max())[shown]
    figure = Figure(figsize=(5.4 * len(groups) + 0.2, 5.3), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for panel, (name, values) in zip(panels, groups.items(), strict=True):
        drawing.name_axes(panel, axis)
        _draw_groups(panel, plane, values[shown], is_complete, name.removesuffix("s"))
    note = f"{len(shown)} of {n} samples" if len(shown) < n else f"{n} samples"
    if not is_complete.all():
        note += f"; the {int((~is_complete).sum())} small, pale ones have fewer modalities observed"
    figure.supxlabel(note, fontsize=9, color=GREY)
    return figure


def entropy_figure(h_values: Sequence[float] | Any, chosen: int) -> Figure:
    """Draw the criterion by which the number of clusters was chosen, against that number.

    Args:
        h_values: What ``CMVAE.prune_clusters`` returns: C + 1 numbers, the index being the number
            of active clusters; infinite where it was not evaluated, which is left out. Where
            nothing was, a note says so.
        chosen: The number of clusters that was kept, which is marked.

    Raises:
        TypeError: For a ``chosen`` that is not an integer, and values that are not numbers.
        ValueError: For other than one axis, NaN, or a ``chosen`` out of range or not evaluated.
    """
    values = as_tensor(h_values, "h_values").detach().cpu().double().numpy()
    if values.ndim != 1 or np.isnan(values).any():
        got = values.tolist()
        raise ValueError(f"h_values: expected a list of numbers, none of them NaN, got {got}")
    chosen, last = operator.index(chosen), len(values) - 1
    if not 0 <= chosen <= last:
        raise ValueError(f"chosen: expected an index of h_values, 0 to {last}, got {chosen}")
    sizes = np.flatnonzero(np.isfinite(values))
    if len(sizes) and chosen not in sizes:
        what = f"one of the evaluated sizes {sizes.tolist()}"
        raise ValueError(f"chosen: expected {what}, got {chosen}")

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    panel = figure.subplots()
    criterion = "penalised normalised entropy (lower is better)"
    panel.set(xlabel="number of active clusters", ylabel=criterion)
    panel.spines[["top", "right"]].set_visible(False)
    if len(sizes) == 0:
        note = f"not evaluated: that takes two active clusters or more\n(active: {chosen})"
        panel.text(0.5, 0.5, note, ha="center", va="center", color=GREY, transform=panel.transAxes)
        panel.set(xticks=[], yticks=[])
        return figure
    (curve,) = panel.plot(sizes, values[sizes], "o-", color=PALETTE[0], label="criterion")
    curve.set(markersize=4, linewidth=1.5)
    panel.axvline(chosen, color=PALETTE[3], linestyle="--", linewidth=1, zorder=1)
    mark = f"chosen: {counted(chosen, 'cluster')}"
    panel.plot(chosen, values[chosen], "o", color=PALETTE[3], markersize=9, zorder=3, label=mark)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.margins(y=0.1)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.legend(frameon=False)
    return figure


def translation_figure(
    originals: Any, generated: Mapping[str, Any], shares: Mapping[str, float] | None = None
) -> Figure:
    """Draw images and, in rows below, what was generated in their place from each other modality.

    Args:
        originals: (n, H, W) finite numbers; the smallest is drawn black, the largest white.
        generated: Source modality -> (n, H, W) on the same scale, in the order of the rows; values
            beyond the range of the originals are cut off.
        shares: Source modality -> share of the generated images that a classifier gives the right
            label, in [0, 1], written beside its row; modalities may be left out.

    Raises:
        TypeError: For what is not numbers or not a mapping.
        ValueError: For shapes that differ or are wrong, no images, NaN or infinity, no source
            modality, a share of another modality or outside [0, 1].
    """
    if not isinstance(generated, Mapping):
        raise TypeError(f"generated must be a mapping, got {type(generated).__name__}")
    if not generated:
        raise ValueError("generated: expected at least one source modality, got none")
    shares, first = shares or {}, drawing.finite_array(originals, "originals", 3)
    rows = {"originals": _side_by_side(first)}
    for name, values in generated.items():
        images, text = drawing.finite_array(values, f"generated[{name!r}]", 3), f"from {name}"
        if images.shape != first.shape:
            shapes = f"the shape of the originals, {first.shape}, got {images.shape}"
            raise ValueError(f"generated[{name!r}]: expected {shapes}")
        if name in shares:
            text += f"\n{drawing.percent(shares[name], f'shares[{name!r}]')} right"
        rows[text] = _side_by_side(images)
    unknown = [name for name in shares if name not in generated]
    if unknown:
        raise ValueError(f"shares names {unknown}, but the source modalities are {list(generated)}")
    low, high = first.min(), first.max()
    return _image_rows(rows, low, high if high > low else low + 1)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG of 150 dots per inch, as a whole or not at all.

    Raises:
        ValueError: For a path that does not end in ``.png``.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"path: expected a file name that ends in .png, got {str(path)!r}")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _draw_groups(
    panel: Axes, plane: np.ndarray, values: np.ndarray, is_complete: np.ndarray, what: str
) -> None:
    """Draw points (n, 2) in the colour of their group, and name the groups."""
    names, groups = np.unique(values, return_inverse=True)
    texts = [drawing.short(name) for name in names.tolist()]
    area = POINT_SIZE * min(max(math.sqrt(MAX_POINTS / len(plane)), 1.0), 3.0)
    for group, text in enumerate(texts):
        colour, marker = drawing.colour_of(group), drawing.marker_of(group)
        for members, strength in ((~is_complete, PALE), (is_complete, 1.0)):
            own = plane[members & (groups == group)].T
            points = panel.scatter(*own, marker=marker, linewidths=0, label=text)
            points.set(sizes=[area * strength], alpha=0.85 * strength, color=colour)
            points.set_zorder(1 + strength)
    if max(map(len, texts)) <= LONGEST_AT_MEDIAN:
        _name_at_medians(panel, plane, groups, texts)
    elif len(texts) <= MAX_IN_LEGEND:
        _name_beside(panel, texts)
    panel.set_title(counted(len(texts), what), fontsize=11, color=INK)
    panel.set_box_aspect(1)


def _name_at_medians(panel: Axes, plane: np.ndarray, groups: np.ndarray, texts: list[str]) -> None:
    outline = [matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")]
    for group, text in enumerate(texts):
        x, y = np.median(plane[groups == group], axis=0)
        name = panel.text(x, y, text, ha="center", va="center", parse_math=False, zorder=5)
        name.set(fontsize=11, weight="bold", color=INK, path_effects=outline)


def _name_beside(panel: Axes, texts: list[str]) -> None:
    handles = [Line2D([], [], linestyle="", label="label") for _ in texts]
    for group, handle in enumerate(handles):
        handle.set(color=drawing.colour_of(group), marker=drawing.marker_of(group))
    legend = panel.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
    legend.set_frame_on(False)
    # A handle's label would be read as a formula, and left out if it began with an underscore.
    for entry, text in zip(legend.get_texts(), texts, strict=True):
        entry.set(text=text, parse_math=False)


def _image_rows(rows: Mapping[str, np.ma.MaskedArray], low: float, high: float) -> Figure:
    """Draw images of one size (H, W) below each other, their texts on the left."""
    height, width = next(iter(rows.values())).shape
    tall, gap, margin = 0.72, 0.12, 0.1  # inches
    # Laid out by hand: automatic layouts do not know how far a panel of fixed aspect shrinks.
    left = 0.2 + 0.08 * max(len(line) for text in rows for line in text.split("\n"))
    wide = tall * width / height
    size = (left + wide + margin, len(rows) * (tall + gap) - gap + 2 * margin)
    figure = Figure(figsize=size)
    for row, (text, image) in enumerate(rows.items()):
        bottom = size[1] - margin - row * (tall + gap) - tall
        panel = figure.add_axes((left / size[0], bottom / size[1], wide / size[0], tall / size[1]))
        panel.imshow(image, cmap="gray", vmin=low, vmax=high)
        drawing.empty_panel(panel)
        drawing.name_row(panel, text)
    return figure


def _side_by_side(images: np.ndarray) -> np.ma.MaskedArray:
    """Return images (n, H, W) as one (H, n(W + g) − g), masked in the gaps of g pixels."""
    n, height, width = images.shape
    gap = max(1, round(height / 16))
    row = np.full((height, n, width + gap), np.nan)
    row[:, :, :width] = images.transpose(1, 0, 2)
    return np.ma.masked_invalid(row.reshape(height, -1)[:, :-gap])
