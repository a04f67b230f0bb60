"""Calling the networks of one modality: what they return is read, checked and named here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmvae.base.submodules import submodules
from cmvae.likelihoods.base import at_least_float32

_ENCODER_FIELDS = ("embedding", "log_covariance", "style_embedding", "style_log_covariance")
_DECODER_FIELDS = ("reconstruction",)


def run_encoder(
    encoder: Callable[..., Any],
    x: Tensor,
    modality: str,
    latent_dim: int,
    style_dim: int,
    cells: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encode the observed rows of one modality, (B, *input shape), B at least 1.

    An encoder that ``sees_cells`` is also given which ``cells`` are there, boolean of x's shape;
    None: all.

    Returns:
        Location and raw scale of q(z|x), each (B, latent_dim), and of q(w|x), each (B, style_dim).
        Half precision becomes float32, because densities are computed from them.

    Raises:
        TypeError: If fields are missing or are no tensors.
        ValueError: If a field has another shape.
    """
    network = f"encoder of modality {modality!r}"
    there = []
    if getattr(encoder, "sees_cells", False):
        there = [torch.ones_like(x, dtype=torch.bool) if cells is None else cells]
    z, z_scale, w, w_scale = _read(_call(encoder, x, *there), _ENCODER_FIELDS, network)
    dims = (latent_dim, latent_dim, style_dim, style_dim)
    for name, tensor, dim in zip(_ENCODER_FIELDS, (z, z_scale, w, w_scale), dims, strict=True):
        if tensor.shape != (x.shape[0], dim):
            got, expected = tuple(tensor.shape), (x.shape[0], dim)
            raise ValueError(f"{network}: field {name!r} has shape {got}, expected {expected}")
    return z, z_scale, w, w_scale


def run_decoder(
    decoder: Callable[..., Any], z: Tensor, modality: str, shape: Sequence[int] | None
) -> Tensor:
    """Decode latents [z, w], (B, latent_dim + style_dim), B at least 1, into one modality.

    Returns:
        The reconstruction, (B, *shape), half precision as float32. Where the shape of a sample is
        None, only the number of rows is checked.

    Raises:
        TypeError: If the field is missing or is no tensor.
        ValueError: If it has another shape.
    """
    network = f"decoder of modality {modality!r}"
    (reconstruction,) = _read(_call(decoder, z), _DECODER_FIELDS, network)
    got = tuple(reconstruction.shape)
    sample = got[1:] if shape is None else tuple(shape)
    if got != (z.shape[0], *sample):
        expected = f"({z.shape[0]}, ...)" if shape is None else (z.shape[0], *sample)
        field = "field 'reconstruction'"
        raise ValueError(f"{network}: {field} has shape {got}, expected {expected}")
    return reconstruction


def check_statistics(network: nn.Module, what: str) -> None:
    """Refuse a network, called ``what``, whose output for a sample depends on the others.

    Raises:
        ValueError: If it has batch normalisation without running statistics.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    if any(layer.running_mean is None for layer in layers):
        raise ValueError(
            f"{what} has batch normalisation without running statistics: what it says of a sample "
            "depends on the others; train it with track_running_stats=True"
        )


def _read(output: Any, fields: Sequence[str], network: str) -> list[Tensor]:
    """Take tensors out of what a network returned, by attribute or key; half becomes float32."""
    tensors = _tensors(output, fields)
    missing = [name for name in fields if name not in tensors]
    if missing:
        kind = type(output).__name__
        needed = f"it must hold {list(fields)} by attribute or by key"
        raise TypeError(f"{network}: the output (a {kind}) lacks the tensors {missing}; {needed}")
    return [at_least_float32(value) for value in tensors.values()]


def _tensors(output: Any, fields: Sequence[str]) -> dict[str, Tensor]:
    """Return those fields of an output that hold tensors, by key or else by attribute."""
    keyed = output if isinstance(output, Mapping) else {}
    values = {m: keyed[m] if m in keyed else getattr(output, m, None) for m in fields}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def _call(network: Callable[..., Any], x: Tensor, *cells: Tensor) -> Any:
    """Call a network so that one row works in training mode, whatever its batch normalisation."""
    if not isinstance(network, nn.Module):
        return network(x, *cells)
    if x.is_floating_point():
        x = x.to(next((p.dtype for p in network.parameters() if p.is_floating_point()), x.dtype))
    rows = x.shape[0]
    if isinstance(rows, int) and rows != 1:  # exporters have symbols, which are not to be compared
        return network(x, *cells)
    layers = [
        layer
        for layer in submodules(network)
        if isinstance(layer, _BatchNorm) and (layer.training or layer.running_mean is None)
    ]
    if not layers:
        return network(x, *cells)
    with_statistics = [layer for layer in layers if layer.running_mean is not None]
    with _evaluating(with_statistics):
        if len(with_statistics) == len(layers):
            return network(x, *cells)
        # A layer without running statistics has only the batch's, in eval mode too, and PyTorch
        # refuses to take them from one row. Two copies of the row have the row's own statistics.
        twice = (torch.cat([own, own]) for own in (x, *cells))
        output = _tensors(network(*twice), (*_ENCODER_FIELDS, *_DECODER_FIELDS))
        return {name: value[:1] if value.dim() else value for name, value in output.items()}


@contextmanager
def _evaluating(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Hold ``layers`` in eval mode inside the block; those that trained before train again."""
    switched = [layer for layer in layers if layer.training]
    try:
        for layer in switched:
            layer.train(False)
        yield
    finally:
        for layer in switched:
            layer.train(True)
