"""Calling the networks of one modality: what they return is read, checked and named here."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cmvae.likelihoods.base import at_least_float32

_ENCODER_FIELDS = ("embedding", "log_covariance", "style_embedding", "style_log_covariance")
_DECODER_FIELDS = ("reconstruction",)


def run_encoder(
    encoder: Callable[..., Any], x: Tensor, modality: str, latent_dim: int, style_dim: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Encode the observed rows of one modality.

    Args:
        encoder: Returns the four fields of ``BaseMultilatentEncoder``, by attribute or by key.
        x: Inputs, (B, *input shape), B at least 1.
        modality: Name of the modality, for the errors.
        latent_dim: Dimension of z.
        style_dim: Dimension of w.

    Returns:
        Location and raw scale of q(z|x), each (B, latent_dim), and of q(w|x), each (B, style_dim).
        Half precision becomes float32, because densities are computed from them.

    Raises:
        TypeError: If fields are missing or are no tensors.
        ValueError: If a field has another shape.
    """
    output = _call(encoder, x)
    z, z_scale, w, w_scale = _read(output, _ENCODER_FIELDS, f"encoder of modality {modality!r}")
    dims = (latent_dim, latent_dim, style_dim, style_dim)
    for name, tensor, dim in zip(_ENCODER_FIELDS, (z, z_scale, w, w_scale), dims, strict=True):
        if tensor.shape != (x.shape[0], dim):
            raise ValueError(
                f"encoder of modality {modality!r}: field {name!r} has shape "
                f"{tuple(tensor.shape)}, expected {(x.shape[0], dim)}"
            )
    return z, z_scale, w, w_scale


def run_decoder(
    decoder: Callable[..., Any], z: Tensor, modality: str, shape: Sequence[int] | None
) -> Tensor:
    """Decode latents into one modality.

    Args:
        decoder: The network; its output holds the field ``reconstruction`` by attribute or by key.
        z: The shared and private latents side by side, (B, latent_dim + style_dim), B at least 1.
        modality: Name of the modality, for the errors.
        shape: Shape of one sample; where it is None only the number of rows is checked.

    Returns:
        The reconstruction, (B, *shape), half precision as float32.

    Raises:
        TypeError: If the field is missing or is no tensor.
        ValueError: If it has another shape.
    """
    output = _call(decoder, z)
    (reconstruction,) = _read(output, _DECODER_FIELDS, f"decoder of modality {modality!r}")
    sample = reconstruction.shape[1:] if shape is None else tuple(shape)
    if reconstruction.dim() == 0 or reconstruction.shape != (z.shape[0], *sample):
        expected = f"({z.shape[0]}, ...)" if shape is None else (z.shape[0], *sample)
        raise ValueError(
            f"decoder of modality {modality!r}: field 'reconstruction' has shape "
            f"{tuple(reconstruction.shape)}, expected {expected}"
        )
    return reconstruction


def _read(output: Any, fields: Sequence[str], network: str) -> list[Tensor]:
    """Take tensors out of what a network returned, by attribute or key; half becomes float32."""
    tensors = {name: value for name in fields if isinstance(value := _field(output, name), Tensor)}
    missing = [name for name in fields if name not in tensors]
    if missing:
        raise TypeError(
            f"{network}: the output (a {type(output).__name__}) lacks the tensors {missing}; "
            f"it must hold {list(fields)} by attribute or by key"
        )
    return [at_least_float32(value) for value in tensors.values()]


def _field(output: Any, name: str) -> Any:
    """Return a field of an output by key or else by attribute, None where there is none."""
    if isinstance(output, Mapping) and name in output:
        return output[name]
    return getattr(output, name, None)


def _call(network: Callable[..., Any], x: Tensor) -> Any:
    """Call a network so that one row works in training mode, whatever its batch normalisation."""
    if not isinstance(network, nn.Module):
        return network(x)
    if x.is_floating_point():
        x = x.to(next((p.dtype for p in network.parameters() if p.is_floating_point()), x.dtype))
    if x.shape[0] != 1:
        return network(x)
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    if not layers:
        return network(x)
    with_statistics = [layer for layer in layers if layer.running_mean is not None]
    if len(with_statistics) == len(layers):
        with _evaluating(layers):
            return network(x)
    # A layer without running statistics has only the batch's, in eval mode too, and PyTorch refuses
    # to take them from one row. Two copies of the row have the same statistics as the row itself.
    with _evaluating(with_statistics):
        return _first_row(network(torch.cat([x, x])))


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


def _first_row(output: Any) -> dict[str, Any]:
    """Keep the first row of every known field; what is missing is left for ``_read`` to name."""
    fields = {name: _field(output, name) for name in (*_ENCODER_FIELDS, *_DECODER_FIELDS)}
    tensors = {name: value for name, value in fields.items() if isinstance(value, Tensor)}
    return {name: value[:1] if value.dim() else value for name, value in tensors.items()}
