"""Our model as one of MultiVae's, for its trainers, evaluators and samplers."""

from collections.abc import Mapping
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.inference import Names, likelihood_of
from cmvae.multivae.lenient import encode_or_draw

_DISTS = ("normal", "laplace", "bernoulli", "categorical")


def adapt(model: CMVAE) -> Any:
    """Return the model as a ``BaseMultiVAE`` of the real MultiVae, which must be installed.

    It is trained by MultiVae's trainers, with the loss a sum over the batch as there; its
    evaluators and samplers take it. Results have MultiVae's axes: (draws, samples, ...), without
    draws for one, merged with samples fastest; ``pc_zs`` (clusters, samples). Samples of which
    nothing of ``cond_mod`` is observed are drawn from the prior with ``ignore_incomplete=True``,
    and refused without. The parameters are the model's own, so that it is trained with the adapter,
    whose ``own`` it is. ``save`` writes what :meth:`cmvae.CMVAE.save_pretrained` does.

    Raises:
        TypeError: If it is no CMVAE.
        ValueError: If it has covariates, which MultiVae's data sets cannot hold.
        ImportError: If MultiVae is not installed, or :func:`cmvae.install_as_multivae` stands in
            for it.

    Example:
        >>> from cmvae.multivae import adapt
        >>> BaseTrainer(adapt(model), train_data).train()  # doctest: +SKIP
    """
    if not isinstance(model, CMVAE):
        raise TypeError(f"model must be a CMVAE, got {type(model).__name__}")
    if names := list(model.model_config.covariates):
        raise ValueError(f"MultiVae's data have no covariates, and this model has {names}")
    return _adapter_class()(model)


class _Members:
    """What :func:`adapt` returns does, beside what MultiVae's base class does."""

    own: CMVAE
    device: Any
    multiple_latent_spaces = True
    model_name = "CMVAE"

    def __init__(self, model: CMVAE) -> None:
        theirs, config = import_module("multivae.models.cmvae"), model.model_config
        nn.Module.__init__(self)  # type: ignore[arg-type]
        self.own, self.device = model, None
        self.model_config = theirs.CMVAEConfig(**_settings(config, model.modalities))
        self.model_custom_architectures: list[str] = []
        self.n_modalities, self.latent_dim = config.n_modalities, config.latent_dim
        self.input_dims, self.modalities_name = config.input_dims, list(model.modalities)
        self.use_likelihood_rescaling = config.uses_likelihood_rescaling
        self.rescale_factors = dict(model.rescale_factors)
        self.style_dims = {m: config.private_dim(m) for m in model.modalities}

    @property
    def encoders(self) -> Any:
        """Modality to encoder."""
        return self.own.encoders

    @property
    def decoders(self) -> Any:
        """Modality to decoder."""
        return self.own.decoders

    @property
    def recon_log_probs(self) -> dict[str, Any]:
        """Modality to elementwise log p(x | reconstruction)."""
        return {m: likelihood_of(self.own, m).log_prob for m in self.own.modalities}

    @property
    def pc_params(self) -> Tensor:
        """The cluster weights, (C,)."""
        return self.own.pc_params

    @property
    def n_clusters(self) -> int:
        """The number of active clusters."""
        return self.own.n_clusters

    def forward(self, inputs: Any, **keywords: Any) -> Any:
        """Evaluate the objective; what trainers say beside ``K`` is not read."""
        draws = {"K": keywords["K"]} if "K" in keywords else {}
        output = self.own(_read(inputs), **draws)
        total = output.loss_sum
        return _output(loss=total, loss_sum=total, metrics=dict(output.metrics))

    def encode(
        self,
        inputs: Any,
        cond_mod: Names = "all",
        N: int = 1,
        return_mean: bool = False,
        *,
        flatten: bool = False,
        ignore_incomplete: bool = False,
    ) -> Any:
        """Draw latents: ``z`` (N, samples, latent_dim), without the first axis for one draw."""
        encode = encode_or_draw if ignore_incomplete else CMVAE.encode
        found = encode(self.own, _read(inputs), cond_mod, N, return_mean)
        z, private = _by_draws(found.z, flatten), found.modalities_z
        private = {m: _by_draws(w, flatten) for m, w in private.items()}
        return _output(z=z, modalities_z=private, one_latent_space=False)

    def decode(self, embedding: Any, modalities: Names = "all") -> Any:
        """Decode latents of any leading axes."""
        with torch.no_grad():
            return _output(**self.own.decode(embedding, modalities))

    def predict(
        self,
        inputs: Any,
        cond_mod: Names = "all",
        gen_mod: Names = "all",
        N: int = 1,
        flatten: bool = False,
        **keywords: Any,
    ) -> Any:
        """Generate: {modality: (N, samples, *input shape)}, without the first axis for one draw."""
        with torch.no_grad():
            latents = self.encode(inputs, cond_mod, N, flatten=flatten, **keywords)
            return self.decode(latents, gen_mod)

    def generate_from_prior(self, n_samples: int, **keywords: Any) -> Any:
        """Draw latents from the prior."""
        return _output(**self.own.generate_from_prior(n_samples, **keywords))

    def predict_clusters(self, inputs: Any, **keywords: Any) -> Any:
        """Assign samples to clusters; ``pc_zs`` are (clusters, samples)."""
        found = self.own.predict_clusters(_read(inputs), **keywords)
        by_cluster = {m: rows.T for m, rows in found.pc_zs.items()}
        return _output(clusters=found.clusters, pc_zs=by_cluster, probabilities=found.probabilities)

    def prune_clusters(self, train_data: Any, batch_size: int = 128) -> list[float]:
        """Choose the number of clusters; see :meth:`cmvae.CMVAE.prune_clusters`."""
        return self.own.prune_clusters(_read(train_data), batch_size)

    def compute_joint_nll(
        self, inputs: Any, K: int = 1000, batch_size_K: int | None = None
    ) -> Tensor:
        """Estimate the negative log-likelihood, summed, ``batch_size_K`` draws at a time."""
        chunk: dict[str, Any] = {} if batch_size_K is None else {"chunk_size": batch_size_K}
        return self.own.compute_joint_nll(_read(inputs), K, **chunk)

    def save(self, dir_path: str | Path) -> None:
        """Save as :meth:`cmvae.CMVAE.save_pretrained` does."""
        self.own.save_pretrained(dir_path)

    def load_from_folder(self, dir_path: str | Path) -> Any:
        """Return what :meth:`save` wrote, adapted; networks of one's own are those of this one."""
        networks: dict[str, Any] = {}
        for part in ("encoders", "decoders"):
            own, custom = getattr(self.own, part), self.own.model_config.supplied(part)
            networks[part] = {
                m: deepcopy(own[m]) for m in (own if custom is None else custom)
            } or None
        return adapt(CMVAE.from_pretrained(dir_path, **networks))


@cache
def _adapter_class() -> Any:
    """Return the members on MultiVae's base class, imported once asked for."""
    try:
        base = import_module("multivae.models.base").BaseMultiVAE
    except ImportError as error:
        what = "adapt needs the library multivae itself: pip install multivae"
        way = "without cmvae.install_as_multivae, which stands in for it"
        raise ImportError(f"{what}, {way} ({error})", name="multivae") from None
    return type("AdaptedCMVAE", (_Members, base), {"__doc__": adapt.__doc__})


def _output(**fields: Any) -> Any:
    """Return fields as MultiVae does."""
    return import_module("multivae.models.base").ModelOutput(**fields)


def _by_draws(values: Tensor, flatten: bool) -> Tensor:
    """Return (samples, draws, dim) with draws first; merged, or without them where there is one."""
    by_draws = values.transpose(0, 1)
    if flatten:
        return by_draws.flatten(0, 1)
    return by_draws[0] if len(by_draws) == 1 else by_draws


def _read(inputs: Any) -> Any:
    """Return a data set of MultiVae that lies in memory as one batch; anything else as it is."""
    data = getattr(inputs, "data", None)
    if not isinstance(inputs, Dataset) or not isinstance(data, Mapping):
        return inputs
    base = import_module("multivae.data.datasets")
    plain = (base.MultimodalBaseDataset.__getitem__, base.IncompleteDataset.__getitem__)
    if type(inputs).__getitem__ not in plain:
        return inputs  # which makes its own samples
    return {"data": data, "masks": getattr(inputs, "masks", None)}


def _settings(config: CMVAEConfig, modalities: tuple[str, ...]) -> dict[str, Any]:
    """Return what MultiVae's settings can say of ours, for its logs."""
    dists = {m: config.likelihood_of(m)[0] for m in modalities}
    private = max(config.private_dim(m) for m in modalities)
    option = config.reconstruction_option
    return {
        "n_modalities": config.n_modalities,
        "latent_dim": config.latent_dim,
        "input_dims": config.input_dims,
        "K": config.K,
        "beta": config.beta,
        "loss": config.loss,
        "prior_and_posterior_dist": config.prior_and_posterior_dist,
        "number_of_clusters": config.number_of_clusters,
        "modalities_specific_dim": private,
        "reconstruction_option": "joint_prior" if option == "aggregate" else option,
        "decoders_dist": {m: dist for m, dist in dists.items() if dist in _DISTS},
    }
