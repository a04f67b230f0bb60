"""Samples as an alignment sees them: images moved and noisy, and some samples not at all."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import generator_keyword
from cmvae.networks.shapes import is_image

MOST_MOVED = 1 / 9  # of a side
MOST_NOISE = 0.3  # of an image's own standard deviation


def without_rows(batch: Any, rows: Tensor) -> Any:
    """Return a batch without the samples at these places of the dataset, (r,).

    It stays as it is where it does not tell its places, or would have no samples left.
    """
    places = batch.get("rows") if isinstance(batch.get("data"), Mapping) else None
    kept = None if places is None else ~torch.isin(places, rows)
    if kept is None or not bool(kept.any()):
        return batch
    return {
        field: {m: x[kept] for m, x in own.items()} if isinstance(own, Mapping) else own[kept]
        for field, own in batch.items()
    }


def other_views(batch: Any, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """Return a batch with its images, by ``shapes`` (channels, height, width), seen otherwise.

    Each is moved by up to a ninth of its sides, what it leaves being filled by reflection, and gets
    Normal noise of a random scale. Values other than images, and integers, stay. Draws come from
    PyTorch's global generator.
    """
    within = isinstance(batch.get("data"), Mapping)
    data = batch["data"] if within else batch
    seen = {
        m: noisy(_moved(x), MOST_NOISE)
        if is_image(shapes.get(m, ())) and x.is_floating_point()
        else x
        for m, x in data.items()
    }
    return {**batch, "data": seen} if within else seen


def _moved(x: Tensor) -> Tensor:
    """Move images (B, C, H, W), each by itself."""
    rows, columns = (_shifted(side, len(x), x.device) for side in x.shape[2:])
    samples = torch.arange(len(x), device=x.device)[:, None, None]
    moved = x.movedim(1, -1)[samples, rows[:, :, None], columns[:, None]]
    return moved.movedim(-1, 1)


def _shifted(side: int, count: int, device: torch.device) -> Tensor:
    """Return places on a side, (count, side), moved by up to a ninth and reflected at its ends."""
    most = int(side * MOST_MOVED)
    start = torch.randint(-most, most + 1, (count, 1), device=device)
    places = (torch.arange(side, device=device) + start).abs()
    return side - 1 - (side - 1 - places).abs()


def noisy(x: Tensor, most: float, generator: Generator | None = None) -> Tensor:
    """Add Normal noise to images (B, C, H, W), of a random share of each one's own deviation.

    The shares are up to ``most``.
    """
    options = {"device": x.device, "dtype": x.dtype, **generator_keyword(generator)}
    spread = x.flatten(1).std(1) * most * torch.rand(len(x), **options)
    return x + spread[:, None, None, None] * torch.randn(x.shape, **options)
