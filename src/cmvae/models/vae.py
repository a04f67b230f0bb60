"""The multimodal variational autoencoder under CMVAE: its networks, likelihoods and priors, and how they connect."""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from cmvae.base.modality_dict import ModalityDict
from cmvae.data.batches import Batch, read_inputs
from cmvae.likelihoods import Custom, Likelihood, build_likelihood
from cmvae.models.config import CMVAEConfig
from cmvae.models.families import FAMILIES, scale_each
from cmvae.models.mixture import MixturePrior
from cmvae.models.objectives import Draws
from cmvae.models.posterior import Experts
from cmvae.models.priors import PrivatePrior
from cmvae.networks import build_decoder, build_encoder, run_decoder, run_encoder


class MultimodalVAE(nn.Module):
    """Encoders, decoders, likelihoods and priors of all modalities, kept by name, with a mixture prior on z.

    It reads inputs, encodes and scores what is observed and only that; :class:`cmvae.CMVAE` gives
    it its members. Arguments and errors as there.
    """

    def __init__(
        self,
        model_config: CMVAEConfig,
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model_config, CMVAEConfig):
            raise TypeError(
                f"model_config must be a CMVAEConfig, got {type(model_config).__name__}"
            )
        self.modalities = _modality_names(model_config, encoders, decoders)
        supplied = {"encoders": encoders, "decoders": decoders}
        _check_supplied(model_config, supplied)
        custom = [name for name, networks in supplied.items() if networks is not None]
        config = self.model_config = model_config.replace(custom_architectures=custom)
        self.latent_dim = config.latent_dim
        self.family = FAMILIES[config.prior_and_posterior_dist]
        self._warn_about_size_one()
        shapes = config.input_dims or {}
        likelihoods = {
            m: build_likelihood(*config.likelihood_of(m), m, shapes.get(m)) for m in self.modalities
        }
        self.encoders = ModalityDict(
            encoders or {m: self._build_encoder(m, likelihoods[m]) for m in self.modalities}
        )
        self.decoders = ModalityDict(
            decoders or {m: self._build_decoder(m) for m in self.modalities}
        )
        self.likelihoods = ModalityDict(likelihoods)
        self.private_priors = ModalityDict(
            {
                m: PrivatePrior(config.style_dim(m), self.family, config.learn_modality_prior)
                for m in self.modalities
            }
        )
        self.mixture = MixturePrior(
            config.number_of_clusters, config.latent_dim, self.family, config.covariance
        )
        self.rescale_factors = _rescale_factors(config, self.modalities)

    # Construction
    # ----------------------------------------------------------------------------------------------

    def _build_encoder(self, modality: str, likelihood: Likelihood) -> nn.Module:
        config = self.model_config
        build = partial(build_encoder, counts=likelihood.counts)
        return self._build(
            build, "encoders", modality, config.latent_dim, config.style_dim(modality)
        )

    def _build_decoder(self, modality: str) -> nn.Module:
        config = self.model_config
        return self._build(
            build_decoder, "decoders", modality, config.latent_dim + config.style_dim(modality)
        )

    def _build(
        self, build: Callable[..., nn.Module], part: str, modality: str, *dims: int
    ) -> nn.Module:
        config = self.model_config
        shape, name = _required_shape(config, modality, part), config.network_of(modality)
        try:
            return build(shape, *dims, self._likelihood_name(modality), config.hidden_dims, name)
        except ValueError as error:
            if name is None:
                raise
            raise ValueError(
                f"networks: {name!r} cannot be the {part} of modality {modality!r} of shape {shape}: {error}"
            ) from None

    def _likelihood_name(self, modality: str) -> str:
        dist, _ = self.model_config.likelihood_of(modality)
        return dist if isinstance(dist, str) else "custom"

    def _warn_about_size_one(self) -> None:
        config = self.model_config
        sizes = {"latent_dim": config.latent_dim}
        sizes |= {f"modalities_specific_dim of {m!r}": config.style_dim(m) for m in self.modalities}
        ones = [name for name, size in sizes.items() if size == 1]
        if ones and config.prior_and_posterior_dist == "laplace_with_softmax":
            warnings.warn(
                f"{', '.join(ones)} is 1: with 'laplace_with_softmax' the scales of a latent sum to its size, "
                "so a latent of size 1 has scale 1, which cannot be learned",
                stacklevel=3,
            )

    # Clusters
    # --------------------------------------------------------------------------------------------------

    @property
    def n_clusters(self) -> int:
        """The number of active clusters."""
        return int(self.mixture.active.sum())

    @property
    def active_clusters(self) -> Tensor:
        """Which clusters are active, (C,) boolean."""
        return self.mixture.active

    @property
    def cluster_centers(self) -> Tensor:
        """The centres μ_c, (C, latent_dim); assignable."""
        return self.mixture.centers

    @cluster_centers.setter
    def cluster_centers(self, centers: Any) -> None:
        """Overwrite the values of the centres.

        Raises:
            ValueError: If the shape is not (C, latent_dim) or a value is not finite.
        """
        own = self.mixture.centers
        try:
            centers = torch.as_tensor(centers, dtype=own.dtype, device=own.device)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"cluster_centers must be numbers of shape {tuple(own.shape)}, got {centers!r}"
            ) from None
        if centers.shape != own.shape or not bool(centers.isfinite().all()):
            raise ValueError(
                f"cluster_centers must be finite, of shape {tuple(own.shape)}; got shape {tuple(centers.shape)}"
            )
        with torch.no_grad():
            own.copy_(centers)

    def __setattr__(self, name: str, value: Any) -> None:
        """Let properties with a setter take parameters too, which ``nn.Module`` would register."""
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def pc_params(self) -> Tensor:
        """The cluster weights π, (C,): zero at pruned clusters, summing to 1."""
        return self.mixture.log_weights.exp()

    @property
    def _pc_params(self) -> Tensor:
        """The logits of π, (C,), −inf at pruned clusters."""
        return self.mixture.masked_logits

    # Reading and encoding
    # --------------------------------------------------------------------------------------

    def _read(self, inputs: Any) -> Batch:
        centers = self.mixture.centers
        batch = read_inputs(
            inputs,
            self.modalities,
            dtype=centers.dtype,
            device=centers.device,
            shapes=self.model_config.input_dims,
        )
        if not torch.compiler.is_compiling():
            for m, x in batch.data.items():
                seen = x if batch.complete else x[batch.observed[self.modalities.index(m)]]
                if len(seen):
                    self._likelihood(m).check(seen, m, (self.model_config.input_dims or {}).get(m))
        return batch

    def _likelihood(self, modality: str) -> Likelihood:
        return cast(Likelihood, self.likelihoods[modality])

    @property
    def _priors(self) -> list[PrivatePrior]:
        return cast(list[PrivatePrior], self.private_priors.values())

    def _experts(self, batch: Batch) -> Experts:
        """Encode what is observed, and only that."""
        encoded = [self._expert(batch, i, m) for i, m in enumerate(self.modalities)]
        loc, raw, style_loc, style_raw = zip(*encoded, strict=True)
        scale, style_scale = self.family.scale(torch.stack(raw)), scale_each(self.family, style_raw)
        return Experts(self.family, torch.stack(loc), scale, style_loc, style_scale, batch.observed)

    def _locations(self, batch: Batch) -> Tensor:
        """Return the locations of q(z|x_m) alone, (M, B, d)."""
        return torch.stack([self._expert(batch, i, m)[0] for i, m in enumerate(self.modalities)])

    def _expert(self, batch: Batch, index: int, modality: str) -> tuple[Tensor, ...]:
        """Return location and raw scale of z, (B, d), and of w, (B, dim_m), from one modality."""
        dims = (self.latent_dim, self.model_config.style_dim(modality))
        if batch.complete:
            return run_encoder(self.encoders[modality], batch.data[modality], modality, *dims)
        rows = batch.observed[index].nonzero().squeeze(-1)
        like = self.mixture.centers
        sizes = [dim for dim in dims for _ in ("location", "raw scale")]
        filled = [
            like.new_full((len(batch), dim), value)
            for dim in dims
            for value in (0.0, self.family.unit_raw())
        ]
        full = torch.cat(filled, -1).to(torch.promote_types(like.dtype, torch.float32))
        if len(rows):
            encoder, seen = self.encoders[modality], batch.data[modality].index_select(0, rows)
            raw = torch.cat(run_encoder(encoder, seen, modality, *dims), -1)
            full = full.index_copy(0, rows, raw.to(full.dtype))
        return full.split(sizes, -1)

    # Scoring and drawing
    # --------------------------------------------------------------------------------------

    def _log_likelihood(self, index: int, batch: Batch, z: Tensor, drawn: Draws) -> Tensor:
        """Return rescaled log p(x_n | z, w_n), (M, B, K), for z, (M, B, K, d), with one decoder call.

        It is zero where the expert or n is unobserved, or n is no target of the expert.
        """
        modality, (experts, samples, draws, _) = self.modalities[index], z.shape
        observed = batch.observed[index]
        if drawn.targets is None:
            w = drawn.others[index].select_scatter(drawn.own[index], 0, index)
            latents = torch.cat([z, w], -1)
            if batch.complete:
                target = batch.data[modality][None, :, None]
                return self._score(
                    modality, latents, target.expand(experts, -1, draws, *target.shape[3:])
                )
            rows = (batch.observed & observed).flatten().nonzero().squeeze(-1)
            latents = latents.flatten(0, 1).index_select(0, rows)
        else:
            own, cross = (
                observed.nonzero().squeeze(-1),
                drawn.targets.chosen[index].flatten().nonzero().squeeze(-1),
            )
            rows = torch.cat([index * samples + own, cross])
            w = torch.cat([drawn.own[index].index_select(0, own), drawn.others[index]])
            latents = torch.cat([z.flatten(0, 1).index_select(0, rows), w], -1)
        if not len(rows):
            return z.new_zeros(z.shape[:-1])
        target = batch.data[modality].index_select(0, rows % samples).unsqueeze(1)
        values = self._score(modality, latents, target.expand(-1, draws, *target.shape[2:]))
        if drawn.targets is not None:
            values = values * drawn.targets.factors(index).flatten().index_select(
                0, rows
            ).unsqueeze(-1)
        return (
            values.new_zeros(experts * samples, draws)
            .index_copy(0, rows, values)
            .unflatten(0, (experts, samples))
        )

    def _score(
        self, modality: str, latents: Tensor, target: Tensor, rescaled: bool = True
    ) -> Tensor:
        """Return log p(x|z, w), (*), of targets (*, ...) given latents (*, d + dim)."""
        lead = latents.shape[:-1]
        likelihood = self._likelihood(modality)
        reconstruction = self._decode_rows(modality, latents.flatten(0, -2))
        if isinstance(likelihood, Custom):
            # A caller's function gets rows, (R, *input shape); ours take any leading axes, which
            # saves a copy.
            values = likelihood.log_prob(reconstruction, target.flatten(0, len(lead) - 1).clone())
            values = values.reshape(*lead, -1).sum(-1)
        else:
            values = likelihood.log_prob_of_samples(
                reconstruction.unflatten(0, lead), target, len(lead)
            )
        values = values.to(torch.promote_types(latents.dtype, torch.float32))
        factor = self.rescale_factors[modality] if rescaled else 1.0
        return values if factor == 1.0 else values * factor

    def _decode_rows(self, modality: str, latents: Tensor) -> Tensor:
        shape = (self.model_config.input_dims or {}).get(modality)
        return run_decoder(self.decoders[modality], latents, modality, shape)

    def _names(self, argument: str, names: str | Sequence[str]) -> list[str]:
        """Resolve ``'all'``, a name or a list of names."""
        if isinstance(names, str):
            names = (
                list(self.modalities)
                if names == "all" and "all" not in self.modalities
                else [names]
            )
        if not isinstance(names, Sequence | set):
            raise TypeError(f"{argument} must be 'all', a name or a list of names, got {names!r}")
        names = list(dict.fromkeys(names))
        unknown = [name for name in names if name not in self.modalities]
        if unknown:
            raise KeyError(
                f"{argument} has unknown modalities {unknown}; the model has {list(self.modalities)}"
            )
        if not names:
            raise ValueError(
                f"{argument} is empty; allowed are 'all' and any of {list(self.modalities)}"
            )
        return names


def _modality_names(
    config: CMVAEConfig,
    encoders: Mapping[str, nn.Module] | None,
    decoders: Mapping[str, nn.Module] | None,
) -> tuple[str, ...]:
    """Return the modality names, which input_dims, encoders and decoders must agree on."""
    sources = {"input_dims": config.input_dims, "encoders": encoders, "decoders": decoders}
    for argument, source in sources.items():
        if source is not None and not isinstance(source, Mapping):
            raise TypeError(
                f"{argument} must be a mapping from modality to module, got {type(source).__name__}"
            )
    given = {argument: list(source) for argument, source in sources.items() if source is not None}
    if not given:
        raise ValueError(
            "CMVAEConfig.input_dims is needed to build encoders and decoders; got None"
        )
    argument, names = next(iter(given.items()))
    if len(names) != config.n_modalities:
        raise ValueError(
            f"{argument} has modalities {names}, but n_modalities is {config.n_modalities}"
        )
    for other, others in given.items():
        if set(others) != set(names):
            raise ValueError(f"{other} has modalities {others}, but {argument} has {names}")
    bad = [name for name in names if not isinstance(name, str) or name in ("", "all")]
    if bad:
        raise ValueError(
            f"modality names must be strings, not empty and not 'all', which means all; got {bad}"
        )
    config.check_names(names)
    return tuple(names)


def _check_supplied(
    config: CMVAEConfig, supplied: Mapping[str, Mapping[str, nn.Module] | None]
) -> None:
    for argument, networks in supplied.items():
        if networks is None and argument in config.custom_architectures:
            raise ValueError(f"custom_architectures names {argument!r}: pass {argument}= to CMVAE")
        for modality, network in (networks or {}).items():
            if not isinstance(network, nn.Module):
                raise TypeError(
                    f"{argument}[{modality!r}] must be a torch.nn.Module, got {type(network).__name__}"
                )
    if config.networks is not None and None not in supplied.values():
        raise ValueError(
            f"networks is {config.networks!r}, but encoders and decoders are given: none are built"
        )
    for modality in config.decoders_dist or {}:
        if config.likelihood_is_missing(modality):
            raise ValueError(
                f"decoders_dist[{modality!r}] was a callable, which is not stored: pass it again"
            )


def _required_shape(config: CMVAEConfig, modality: str, part: str) -> tuple[int, ...]:
    if config.input_dims is None:
        raise ValueError(
            f"CMVAEConfig.input_dims is needed to build {part}; pass it, or {part}= to CMVAE"
        )
    return config.input_dims[modality]


def _rescale_factors(config: CMVAEConfig, modalities: Sequence[str]) -> dict[str, float]:
    """Return λ_m: 1, what is given, or max_n D_n / D_m."""
    if not config.uses_likelihood_rescaling:
        return dict.fromkeys(modalities, 1.0)
    if config.rescale_factors is not None:
        return dict(config.rescale_factors)
    if config.input_dims is None:
        raise ValueError(
            "uses_likelihood_rescaling needs input_dims, or rescale_factors; got neither"
        )
    sizes = {m: math.prod(config.input_dims[m]) for m in modalities}
    return {m: max(sizes.values()) / size for m, size in sizes.items()}


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Run networks in eval mode, and give every submodule its own mode back afterwards, whatever happens."""
    training = [submodule for submodule in module.modules() if submodule.training]
    for submodule in training:
        submodule.training = False
    try:
        yield
    finally:
        for submodule in training:
            submodule.training = True
