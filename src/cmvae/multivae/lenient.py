"""Encoding samples of which nothing that is conditioned on may be observed, as MultiVae can."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import iterate
from cmvae.models.cmvae import CMVAE
from cmvae.models.generation import covariates_to_decode
from cmvae.models.inference import Names, chosen_modalities, private_priors, read_batch


def encode_or_draw(
    model: CMVAE,
    inputs: Any,
    cond_mod: Names = "all",
    N: int = 1,
    return_mean: bool = False,
    *,
    flatten: bool = False,
    batch_size: int = 512,
    covariates: Mapping[str, Any] | None = None,
    generator: Generator | None = None,
) -> ModelOutput:
    """Encode as :meth:`cmvae.CMVAE.encode` does; samples without ``cond_mod`` come from the prior.

    Given nothing, z ~ p(z) and w_m as the settings say; their means with ``return_mean``. MultiVae
    encodes what stands where a modality is not observed.
    """
    names, draws = chosen_modalities(model, "cond_mod", cond_mod), positive_int("N", N)
    keywords: Mapping[str, Any] = {"return_mean": return_mean, "generator": generator}
    size = positive_int("batch_size", batch_size)
    parts = [_encoded(model, chunk, names, draws, keywords) for chunk in iterate(inputs, size)]
    each = [torch.cat(own) for own in zip(*parts, strict=True)]
    z, *private = [own.flatten(0, 1) for own in each] if flatten else each
    by_modality = dict(zip(model.modalities, private, strict=True))
    known = covariates_to_decode(model, inputs, covariates, draws, return_mean, size, generator)
    known = {name: own.flatten(0, 1) for name, own in known.items()} if flatten else known
    added = {"covariates": known} if known else {}
    return ModelOutput(z=z, modalities_z=by_modality, one_latent_space=False, **added)


def _encoded(
    model: CMVAE, inputs: Any, names: list[str], draws: int, keywords: Mapping[str, Any]
) -> list[Tensor]:
    """Return z and every w_m, (B, draws, dim) each."""
    batch = read_batch(model, inputs)
    counted = [model.modalities.index(m) for m in names]
    seen = batch.observed[counted].any(0).nonzero().squeeze(-1)
    found = []
    if len(seen):
        some = batch.select(seen)
        masks = dict(zip(model.modalities, some.observed, strict=True))
        given = {"data": some.data, "masks": masks, "cells": some.cells}
        found = _latents(model, CMVAE.encode(model, given, names, draws, **keywords))
    if len(seen) == len(batch):
        return found
    drawn = model.generate_from_prior(len(batch) * draws, generator=keywords["generator"])
    latents = [own.unflatten(0, (len(batch), draws)) for own in _latents(model, drawn)]
    if keywords["return_mean"]:
        mean = model.pc_params @ model.cluster_centers
        means = [mean, *(prior.mean for prior in private_priors(model))]
        latents = [own.expand_as(drawn) for own, drawn in zip(means, latents, strict=True)]
    pairs = zip(latents, found or latents, strict=True)
    return [own.index_copy(0, seen, new[: len(seen)].to(own)) for own, new in pairs]


def _latents(model: CMVAE, embedding: Mapping[str, Any]) -> list[Tensor]:
    return [embedding["z"], *(embedding["modalities_z"][m] for m in model.modalities)]
