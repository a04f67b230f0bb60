"""The scikit-learn estimator: tables in, clusters out, with settings that need no tuning."""

import copy
import logging
import warnings
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral
from typing import Any, Literal, Self

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from cmvae.base.arguments import positive_int
from cmvae.data.batches import iterate
from cmvae.data.datasets import IncompleteDataset
from cmvae.models.cmvae import CMVAE
from cmvae.models.vae import evaluating
from cmvae.preprocessing.tables import Standardiser, Tables, read_tables, split_columns
from cmvae.training.initialization import latent_means
from cmvae.training.recipe import Recipe, assign_numbers, number_clusters, quiet_training

logger = logging.getLogger(__name__)

SINGLE = "x"
ACTIVE_UNIT_VARIANCE = 0.01


class CMVAEClusterer(ClusterMixin, TransformerMixin, BaseEstimator):
    """Cluster samples seen through one or several tables, parts of them missing, with a CMVAE.

    The tables are standardised; a multimodal VAE with one cluster is trained on them; the clusters
    start from the groups its latents show (:func:`cmvae.initialize_clusters`) and are trained on
    together with the networks. A sample's cluster is the most probable one at the mean of its joint
    posterior.

    ``X`` is {modality: array or DataFrame (n, features)}, or one array or DataFrame. Rows with all
    entries NaN are missing modalities; a single NaN in an observed row is refused. DataFrames are
    joined on their index: a sample absent from one of them lacks that modality; the order is that
    of first appearance (``index_``).

    Args:
        n_clusters: How many clusters, or ``'auto'``: as many as the data show, at most
            ``max_clusters``.
        max_clusters: The most clusters ``'auto'`` may find.
        modalities: For one array or DataFrame: modality name to column indices or names.
        latent_dim: Dimension of the shared latent.
        private_dim: Dimension of each private latent.
        hidden_dims: Sizes of the hidden layers.
        covariance: Form of the clusters' covariances, ``'full'``, ``'diagonal'`` or ``'identity'``.
        latent_family: The latent family (``prior_and_posterior_dist``).
        scale: Scale of the likelihoods of standardised features, a number or ``'learned'`` (σ-VAE;
            Rybkin et al., 2021).
        beta: Weight β of the divergence.
        start: Where the clusters start, the ``method`` of :func:`cmvae.initialize_clusters`.
        rule: The assignment rule, ``'joint'``, ``'mean'`` or ``'vote'``.
        max_epochs: Epochs with a single cluster; ``'auto'``: 480 steps, and at least 10 epochs.
            Training stops earlier when the bound no longer improves. A sixth as many follow with
            all clusters.
        batch_size: Samples per step; ``'auto'``: a fifteenth of the data, from 16 to 128.
        learning_rate: Step size of Adam.
        device: Lightning's ``accelerator``: ``'auto'``, ``'cpu'``, ``'cuda'`` …
        random_state: Seed, ``numpy.random.RandomState`` or None, as everywhere in scikit-learn.
        verbose: Show progress.

    Attributes:
        labels_: Clusters of the samples fitted, (n,), consecutive from 0.
        n_clusters_: Clusters found.
        h_values_: The paper's selection criterion by number of clusters (``CMVAE.prune_clusters``).
        model_: The fitted :class:`cmvae.CMVAE`.
        modalities_: Names of the modalities the model has.
        index_: The samples' index, where several DataFrames were given.
        active_units_: Latent dimensions in use.

    Example:
        >>> from cmvae.datasets import load_mfeat
        >>> tables, digits = load_mfeat()
        >>> labels = CMVAEClusterer(random_state=0).fit_predict(tables)  # doctest: +SKIP
    """

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = "auto",
        *,
        max_clusters: int = 30,
        modalities: Mapping[str, Any] | None = None,
        latent_dim: int = 24,
        private_dim: int = 10,
        hidden_dims: tuple[int, ...] = (256,),
        covariance: str = "full",
        latent_family: str = "normal_with_softplus",
        scale: float | Literal["learned"] = "learned",
        beta: float = 1.0,
        start: Literal["spectral", "shared", "gmm"] = "spectral",
        rule: str = "joint",
        max_epochs: int | Literal["auto"] = "auto",
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: float = 1e-3,
        device: str = "auto",
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.max_clusters = max_clusters
        self.modalities = modalities
        self.latent_dim = latent_dim
        self.private_dim = private_dim
        self.hidden_dims = hidden_dims
        self.covariance = covariance
        self.latent_family = latent_family
        self.scale = scale
        self.beta = beta
        self.start = start
        self.rule = rule
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train on X; y is ignored.

        Raises:
            ValueError: For fewer samples than clusters, infinities, single missing cells, columns
                that are no numbers, or a sample with nothing observed; the message names modality
                and samples.
        """
        self._forget()
        recipe = self._recipe()
        recipe.check()
        tables = self._read(X, fitting=True)
        largest = recipe.largest(len(tables))
        self.standardiser_ = Standardiser.of(tables)
        data = self._dataset(tables)
        self.modalities_ = list(data.modalities)
        self.index_ = tables.index
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            shapes = {name: tuple(data.data[name].shape[1:]) for name in data.modalities}
            self.model_ = CMVAE(recipe.config(shapes, largest))
            with quiet_training(self.verbose):
                recipe.train(
                    self.model_,
                    data,
                    seed,
                    accelerator=self.device,
                    enable_progress_bar=self.verbose,
                )
        # The paper's criterion is only evaluated: started from tight clusters it keeps, or merges,
        # too many.
        self.h_values_ = copy.deepcopy(self.model_).prune_clusters(
            data, batch_size=1024, rule=self.rule
        )
        self._number_clusters(data)
        self.labels_ = self._assign(data)[0]
        self._report_collapse(data)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the clusters of samples, (n,), from whichever modalities they have."""
        return self._assign(self._dataset(self._read(X)))[0]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the clusters, (n, n_clusters_)."""
        return self._assign(self._dataset(self._read(X)))[1]

    def transform(self, X: Any) -> np.ndarray:
        """Return the joint embedding, the mean of q(z|X), (n, latent_dim)."""
        return (
            latent_means(self.model_, self._dataset(self._read(X))).cpu().numpy().astype(np.float64)
        )

    @torch.no_grad()
    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean bound of log p(X) per sample, in nats of standardised features; y is ignored."""
        data = self._dataset(self._read(X))
        generator = torch.Generator(device=self.model_.cluster_centers.device).manual_seed(0)
        with evaluating(self.model_):
            losses = [
                self.model_(part, K=10, generator=generator).loss_sum
                for part in iterate(data, 1024)
            ]
        return -float(torch.stack(losses).sum()) / len(data)

    def sample(self, n_samples: int = 1, cluster: int | None = None) -> tuple[Any, np.ndarray]:
        """Generate samples: {modality: (n_samples, features)} in the units of the data, and their clusters.

        For a model of one array, the array itself instead of the mapping.

        Raises:
            TypeError: For an ``n_samples`` that is no integer.
            ValueError: For one below 1, or no such cluster.
        """
        check_is_fitted(self)
        positive_int("n_samples", n_samples)
        is_number = isinstance(cluster, Integral) and not isinstance(cluster, bool)
        if cluster is not None and not (is_number and 0 <= cluster < self.n_clusters_):
            raise ValueError(
                f"cluster must be an integer from 0 to {self.n_clusters_ - 1}, got {cluster!r}"
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        generator = torch.Generator(device=self.model_.cluster_centers.device).manual_seed(seed)
        chosen = None if cluster is None else int(self._active[cluster])
        drawn = self.model_.generate_from_prior(n_samples, cluster=chosen, generator=generator)
        decoded = self.model_.decode(drawn)
        values = {
            m: self.standardiser_.restore(m, x.detach().cpu().numpy()) for m, x in decoded.items()
        }
        return values[SINGLE] if self.modalities_ == [SINGLE] else values, self._number[
            drawn.clusters.cpu().numpy()
        ]

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether a fit has come to its end."""
        return hasattr(self, "labels_")

    def _forget(self) -> None:
        """Remove what an earlier fit has found."""
        for name in [
            name for name in vars(self) if name.endswith("_") and not name.startswith("_")
        ]:
            delattr(self, name)

    def _read(self, X: Any, fitting: bool = False) -> Tables:
        if not fitting:
            check_is_fitted(self)
        # Some sparse matrices are mappings too; scikit-learn's check refuses them by name.
        if issparse(X) or not isinstance(X, Mapping):
            if self.modalities is None:
                X = {
                    SINGLE: validate_data(
                        self, X, reset=fitting, ensure_min_samples=2 if fitting else 1
                    )
                }
            else:
                X = split_columns(X, self.modalities)
        tables = read_tables(X)
        if fitting and len(tables) < 2:
            raise ValueError(
                f"n_samples = {len(tables)}: at least 2 samples are needed to find clusters"
            )
        return tables

    def _dataset(self, tables: Tables) -> IncompleteDataset:
        data, masks = self.standardiser_.apply(tables)
        return IncompleteDataset(data, masks)

    def _recipe(self) -> Recipe:
        return Recipe(**{field.name: getattr(self, field.name) for field in fields(Recipe)})

    def _number_clusters(self, data: IncompleteDataset) -> None:
        """Number the active clusters from 0, first those that have samples; with ``'auto'`` only these stay."""
        self._active = number_clusters(
            self.model_, data, self.rule, drop_empty=self.n_clusters == "auto"
        )
        self._number = np.full(len(self.model_.active_clusters), -1)
        self._number[self._active] = np.arange(len(self._active))
        self.n_clusters_ = len(self._active)

    def _assign(self, data: IncompleteDataset) -> tuple[np.ndarray, np.ndarray]:
        return assign_numbers(self.model_, data, self.rule, self._active)

    def _report_collapse(self, data: IncompleteDataset) -> None:
        """Warn where the model does not tell samples apart."""
        self.active_units_ = int(
            (latent_means(self.model_, data).var(0, correction=0) > ACTIVE_UNIT_VARIANCE).sum()
        )
        in_use = len(np.unique(self.labels_))
        logger.info(
            "%d of %d latent units and %d clusters in use",
            self.active_units_,
            self.latent_dim,
            in_use,
        )
        if self.active_units_ == 0:
            warnings.warn(
                "no latent unit is in use: the embedding is the same for all samples", stacklevel=3
            )
        if in_use == 1 and self.n_clusters != 1:
            warnings.warn(
                "one cluster explains the data as well as several: no groups were found",
                stacklevel=3,
            )
        elif in_use < self.n_clusters_:
            warnings.warn(
                f"{self.n_clusters_ - in_use} of {self.n_clusters_} clusters have no samples",
                stacklevel=3,
            )
