"""What groups are read from: neighbour graphs of the data and of the latents of models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from cmvae.base.arrays import unit_of
from cmvae.clusters.graphs import fused, neighbour_graph, normalised


@dataclass(frozen=True)
class Views:
    """Vectors that were measured of n samples, M views of them.

    Attributes:
        values: M arrays (n, D_m) in comparable units, standardised say, finite where observed.
        raw: The same as they were measured, whose directions count.
        observed: (M, n) boolean.
        has_filled: Whether single cells were missing, and are filled in.
    """

    values: Sequence[np.ndarray]
    raw: Sequence[np.ndarray]
    observed: np.ndarray
    has_filled: bool = False

    def rows(self, rows: np.ndarray) -> "Views":
        """Return those of some samples."""
        values, raw = ([view[rows] for view in views] for views in (self.values, self.raw))
        return Views(values, raw, self.observed[:, rows], self.has_filled)

    @property
    def joined(self) -> np.ndarray:
        """All columns side by side, (n, ΣD), divided by √D_m, those of absent views at the mean."""
        pairs = zip(self.values, self.observed, strict=True)
        parts = [_at_mean(view, seen) / np.sqrt(view.shape[1]) for view, seen in pairs]
        return np.concatenate(parts, 1)


@dataclass(frozen=True)
class Source:
    """One way to look at n samples.

    Attributes:
        family: What it is one of: ``'columns'``, ``'directions'``, ``'joined'``, ``'latents'``.
        graph: Normalised neighbour graph.
        points: Where the samples lie, (n, d).
        cuts_points: Whether groups are sought among the points too, beside those of the graph.
        has_density: Whether the points are columns of the data, none of them filled in.
    """

    family: str
    graph: csr_array
    points: np.ndarray
    cuts_points: bool
    has_density: bool = False


def sources_of(views: Views | None, latents: Sequence[np.ndarray]) -> list[Source]:
    """Return the ways to look at samples: views of the data, None for none, and latents (n, d).

    Of the data these are the fused graphs of the views' columns, those of their directions (cosine
    distances as measured), and the graph of all columns side by side.
    """
    found = [Source("latents", neighbour_graph(points), points, True) for points in latents]
    if views is None:
        return found
    joined = coordinates(views.joined)
    by_family = {"columns": list(views.values), "directions": [unit(raw) for raw in views.raw]}
    if len(views.values) == 1:  # the same as side by side
        del by_family["columns"]
    found += [
        Source(family, fused(own, views.observed), joined, False)
        for family, own in by_family.items()
    ]
    whole = bool(views.observed.all()) and not views.has_filled
    return [*found, Source("joined", neighbour_graph(joined), joined, True, whole)]


def families(sources: Sequence[Source]) -> dict[str, csr_array]:
    """Return family to the mean of its graphs."""
    names = dict.fromkeys(source.family for source in sources)
    graphs = {name: [s.graph for s in sources if s.family == name] for name in names}
    return {name: csr_array(sum(own[1:], own[0]) / len(own)) for name, own in graphs.items()}


def mean_graph(sources: Sequence[Source]) -> csr_array:
    """Return the mean of the families' graphs, normalised."""
    own = list(families(sources).values())
    return normalised(sum(own[1:], own[0]))


def unit(points: np.ndarray) -> np.ndarray:
    """Return points (n, d) scaled to length 1."""
    points = points / unit_of(np.abs(points).max(1, keepdims=True))
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.where(lengths > 0, lengths, 1))


def coordinates(points: np.ndarray) -> np.ndarray:
    """Return points (n, d) in coordinates of their principal axes, (n, at most n).

    Neither distances nor directions change.
    """
    if points.shape[1] <= len(points):
        return points
    unit = unit_of(np.abs(points).max())
    points = points / unit
    values, vectors = np.linalg.eigh(points @ points.T)
    return np.asarray(vectors * np.sqrt(values.clip(0)) * unit)


def _at_mean(view: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return a view (n, D), centred, 0 where it is unobserved."""
    return np.asarray(np.where(seen[:, None], view - view[seen].mean(0), 0.0))
