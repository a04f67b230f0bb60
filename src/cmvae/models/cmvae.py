"""The clustering multimodal VAE: the members that users call."""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import (
    check_flags,
    check_generator,
    natural_int,
    positive_float,
    positive_int,
    seeded,
)
from cmvae.base.forks import survive_forks
from cmvae.base.modality_dict import ModalityDict
from cmvae.base.outputs import ModelOutput
from cmvae.base.words import shown
from cmvae.data.batches import Batch, iterate
from cmvae.data.checks import CHUNK_ENTRIES, check_mapping
from cmvae.models import build, generation, inference
from cmvae.models.aggregate import fit_private_priors
from cmvae.models.alignment import READING_SCALE, alignment_loss
from cmvae.models.assignment import assign_points, check_rule
from cmvae.models.build import Supplied
from cmvae.models.config import CMVAEConfig
from cmvae.models.covariates import Covariates, refuse_covariates
from cmvae.models.families import FAMILIES
from cmvae.models.forgetting import forgetting_loss
from cmvae.models.hub import push_to_hub
from cmvae.models.imputation import fitted_means, impute_batch, residuals_of
from cmvae.models.inference import Names, evaluating, experts_of, read_batch
from cmvae.models.information import information_loss
from cmvae.models.mixture import MixturePrior
from cmvae.models.objectives import bound_terms
from cmvae.models.pretrained import load_pretrained, model_folder, save_pretrained
from cmvae.models.residuals import ResidualFactors
from cmvae.models.scales import fit_scales
from cmvae.models.selection import prune

survive_forks()

MOST_ROWS = 8192
IMPUTE_STEPS = 60
MOST_RESIDUALS = 4000


class CMVAE(nn.Module):
    """The clustering multimodal VAE of Palumbo et al. (ICLR 2024).

    ``inputs`` are a dataset of :mod:`cmvae.data.datasets`, a batch collated from one, or modality
    to tensor (n, *input shape), cast to the dtype of the parameters. A modality that they lack is
    unobserved for every sample; what unobserved entries and missing cells hold changes nothing.
    Modalities are named
    by one name, a list, or ``'all'``. Randomness comes from PyTorch's global generator unless a
    ``generator`` is passed. Networks run in eval mode, but for :meth:`forward` and :meth:`align`.
    All members raise ``KeyError`` for an unknown modality, and ``ValueError``, naming modality and
    samples, for differing lengths, wrong shapes, a sample of which nothing is observed, or NaN or
    inf in an observed entry.

    Args:
        model_config: The settings; the model keeps a copy of its own.
        encoders: Modality to :class:`cmvae.BaseMultilatentEncoder`; those of modalities that it
            does not name, by default all, are built for you.
        decoders: Modality to :class:`cmvae.BaseDecoder`; likewise.

    Attributes:
        model_config: The settings.
        latent_dim: Dimension of z.
        modalities: The modality names, a tuple.
        encoders, decoders, likelihoods, private_priors: Modality to part, mappings.
        mixture: The prior p(z).
        covariates: How covariates are encoded and occurred in training; None where there are none.

    Raises:
        ValueError: If a part is neither given nor can be built.
        TypeError: If an argument is of the wrong kind.

    Example:
        >>> config = CMVAEConfig(n_modalities=1, input_dims={"a": 3}, modalities_specific_dim=2)
        >>> CMVAE(config).encode({"a": torch.zeros(5, 3)}).z.shape
        torch.Size([5, 1, 10])
    """

    encoders: ModalityDict
    decoders: ModalityDict
    likelihoods: ModalityDict
    private_priors: ModalityDict
    mixture: MixturePrior
    residuals: ResidualFactors | None
    covariates: Covariates | None

    def __init__(
        self, model_config: CMVAEConfig, encoders: Supplied = None, decoders: Supplied = None
    ) -> None:
        super().__init__()
        if not isinstance(model_config, CMVAEConfig):
            kind = type(model_config).__name__
            raise TypeError(f"model_config must be a CMVAEConfig, got {kind}")
        names = self.modalities = build.modality_names(model_config, encoders, decoders)
        custom = build.check_supplied(model_config, encoders, decoders)
        config = self.model_config = model_config.replace(custom_architectures=custom)
        self.latent_dim = config.latent_dim
        family = self.family = FAMILIES[config.prior_and_posterior_dist]
        build.warn_about_size_one(config, names)
        self.rescale_factors = build.rescale_factors(config, names)
        make = partial(build.build_parts, config, family, names, encoders, decoders)
        build.check_size(make)
        for name, part in make().items():
            setattr(self, name, part)

    def __setattr__(self, name: str, value: Any) -> None:
        """Let properties with a setter take parameters too, which ``nn.Module`` would register."""
        if isinstance(getattr(type(self), name, None), property):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # Clusters

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

    def forward(
        self,
        inputs: Any,
        *,
        K: int | None = None,
        beta: float | None = None,
        alignment: float | None = None,
        narrowed: bool = True,
        views: Any = None,
        information: float | None = None,
        return_experts: bool = False,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Evaluate the training objective of a batch, a bound of :mod:`cmvae.models.objectives`.

        ``K`` importance samples and the weight ``beta`` are by default the config's. ``alignment``
        is the weight of :func:`cmvae.models.alignment.alignment_loss`, of ``views`` of the same
        samples where they are given. Where z lies is then learned from it alone: the bound holds
        the locations of q(z|x_m) constant, and, while decoders learn to read z, the scales too,
        ``narrowed``. ``information`` is the weight of
        :func:`cmvae.models.information.information_loss`. In training mode
        ``model_config.forgetting`` is that of :func:`cmvae.models.forgetting.forgetting_loss`.

        Returns:
            ``loss``, the negative bound averaged over the batch, scalar; ``loss_sum``, summed over
            it; ``metrics``, detached scalars (:func:`cmvae.models.objectives.bound_terms`);
            ``experts``, what encoders say of the batch, if ``return_experts``.
        """
        config = self.model_config
        draws = config.K if K is None else positive_int("K", K)
        weight = config.beta if beta is None else positive_float("beta", beta)
        check_generator(generator)
        batch = inference.with_covariates(self, read_batch(self, inputs), generator)
        others = len(self.modalities) ** 2  # every expert's draws are decoded into every modality
        generation.check_draws(self, "K", draws, draws * len(batch) * others)
        told = experts = experts_of(self, batch)
        added = {}
        codes = inference.covariate_codes(self, batch)
        if config.forgetting and codes is not None and self.training:
            penalty = forgetting_loss(self, batch, experts, codes, generator)
            added["forgetting"] = config.forgetting * penalty
        if alignment is not None:
            scale = positive_float("alignment", alignment)
            seen = experts if views is None else experts_of(self, read_batch(self, views))
            added["alignment"] = scale * alignment_loss(seen)
            held = experts.with_constant_z(READING_SCALE)
            experts = held if narrowed else experts.with_constant_locations()
        targets = config.cross_modal_targets if self.training else None
        bound = inference.bound_of(self, batch, experts, draws, weight, generator, targets)
        metrics = bound_terms(bound, experts, self.modalities)
        loss, loss_sum = -bound.value.mean(), -bound.value.sum()
        if information is not None:
            scale = positive_float("information", information)
            added["information"] = scale * information_loss(self, experts, generator, codes)
        for name, value in added.items():
            loss, loss_sum = loss + value, loss_sum + value * len(batch)
            metrics[name] = value.detach()
        output = ModelOutput(loss=loss, loss_sum=loss_sum, metrics=metrics)
        if return_experts:
            output.experts = told
        return output

    def align(self, inputs: Any) -> ModelOutput:
        """Evaluate :func:`cmvae.models.alignment.alignment_loss` alone, as :meth:`forward` does."""
        batch = read_batch(self, inputs)
        loss = alignment_loss(experts_of(self, batch))
        metrics = {"alignment": loss.detach()}
        return ModelOutput(loss=loss, loss_sum=loss * len(batch), metrics=metrics)

    # Generation

    def encode(
        self,
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
        """Draw latents given the modalities ``cond_mod`` that each sample has observed.

        For each of ``N`` draws of a sample one of these experts is drawn, and z from it; w_m comes
        from q(w_m|x_m) where m is conditioned on and observed, else from the prior that
        ``reconstruction_option`` names. ``return_mean`` gives the means instead, for z the average
        of the experts' means. ``flatten`` merges the first two axes, N fastest. A sample that has
        observed none of ``cond_mod`` is a ``ValueError`` that names it.

        Of a model with covariates those to decode under go with the latents: what ``covariates``
        names, {name: a value, or one for each sample}, else the samples' own; of those that are
        missing a draw, with ``return_mean`` the most frequent value.

        Returns:
            ``z`` (n_data, N, latent_dim), ``modalities_z`` {modality: (n_data, N, dim_m)} for every
            modality, ``one_latent_space`` = False; with covariates ``covariates`` {name:
            (n_data, N)}.
        """
        draws = positive_int("N", N)
        check_flags(return_mean=return_mean, flatten=flatten)
        check_generator(generator)
        names = inference.chosen_modalities(self, "cond_mod", cond_mod)
        experts = inference.experts_given(self, inputs, names, batch_size)
        generation.check_draws(self, "N", draws, draws * experts.observed.shape[1])
        if return_mean:
            z, private = generation.mean_latents(self, experts, draws)
        else:
            z, private = generation.sample_latents(self, experts, draws, generator)
        known = generation.covariates_to_decode(
            self, inputs, covariates, draws, return_mean, batch_size, generator
        )
        if flatten:
            z, private = z.flatten(0, 1), {m: w.flatten(0, 1) for m, w in private.items()}
            known = {name: own.flatten(0, 1) for name, own in known.items()}
        added = {"covariates": known} if known else {}
        return ModelOutput(z=z, modalities_z=private, one_latent_space=False, **added)

    def decode(self, embedding: Mapping[str, Any], modalities: Names = "all") -> ModelOutput:
        """Decode ``z`` (..., latent_dim) and ``modalities_z`` {modality: (..., dim_m)}.

        Of a model with covariates under ``covariates`` {name: (...)}; those that it lacks are drawn
        as they occurred in training.

        Returns:
            {modality: (..., *input shape)}: the decoders' output, of ``'bernoulli'`` and
            ``'categorical'`` logits, of counts logarithms of rates or logits of shares;
            :meth:`to_data` makes values of the data's kind of it.
        """
        names = inference.chosen_modalities(self, "modalities", modalities)
        joined = generation.joined_latents(self, embedding, names)
        codes = generation.embedded_codes(self, embedding)
        with evaluating(self):
            decoded = {m: inference.decode_latents(self, m, v, codes) for m, v in joined.items()}
        return ModelOutput(decoded)

    @torch.no_grad()
    def to_data(
        self,
        reconstructions: Mapping[str, Tensor],
        sample: bool = False,
        *,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Turn what :meth:`decode` returns into means of the data, with ``sample`` into draws.

        Returns:
            {modality: (..., *input shape)}, without gradients: values, probabilities of ones and of
            classes, rates of counts; or drawn values, zeros and ones, one-hot vectors, counts
            (``TypeError`` for a likelihood that is a callable).
        """
        check_flags(sample=sample)
        check_generator(generator)
        check_mapping(reconstructions, "reconstructions", "(..., *input shape)")
        data = {}
        for m in inference.chosen_modalities(self, "reconstructions", list(reconstructions)):
            own = inference.likelihood_of(self, m)
            given = generation.as_reconstruction(self, m, reconstructions[m])
            data[m] = own.sample(given, generator) if sample else own.mean(given)
        return ModelOutput(data)

    @torch.no_grad()
    def predict(
        self,
        inputs: Any,
        cond_mod: Names = "all",
        gen_mod: Names = "all",
        N: int = 1,
        flatten: bool = False,
        *,
        return_mean: bool = False,
        covariates: Mapping[str, Any] | None = None,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Generate ``gen_mod`` from ``cond_mod``: :meth:`encode`, :meth:`decode`, no gradients.

        ``covariates`` are those to generate under, in place of the samples' own.

        Returns:
            {modality: (n_data, N, *input shape)}, or (n_data · N, *input shape) with ``flatten``.
        """
        names = inference.chosen_modalities(self, "gen_mod", gen_mod)
        keywords: dict[str, Any] = {"flatten": flatten, "generator": generator}
        keywords["covariates"] = covariates
        return self.decode(self.encode(inputs, cond_mod, N, return_mean, **keywords), names)

    @torch.no_grad()
    def impute(
        self, inputs: Any, *, steps: int = IMPUTE_STEPS, batch_size: int = 512
    ) -> ModelOutput:
        """Complete samples: their missing cells and modalities, from what they have observed.

        What is observed stays as it is; the rest are the likelihoods' means at the latents that are
        most probable given it (:func:`cmvae.models.imputation.impute_batch`), found by ``steps``
        from the experts' means; 0: these themselves; and what :meth:`fit_residuals` has learned.
        Nothing is drawn.

        Returns:
            {modality: (n_data, *input shape)}, data as :meth:`to_data` returns them: probabilities
            of ones and of classes, rates of counts.
        """
        natural_int("steps", steps)
        parts = []
        with evaluating(self):
            for chunk in iterate(inputs, positive_int("batch_size", batch_size)):
                parts.append(impute_batch(self, read_batch(self, chunk), steps))
        return ModelOutput({m: torch.cat([part[m] for part in parts]) for m in self.modalities})

    @torch.no_grad()
    def fit_scales(self, train_data: Any, *, batch_size: int = 512) -> None:
        """Set learned scales of likelihoods, once the model is trained, to what decoders leave.

        In training a scale is also that of reconstructions from other modalities, which cannot know
        what is private; data that are drawn with it would be noisier than those that the model was
        trained on (:func:`cmvae.models.scales.fit_scales`). Of more than 4000 samples the first so
        many are looked at, with the same draws each time; nothing else changes.
        """
        with evaluating(self):
            fit_scales(self, *self._first(train_data, batch_size))

    @torch.no_grad()
    def fit_private_priors(self, train_data: Any, *, batch_size: int = 512) -> None:
        """Learn, once the model is trained, how its private latents vary over the data.

        What is generated without being observed then varies likewise
        (:func:`cmvae.models.aggregate.fit_private_priors`). Samples and draws are those of
        :meth:`fit_scales`; nothing else changes.

        Raises:
            ValueError: If ``model_config.reconstruction_option`` is not ``'aggregate'``.
        """
        if self.model_config.reconstruction_option != "aggregate":
            raise ValueError("reconstruction_option is not 'aggregate', which alone reads it")
        with evaluating(self):
            fit_private_priors(self, *self._first(train_data, batch_size))

    @torch.no_grad()
    def fit_covariates(self, train_data: Any, *, batch_size: int = 4096) -> None:
        """Learn how covariates occur in training data; :func:`cmvae.fit` does it.

        What is generated without covariates is drawn so
        (:class:`cmvae.models.covariates.Covariates`).

        Raises:
            ValueError: If the model has none.
        """
        if self.covariates is None:
            raise ValueError("the model has no covariates: CMVAEConfig(covariates={name: size})")
        self.covariates.fit(generation.given_covariates(self, train_data, batch_size))

    def _first(self, data: Any, batch_size: int) -> tuple[Iterator[Batch], Generator]:
        """Return batches of the first samples, for what is fitted after training, and its draws."""
        size = min(positive_int("batch_size", batch_size), MOST_RESIDUALS)
        chunks = islice(iterate(data, size), -(-MOST_RESIDUALS // size))
        batches = (read_batch(self, chunk) for chunk in chunks)
        return batches, seeded(0, self.mixture.centers.device)

    @torch.no_grad()
    def fit_residuals(self, train_data: Any, *, steps: int = IMPUTE_STEPS) -> None:
        """Learn, once the model is trained, what its decoders leave of real numbers.

        ``model_config.residual_factors`` factors that columns share
        (:class:`cmvae.models.residuals.ResidualFactors`); :meth:`impute` adds what they expect of a
        missing cell. Of more than 4000 samples the first so many are looked at; nothing else
        changes.

        Raises:
            ValueError: If the settings allow no factors.
        """
        if self.residuals is None:
            raise ValueError("residual_factors is 0, or no column is a real number")
        natural_int("steps", steps)
        parts = []
        with evaluating(self):
            for chunk in islice(iterate(train_data, 500), MOST_RESIDUALS // 500):
                batch = read_batch(self, chunk)
                parts.append(residuals_of(self, batch, fitted_means(self, batch, steps)))
        self.residuals.fit(*map(torch.cat, zip(*parts, strict=True)))

    @torch.no_grad()
    def generate_from_prior(
        self,
        n_samples: int,
        *,
        cluster: int | Sequence[int] | Tensor | None = None,
        covariates: Mapping[str, Any] | None = None,
        generator: Generator | None = None,
    ) -> ModelOutput:
        """Draw c ~ π, z ~ p(z|c), and w_m from the prior that ``reconstruction_option`` names.

        Instead of c ~ π, ``cluster`` is an active cluster's index, or several that share the
        samples evenly, in their order: of six samples ``[0, 2]`` gives three each, six indices one
        each. Of a model with covariates these are drawn as they occurred in training, each by
        itself, but for those that ``covariates`` names, {name: a value, or one for each sample}.

        Returns:
            ``z`` (n_samples, latent_dim), ``modalities_z`` {modality: (n_samples, dim_m)},
            ``clusters`` (n_samples,) int64, ``one_latent_space`` = False; with covariates
            ``covariates`` {name: (n_samples,)}.
        """
        n, draw = positive_int("n_samples", n_samples), generation.sample_private_prior
        check_generator(generator)
        generation.check_draws(self, "n_samples", n, n)
        clusters = generation.choose_clusters(self, cluster, n, generator)
        z = self.mixture.sample(clusters, generator)
        private = {m: draw(self, m, (n,), generator) for m in self.modalities}
        added: dict[str, Any] = {}
        if self.covariates is None:
            refuse_covariates(covariates)
        else:
            known = self.covariates.filled(self.covariates.given(covariates, n), generator)
            added["covariates"] = self.covariates.named(known)
        found = {"z": z, "modalities_z": private, "clusters": clusters, **added}
        return ModelOutput(**found, one_latent_space=False)

    # Clustering

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
        largest average of p(c|z_m); ``'vote'`` the paper's majority vote over modalities, ties
        broken by that average; ``'joint'`` the largest p(c|z̄), z̄ the average of the z_m.

        Returns:
            ``clusters`` (n_data,) int64; ``pc_zs`` {modality: (n_data, C)}, p(c|z_m), NaN where
            unobserved; ``probabilities`` (n_data, C), their average, with ``'joint'`` p(c|z̄).
        """
        check_rule(rule)
        check_flags(sample=sample)
        check_generator(generator)
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

        ``rule`` and ``sample``, as of :meth:`predict_clusters`, give each cluster its samples.
        Starts from the active clusters and leaves the best set active, π renormalised on it.

        Returns:
            ``h_values``, length C + 1: the penalised normalised entropy by number of active
            clusters, inf where not evaluated.
        """
        check_rule(rule)
        positive_int("batch_size", batch_size)
        check_flags(sample=sample)
        check_generator(generator)
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
        seed: int | None = None,
    ) -> Tensor:
        """Estimate −log p(X_S), β = 1 and no rescaling, by ``K`` importance samples for each.

        At most ``chunk_size`` samples are encoded, and so many draws decoded, at a time. With a
        ``seed``, instead of a generator, every sample gets the same draws: its estimate does not
        depend on which others there are.

        Returns:
            The sum over samples, a scalar, or with ``reduction='none'`` (n_data,); in nats.
        """
        draws, chunk = positive_int("K", K), positive_int("chunk_size", chunk_size)
        if not isinstance(reduction, str) or reduction not in ("sum", "none"):
            raise ValueError(f"reduction must be 'sum' or 'none', got {shown(reduction)}")
        check_generator(generator)
        if seed is not None:
            seeded(seed)
        generation.check_draws(self, "K", draws, draws)
        nll = -inference.log_marginal(self, inputs, draws, chunk, generator, seed)
        return nll.sum() if reduction == "sum" else nll

    # Saving

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write ``config.json`` and ``model.safetensors`` into a folder, made where missing."""
        save_pretrained(self, save_directory)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        revision: str | None = None,
        encoders: Supplied = None,
        decoders: Supplied = None,
        decoders_dist: Mapping[str, Any] | None = None,
    ) -> Self:
        """Load a model written by :meth:`save_pretrained`, in eval mode; nothing is unpickled.

        From a folder, or from the Hugging Face Hub by an id ``owner/name`` and a ``revision``:
        branch, tag or commit. Custom networks, whose weights are loaded, and callable likelihoods
        are passed again.

        Raises:
            ValueError: If a file is missing, damaged or does not fit, or what is custom is missing.
            ImportError: If the Hub is needed and huggingface_hub is not installed (extra ``hub``).
        """
        folder = model_folder(pretrained_model_name_or_path, revision)
        return load_pretrained(cls, folder, encoders, decoders, decoders_dist)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        license: str,
        dataset: str,
        metrics: Mapping[str, float] | None = None,
        description: str = "",
        revision: str | None = None,
        private: bool = False,
        message: str | None = None,
    ) -> str:
        """Upload the model to the Hugging Face Hub, with a card that says what it is.

        The Hub's own client signs in: ``hf auth login``, or the variable ``HF_TOKEN``.

        Args:
            repo_id: ``owner/name``; made where it is missing.
            license: Who may use the model, as the Hub names it: ``'mit'``, ``'cc-by-4.0'`` …
            dataset: What it was trained on.
            metrics: What was measured, name to number; shown on the card.
            description: What else the card is to say, Markdown.
            revision: The branch, made where it is missing; by default the main one.
            private: Make a new repository private.
            message: Of the commit.

        Returns:
            The address of the commit.

        Raises:
            ValueError: Without a licence or data, or where the Hub refuses or is not there.
            ImportError: Without huggingface_hub (extra ``hub``).
        """
        own = {"license": license, "dataset": dataset, "metrics": metrics, "revision": revision}
        more = {"description": description, "private": private, "message": message}
        return push_to_hub(self, repo_id, **own, **more)
