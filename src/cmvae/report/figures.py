"""Figures for files. They are drawn without ``pyplot``: no global state, no window, nothing to close."""

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
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from cmvae.base.files import atomic_write
from cmvae.data.checks import as_tensor
from cmvae.metrics.clustering import as_categories

# The first seven are those of Okabe and Ito ("Color universal design", 2008), yellow darkened for
# white paper. The others were added one by one, each as far as possible (in OKLab) from those
# before it for normal vision, protanopia and deuteranopia alike. Colours repeat after 20 with the
# next marker.
PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#e8d52e"),
    *("#691e00", "#2d2d78", "#695a5a", "#5a87ff", "#1e3cb4", "#2dd296", "#b42d00"),
    *("#3c3c4b", "#005a87", "#0f69e1", "#f05a69", "#876987", "#5ac3c3"),
)
MARKERS = "o^sDvP"
INK, GREY = "#222222", "#777777"

DPI = 150
MAX_POINTS = 2000
FEWEST_FOR_TSNE = 50
MAX_IN_LEGEND = 20
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
    dimensions. It takes a few seconds for 2000 samples and is the same each time. Each cluster's
    number is written at its median.

    Args:
        embedding: (n, d) finite numbers, one row for each sample.
        clusters: n cluster indices.
        labels: n numbers or strings, or None for no second panel.
        n_observed: how many modalities each sample has observed, n integers; those with fewer than
            the most are drawn smaller and paler. None = all complete.
        max_points: at most so many samples, drawn at random with a fixed seed, are shown.

    Returns:
        A figure with one panel, or two.

    Raises:
        TypeError: for what is not numbers (or, for labels, strings), and a ``max_points`` that is
            no integer.
        ValueError: for lengths that differ, no samples, wrong shapes, NaN or infinity, or
            ``max_points`` < 1.
    """
    points = _finite_array(embedding, "embedding", 2)
    n = len(points)
    by_sample = {"clusters": as_categories(clusters, "clusters")}
    if labels is not None:
        by_sample["labels"] = as_categories(labels, "labels")
    counts = np.ones(n) if n_observed is None else as_categories(n_observed, "n_observed")
    for name, values in {**by_sample, "n_observed": counts}.items():
        if len(values) != n:
            raise ValueError(
                f"{name}: expected {n} values, one for each row of embedding, got {len(values)}"
            )
    if operator.index(max_points) < 1:
        raise ValueError(f"max_points: expected at least 1, got {max_points}")

    shown = np.sort(np.random.default_rng(0).permutation(n)[:max_points])
    plane, axis_name = _project(points[shown])
    is_complete = (counts == counts.max())[shown]
    figure = Figure(figsize=(5.4 * len(by_sample) + 0.2, 5.3), layout="constrained")
    panels = figure.subplots(1, len(by_sample), squeeze=False)[0]
    for panel, (name, values) in zip(panels, by_sample.items(), strict=True):
        what = "cluster" if name == "clusters" else "label"
        _draw_groups(panel, plane, values[shown], is_complete, what)
        panel.set(xlabel=f"{axis_name} 1", ylabel=f"{axis_name} 2")
    note = f"{len(shown)} of {n} samples" if len(shown) < n else f"{n} samples"
    if not is_complete.all():
        note += f"; the {int((~is_complete).sum())} small, pale ones have fewer modalities observed"
    figure.supxlabel(note, fontsize=9, color=GREY)
    return figure


def entropy_figure(h_values: Sequence[float] | Any, chosen: int) -> Figure:
    """Draw the criterion by which the number of clusters was chosen, against that number.

    Args:
        h_values: what ``CMVAE.prune_clusters`` returns: C + 1 numbers, the index being the number
            of active clusters; infinite where it was not evaluated, which is left out.
        chosen: the number of clusters that was kept.

    Returns:
        A figure with one panel: the curve, and the chosen number marked on it. If nothing was
        evaluated, a note that says so.

    Raises:
        TypeError: for a ``chosen`` that is not an integer, and values that are not numbers.
        ValueError: for other than one axis, NaN, or a ``chosen`` that is out of range or not
            evaluated.
    """
    values = as_tensor(h_values, "h_values").detach().cpu().double().numpy()
    if values.ndim != 1 or np.isnan(values).any():
        raise ValueError(
            f"h_values: expected a list of numbers, none of them NaN, got {values.tolist()}"
        )
    chosen = operator.index(chosen)
    if not 0 <= chosen < len(values):
        raise ValueError(
            f"chosen: expected an index of h_values, 0 to {len(values) - 1}, got {chosen}"
        )
    sizes = np.flatnonzero(np.isfinite(values))
    if len(sizes) and chosen not in sizes:
        raise ValueError(
            f"chosen: expected one of the evaluated sizes {sizes.tolist()}, got {chosen}"
        )

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    panel = figure.subplots()
    panel.set(
        xlabel="number of active clusters", ylabel="penalised normalised entropy (lower is better)"
    )
    panel.spines[["top", "right"]].set_visible(False)
    if len(sizes) == 0:
        note = f"not evaluated: that takes two active clusters or more\n(active: {chosen})"
        panel.text(0.5, 0.5, note, ha="center", va="center", color=GREY, transform=panel.transAxes)
        panel.set(xticks=[], yticks=[])
        return figure
    panel.plot(
        sizes, values[sizes], "o-", color=PALETTE[0], markersize=4, linewidth=1.5, label="criterion"
    )
    panel.axvline(chosen, color=PALETTE[3], linestyle="--", linewidth=1, zorder=1)
    mark = f"chosen: {chosen} clusters"
    panel.plot(chosen, values[chosen], "o", color=PALETTE[3], markersize=9, zorder=3, label=mark)
    panel.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    panel.margins(y=0.1)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.legend(frameon=False)
    return figure


def translation_figure(
    originals: Any, generated: Mapping[str, Any], shares: Mapping[str, float] | None = None
) -> Figure:
    """Draw images beside what was generated in their place from each other modality.

    Args:
        originals: (n, H, W) finite numbers; the smallest is drawn black, the largest white.
        generated: source modality -> (n, H, W) on the same scale, in the order of the rows; values
            beyond the range of the originals are cut off.
        shares: source modality -> share of the generated images that a classifier gives the right
            label, in [0, 1], written beside its row; modalities may be left out.

    Returns:
        A figure with one panel for each row: the originals, then one for each source modality. The
        panel's y-label names it.

    Raises:
        TypeError: for what is not numbers or not a mapping.
        ValueError: for shapes that differ or are wrong, no images, NaN or infinity, no source
            modality, a share of another modality or outside [0, 1].
    """
    if not isinstance(generated, Mapping):
        raise TypeError(f"generated must be a mapping, got {type(generated).__name__}")
    images = {"original": _finite_array(originals, "originals", 3)}
    shares = {} if shares is None else dict(shares)
    if not generated:
        raise ValueError("generated: expected at least one source modality, got none")
    for name, values in generated.items():
        images[f"from {name}"] = _finite_array(values, f"generated[{name!r}]", 3)
        if images[f"from {name}"].shape != images["original"].shape:
            wanted, got = images["original"].shape, images[f"from {name}"].shape
            raise ValueError(
                f"generated[{name!r}]: expected the shape of the originals, {wanted}, got {got}"
            )
    for name, share in shares.items():
        if name not in generated:
            raise ValueError(
                f"shares names {name!r}, but the source modalities are {list(generated)}"
            )
        if not 0 <= share <= 1:
            raise ValueError(f"shares[{name!r}]: expected a number in [0, 1], got {share!r}")

    texts = ["originals"]
    for name in generated:
        texts.append(
            f"from {name}" + (f"\n{100 * shares[name]:.0f} % right" if name in shares else "")
        )
    low, high = images["original"].min(), images["original"].max()
    figure, panels = _image_rows(images["original"].shape, texts)
    for panel, row in zip(panels, images.values(), strict=True):
        panel.imshow(
            _side_by_side(row), cmap="gray", vmin=low, vmax=high if high > low else low + 1
        )
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG of 150 dots per inch; a file that is there is replaced at once or not at all.

    Args:
        figure: what to write.
        path: the file, whose name ends in ``.png``; its folder must exist.

    Raises:
        ValueError: for another ending.
    """
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"path: expected a file name that ends in .png, got {str(path)!r}")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _finite_array(values: Any, name: str, n_axes: int) -> np.ndarray:
    """Return a tensor or array as float64 with ``n_axes`` axes, none of them empty."""
    array = as_tensor(values, name).detach().cpu().double().numpy()
    if array.ndim != n_axes or 0 in array.shape:
        raise ValueError(
            f"{name}: expected {n_axes} axes, none of length 0, got shape {array.shape}"
        )
    if not np.isfinite(array).all():
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(1)
        raise ValueError(f"{name}: NaN or infinity in sample {int(bad.argmax())}")
    return array


def _project(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Return points (n, d) in the plane, (n, 2), and what the axes are."""
    n, d = points.shape
    centred = points - points.mean(0)
    is_constant = np.abs(centred).max() <= 1e-12 * max(1.0, np.abs(points).max())
    if n < FEWEST_FOR_TSNE or d <= 2 or is_constant:
        directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
        # The sign of a direction is arbitrary: its largest entry is made positive.
        largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
        plane = centred @ (directions * np.where(largest < 0, -1, 1)).T
        return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1]))), "principal component"
    # One thread: the sums are then the same each time, and other work on the machine does not stall
    # them.
    with threadpool_limits(1):
        plane = TSNE(
            perplexity=min(30.0, (n - 1) / 3), init="pca", random_state=0, max_iter=500, angle=0.7
        ).fit_transform(centred)
    return plane, "t-SNE"


def _draw_groups(
    panel: Axes, plane: np.ndarray, values: np.ndarray, is_complete: np.ndarray, what: str
) -> None:
    """Draw points (n, 2) in the colour of their group, and write each group's name at its median."""
    names, groups = np.unique(values, return_inverse=True)
    texts = [_short(name) for name in names.tolist()]
    area = POINT_SIZE * min(max(math.sqrt(MAX_POINTS / len(plane)), 1.0), 3.0)
    for group, text in enumerate(texts):
        for members, strength in ((~is_complete, PALE), (is_complete, 1.0)):
            points = panel.scatter(
                *plane[members & (groups == group)].T,
                marker=_marker(group),
                linewidths=0,
                zorder=1 + strength,
                label=text,
            )
            points.set(sizes=[area * strength], alpha=0.85 * strength, color=_colour(group))
    _name_groups(panel, plane, groups, texts)
    noun = what if len(texts) == 1 else f"{what}s"
    panel.set_title(f"{len(texts)} {noun}", fontsize=11, color=INK)
    panel.set(xticks=[], yticks=[])
    panel.set_box_aspect(1)
    panel.spines[:].set_color("#bbbbbb")


def _name_groups(panel: Axes, plane: np.ndarray, groups: np.ndarray, texts: list[str]) -> None:
    """Write short names at the medians of their groups, and list long ones beside the panel."""
    if max(map(len, texts)) <= 3:
        outline = [matplotlib.patheffects.withStroke(linewidth=2.5, foreground="white")]
        for group, text in enumerate(texts):
            x, y = np.median(plane[groups == group], axis=0)
            panel.text(
                x,
                y,
                text,
                ha="center",
                va="center",
                fontsize=11,
                weight="bold",
                color=INK,
                path_effects=outline,
                zorder=5,
                parse_math=False,
            )
    elif len(texts) <= MAX_IN_LEGEND:
        handles = [
            Line2D([], [], linestyle="", color=_colour(group), marker=_marker(group), label="label")
            for group in range(len(texts))
        ]
        legend = panel.legend(
            handles=handles, loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=8
        )
        # A label of a handle would be read as a formula, and left out where it begins with an
        # underscore.
        for entry, text in zip(legend.get_texts(), texts, strict=True):
            entry.set(text=text, parse_math=False)


def _colour(group: int) -> str:
    return PALETTE[group % len(PALETTE)]


def _marker(group: int) -> str:
    return MARKERS[group // len(PALETTE) % len(MARKERS)]


def _short(value: Any) -> str:
    """Return a label as text; whole numbers without a decimal point."""
    is_whole = isinstance(value, float) and math.isfinite(value) and value.is_integer()
    return (
        str(int(value)) if is_whole else f"{value:.3g}" if isinstance(value, float) else str(value)
    )


def _image_rows(shape: tuple[int, ...], texts: list[str]) -> tuple[Figure, list[Axes]]:
    """Return a figure with one panel without ticks for each row of n images of H x W, its text on the left."""
    n, height, width = shape
    tall, gap, margin = 0.72, 0.12, 0.1  # inches
    # Laid out by hand: automatic layouts do not know how far a panel of fixed aspect shrinks.
    left = 0.2 + 0.08 * max(len(line) for text in texts for line in text.split("\n"))
    wide = tall * (n * (width + _gap(height)) - _gap(height)) / height
    size = (left + wide + margin, len(texts) * (tall + gap) - gap + 2 * margin)
    figure = Figure(figsize=size)
    panels = []
    for row, text in enumerate(texts):
        bottom = size[1] - margin - row * (tall + gap) - tall
        panel = figure.add_axes((left / size[0], bottom / size[1], wide / size[0], tall / size[1]))
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
        panel.set_ylabel(
            text,
            rotation="horizontal",
            ha="right",
            va="center",
            fontsize=9,
            color=INK,
            parse_math=False,
        )
        panels.append(panel)
    return figure, panels


def _side_by_side(images: np.ndarray) -> np.ma.MaskedArray:
    """Return images (n, H, W) as one (H, n(W + g) − g), masked in the gaps of g pixels between them."""
    n, height, width = images.shape
    gap = _gap(height)
    row = np.full((height, n, width + gap), np.nan)
    row[:, :, :width] = images.transpose(1, 0, 2)
    return np.ma.masked_invalid(row.reshape(height, -1)[:, :-gap])


def _gap(height: int) -> int:
    """Return how many pixels lie between two images of this height."""
    return max(1, round(height / 16))
