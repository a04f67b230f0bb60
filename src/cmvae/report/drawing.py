"""What all figures share: colours, samples in the plane, names, and images as pictures."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from cmvae.base.arguments import positive_int
from cmvae.base.words import shown
from cmvae.data.checks import as_tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
INK, GREY, EDGE = "#222222", "#777777", "#bbbbbb"
FEWEST_FOR_TSNE = 50


def colour_of(group: int) -> str:
    """Return the colour of a group by its number."""
    return PALETTE[group % len(PALETTE)]


def marker_of(group: int) -> str:
    """Return the marker of a group, the next one where colours begin again."""
    return MARKERS[group // len(PALETTE) % len(MARKERS)]


def short(value: Any) -> str:
    """Return a label as text; whole numbers without a decimal point."""
    if not isinstance(value, float):
        return str(value)
    return str(int(value)) if value.is_integer() else f"{value:.3g}"


def shortened(text: str, longest: int) -> str:
    """Return a text of at most so many characters, its end marked where it was cut."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def finite_array(values: Any, name: str, n_axes: int) -> np.ndarray:
    """Return numbers as float64, all finite, on so many axes, none of length 0, or refuse them."""
    array = as_tensor(values, name).detach().cpu().double().numpy()
    if array.ndim != n_axes or 0 in array.shape:
        shape = array.shape
        raise ValueError(f"{name}: expected {n_axes} axes, none of length 0, got shape {shape}")
    if not np.isfinite(array).all():
        bad = ~np.isfinite(array.reshape(len(array), -1)).all(1)
        raise ValueError(f"{name}: NaN or infinity in sample {int(bad.argmax())}")
    return array


def choose_and_project(
    embedding: Any, by_sample: Mapping[str, Any], max_points: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return at most so many rows of an embedding (n, d), their points (k, 2), and the axes' name.

    They are drawn at random, the same each time, and stay in their order. ``by_sample`` has what
    else is given for each row.
    """
    points = finite_array(embedding, "embedding", 2)
    check_lengths(by_sample, len(points), "row of embedding")
    mixed = np.random.default_rng(0).permutation(len(points))
    rows = np.sort(mixed[: positive_int("max_points", max_points)])
    return rows, *project(points[rows])


def project(points: np.ndarray) -> tuple[np.ndarray, str]:
    """Return points (n, d) in the plane, (n, 2), and what the axes are; the same each time."""
    n, d = points.shape
    centred = points - points.mean(0)
    is_constant = np.abs(centred).max() <= 1e-12 * max(1.0, np.abs(points).max())
    if n < FEWEST_FOR_TSNE or d <= 2 or is_constant:
        directions = np.linalg.svd(centred, full_matrices=False)[2][:2]
        # The sign of a direction is arbitrary: its largest entry is made positive.
        largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
        plane = centred @ (directions * np.where(largest < 0, -1, 1)).T
        return np.pad(plane, ((0, 0), (0, 2 - plane.shape[1]))), "principal component"
    from sklearn.manifold import TSNE  # slow to import
    from threadpoolctl import threadpool_limits

    nearby = min(30.0, (n - 1) / 3)
    tsne = TSNE(perplexity=nearby, init="pca", random_state=0, max_iter=500, angle=0.7)
    with threadpool_limits(1):  # the sums are then the same each time, and other work stalls none
        return tsne.fit_transform(centred), "t-SNE"


def as_colours(images: np.ndarray) -> np.ndarray:
    """Return images (n, C, H, W) as (n, H, W, 3) in [0, 1], white where one holds NaN.

    One channel or two become the first in grey, more the first three in colour; what is beyond the
    range is cut off.
    """
    colours = images[:, :3] if images.shape[1] >= 3 else np.repeat(images[:, :1], 3, axis=1)
    blank = np.isnan(colours).any((1, 2, 3), keepdims=True)
    return np.where(blank, 1.0, colours.clip(0, 1)).transpose(0, 2, 3, 1)


def tiled(pictures: np.ndarray, across: int, gap: int = 0) -> np.ndarray:
    """Return pictures (n, H, W, 3) row by row in one, (h, w, 3), white between and after them."""
    n, height, width, _ = pictures.shape
    down = max(1, math.ceil(n / across))
    white = 255 if pictures.dtype == np.uint8 else 1
    tall, wide = height + gap, width + gap
    tiles = np.full((down * across, tall, wide, 3), white, pictures.dtype)
    tiles[:n, :height, :width] = pictures
    rows = tiles.reshape(down, across, tall, wide, 3).swapaxes(1, 2)
    return rows.reshape(down * tall, across * wide, 3)[: down * tall - gap, : across * wide - gap]


def empty_panel(panel: "Axes") -> None:
    """Take ticks and frame from a panel."""
    panel.set(xticks=[], yticks=[])
    panel.spines[:].set_visible(False)


def name_axes(panel: "Axes", axis: str) -> None:
    """Name the axes of a panel that shows samples in the plane, of which distances mean little."""
    panel.set(xticks=[], yticks=[], xlabel=f"{axis} 1", ylabel=f"{axis} 2")
    panel.spines[:].set_color(EDGE)


def name_row(panel: "Axes", text: str) -> None:
    """Write the name of a row on the left of its first panel."""
    name = panel.set_ylabel(text, rotation="horizontal", ha="right", va="center", color=INK)
    name.set(fontsize=9, parse_math=False)


def percent(share: float, what: str) -> str:
    """Return a share as text; ``ValueError`` for one outside [0, 1]."""
    if not 0 <= share <= 1:
        raise ValueError(f"{what}: expected a number in [0, 1], got {shown(share)}")
    return f"{100 * share:.0f} %"


def check_lengths(values: Mapping[str, Any], n: int, each: str) -> None:
    """Raise ``ValueError`` where there are not n values, one for each of what ``each`` says."""
    for name, own in values.items():
        if len(own) != n:
            raise ValueError(f"{name}: expected {n}, one for each {each}, got {len(own)}")
