"""D-CMVAE: a frozen CMVAE whose reconstructions and samples are refined by diffusion decoders."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, Unpack

import torch
from torch import Generator, Tensor, nn

from cmvae.base.arguments import positive_int, seeded
from cmvae.base.modality_dict import ModalityDict
from cmvae.base.outputs import ModelOutput
from cmvae.base.words import message_of, shown
from cmvae.data.batches import Batch, iterate
from cmvae.data.checks import as_tensor
from cmvae.diffusion.candidates import closest
from cmvae.diffusion.conditions import draw_conditions
from cmvae.diffusion.config import DiffusionConfig
from cmvae.diffusion.decoder import DiffusionDecoder
from cmvae.diffusion.sampling import Sampler, SamplingOptions
from cmvae.diffusion.scaling import ScaleEstimate
from cmvae.diffusion.storing import (
    DIFFUSION_CONFIG,
    check_weights,
    load_weights,
    read_configs,
    save_decoders,
)
from cmvae.likelihoods import Categorical, Mixed
from cmvae.models.build import Supplied
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.hub import push_to_hub
from cmvae.models.inference import Names, chosen_modalities, likelihood_of, read_batch
from cmvae.models.pretrained import load_pretrained, model_folder, too_large

Refine = bool | Names


def _of_cmvae(member: Callable[..., Any]) -> Callable[..., Any]:
    """Return a member that calls the CMVAE's own, with its signature and docstring."""

    @functools.wraps(member)
    def call(self: "DCMVAE", *arguments: Any, **keywords: Any) -> Any:
        return member(self.cmvae, *arguments, **keywords)

    return call


def _same_as(attribute: str) -> Any:
    """Return a property that is the CMVAE's own."""
    doc = f"As :attr:`cmvae.CMVAE.{attribute}`."
    return property(lambda self: getattr(self.cmvae, attribute), doc=doc)


class DCMVAE(nn.Module):
    """A trained CMVAE, frozen, and diffusion decoders that refine some or all of its modalities.

    D-CMVAE (Palumbo et al., ICLR 2024) in the scheme of DiffuseVAE (Pandey et al., TMLR 2022): the
    decoder of modality m learns p(x_m | x̂_m), x̂_m the mean of the CMVAE's likelihood, or p(x_m |
    x̂_m, z) where its settings have ``latents``.
    :func:`cmvae.fit` trains the decoders; all but what they generate is the CMVAE's own.

    Args:
        cmvae: The trained model, which is copied: nothing changes what was passed.
        decoders: The settings of each modality to be refined, or of all; None: all by default ones.

    Attributes:
        cmvae: The frozen model.
        decoders: Modality to :class:`cmvae.DiffusionDecoder`, a mapping.

    Raises:
        ImportError: If diffusers is not installed (extra ``diffusion``).
        KeyError, TypeError: For an unknown modality, or an argument of the wrong kind.
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
        self.decoders = _decoders(cmvae, configs).to(cmvae.cluster_centers.device)

    # The CMVAE's own

    encode = _of_cmvae(CMVAE.encode)
    generate_from_prior = _of_cmvae(CMVAE.generate_from_prior)
    predict_clusters = _of_cmvae(CMVAE.predict_clusters)
    prune_clusters = _of_cmvae(CMVAE.prune_clusters)
    compute_joint_nll = _of_cmvae(CMVAE.compute_joint_nll)
    impute = _of_cmvae(CMVAE.impute)

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

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the diffusion decoders; the CMVAE stays in eval mode."""
        super().train(mode)
        self.cmvae.eval()
        return self

    @staticmethod
    def training_module(model: Any, learning_rate: float = 1e-3, optimizer: Any = None) -> Any:
        """Return the Lightning module that trains ``model``, a D-CMVAE, compiled or not."""
        from cmvae.diffusion.training import DCMVAEModule  # Lightning takes seconds to import

        return DCMVAEModule(model, learning_rate, optimizer)

    def denoiser_parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is trained: the parameters of the denoisers."""
        for _, decoder in self.named_decoders():
            yield from decoder.denoiser.parameters()

    @torch.no_grad()
    def estimate_scaling(self, inputs: Any, batch_size: int = 1024) -> None:
        """Learn unknown scales of refined modalities from training data; :func:`cmvae.fit` does it.

        ``ValueError`` if one is observed nowhere, not in [0, 1] where its scaling is ``'unit'``, or
        lacks single cells.
        """
        estimates = {m: ScaleEstimate(decoder.scaling, m) for m, decoder in self.named_decoders()}
        for chunk in iterate(inputs, batch_size):
            batch = self._read_whole(chunk)
            for m, estimate in estimates.items():
                if m in batch.data:
                    estimate.update(batch.data[m][batch.observed[self.modalities.index(m)]])
        for estimate in estimates.values():
            estimate.finish()

    def forward(self, inputs: Any, *, generator: Generator | None = None) -> ModelOutput:
        """Evaluate the denoising loss of a batch, on drawn reconstructions.

        Of the trained weights in training mode, else of the averaged ones. Refined modalities with
        missing cells are a ``ValueError``.

        Returns:
            ``loss``, the squared error averaged over the samples that have observed a modality,
            summed over refined ones, scalar; ``metrics``, detached: its summands ``denoising_M``.
        """
        batch = self._read_whole(inputs)
        conditions = draw_conditions(self.cmvae, batch, list(self.decoders), generator)
        # Connected to every parameter: a batch without a modality has zeros for its gradients.
        firsts = [parameter.flatten()[0] for parameter in self.denoiser_parameters()]
        loss = torch.stack(firsts).sum() * 0
        metrics = {}
        for m, decoder in self.named_decoders():
            if m in conditions.reconstructions:
                x = batch.data[m][conditions.rows[m]]
                z = conditions.z[conditions.rows[m]]
                error = decoder.loss(x, conditions.reconstructions[m], generator, z).mean()
                metrics[f"denoising_{m}"] = error.detach()
                loss = loss + error
        return ModelOutput(loss=loss, metrics=metrics)

    def _read_whole(self, inputs: Any) -> Batch:
        """Read a batch of which no refined modality lacks single cells."""
        batch = read_batch(self.cmvae, inputs)
        for m, cells in batch.cells.items():
            seen = batch.observed[self.modalities.index(m)]
            if m in dict(self.named_decoders()) and bool((~cells[seen]).any()):
                way = "a diffusion decoder needs whole samples; impute them, or refine others"
                raise ValueError(f"modality {m!r} has missing cells: {way}")
        return batch

    # Generation

    def decode(
        self,
        embedding: Mapping[str, Any],
        modalities: Names = "all",
        *,
        refine: Refine = True,
        candidates: int = 1,
        seed: int | None = None,
        generator: Generator | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> ModelOutput:
        """Decode latents as :meth:`cmvae.CMVAE.decode`, and refine what it gives.

        With ``refine`` True all, False none, or those that it names, by noise from a ``generator``
        or ``seed``. Of so many ``candidates`` of each sample, which take as many times as long, the
        one is kept whose q(z | x_m) makes the sample's z likeliest. Other keywords are those of
        :class:`cmvae.diffusion.sampling.Sampler`.

        Returns:
            {modality: (..., *input shape)}. What is refined are data, without gradients; the rest
            is the decoders' output.

        Raises:
            ValueError: If a modality to be refined has no diffusion decoder; for odd values.
            TypeError: For an unknown option, or both a seed and a generator.
        """
        names = chosen_modalities(self.cmvae, "modalities", modalities)
        refined, sampler = self._refined(names, refine), Sampler(**sampling)
        positive_int("candidates", candidates)
        generator = self._generator(seed, generator)
        decoded = self.cmvae.decode(embedding, names)
        for m, decoder in self.named_decoders():
            if m in refined:
                mean = self.cmvae.to_data({m: decoded[m]})[m]
                x_hat, z = mean.reshape(-1, *decoder.shape), as_tensor(embedding["z"], "z").to(mean)
                z = z.reshape(-1, z.shape[-1])
                tries = [decoder.sample(x_hat, sampler, generator, z) for _ in range(candidates)]
                drawn = closest(self.cmvae, m, tries, z, sampler.batch_size)
                decoded[m] = drawn.reshape(mean.shape)
        return decoded

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
        refine: Refine = True,
        candidates: int = 1,
        seed: int | None = None,
        generator: Generator | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> ModelOutput:
        """Generate modalities as :meth:`cmvae.CMVAE.predict`, and refine them as :meth:`decode`.

        With the same seed, what is refined is what ``refine=False`` gives.
        """
        self._refined(chosen_modalities(self.cmvae, "gen_mod", gen_mod), refine)
        generator = self._generator(seed, generator)
        keywords = {"flatten": flatten, "covariates": covariates, "generator": generator}
        drawn = self.encode(inputs, cond_mod, N, return_mean, **keywords)
        how: Any = {"refine": refine, "candidates": candidates, "generator": generator, **sampling}
        return self.decode(drawn, gen_mod, **how)

    def _refined(self, names: list[str], refine: Refine) -> list[str]:
        """Return which of the modalities ``names`` to refine."""
        if isinstance(refine, bool):
            wanted = names if refine else []
        else:
            wanted = chosen_modalities(self.cmvae, "refine", refine)
        lacking = [m for m in wanted if m not in self.decoders]
        if lacking:
            allowed = f"refine=False, or some of {list(self.decoders)}"
            what = f"refine is asked of {lacking}, which have no diffusion decoder"
            raise ValueError(f"{what}; allowed: {allowed}")
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

    def save_pretrained(self, save_directory: str | Path) -> None:
        """Write the CMVAE, as it does itself, ``diffusion.json`` and ``diffusion.safetensors``."""
        with save_decoders(self.decoders, self.diffusion_configs, save_directory):
            self.cmvae.save_pretrained(save_directory)

    def push_to_hub(self, repo_id: str, **card: Any) -> str:
        """Upload the model with its decoders, as :meth:`cmvae.CMVAE.push_to_hub` does."""
        return push_to_hub(self, repo_id, **card)

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
        """Load a model as :meth:`cmvae.CMVAE.from_pretrained` does, in eval mode."""
        folder = model_folder(pretrained_model_name_or_path, revision)
        cmvae = load_pretrained(CMVAE, folder, encoders, decoders, decoders_dist)
        configs = read_configs(folder)
        try:
            with torch.device("meta"):  # which takes no memory, however large it is
                check_weights(folder, _decoders(cmvae, _configs(cmvae, configs)))
            model = cls(cmvae, configs)
        except (KeyError, ValueError, TypeError, RuntimeError, OverflowError) as error:
            reason = too_large(error) or message_of(error)
            raise ValueError(f"{folder / DIFFUSION_CONFIG}: {reason}") from None
        load_weights(folder, model.decoders)
        return model.eval()


def _decoders(cmvae: CMVAE, configs: Mapping[str, DiffusionConfig]) -> ModalityDict:
    shapes = cmvae.model_config.input_dims or {}
    size = cmvae.latent_dim
    return ModalityDict({m: DiffusionDecoder(shapes[m], own, size) for m, own in configs.items()})


def _configs(cmvae: CMVAE, decoders: Any) -> dict[str, DiffusionConfig]:
    """Return the settings of each modality to be refined, checked."""
    if decoders is None or isinstance(decoders, DiffusionConfig):
        decoders = dict.fromkeys(cmvae.modalities, decoders or DiffusionConfig())
    given = list(decoders.values()) if isinstance(decoders, Mapping) else [decoders]
    if not all(isinstance(config, DiffusionConfig) for config in given):
        wanted = "a DiffusionConfig or {modality: DiffusionConfig}"
        raise TypeError(f"decoders must be {wanted}, got {shown(decoders)}")
    if not decoders:
        raise ValueError(f"decoders is empty; allowed are any of {list(cmvae.modalities)}")
    if cmvae.model_config.input_dims is None:
        raise ValueError("diffusion decoders need CMVAEConfig.input_dims, which is None")
    for m in chosen_modalities(cmvae, "decoders", list(decoders)):
        likelihood = likelihood_of(cmvae, m)
        if isinstance(likelihood, Categorical | Mixed) or likelihood.counts:
            need = "a diffusion decoder needs continuous values; pass decoders= of other modalities"
            raise ValueError(f"modality {m!r} holds categories or counts: {need}")
    return dict(decoders)
