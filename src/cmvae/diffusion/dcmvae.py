"""D-CMVAE: a frozen CMVAE whose reconstructions and samples are refined by diffusion decoders."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import seeded
from cmvae.base.modality_dict import ModalityDict
from cmvae.base.outputs import ModelOutput
from cmvae.data.batches import iterate
from cmvae.diffusion.conditions import draw_conditions
from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.decoder import DiffusionDecoder
from cmvae.diffusion.sampling import Sampler, SamplingOptions
from cmvae.diffusion.scaling import ScaleEstimate
from cmvae.diffusion.storing import DIFFUSION_CONFIG, load_decoders, save_decoders
from cmvae.likelihoods import Categorical, Mixed
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.inference import chosen_modalities, likelihood_of, read_batch
from cmvae.models.pretrained import model_folder


def _of_cmvae(member: Callable[..., Any]) -> Callable[..., Any]:
    """Return a member that calls the CMVAE's own, with its signature and docstring."""

    @functools.wraps(member)
    def call(self: "DCMVAE", *arguments: Any, **keywords: Any) -> Any:
        return member(self.cmvae, *arguments, **keywords)

    return call


def _same_as(attribute: str) -> Any:
    """Return a property that is the CMVAE's own."""
    return property(
        lambda self: getattr(self.cmvae, attribute), doc=f"As :attr:`cmvae.CMVAE.{attribute}`."
    )


class DCMVAE(nn.Module):
    """A trained CMVAE, frozen, and diffusion decoders that refine some or all of its modalities.

    D-CMVAE (Palumbo et al., "Deep Generative Clustering with Multimodal Diffusion Variational
    Autoencoders", ICLR 2024) in the scheme of DiffuseVAE (Pandey et al., TMLR 2022): the decoder of
    modality m learns p(x_m | x̂_m), x̂_m the mean of the CMVAE's likelihood. :func:`cmvae.fit`
    trains the decoders. Clusters, encodings, selection and likelihoods are the CMVAE's own.

    Args:
        cmvae: The trained model. It is copied, and the copy is frozen: neither training nor
            :meth:`prune_clusters` changes what was passed.
        decoders: The settings of each modality to be refined; or of all modalities, the defaults if
            None.

    Attributes:
        cmvae: The frozen model.
        decoders: Modality to :class:`cmvae.DiffusionDecoder`, a mapping.

    Raises:
        ImportError: If diffusers is not installed (extra ``diffusion``).
        KeyError: For a modality the model does not know.
        TypeError: If an argument is of the wrong kind.
        ValueError: For a modality with no continuous values, or a model without ``input_dims``.

    Example:
        >>> dims = {"a": 3, "b": 4}
        >>> config = CMVAEConfig(n_modalities=2, input_dims=dims, modalities_specific_dim=2)
        >>> model = DCMVAE(CMVAE(config), {"a": DiffusionConfig(hidden_dim=16)})
        >>> list(model.decoders)
        ['a']
    """

    def __init__(
        self, cmvae: CMVAE, decoders: DiffusionConfig | Mapping[str, DiffusionConfig] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(cmvae, CMVAE):
            raise TypeError(f"cmvae must be a CMVAE, got {type(cmvae).__name__}")
        configs = _configs(cmvae, decoders)
        self.cmvae = copy.deepcopy(cmvae).requires_grad_(False).eval()
        shapes = cmvae.model_config.input_dims or {}
        own = {m: DiffusionDecoder(shapes[m], config) for m, config in configs.items()}
        self.decoders = ModalityDict(own).to(cmvae.cluster_centers.device)

    # The CMVAE's own
    # ----------------------------------------------------------------------------------------------

    encode = _of_cmvae(CMVAE.encode)
    generate_from_prior = _of_cmvae(CMVAE.generate_from_prior)
    predict_clusters = _of_cmvae(CMVAE.predict_clusters)
    prune_clusters = _of_cmvae(CMVAE.prune_clusters)
    compute_joint_nll = _of_cmvae(CMVAE.compute_joint_nll)

    model_config: CMVAEConfig = _same_as("model_config")
    modalities: tuple[str, ...] = _same_as("modalities")
    latent_dim: int = _same_as("latent_dim")
    n_clusters: int = _same_as("n_clusters")
    active_clusters: Tensor = _same_as("active_clusters")
    cluster_centers: Tensor = _same_as("cluster_centers")
    pc_params: Tensor = _same_as("pc_params")

    @property
    def diffusion_configs(self) -> dict[str, DiffusionConfig]:
        """The settings of the diffusion decoders, by modality."""
        return {m: decoder.config for m, decoder in self.named_decoders()}

    def named_decoders(self) -> list[tuple[str, DiffusionDecoder]]:
        """Return pairs of modality and diffusion decoder."""
        return self.decoders.items()  # type: ignore[return-value]

    # Training
    # ----------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the diffusion decoders; the CMVAE stays in eval mode."""
        super().train(mode)
        self.cmvae.eval()
        return self

    @staticmethod
    def training_module(model: Any, learning_rate: float = 1e-3, optimizer: Any = None) -> Any:
        """Return the Lightning module that trains ``model``, a D-CMVAE, compiled or not.

        Its settings are those of :class:`cmvae.diffusion.training.DCMVAEModule`.
        """
        from cmvae.diffusion.training import DCMVAEModule  # Lightning takes seconds to import

        return DCMVAEModule(model, learning_rate, optimizer)

    def denoiser_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is trained: the parameters of the denoisers."""
        for _, decoder in self.named_decoders():
            yield from decoder.denoiser.parameters()

    @torch.no_grad()
    def estimate_scaling(self, inputs: Any, batch_size: int = 1024) -> None:
        """Learn the scale of each refined modality from training data, if unknown yet.

        :func:`cmvae.fit` does it. So many samples as ``batch_size`` says are read at a time.

        Raises:
            ValueError: If a modality is observed nowhere, or has values outside [0, 1] where its
                scaling is ``'unit'``.
        """
        estimates = {m: ScaleEstimate(decoder.scaling, m) for m, decoder in self.named_decoders()}
        for chunk in iterate(inputs, batch_size):
            batch = read_batch(self.cmvae, chunk)
            for m, estimate in estimates.items():
                if m in batch.data:
                    estimate.update(batch.data[m][batch.observed[self.modalities.index(m)]])
        for estimate in estimates.values():
            estimate.finish()

    def forward(self, inputs: Any, *, generator: Generator | None = None) -> ModelOutput:
        """Evaluate the denoising loss of a batch, on reconstructions that are drawn.

        See :mod:`cmvae.diffusion.conditions`. In training mode it is that of the trained weights, a
        share of conditions withheld; in eval mode that of the averaged weights.

        Returns:
            ``loss``, the sum over refined modalities of the squared error averaged over the samples
            that have observed them, scalar; and ``metrics``, detached: ``denoising_M``, that error
            for each of them that the batch has.
        """
        batch = read_batch(self.cmvae, inputs)
        conditions = draw_conditions(self.cmvae, batch, list(self.decoders), generator)
        # Connected to every parameter: a batch without a modality has zeros for its gradients.
        firsts = [parameter.flatten()[0] for parameter in self.denoiser_parameters()]
        loss = torch.stack(firsts).sum() * 0
        metrics = {}
        for m, decoder in self.named_decoders():
            if m in conditions.reconstructions:
                x = batch.data[m][conditions.rows[m]]
                error = decoder.loss(x, conditions.reconstructions[m], generator).mean()
                metrics[f"denoising_{m}"] = error.detach()
                loss = loss + error
        return ModelOutput(loss=loss, metrics=metrics)

    # Generation
    # ----------------------------------------------------------------------------------------------

    def decode(
        self,
        embedding: Mapping[str, Any],
        modalities: str | Sequence[str] = "all",
        *,
        refine: bool | str | Sequence[str] = True,
        seed: int | None = None,
        generator: Generator | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> dict[str, Tensor]:
        """Decode latents as :meth:`cmvae.CMVAE.decode`, and refine what it gives.

        With ``refine`` True all of them, False none, or those that it names. Noise comes from the
        ``generator``, or from a ``seed``. The other keywords, ``sampler``, ``steps``, ``guidance``,
        ``strength``, ``batch_size`` and ``clip``, say how to sample
        (:class:`cmvae.diffusion.sampling.Sampler`).

        Returns:
            {modality: (..., *input shape)}. What is refined are data, without gradients; the rest
            is the decoders' output.

        Raises:
            ValueError: If a modality to be refined has no diffusion decoder, or for sampling
                options out of range.
            TypeError: For an unknown option, or both a seed and a generator.
        """
        names = chosen_modalities(self.cmvae, "modalities", modalities)
        refined, sampler = self._refined(names, refine), Sampler(**sampling)
        generator = self._generator(seed, generator)
        decoded = self.cmvae.decode(embedding, names)
        for m, decoder in self.named_decoders():
            if m in refined:
                mean = self.cmvae.to_data({m: decoded[m]})[m]
                rows = mean.reshape(-1, *decoder.shape)
                decoded[m] = decoder.sample(rows, sampler, generator).reshape(mean.shape)
        return decoded

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
        refine: bool | str | Sequence[str] = True,
        seed: int | None = None,
        generator: Generator | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> dict[str, Tensor]:
        """Generate modalities as :meth:`cmvae.CMVAE.predict`, and refine them as :meth:`decode`.

        With the same seed, what is refined is what ``refine=False`` gives.
        """
        self._refined(chosen_modalities(self.cmvae, "gen_mod", gen_mod), refine)
        generator = self._generator(seed, generator)
        keywords = {"flatten": flatten, "generator": generator}
        embedding = self.encode(inputs, cond_mod, N, return_mean, **keywords)
        return self.decode(embedding, gen_mod, refine=refine, generator=generator, **sampling)

    def _refined(self, names: list[str], refine: bool | str | Sequence[str]) -> list[str]:
        """Return which of the modalities ``names`` to refine."""
        everything: list[str] = names if refine else []
        wanted = (
            everything
            if isinstance(refine, bool)
            else chosen_modalities(self.cmvae, "refine", refine)
        )
        lacking = [m for m in wanted if m not in self.decoders]
        if lacking:
            raise ValueError(
                f"refine is asked of {lacking}, which have no diffusion decoder; those that have "
                f"one: {list(self.decoders)} (refine=False, or a list of these, leaves the others "
                "to the CMVAE)"
            )
        idle = [m for m in wanted if m not in names]
        if idle:
            raise ValueError(f"refine names {idle}, which are not generated; generated are {names}")
        return wanted

    def _generator(self, seed: int | None, generator: Generator | None) -> Generator | None:
        if seed is None:
            return generator
        if generator is not None:
            raise TypeError("pass a seed or a generator, not both")
        return seeded(seed, self.cluster_centers.device)

    # Saving
    # ----------------------------------------------------------------------------------------------

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the CMVAE as :meth:`cmvae.CMVAE.save_pretrained` does, and the decoders beside it.

        ``CMVAE.from_pretrained`` reads that folder too. Of the decoders, the averaged weights are
        kept, in ``diffusion.safetensors``, beside ``diffusion.json``.
        """
        with save_decoders(self.decoders, self.diffusion_configs, save_directory):
            self.cmvae.save_pretrained(save_directory)

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
        """Load a model as :meth:`cmvae.CMVAE.from_pretrained` does, in eval mode."""
        folder = model_folder(pretrained_model_name_or_path, revision)
        cmvae = CMVAE.from_pretrained(
            folder, encoders=encoders, decoders=decoders, decoders_dist=decoders_dist
        )
        configs, weights = load_decoders(folder)
        try:
            model = cls(cmvae, configs)
        except (KeyError, ValueError) as error:
            path = weights.path.with_name(DIFFUSION_CONFIG)
            raise ValueError(f"{path}: {error.args[0]}") from None
        weights.into(model.decoders)
        return model.eval()


def _configs(cmvae: CMVAE, decoders: Any) -> dict[str, DiffusionConfig]:
    """Return the settings of each modality to be refined, checked."""
    if decoders is None or isinstance(decoders, DiffusionConfig):
        decoders = dict.fromkeys(cmvae.modalities, decoders or DiffusionConfig())
    if not isinstance(decoders, Mapping) or not all(
        isinstance(c, DiffusionConfig) for c in decoders.values()
    ):
        raise TypeError(
            f"decoders must be a DiffusionConfig or {{modality: DiffusionConfig}}, got {decoders!r}"
        )
    if not decoders:
        raise ValueError(f"decoders is empty; allowed are any of {list(cmvae.modalities)}")
    names = chosen_modalities(cmvae, "decoders", list(decoders))
    if cmvae.model_config.input_dims is None:
        raise ValueError(
            "diffusion decoders need the shapes of the modalities: CMVAEConfig.input_dims is None"
        )
    for m in names:
        likelihood = likelihood_of(cmvae, m)
        if isinstance(likelihood, Categorical | Mixed) or likelihood.counts:
            raise ValueError(
                f"modality {m!r} holds categories or counts: a diffusion decoder needs continuous "
                "values; pass decoders={modality: DiffusionConfig} with the other modalities"
            )
    return dict(decoders)
