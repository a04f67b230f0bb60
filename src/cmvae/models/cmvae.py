"""The clustering multimodal VAE: the members that users call."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import Batch, iterate
from cmvae.models.alignment import READING_SCALE, alignment_loss
from cmvae.models.assignment import assign, average_posteriors, check_rule, deciding_points
from cmvae.models.generation import GenerativeVAE
from cmvae.models.hub import model_folder
from cmvae.models.marginal import estimate_log_marginal
from cmvae.models.objectives import DIVERGENCE, Bound, Draws, draw_latents, dreg_bound, iwae_bound
from cmvae.models.posterior import Experts
from cmvae.models.pretrained import load_pretrained, save_pretrained
from cmvae.models.selection import select_clusters
from cmvae.models.vae import evaluating

ACTIVE_UNIT_VARIANCE = 0.01
MOST_ROWS = 8192


class CMVAE(GenerativeVAE):
    """Clustering multimodal VAE (Palumbo et al., "Deep Generative Clustering with Multimodal Diffusion
    Variational Autoencoders", ICLR 2024).

    Wherever a member takes ``inputs``, these may be a dataset of :mod:`cmvae.data.datasets`, a
    batch collated from one, or a mapping from modality names to tensors (n, *input shape). A
    modality that they do not contain is unobserved for every sample. What unobserved entries hold
    changes nothing. Floating inputs are cast to the dtype of the parameters and moved to their
    device.

    All members raise ``KeyError`` for a modality the model does not know, and ``ValueError`` for
    inputs with differing lengths, wrong shapes, a sample of which nothing is observed, or NaN or
    inf in an observed entry; the message names the modality and the first samples. Randomness comes
    from PyTorch's global generator unless a ``generator`` is passed.

    Args:
        model_config: The settings; the model keeps a copy of its own.
        encoders: Modality to encoder (see :class:`cmvae.BaseMultilatentEncoder`); built from
            ``input_dims`` where not given.
        decoders: Modality to decoder (see :class:`cmvae.BaseDecoder`); likewise.

    Attributes:
        model_config: The settings.
        latent_dim: Dimension of z.
        modalities: The modality names, a tuple.

    Raises:
        ValueError: If networks, likelihoods or factors are neither given nor can be built.
        TypeError: If an argument is of the wrong kind.
    """  # noqa: D205

    # Training
    # --------------------------------------------------------------------------------------------------

    def forward(
        self,
        inputs: Any,
        *,
        K: int | None = None,
        beta: float | None = None,
        alignment: float | None = None,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Evaluate the training objective of a batch (SPEC: the bound of :mod:`cmvae.models.objectives`).

        Networks run in the module's current mode.

        Args:
            inputs: The batch.
            K: Importance samples; by default the config's.
            beta: Weight of the divergence, for schedules; by default the config's.
            alignment: For the start of training, the weight of
                :func:`cmvae.models.alignment.alignment_loss` in the loss. The bound then holds
                q(z|x_m) constant, narrowed to a quarter of its scale: z learns from the alignment
                alone, decoders learn to read it.
            generator: Source of randomness.

        Returns:
            ``loss``, the negative bound averaged over the batch, scalar; ``loss_sum``, summed over
            it; and ``metrics``, detached scalars by name. ``self_log_likelihood_M`` and
            ``cross_log_likelihood_M`` for each modality M, ``log_p_z``, ``log_p_w``, ``log_q_z``
            and ``log_q_w`` are the terms of the bound as they enter it, rescaling and β included,
            averaged with its weights: at K = 1 the likelihoods plus the p terms minus the q terms
            are −loss. ``active_units`` counts the dimensions of z whose posterior mean varies by
            more than 0.01 over the batch (Burda et al., 2016), ``clusters_in_use`` the clusters
            that samples of the batch belong to by p(c|z) averaged over their draws.
        """
        draws = self.model_config.K if K is None else positive_int("K", K)
        weight = self.model_config.beta if beta is None else positive_float("beta", beta)
        batch = self._read(inputs)
        experts = self._experts(batch)
        aligned = (
            None
            if alignment is None
            else positive_float("alignment", alignment) * alignment_loss(experts)
        )
        if aligned is not None:
            experts = experts.hold_shared(READING_SCALE)
        targets = self.model_config.cross_modal_targets if self.training else None
        latents = draw_latents(experts, self._priors, draws, generator, targets)

        def log_likelihood(z: Tensor, drawn: Draws) -> Tensor:
            return torch.stack(
                [self._log_likelihood(n, batch, z, drawn) for n in range(len(self.modalities))]
            )

        arguments = (experts, latents, self.mixture, log_likelihood, weight)
        if self.model_config.loss == "iwae_looser":
            bound = iwae_bound(*arguments)
        else:
            bound = dreg_bound(*arguments, estimator=self.model_config.dreg_estimator)
        with torch.no_grad():
            metrics = self._metrics(bound, experts)
        loss, loss_sum = -bound.value.mean(), -bound.value.sum()
        if aligned is not None:
            loss, loss_sum = loss + aligned, loss_sum + aligned * len(batch)
            metrics["alignment"] = aligned.detach()
        return ModelOutput(loss=loss, loss_sum=loss_sum, metrics=metrics)

    def align(self, inputs: Any) -> ModelOutput:
        """Evaluate :func:`cmvae.models.alignment.alignment_loss` of a batch, which needs the encoders alone.

        Args:
            inputs: The batch.

        Returns:
            ``loss``, scalar; ``loss_sum``, times the size of the batch; ``metrics`` with
            ``alignment``, the same.
        """
        batch = self._read(inputs)
        loss = alignment_loss(self._experts(batch))
        return ModelOutput(
            loss=loss, loss_sum=loss * len(batch), metrics={"alignment": loss.detach()}
        )

    def _metrics(self, bound: Bound, experts: Experts) -> dict[str, Tensor]:
        weights = bound.weights / len(bound.value)

        # A draw of weight zero may have a term of minus infinity.
        terms = torch.cat([bound.log_likelihood, bound.divergence]).detach() * weights
        sums = terms.masked_fill_(weights == 0, 0).sum((2, 3))
        by_pair = sums[: len(self.modalities)]
        own, every = by_pair.diagonal(), by_pair.sum(1)
        metrics: dict[str, Tensor] = {}
        for modality, same, cross in zip(
            self.modalities, own.unbind(), (every - own).unbind(), strict=True
        ):
            metrics[f"self_log_likelihood_{modality}"] = same
            metrics[f"cross_log_likelihood_{modality}"] = cross
        metrics.update(zip(DIVERGENCE, sums[len(self.modalities) :].sum(1).unbind(), strict=True))
        metrics["active_units"] = (experts.mean.var(0, correction=0) > ACTIVE_UNIT_VARIANCE).sum()
        posteriors = average_posteriors(bound.posteriors.mean(2), experts.observed)
        metrics["clusters_in_use"] = (torch.bincount(posteriors.argmax(-1)) > 0).sum()
        return metrics

    # Clustering
    # ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_clusters(
        self,
        inputs: Any,
        *,
        rule: str = "mean",
        sample: bool = False,
        batch_size: int = 512,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Assign samples to clusters, with networks in eval mode.

        p(c|z_m) is taken at the mean of q(z|x_m) for every observed modality m, or at one draw of
        it.

        Args:
            inputs: The samples.
            rule: ``'mean'``: the cluster with the largest average of p(c|z_m). ``'vote'``: the
                paper's majority vote over modalities, ties broken by that average. ``'joint'``: the
                cluster with the largest p(c|z̄), z̄ the average of the z_m, which is the mean of
                q(z|X).
            sample: Use a draw of each expert instead of its mean.
            batch_size: At most so many samples are encoded at a time.
            generator: Source of randomness.

        Returns:
            ``clusters`` (n_data,) int64; ``pc_zs`` {modality: (n_data, C)}, p(c|z_m), rows of
            unobserved samples NaN; ``probabilities`` (n_data, C), the average of p(c|z_m) over
            observed modalities, with the rule ``'joint'`` p(c|z̄).

        Raises:
            ValueError: If the rule is unknown.
        """
        check_rule(rule)
        chunks = self._expert_points(inputs, batch_size, sample, generator)
        parts = []
        for z, seen in chunks:
            points, counted = deciding_points(rule, z, seen)
            each = self.mixture.posterior(z)
            parts.append(
                (each, seen, each if points is z else self.mixture.posterior(points), counted)
            )
        posteriors, observed, deciding, counted = (
            torch.cat(values, 1) for values in zip(*parts, strict=True)
        )
        if bool((posteriors.isnan().any(-1) & observed).any()):
            raise ValueError(
                "p(c|z_m) is not a number: latents or clusters are beyond what the dtype can hold"
            )
        clusters, average = assign(rule, deciding, counted)
        shown = posteriors.masked_fill(~observed.unsqueeze(-1), math.nan)
        return ModelOutput(
            clusters=clusters,
            pc_zs=dict(zip(self.modalities, shown, strict=True)),
            probabilities=average,
        )

    def _expert_points(
        self, inputs: Any, batch_size: int, sample: bool, generator: Generator | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield z_m of every modality, (M, B, d), and what is observed, (M, B); every sample is encoded once."""
        for chunk in iterate(inputs, batch_size):
            batch = self._read(chunk)
            with evaluating(self):
                z = (
                    self._experts(batch).sample_each(1, generator).squeeze(2)
                    if sample
                    else self._locations(batch)
                )
            yield z, batch.observed

    @torch.no_grad()
    def prune_clusters(
        self,
        train_data: Any,
        batch_size: int = 128,
        *,
        rule: str = "mean",
        sample: bool = False,
        generator: Generator | None = None,
    ) -> list[float]:
        """Choose the number of clusters by the penalised normalised entropy (see :mod:`cmvae.models.selection`).

        Every sample is encoded once. Starts from the active clusters and leaves the best set
        active, the logits of π renormalised on it. With fewer than two active clusters nothing
        changes.

        Args:
            train_data: The samples to choose on.
            batch_size: Samples encoded at a time.
            rule: The rule of :meth:`predict_clusters` that gives each cluster its samples.
            sample: Use one draw of each expert, made once, instead of its mean.
            generator: Source of randomness.

        Returns:
            ``h_values``, length C + 1: the criterion by number of active clusters, inf where not
            evaluated.
        """
        check_rule(rule)
        positive_int("batch_size", batch_size)
        if self.n_clusters < 2:
            return [math.inf] * (len(self.active_clusters) + 1)
        # In float64 and on the CPU: cheap there, and the criteria of many sizes are compared.
        chunks = self._expert_points(train_data, batch_size, sample, generator)
        parts = []
        for z, seen in chunks:
            points, counted = deciding_points(rule, z, seen)
            at = [
                self.mixture.log_prob_clusters(x).double().cpu()
                for x in ((z, points) if rule == "joint" else (z,))
            ]
            parts.append((at[0], seen.cpu(), at[-1], counted.cpu()))
        densities, observed, deciding, counted = (
            torch.cat(values, 1) for values in zip(*parts, strict=True)
        )
        if not bool(densities[observed].isfinite().all()):
            raise ValueError(
                "log p(z_m|c) is not finite: latents or clusters are beyond what the dtype can hold"
            )
        found = select_clusters(
            densities,
            observed,
            self.mixture.logits.double().cpu(),
            self.active_clusters.cpu(),
            beta=self.model_config.beta,
            latent_dim=self.latent_dim,
            rule=rule,
            deciding=(deciding, counted) if rule == "joint" else None,
        )
        self.mixture.keep(found.active.to(self.active_clusters.device))
        return found.h_values

    @torch.no_grad()
    def compute_joint_nll(
        self,
        inputs: Any,
        K: int = 1000,
        *,
        reduction: str = "sum",
        chunk_size: int = 16384,
        generator: Generator | None = None,
    ) -> Tensor:
        """Estimate −log p(X_S) by importance sampling, β = 1 and no rescaling (see :mod:`cmvae.models.marginal`).

        Networks run in eval mode; every submodule's own mode is restored after.

        Args:
            inputs: The samples.
            K: Importance samples for each.
            reduction: ``'sum'`` over the batch, or ``'none'``.
            chunk_size: At most so many samples are encoded, and so many draws decoded, at a time.
            generator: Source of randomness.

        Returns:
            A scalar, or (n_data,) with ``reduction='none'``; in nats.
        """
        draws, chunk = positive_int("K", K), positive_int("chunk_size", chunk_size)
        if reduction not in ("sum", "none"):
            raise ValueError(f"reduction must be 'sum' or 'none', got {reduction!r}")
        parts = []
        with evaluating(self):
            for part in iterate(inputs, chunk):
                batch = self._read(part)

                def log_likelihood(
                    m: int, rows: Tensor, latents: Tensor, batch: Batch = batch
                ) -> Tensor:
                    name = self.modalities[m]
                    target = batch.data[name][rows].unsqueeze(1)
                    target = target.expand(-1, latents.shape[1], *target.shape[2:])
                    return self._score(name, latents, target, rescaled=False)

                experts = self._experts(batch)
                parts.append(
                    estimate_log_marginal(
                        experts, self.mixture, self._priors, log_likelihood, draws, chunk, generator
                    )
                )
        nll = -torch.cat(parts)
        return nll.sum() if reduction == "sum" else nll

    # Saving
    # ----------------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder, made where it is missing."""
        save_pretrained(self, save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
        decoders_dist: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load a model written by :meth:`save_pretrained`, in eval mode; nothing is unpickled.

        Args:
            pretrained_model_name_or_path: The folder, or the id of a model on the Hugging Face Hub,
                ``owner/name`` (:func:`cmvae.models.hub.model_folder`).
            revision: Branch, tag or commit there.
            encoders: The custom encoders, if the model was built with such; their weights are
                loaded.
            decoders: The custom decoders, likewise.
            decoders_dist: Callable likelihoods, likewise.

        Raises:
            ValueError: If a file is missing, damaged or does not fit, naming it; if custom networks
                or likelihoods are not passed again.
            ImportError: If the Hub is needed and huggingface_hub is not installed (extra ``hub``).
        """
        folder = model_folder(pretrained_model_name_or_path, revision)
        return load_pretrained(cls, folder, encoders, decoders, decoders_dist)
