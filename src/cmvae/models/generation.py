"""Latents of samples, and data from latents: encoding, decoding, translation, generation."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Generator, Tensor

from cmvae.base.arguments import positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import iterate
from cmvae.models.posterior import Experts
from cmvae.models.priors import PrivatePrior
from cmvae.models.vae import MultimodalVAE, evaluating


class GenerativeVAE(MultimodalVAE):
    """A multimodal VAE that encodes, decodes, translates between modalities and generates from its clusters."""

    def encode(
        self,
        inputs: Any,
        cond_mod: str | Sequence[str] = "all",
        N: int = 1,
        return_mean: bool = False,
        *,
        flatten: bool = False,
        batch_size: int = 512,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Draw latents given the modalities ``cond_mod`` that each sample has observed, with networks in eval mode.

        For every sample and draw an expert among these is drawn, and z from it; w_m comes from
        q(w_m|x_m) where m is conditioned on and observed, and otherwise from the prior that
        ``reconstruction_option`` names.

        Args:
            inputs: The samples.
            cond_mod: A modality name, a list of them, or ``'all'``.
            N: Draws per sample.
            return_mean: Return the means instead: for z the average of the experts' means.
            flatten: Merge the first two axes, N fastest.
            batch_size: At most so many samples are read and encoded at a time.
            generator: Source of randomness.

        Returns:
            ``z`` (n_data, N, latent_dim), ``modalities_z`` {modality: (n_data, N, dim_m)} for every
            modality, ``one_latent_space`` = False.

        Raises:
            KeyError: For an unknown modality in ``cond_mod``.
            ValueError: If a sample has observed none of ``cond_mod``; the message names it.
        """
        draws = positive_int("N", N)
        names = self._names("cond_mod", cond_mod)
        with evaluating(self):
            parts = [self._experts(self._read(part)) for part in iterate(inputs, batch_size)]
        experts = Experts.join(parts).restrict(self._is_among(names))
        lacking = (experts.n_observed == 0).nonzero().squeeze(-1)
        if len(lacking):
            raise ValueError(
                f"{len(lacking)} of {len(experts.n_observed)} samples have observed none of cond_mod {names}: "
                f"samples {lacking[:5].tolist()}"
            )
        if return_mean:
            z = experts.mean.unsqueeze(1).expand(-1, draws, -1)
        else:
            z = experts.sample(experts.choose(draws, generator), generator)
        styles = {
            m: self._encode_style(experts, i, draws, return_mean, generator)
            for i, m in enumerate(self.modalities)
        }
        if flatten:
            z, styles = z.flatten(0, 1), {m: w.flatten(0, 1) for m, w in styles.items()}
        return ModelOutput(z=z, modalities_z=styles, one_latent_space=False)

    def _encode_style(
        self,
        experts: Experts,
        index: int,
        draws: int,
        return_mean: bool,
        generator: Generator | None,
    ) -> Tensor:
        seen = experts.observed[index][:, None, None]
        if return_mean:
            return experts.style_loc[index].unsqueeze(1).masked_fill(~seen, 0).expand(-1, draws, -1)
        drawn = experts.sample_style(index, draws, generator)
        return torch.where(
            seen, drawn, self._prior_style(self.modalities[index], drawn.shape[:-1], generator)
        )

    def decode(
        self, embedding: Mapping[str, Any], modalities: str | Sequence[str] = "all"
    ) -> dict[str, Tensor]:
        """Decode latents, as :meth:`encode` and :meth:`generate_from_prior` return them, with networks in eval mode.

        Args:
            embedding: ``z`` (..., latent_dim) and ``modalities_z`` {modality: (..., dim_m)}, of the
                same leading axes, which may be any.
            modalities: Which to decode: a name, a list of them, or ``'all'``.

        Returns:
            {modality: (..., *input shape)}: the decoders' output, which for ``'bernoulli'`` and
            ``'categorical'`` likelihoods are logits, and for counts logarithms of rates or logits
            of shares; :meth:`to_data` turns them into values of the data's kind.
        """
        if not isinstance(embedding, Mapping) or not {"z", "modalities_z"} <= set(embedding):
            raise TypeError("embedding must hold 'z' and 'modalities_z', as encode returns them")
        like = self.mixture.centers
        z, styles = torch.as_tensor(embedding["z"]).to(like), embedding["modalities_z"]
        decoded = {}
        for m in self._names("modalities", modalities):
            if m not in styles:
                raise KeyError(f"modalities_z lacks {m!r}; it has {list(styles)}")
            w = torch.as_tensor(styles[m]).to(like)
            self._check_latents(m, z, w)
            latents = torch.cat([z, w], -1)
            with evaluating(self):
                rows = self._decode_rows(m, latents.reshape(-1, latents.shape[-1]))
            decoded[m] = rows.reshape(*z.shape[:-1], *rows.shape[1:])
        return decoded

    @torch.no_grad()
    def to_data(
        self,
        reconstructions: Mapping[str, Tensor],
        sample: bool = False,
        *,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """Turn what :meth:`decode` and :meth:`predict` return into means of the data, or draws; without gradients.

        Args:
            reconstructions: {modality: (..., *input shape)}.
            sample: Draw from the likelihoods instead of taking their means.
            generator: Source of randomness.

        Returns:
            {modality: (..., *input shape)}: values, probabilities of ones and of classes, rates of
            counts; or drawn values, zeros and ones, one-hot vectors, counts.

        Raises:
            KeyError: For an unknown modality.
            TypeError: For draws of a likelihood that is a callable.
        """
        likelihoods = {
            m: self._likelihood(m) for m in self._names("reconstructions", list(reconstructions))
        }
        if sample:
            return {m: own.sample(reconstructions[m], generator) for m, own in likelihoods.items()}
        return {m: own.mean(reconstructions[m]) for m, own in likelihoods.items()}

    @torch.no_grad()
    def predict(
        self,
        inputs: Any,
        cond_mod: str | Sequence[str] = "all",
        gen_mod: str | Sequence[str] = "all",
        N: int = 1,
        flatten: bool = False,
        *,
        return_mean: bool = False,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """Generate modalities ``gen_mod`` from modalities ``cond_mod``: :meth:`encode`, then :meth:`decode`.

        Without gradients; the two members it calls have them.

        Returns:
            {modality: (n_data, N, *input shape)}, or (n_data · N, *input shape) with ``flatten``.
        """
        embedding = self.encode(
            inputs, cond_mod, N, return_mean, flatten=flatten, generator=generator
        )
        return self.decode(embedding, gen_mod)

    @torch.no_grad()
    def generate_from_prior(
        self,
        n_samples: int,
        *,
        cluster: int | Sequence[int] | Tensor | None = None,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Draw c ~ π, z ~ p(z|c), and the private latents from the prior that ``reconstruction_option`` names.

        Args:
            n_samples: How many.
            cluster: An active cluster's index, or one for each sample, to draw from instead of c ~
                π.
            generator: Source of randomness.

        Returns:
            ``z`` (n_samples, latent_dim), ``modalities_z`` {modality: (n_samples, dim_m)},
            ``clusters`` (n_samples,) int64, ``one_latent_space`` = False.

        Raises:
            ValueError: If ``cluster`` is pruned, out of range, or of another length than
                ``n_samples``.
        """
        positive_int("n_samples", n_samples)
        if cluster is None:
            clusters = torch.multinomial(
                self.pc_params.detach(), n_samples, replacement=True, generator=generator
            )
        else:
            clusters = self._chosen_clusters(cluster, n_samples)
        z = self.mixture.sample(clusters, generator)
        styles = {m: self._prior_style(m, (n_samples,), generator) for m in self.modalities}
        return ModelOutput(z=z, modalities_z=styles, clusters=clusters, one_latent_space=False)

    def _chosen_clusters(self, cluster: Any, n_samples: int) -> Tensor:
        active = self.active_clusters
        try:
            clusters = torch.as_tensor(cluster, device=active.device)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"cluster must be an index or {n_samples} of them, got {cluster!r}"
            ) from None
        if (
            clusters.is_floating_point()
            or clusters.dtype == torch.bool
            or clusters.shape not in ((), (n_samples,))
        ):
            raise ValueError(f"cluster must be an index or {n_samples} of them, got {cluster!r}")
        clusters = clusters.long().expand(n_samples)
        inside = (clusters >= 0) & (clusters < len(active))
        if not bool(inside.all()) or not bool(active[clusters].all()):
            allowed = active.nonzero().squeeze(-1).tolist()
            raise ValueError(
                f"cluster must be active, got {cluster!r}; the active clusters are {allowed}"
            )
        return clusters

    def _prior_style(
        self, modality: str, shape: Sequence[int], generator: Generator | None
    ) -> Tensor:
        auxiliary = self.model_config.reconstruction_option == "single_prior"
        prior = cast(PrivatePrior, self.private_priors[modality])
        return prior.sample(tuple(shape), auxiliary=auxiliary, generator=generator)

    def _is_among(self, names: list[str]) -> Tensor:
        chosen = [m in names for m in self.modalities]
        return torch.tensor(chosen, device=self.mixture.centers.device)

    def _check_latents(self, modality: str, z: Tensor, w: Tensor) -> None:
        expected = (*z.shape[:-1], self.model_config.style_dim(modality))
        if z.shape[-1] != self.latent_dim or tuple(w.shape) != expected:
            raise ValueError(
                f"z must be (..., {self.latent_dim}) and modalities_z[{modality!r}] of the same leading axes with "
                f"{expected[-1]}; got {tuple(z.shape)} and {tuple(w.shape)}"
            )
