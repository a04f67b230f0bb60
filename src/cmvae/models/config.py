"""The settings of a CMVAE: validated once, frozen, to and from JSON."""

from collections.abc import Callable, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from cmvae.base.settings import (
    Flag,
    Name,
    Natural,
    PositiveInt,
    Settings,
    Shape,
    Sizes,
    Weight,
)
from cmvae.likelihoods import build_likelihood
from cmvae.models.published import paper_settings
from cmvae.networks import check_network


def _plain(value: object) -> object:
    """Return numbers, lists and mappings as they come back from JSON, at any depth."""
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def _likelihood(value: object) -> object:
    if not (isinstance(value, str) or callable(value)):
        raise ValueError("must be the name of a likelihood or a callable(reconstruction, target)")
    return value


def _networks(value: object) -> object:
    for name in value.values() if isinstance(value, Mapping) else [value]:
        if isinstance(name, str):
            check_network(name)
        elif value is not None:
            raise ValueError("must be None, a name of networks, or modality to such a name")
    return value


def _supplied(value: object) -> object:
    part, dot, name = value.partition(".") if isinstance(value, str) else ("", "", "")
    if part not in PARTS or (dot and not name):
        raise ValueError("must be 'encoders' or 'decoders', or one of them, a dot and a modality")
    return value


Plain = Annotated[Any, BeforeValidator(_plain)]
CustomLikelihood = Callable[..., Any]
CUSTOM_PREFIX = "custom:"
PARTS = ("encoders", "decoders")


class CMVAEConfig(Settings):
    """The settings of a :class:`cmvae.CMVAE`; the defaults are the model of Palumbo et al. (2024).

    Args:
        n_modalities: Number of modalities M; must agree with ``input_dims``.
        latent_dim: Dimension of the shared latent z.
        input_dims: Modality name to input shape, or size of a vector. Needed when encoders or
            decoders are built for you, and for the default rescaling.
        uses_likelihood_rescaling: Whether log p(x_m | ·) is multiplied by a factor per modality.
        rescale_factors: Modality to factor; by default max_n D_n / D_m, D the size of an input.
        decoders_dist: Modality to likelihood: ``'normal'`` (where none is given), ``'laplace'``,
            ``'bernoulli'`` (the decoder gives logits), ``'categorical'`` (logits over classes on
            the last axis), ``'poisson'`` or ``'negative_binomial'`` (counts; the decoder gives
            logarithms of rates, or logits of shares), ``'mixed'`` (columns of different kinds), or
            a callable (reconstruction, target) → elementwise log-probability, which JSON does not
            keep: it is passed again at load.
        decoder_dist_params: Modality to parameters of its likelihood, such as ``{'scale': 0.75}``,
            ``{'scale': 'learned'}``, ``{'library_size': True, 'size': 3000}`` or
            ``{'columns': [['normal', 3], ['categorical', 4]]}``; see :mod:`cmvae.likelihoods`.
        custom_architectures: Which of ``'encoders'``, ``'decoders'`` were supplied, or
            ``'decoders.NAME'`` where those of single modalities were; set by CMVAE.
        K: Importance samples in training.
        prior_and_posterior_dist: Latent family: ``'laplace_with_softmax'``,
            ``'normal_with_softplus'`` or ``'normal'``.
        learn_modality_prior: Whether the scales of the auxiliary priors r_m(w_m) are learned.
        beta: Weight β > 0 of the divergence.
        modalities_specific_dim: Dimension of each private latent w_m, one or modality to integer.
        reconstruction_option: What w_n is drawn from when modality n is generated without being
            observed: ``'joint_prior'`` = p(w_n), ``'single_prior'`` = r_n, ``'aggregate'`` = a
            Normal like the q(w_n|x_n) of the data, which :meth:`CMVAE.fit_private_priors` sets.
        loss: ``'dreg_looser'`` or ``'iwae_looser'``, of the same value, which differ in gradient.
        dreg_estimator: ``'unbiased'``, or ``'published'`` to repeat runs with the rule in print.
        cross_modal_targets: How many others are reconstructed from each modality, drawn at random
            at every training step, their log-likelihoods scaled up to the number of all: the
            decoders' work then grows with M and not with M². None: all, the paper's model. The
            same objective in expectation for K = 1; for K > 1, where the terms stand inside a
            logarithm, an approximation. In eval mode all are used.
        number_of_clusters: C, the number of clusters at the start.
        covariance: Form of Σ_c: ``'identity'`` (fixed, the paper's), ``'diagonal'`` or ``'full'``
            (learned; ``'full'`` is for the Normal families).
        hidden_dims: Sizes of the hidden layers of perceptrons built for you; mirrored in decoders.
            ``()``: none, which makes both linear.
        networks: Which networks are built for you, of those in ``cmvae.networks.NETWORKS``: one
            name for all modalities, or modality to name. By default 'conv' for images of at least 8
            by 8 pixels, 'sequence' for categorical (length, vocabulary), 'mlp_classes' for other
            categorical shapes, which takes class indices too, and 'mlp' for the rest; 'resnet' is a
            larger pair for images, 'mlp_sigmoid' decodes to values between 0 and 1. Of your own:
            ``NETWORKS['mine'] = NetworkPair(encoder, decoder)``
            (:class:`cmvae.networks.NetworkPair`), before the settings are made or loaded. Refused
            beside custom encoders and decoders.
        missing_cells: Vector modalities that lack single cells in training: their encoders also see
            which cells are there.
        residual_factors: How many factors of what decoders leave of real numbers
            :meth:`cmvae.CMVAE.fit_residuals` learns, for imputation; 0: none.
        private_scale: Scale of every p(w_m), fixed; 1, the paper's, unless a model comes from
            elsewhere.
        covariates: What is known about a sample and is not to make clusters (batch, site, age):
            name to the number of categories, 1 for a number, best a standardised one. Decoders are
            given their encoding after [z, w]: an indicator of each category, a number as it is;
            encoders and mixture are not.
        forgetting: Weight, in nats, of a penalty on what z tells of the covariates
            (:func:`cmvae.models.forgetting.forgetting_loss`), where decoders that read them leave
            too much; some tens to begin with. None: without.

    Example:
        >>> dims = {"rna": 20, "protein": 5}
        >>> config = CMVAEConfig(n_modalities=2, input_dims=dims, modalities_specific_dim=3)
        >>> CMVAEConfig.from_json(config.to_json()) == config
        True
    """

    n_modalities: PositiveInt
    latent_dim: PositiveInt = 10
    input_dims: dict[Name, Shape] | None = None
    uses_likelihood_rescaling: Flag = False
    rescale_factors: dict[Name, Weight] | None = None
    decoders_dist: dict[Name, Annotated[Any, BeforeValidator(_likelihood)]] | None = None
    decoder_dist_params: dict[Name, dict[str, Plain]] | None = None
    custom_architectures: list[Annotated[str, BeforeValidator(_supplied)]] = Field(
        default_factory=list
    )
    K: PositiveInt = 10
    prior_and_posterior_dist: Literal["laplace_with_softmax", "normal_with_softplus", "normal"] = (
        "laplace_with_softmax"
    )
    learn_modality_prior: Flag = True
    beta: Weight = 1.0
    modalities_specific_dim: PositiveInt | dict[Name, PositiveInt]
    reconstruction_option: Literal["joint_prior", "single_prior", "aggregate"] = "joint_prior"
    loss: Literal["dreg_looser", "iwae_looser"] = "dreg_looser"
    dreg_estimator: Literal["unbiased", "published"] = "unbiased"
    cross_modal_targets: PositiveInt | None = None
    number_of_clusters: PositiveInt = 10
    covariance: Literal["identity", "diagonal", "full"] = "identity"
    hidden_dims: Sizes = (256, 256)
    networks: Annotated[str | dict[Name, str] | None, BeforeValidator(_networks)] = None
    missing_cells: list[Name] = Field(default_factory=list)
    residual_factors: Natural = 0
    private_scale: Weight = 1.0
    covariates: dict[Name, PositiveInt] = Field(default_factory=dict)
    forgetting: Weight | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        names, n = None if self.input_dims is None else list(self.input_dims), self.n_modalities
        if names is not None and len(names) != n:
            raise ValueError(f"n_modalities is {n}, but input_dims has {len(names)}: {names}")
        self.check_names(names)
        if self.rescale_factors is not None and not self.uses_likelihood_rescaling:
            raise ValueError("rescale_factors is given, but uses_likelihood_rescaling is False")
        if self.forgetting and not self.covariates:
            raise ValueError("forgetting is given, but there are no covariates to forget")
        if self.residual_factors and names is None:
            raise ValueError("residual_factors needs input_dims")
        if self.covariance == "full" and self.prior_and_posterior_dist == "laplace_with_softmax":
            others = "not 'laplace_with_softmax'; allowed there: 'identity', 'diagonal'"
            raise ValueError(f"covariance 'full' needs a Normal latent family, {others}")
        for modality in {**(self.decoders_dist or {}), **(self.decoder_dist_params or {})}:
            if not self.likelihood_is_missing(modality):
                dist, params = self.likelihood_of(modality)
                build_likelihood(dist, params, modality, self.shape_of(modality))
        return self

    @classmethod
    def paper(cls, data: str, **changes: Any) -> Self:
        """Return the settings of a published experiment (Palumbo et al., 2024).

        They are those of :mod:`cmvae.models.published`, which says where they come from.

        Args:
            data: ``'polymnist'`` or ``'cubicc'``.
            **changes: Fields to set otherwise; with other ``input_dims`` what depends on them
                follows.

        Raises:
            ValueError: For another name.

        Example:
            >>> CMVAEConfig.paper("polymnist").number_of_clusters
            40
        """
        return cls(**paper_settings(data, changes))

    def check_names(self, modalities: list[str] | None) -> None:
        """Refuse fields that name others than ``modalities`` (None: any ``n_modalities``)."""
        unknown = [m for m in self.missing_cells if modalities is not None and m not in modalities]
        if unknown:
            allowed = f"the modalities are {modalities}"
            raise ValueError(f"missing_cells names unknown modalities {unknown}; {allowed}")
        n, whole = self.n_modalities, ("rescale_factors", "modalities_specific_dim")
        for field in (*whole, "decoders_dist", "decoder_dist_params", "networks"):
            given = getattr(self, field)
            if not isinstance(given, Mapping):
                continue
            known = list(given) if modalities is None else modalities
            unknown = [name for name in given if name not in known]
            if unknown:
                allowed = f"the modalities are {known}"
                raise ValueError(f"{field} names unknown modalities {unknown}; {allowed}")
            if len(given) > n or (field in whole and len(given) < n):
                raise ValueError(f"{field} names {list(given)}, but n_modalities is {n}")

    def supplied(self, part: str) -> list[str] | None:
        """Return the modalities whose ``'encoders'`` or ``'decoders'`` are custom; None: all."""
        if part in self.custom_architectures:
            return None
        own = f"{part}."
        return [n.removeprefix(own) for n in self.custom_architectures if n.startswith(own)]

    def has_missing_cells(self, modality: str) -> bool:
        """Tell whether ``modality`` lacks single cells in training."""
        return modality in self.missing_cells

    def shape_of(self, modality: str) -> tuple[int, ...] | None:
        """Return the input shape of ``modality``, None where it is not known."""
        return (self.input_dims or {}).get(modality)

    def likelihood_of(self, modality: str) -> tuple[str | CustomLikelihood, dict[str, Any]]:
        """Return the likelihood of ``modality``, a name or callable, and its parameters."""
        dist = (self.decoders_dist or {}).get(modality, "normal")
        return dist, (self.decoder_dist_params or {}).get(modality, {})

    def likelihood_is_missing(self, modality: str) -> bool:
        """Tell whether ``modality`` had a callable likelihood, which JSON does not keep."""
        dist, _ = self.likelihood_of(modality)
        return isinstance(dist, str) and dist.startswith(CUSTOM_PREFIX)

    def network_of(self, modality: str) -> str | None:
        """Return the name of the networks of ``modality``; None: the kind of input chooses."""
        return self.networks.get(modality) if isinstance(self.networks, dict) else self.networks

    def private_dim(self, modality: str) -> int:
        """Return the dimension of the private latent of ``modality``."""
        dims = self.modalities_specific_dim
        return dims[modality] if isinstance(dims, dict) else dims

    style_dim = private_dim  # the former name, until nothing uses it

    @field_serializer("decoders_dist", when_used="json")
    def _name_callables(self, dists: dict[str, Any] | None) -> dict[str, str] | None:
        def name(dist: Any) -> str:
            own = getattr(dist, "__qualname__", repr(dist))
            return dist if isinstance(dist, str) else CUSTOM_PREFIX + own

        return None if dists is None else {m: name(dist) for m, dist in dists.items()}
