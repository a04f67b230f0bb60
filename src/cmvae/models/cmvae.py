"""The clustering multimodal VAE: the members that users call."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import positive_float, positive_int
from cmvae.base.modality_dict import ModalityDict
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import iterate
from cmvae.data.checks import CHUNK_ENTRIES
from cmvae.likelihoods import build_likelihood
from cmvae.models import build, generation, inference
from cmvae.models.alignment import READING_SCALE, alignment_loss
from cmvae.models.assignment import assign_points, check_rule
from cmvae.models.config import CMVAEConfig
from cmvae.models.families import FAMILIES
from cmvae.models.inference import evaluating, experts_of, read_batch
from cmvae.models.marginal import estimate_log_marginal
from cmvae.models.mixture import MixturePrior
from cmvae.models.objectives import bound_terms
from cmvae.models.pretrained import load_pretrained, model_folder, save_pretrained
from cmvae.models.priors import PrivatePrior
from cmvae.models.selection import prune

MOST_ROWS = 8192


class CMVAE(nn.Module):
    """The clustering multimodal VAE of Palumbo et al. (ICLR 2024).

    ("Deep Generative Clustering with Multimodal Diffusion Variational Autoencoders".)

    Wherever a member takes ``inputs``, these may be a dataset of :mod:`cmvae.data.datasets`, a
    batch collated from one, or a mapping from modality names to tensors (n, *input shape). A
    modality that they do not contain is unobserved for every sample. What unobserved entries hold
    changes nothing. Floating inputs are cast to the dtype of the parameters and moved to their
    device. So many of them as ``batch_size`` says are encoded at a time. Modalities are named by
    one name, a list of names, or ``'all'``.

    All members raise ``KeyError`` for a modality the model does not know, and ``ValueError`` for
    inputs with differing lengths, wrong shapes, a sample of which nothing is observed, or NaN or
    inf in an observed entry; the message names the modality and the first samples. Randomness comes
    from PyTorch's global generator unless a ``generator`` is passed. Networks run in eval mode, in
    :meth:`forward` and :meth:`align` in their present one.

    Args:
        model_config: The settings; the model keeps a copy of its own.
        encoders: Modality to encoder (see :class:`cmvae.BaseMultilatentEncoder`); built from
            ``input_dims`` where not given.
        decoders: Modality to decoder (see :class:`cmvae.BaseDecoder`); likewise.

    Attributes:
        model_config: The settings.
        latent_dim: Dimension of z.
        modalities: The modality names, a tuple.
        encoders, decoders, likelihoods, private_priors: The parts of each modality, mappings.
        mixture: The prior p(z).

    Raises:
        ValueError: If networks, likelihoods or factors are neither given nor can be built.
        TypeError: If an argument is of the wrong kind.

    Example:
        >>> config = CMVAEConfig(n_modalities=1, input_dims={"a": 3}, modalities_specific_dim=2)
        >>> CMVAE(config).encode({"a": torch.zeros(5, 3)}).z.shape
        torch.Size([5, 1, 10])
    """

    def __init__(
        self,
        model_config: CMVAEConfig,
        encoders: Mapping[str, nn.Module] | None = None,
        decoders: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model_config, CMVAEConfig):
            kind = type(model_config).__name__
            raise TypeError(f"model_config must be a CMVAEConfig, got {kind}")
        names = self.modalities = build.modality_names(model_config, encoders, decoders)
        custom = build.check_supplied(model_config, encoders, decoders)
        config = self.model_config = model_config.replace(custom_architectures=custom)
        self.latent_dim = config.latent_dim
        self.family = FAMILIES[config.prior_and_posterior_dist]
        build.warn_about_size_one(config, names)
        likelihoods = {
            m: build_likelihood(*config.likelihood_of(m), m, config.shape_of(m)) for m in names
        }
        built = partial(build.build_networks, config, likelihoods)
        self.encoders = ModalityDict(encoders or built("encoders"))
        self.decoders = ModalityDict(decoders or built("decoders"))
        self.likelihoods = ModalityDict(likelihoods)
        learned, dims = config.learn_modality_prior, {m: config.private_dim(m) for m in names}
        self.private_priors = ModalityDict(
            {m: PrivatePrior(dim, self.family, learned) for m, dim in dims.items()}
        )
        self.mixture = MixturePrior(
            config.number_of_clusters, config.latent_dim, self.family, config.covariance
        )
        self.rescale_factors = build.rescale_factors(config, names)

    def __setattr__(self, name: str, value: Any) -> None:
        """Let properties with a setter take parameters too, which ``nn.Module`` would register."""
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Clusters
    # ----------------------------------------------------------------------------------------------

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
        """The centres μ_c, (C, latent_dim); assignable, finite numbers of that shape."""
        return self.mixture.centers

    @cluster_centers.setter
    def cluster_centers(self, centers: Any) -> None:
        self.mixture.set_centers(centers)

    @property
    def pc_params(self) -> Tensor:
        """The cluster weights π, (C,): zero at pruned clusters, summing to 1."""
        return self.mixture.log_weights.exp()

    @property
    def _pc_params(self) -> Tensor:
        """The logits of π, (C,), −inf at pruned clusters."""
        return self.mixture.masked_logits

    @property
    def rows_at_once(self) -> int:
        """How many samples to hold densely at a time: 8192, fewer where they are wide."""
        sizes = [math.prod(shape) for shape in (self.model_config.input_dims or {}).values()]
        return max(1, min(MOST_ROWS, CHUNK_ENTRIES // max(sizes, default=1)))

    # Training
    # ----------------------------------------------------------------------------------------------

    def forward(
        self,
        inputs: Any,
        *,
        K: int | None = None,
        beta: float | None = None,
        alignment: float | None = None,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Evaluate the training objective of a batch, a bound of :mod:`cmvae.models.objectives`.

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
            it; and ``metrics``, detached scalars by name, as
            :func:`cmvae.models.objectives.bound_terms` describes them.
        """
        config = self.model_config
        draws = config.K if K is None else positive_int("K", K)
        weight = config.beta if beta is None else positive_float("beta", beta)
        batch = read_batch(self, inputs)
        experts, aligned = experts_of(self, batch), None
        if alignment is not None:
            aligned = positive_float("alignment", alignment) * alignment_loss(experts)
            experts = experts.with_constant_z(READING_SCALE)
        targets = config.cross_modal_targets if self.training else None
        bound = inference.bound_of(self, batch, experts, draws, weight, generator, targets)
        metrics = bound_terms(bound, experts, self.modalities)
        loss, loss_sum = -bound.value.mean(), -bound.value.sum()
        if aligned is not None:
            loss, loss_sum = loss + aligned, loss_sum + aligned * len(batch)
            metrics["alignment"] = aligned.detach()
        return ModelOutput(loss=loss, loss_sum=loss_sum, metrics=metrics)

    def align(self, inputs: Any) -> ModelOutput:
        """Evaluate :func:`cmvae.models.alignment.alignment_loss`, which needs the encoders alone.

        Returns:
            ``loss``, scalar; ``loss_sum``, times the size of the batch; ``metrics`` with
            ``alignment``, the same.
        """
        batch = read_batch(self, inputs)
        loss = alignment_loss(experts_of(self, batch))
        metrics = {"alignment": loss.detach()}
        return ModelOutput(loss=loss, loss_sum=loss * len(batch), metrics=metrics)

    # Generation
    # ----------------------------------------------------------------------------------------------

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
        """Draw latents given the modalities ``cond_mod`` that each sample has observed.

        For every sample and each of ``N`` draws an expert among these is drawn, and z from it; w_m
        comes from q(w_m|x_m) where m is conditioned on and observed, and otherwise from the prior
        that ``reconstruction_option`` names. ``return_mean`` gives the means instead, for z the
        average of the experts' means. ``flatten`` merges the first two axes, N fastest.

        Returns:
            ``z`` (n_data, N, latent_dim), ``modalities_z`` {modality: (n_data, N, dim_m)} for every
            modality, ``one_latent_space`` = False.

        Raises:
            ValueError: If a sample has observed none of ``cond_mod``; the message names it.
        """
        draws = positive_int("N", N)
        names = inference.chosen_modalities(self, "cond_mod", cond_mod)
        experts = inference.experts_given(self, inputs, names, batch_size)
        if return_mean:
            z, private = generation.mean_latents(self, experts, draws)
        else:
            z, private = generation.sample_latents(self, experts, draws, generator)
        if flatten:
            z, private = z.flatten(0, 1), {m: w.flatten(0, 1) for m, w in private.items()}
        return ModelOutput(z=z, modalities_z=private, one_latent_space=False)

    def decode(
        self, embedding: Mapping[str, Any], modalities: str | Sequence[str] = "all"
    ) -> dict[str, Tensor]:
        """Decode latents, as :meth:`encode` and :meth:`generate_from_prior` return them.

        These are ``z`` (..., latent_dim) and ``modalities_z`` {modality: (..., dim_m)}, of the same
        leading axes, which may be any.

        Returns:
            {modality: (..., *input shape)}: the decoders' output, which for ``'bernoulli'`` and
            ``'categorical'`` likelihoods are logits, and for counts logarithms of rates or logits
            of shares; :meth:`to_data` turns them into values of the data's kind.
        """
        names = inference.chosen_modalities(self, "modalities", modalities)
        decoded = {}
        for m, latents in generation.joined_latents(self, embedding, names).items():
            with evaluating(self):
                rows = inference.decode_rows(self, m, latents.reshape(-1, latents.shape[-1]))
            decoded[m] = rows.reshape(*latents.shape[:-1], *rows.shape[1:])
        return decoded

    @torch.no_grad()
    def to_data(
        self,
        reconstructions: Mapping[str, Tensor],
        sample: bool = False,
        *,
        generator: Generator | None = None,
    ) -> dict[str, Tensor]:
        """Turn what :meth:`decode` and :meth:`predict` return into means of the data.

        With ``sample`` into draws from the likelihoods.

        Returns:
            {modality: (..., *input shape)}, without gradients: values, probabilities of ones and of
            classes, rates of counts; or drawn values, zeros and ones, one-hot vectors, counts.

        Raises:
            TypeError: For draws of a likelihood that is a callable.
        """
        names = inference.chosen_modalities(self, "reconstructions", list(reconstructions))
        own = {m: inference.likelihood_of(self, m) for m in names}
        if sample:
            return {m: own[m].sample(reconstructions[m], generator) for m in names}
        return {m: own[m].mean(reconstructions[m]) for m in names}

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
        """Generate modalities ``gen_mod`` from ``cond_mod``: :meth:`encode`, then :meth:`decode`.

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
        """Draw c ~ π, z ~ p(z|c), and w_m from the prior that ``reconstruction_option`` names.

        Instead of c ~ π, ``cluster`` is an active cluster's index, or one for each sample.

        Returns:
            ``z`` (n_samples, latent_dim), ``modalities_z`` {modality: (n_samples, dim_m)},
            ``clusters`` (n_samples,) int64, ``one_latent_space`` = False.

        Raises:
            ValueError: If ``cluster`` is pruned, out of range, or of another length than
                ``n_samples``.
        """
        n = positive_int("n_samples", n_samples)
        if cluster is None:
            weights = self.pc_params.detach()
            clusters = torch.multinomial(weights, n, replacement=True, generator=generator)
        else:
            clusters = generation.chosen_clusters(self.active_clusters, cluster, n)
        z = self.mixture.sample(clusters, generator)
        private = {
            m: generation.sample_private_prior(self, m, (n,), generator) for m in self.modalities
        }
        return ModelOutput(z=z, modalities_z=private, clusters=clusters, one_latent_space=False)

    # Clustering
    # ----------------------------------------------------------------------------------------------

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
        """Assign samples to clusters, by p(c|z_m) of every modality m that they have observed.

        z_m is the mean of q(z|x_m), or with ``sample`` a draw. The ``rule`` ``'mean'`` takes the
        cluster with the largest average of p(c|z_m); ``'vote'`` the paper's majority vote over
        modalities, ties broken by that average; ``'joint'`` the cluster with the largest p(c|z̄), z̄
        the average of the z_m, which is the mean of q(z|X).

        Returns:
            ``clusters`` (n_data,) int64; ``pc_zs`` {modality: (n_data, C)}, p(c|z_m), rows of
            unobserved samples NaN; ``probabilities`` (n_data, C), the average of p(c|z_m) over
            observed modalities, with the rule ``'joint'`` p(c|z̄).
        """
        check_rule(rule)
        points = inference.expert_points(self, inputs, batch_size, sample, generator)
        clusters, average, each = assign_points(rule, points, self.mixture)
        by_modality = dict(zip(self.modalities, each, strict=True))
        return ModelOutput(clusters=clusters, pc_zs=by_modality, probabilities=average)

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
        """Choose the number of clusters by the criterion of :mod:`cmvae.models.selection`.

        Every sample is encoded once; ``rule`` and ``sample``, as of :meth:`predict_clusters`, give
        each cluster its samples. Starts from the active clusters and leaves the best set active,
        the logits of π renormalised on it. With fewer than two active clusters nothing changes.

        Returns:
            ``h_values``, length C + 1: the penalised normalised entropy by number of active
            clusters, inf where not evaluated.
        """
        check_rule(rule)
        positive_int("batch_size", batch_size)
        if self.n_clusters < 2:
            return [math.inf] * (len(self.active_clusters) + 1)
        points = inference.expert_points(self, train_data, batch_size, sample, generator)
        return prune(self.mixture, points, rule, self.model_config.beta)

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
        """Estimate −log p(X_S), β = 1 and no rescaling, as :mod:`cmvae.models.marginal` does.

        With ``K`` importance samples for each sample; at most ``chunk_size`` samples are encoded,
        and so many draws decoded, at a time.

        Returns:
            The sum over samples, a scalar, or with ``reduction='none'`` (n_data,); in nats.
        """
        draws, chunk = positive_int("K", K), positive_int("chunk_size", chunk_size)
        if reduction not in ("sum", "none"):
            raise ValueError(f"reduction must be 'sum' or 'none', got {reduction!r}")
        priors, parts = inference.private_priors(self), []
        with evaluating(self):
            for part in iterate(inputs, chunk):
                batch = read_batch(self, part)
                score = partial(inference.score_rows, self, batch, rescaled=False)
                model = (experts_of(self, batch), self.mixture, priors, score)
                parts.append(estimate_log_marginal(*model, draws, chunk, generator))
        nll = -torch.cat(parts)
        return nll.sum() if reduction == "sum" else nll

    # Saving
    # ----------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder, made where missing."""
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

        From a folder, or from the Hugging Face Hub by an id ``owner/name`` and a ``revision``,
        branch, tag or commit. Custom encoders and decoders, whose weights are loaded, and callable
        likelihoods are passed again.

        Raises:
            ValueError: If a file is missing, damaged or does not fit, naming it; if custom networks
                or likelihoods are not passed again.
            ImportError: If the Hub is needed and huggingface_hub is not installed (extra ``hub``).
        """
        folder = model_folder(pretrained_model_name_or_path, revision)
        return load_pretrained(cls, folder, encoders, decoders, decoders_dist)
