"""The scikit-learn estimator: tables in, clusters out, with settings that need no tuning."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted, validate_data

from cmvae.base.arguments import as_path, check_flags, positive_int
from cmvae.base.plain import as_plain, read_state, stored_state
from cmvae.base.words import counted, quoted, shown
from cmvae.data.batches import iterate
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.modality import CovariateFile, ModalityFile
from cmvae.metrics.covariates import is_known
from cmvae.models.inference import evaluating
from cmvae.preprocessing.completing import complete_table
from cmvae.preprocessing.covariates import chosen_covariates, learn_covariates
from cmvae.preprocessing.frames import (
    Frames,
    check_no_cells,
    check_no_list,
    read_frames,
    split_columns,
)
from cmvae.preprocessing.kinds import as_frame
from cmvae.preprocessing.libraries import as_pandas
from cmvae.runs.checks import check_extras
from cmvae.runs.config import RunConfig
from cmvae.runs.folder import EXTRAS, read_run, save_run
from cmvae.runs.goodness import fit_percentiles, log_likelihoods
from cmvae.runs.run import FEW_KEPT, Run, drawn_seed, prepare, train_run
from cmvae.training.devices import Devices
from cmvae.training.recipe import Recipe
from cmvae.training.tasks import CallbackSupportMixin, EpochTasks, begin_tasks, with_callbacks

logger = logging.getLogger(__name__)

SINGLE = "x"
DEFAULT, ALONE = Recipe(), Devices()
ONE_CLUSTER = (
    "one cluster explains the data as well as several: no groups were found; give n_clusters, "
    "leave out modalities or columns that show nothing, or look at kinds"
)
NONE_COMPARED = (
    "no groups were found: there is one cluster because no other number was compared, which takes "
    "at least 8 samples, two of them different, and max_clusters above 1: give n_clusters"
)


class CMVAEClusterer(CallbackSupportMixin, ClusterMixin, TransformerMixin, BaseEstimator):
    """Cluster samples seen through one or several tables, parts of them missing, with a CMVAE.

    Multimodal VAEs with one cluster are trained on the tables; the clusters start from the groups
    that partitions of their latents and of the tables agree on (:func:`cmvae.initialize_clusters`),
    and are trained on together with the networks. A sample's cluster is the most probable one at
    the mean of its joint posterior.

    ``X`` is {modality: array or DataFrame (n, features)}, or one array or DataFrame. Arrays are
    numbers, which are standardised; the columns of DataFrames are of the kinds that their values
    show (:func:`cmvae.preprocessing.column_kinds`), as for ``cmvae fit``. Of both, rows of words
    and shares are recognised where ``kinds`` names no column. Rows with all entries NaN
    are missing modalities, single NaNs are missing cells (:meth:`impute`). DataFrames are joined on
    their index, by the same rule as ``cmvae fit`` joins files on their ids: a sample absent from
    one of them lacks that modality; the order is that of first appearance (``index_``). Entries
    that are spelled in different ways are joined with a warning, or refused where this is not one
    to one; tables with pandas' default index are joined by row.

    Methods return arrays. After ``set_output(transform="pandas")`` what they return of DataFrames,
    or of a mapping of them, keeps the samples' index: Series, and DataFrames of several columns.
    Callbacks of scikit-learn (``set_callbacks``, 1.9 and later) hear of every epoch.

    Args:
        n_clusters: How many clusters, or ``'auto'``: as many as the data show, at most
            ``max_clusters``.
        max_clusters: The most clusters ``'auto'`` may find.
        modalities: For one array or DataFrame: modality name to column indices or names.
        kinds: Modality to {column: kind}, where the values shall not decide: ``'continuous'``,
            ``'binary'``, ``'count'``, ``'category'``, ``'text'`` (the only column) or ``'ignore'``.
            For one table without ``modalities``, {column: kind}.
        latent_dim: Dimension of the shared latent.
        private_dim: Dimension of each private latent.
        hidden_dims: Sizes of the hidden layers; ``()`` makes encoders and decoders linear,
            ``'auto'``: one of 256 units, of fewer where there are thousands of columns.
        covariance: Form of the clusters' covariances, ``'full'``, ``'diagonal'`` or ``'identity'``.
        latent_family: The latent family (``prior_and_posterior_dist``).
        scale: Scale of the likelihoods of standardised features, a number or ``'learned'`` (σ-VAE;
            Rybkin et al., 2021).
        beta: Weight β of the divergence.
        start: Where the clusters start, the ``method`` of :func:`cmvae.initialize_clusters`;
            ``'auto'``: ``'consensus'``, with ``alignment_epochs`` ``'shared'``.
        rule: The assignment rule, ``'joint'``, ``'mean'`` or ``'vote'``.
        alignment_epochs: For modalities that share little but the cluster: so many epochs in which
            the encoders alone learn what modalities share, and so many in which decoders learn to
            read it, as in :func:`cmvae.fit`; a third number is up to how many of the first kind
            there may be while more groups are found; None: none. ``'auto'``: some 1200 and 450
            steps, up to 3600, where 64 samples or more are seen in two arrays of images, or in one
            and a text, else none. With an alignment such images get small residual networks, a
            Laplace likelihood and batches of 64 at most, unless others are given.
        max_epochs: Epochs with a single cluster; ``'auto'``: 480 steps, and at least 10 epochs; of
            more than 20,480 samples 2400 steps. Training stops earlier when the bound no longer
            improves. A sixth as many follow with all clusters.
        batch_size: Samples per step; ``'auto'``: a fifteenth of the data, from 16 to 128; of more
            than 20,480 samples a 160th, at most 1024.
        learning_rate: Step size of Adam; ``'auto'``: 0.001; with an alignment 0.002 at first, of
            more than 20,480 samples 0.001 for each 128 of the batch, which falls to a twentieth.
        forgetting: Weight of a penalty on what the embedding tells of covariates, where too much is
            left although decoders are given them; some tens to begin with. It pulls together what
            only some batches have. None: without.
        device: Lightning's ``accelerator``: ``'auto'``, ``'cpu'``, ``'cuda'`` …
        devices: On how many of them it is trained, a process for each: the script is started again
            in each, and all fit the same. ``'auto'``: all CUDA devices.
        num_nodes: On how many machines, where torchrun or srun has started the processes.
        strategy: ``'auto'`` or ``'ddp'``.
        precision: In what networks calculate while they train: ``'32-true'``, ``'bf16-mixed'`` or
            ``'16-mixed'``.
        random_state: Seed, ``numpy.random.RandomState`` or None, as everywhere in scikit-learn.
        verbose: Show progress.

    Attributes:
        labels_: Clusters of the samples fitted, (n,), consecutive from 0.
        n_clusters_: Clusters found.
        number_evidence_: What speaks for each number of clusters, and how sure the one found is
            (:class:`cmvae.clusters.number.NumberEvidence`); None where the number was given.
        stability_: How well the competing partitions agree on each cluster, (n_clusters_,): the
            mean Jaccard index of the closest groups, from 0.75 a stable one (Hennig, 2007); NaN
            where the start was another than a consensus.
        model_: The fitted :class:`cmvae.CMVAE`.
        modalities_: Names of the modalities the model has.
        index_: The samples' index, where DataFrames were given.
        active_units_: Latent dimensions in use.
        covariate_scores_: What clusters and latents tell of each covariate, by name
            (:func:`cmvae.metrics.covariates.covariate_scores`).

    Example:
        >>> from cmvae.datasets import load_mfeat
        >>> tables, digits = load_mfeat()
        >>> labels = CMVAEClusterer(random_state=0).fit_predict(tables)  # doctest: +SKIP
    """

    def __init__(
        self,
        n_clusters: int | Literal["auto"] = DEFAULT.n_clusters,
        *,
        max_clusters: int = DEFAULT.max_clusters,
        modalities: Mapping[str, Any] | None = None,
        kinds: Mapping[Any, Any] | None = None,
        latent_dim: int = DEFAULT.latent_dim,
        private_dim: int = DEFAULT.private_dim,
        hidden_dims: tuple[int, ...] | Literal["auto"] = DEFAULT.hidden_dims,
        covariance: str = DEFAULT.covariance,
        latent_family: str = DEFAULT.latent_family,
        scale: float | Literal["learned"] = DEFAULT.scale,
        beta: float = DEFAULT.beta,
        start: str = DEFAULT.start,
        rule: str = DEFAULT.rule,
        alignment_epochs: tuple[int, ...] | Literal["auto"] | None = DEFAULT.alignment_epochs,
        max_epochs: int | Literal["auto"] = DEFAULT.max_epochs,
        batch_size: int | Literal["auto"] = DEFAULT.batch_size,
        learning_rate: float | Literal["auto"] = DEFAULT.learning_rate,
        forgetting: float | None = DEFAULT.forgetting,
        device: str = ALONE.device,
        devices: int | Literal["auto"] = ALONE.devices,
        num_nodes: int = ALONE.num_nodes,
        strategy: str = ALONE.strategy,
        precision: str = ALONE.precision,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.max_clusters = max_clusters
        self.modalities = modalities
        self.kinds = kinds
        self.latent_dim = latent_dim
        self.private_dim = private_dim
        self.hidden_dims = hidden_dims
        self.covariance = covariance
        self.latent_family = latent_family
        self.scale = scale
        self.beta = beta
        self.start = start
        self.rule = rule
        self.alignment_epochs = alignment_epochs
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.forgetting = forgetting
        self.device = device
        self.devices = devices
        self.num_nodes = num_nodes
        self.strategy = strategy
        self.precision = precision
        self.random_state = random_state
        self.verbose = verbose

    @with_callbacks
    def fit(self, X: Any, y: Any = None, covariates: Any = None) -> Self:
        """Train on X; y is ignored.

        ``covariates`` are what is known of the samples and is not to make clusters, such as a batch
        or an age: {name: n values} or a DataFrame. Texts and few whole numbers are categories
        (:class:`cmvae.preprocessing.covariates.CovariateCodec`); None and NaN are missing ones.

        Raises:
            ValueError: For a setting out of its range, fewer samples than clusters, infinities,
                a table of nothing but identifiers, dates and constants, or a sample with nothing
                observed; the message names modality and samples.
            TypeError: For what is no number where numbers are needed.
            KeyError: For kinds of modalities or columns that are not there.
        """
        self._forget()
        recipe = Recipe(**{name: getattr(self, name) for name in Recipe.model_fields})
        where = Devices(**{name: getattr(self, name) for name in Devices.model_fields}).resolve()
        seed = drawn_seed(self.random_state)
        if not isinstance(self.verbose, Integral | None):
            raise TypeError(f"verbose must be True or False, got {shown(self.verbose)}")
        frames = self._read(X, fitting=True)
        files = {name: ModalityFile(kinds=own) for name, own in self._kinds_of(frames).items()}
        learned = frames.learn(files)
        known = learn_covariates(frames.covariates(covariates))
        learned = learned.replace(covariates=known)
        for name, own in learned.understood.items():
            for line in own.say_left_out(name):
                warnings.warn(f"{line}; kinds= takes a column as it is", stacklevel=3)
            for line in own.say_noted(name):
                logger.info(line)
        config = RunConfig(
            modalities=files,
            seed=self.random_state if _is_integer(self.random_state) else seed,
            recipe=recipe,
            covariates={name: CovariateFile() for name in known},
            **where.fields(),
        )
        kept = {name: own for name, own in frames.covariates(covariates).items() if name in known}
        prepared = prepare(config, learned, frames.encode(learned, kept))
        logger.info("joined: %s", prepared.rows.join)
        tasks = begin_tasks(self, X)
        run = train_run(
            prepared,
            seed=seed,
            enable_progress_bar=bool(self.verbose),
            callbacks=[] if tasks is None else [EpochTasks(self, tasks)],
        )
        tables = [n for n, table in frames.tables.items() if isinstance(table, pd.DataFrame)]
        self._adopt(run, frames.index, tables)
        self._report_collapse()
        if tasks is not None:
            tasks.call_on_fit_task_end(estimator=self, X=X)
        return self

    def fit_predict(self, X: Any, y: Any = None, **parameters: Any) -> Any:
        """Fit, and return the clusters of the samples, (n,)."""
        return self._named(self.fit(X, y, **parameters).labels_, self.index_, "cluster")

    def predict(self, X: Any, covariates: Any = None) -> Any:
        """Return the clusters of samples, (n,), from whichever modalities they have.

        ``covariates``, as for :meth:`fit`, are checked and change nothing: encoders do not see
        them.
        """
        data, index = self._indexed(X, covariates)
        return self._named(self._run.assign(data)[0], index, "cluster")

    def predict_proba(self, X: Any, covariates: Any = None) -> Any:
        """Return the probabilities of the clusters, (n, n_clusters_); as :meth:`predict`."""
        data, index = self._indexed(X, covariates)
        return self._named(self._run.assign(data)[1], index, "probability")

    def transform(self, X: Any, covariates: Any = None) -> Any:
        """Return the joint embedding, the mean of q(z|X), (n, latent_dim); as :meth:`predict`."""
        data, index = self._indexed(X, covariates)
        return self._named(self._run.embed(data).astype(np.float64), index, "z")

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the embedding's columns, ``z0``, ``z1`` …, (latent_dim,)."""
        check_is_fitted(self)
        return np.array([f"z{i}" for i in range(self.model_.latent_dim)], dtype=object)

    def score_samples(self, X: Any, covariates: Any = None) -> Any:
        """Return a bound of the log-likelihood of each sample's modalities, (n,).

        In nats of coded features, importance-sampled with the same draws each time; given the
        ``covariates`` that :meth:`fit` had, drawn where they are missing.
        """
        data, index = self._indexed(X, covariates)
        return self._named(log_likelihoods(self.model_, data), index, "log_likelihood")

    def fit_percentiles(self, X: Any, covariates: Any = None) -> Any:
        """Return how well each sample fits, (n,): from 0 to 100, among the samples fitted.

        It is the percentile of its log-likelihood, for each number that is there, among those of
        training samples seen through the same modalities; NaN where training had none such. New
        samples fit worse than those that a model was trained on, the more so the fewer those were.
        Where the samples as a whole lie elsewhere than those of training, a warning says so.
        """
        data, index = self._indexed(X, covariates)
        drift = self._run.drift()
        drift.add(data)
        drift.warn()
        found = fit_percentiles(self.model_, self._run.reference, data)
        return self._named(found, index, "fit_percentile")

    def impute(self, X: Any, covariates: Any = None) -> Any:
        """Return the tables of samples, complete, in the units of the data: :meth:`CMVAE.impute`.

        Cells that are there stay as they are. Of others counts are whole numbers, of categories and
        binary columns it is the more probable value.

        Returns:
            {modality: table} of all modalities and the n samples in the order of ``index_``'s rule,
            DataFrames where such were given at the fit, else arrays. Of one table that table.
        """
        frames = self._read(X)
        learned = self._run.preprocessing
        made = self.model_.impute(learned.dataset(frames.encode(learned, covariates)))
        completed: dict[str, Any] = {}
        for name, own in made.items():
            codec, values = learned.codecs[name], own.cpu().numpy()
            if codec.content not in ("table", "text"):
                completed[name] = codec.readable(values)
                continue
            table = complete_table(codec, values, frames.aligned(name))
            if frames.index is not None:
                table = table.set_axis(frames.index, axis=0)
            completed[name] = table if name in self._tables else table.to_numpy()
        return completed[SINGLE] if self.modalities_ == [SINGLE] else completed

    @torch.no_grad()
    def score(self, X: Any, y: Any = None, covariates: Any = None) -> float:
        """Return the mean bound of log p(X) per sample, in nats of coded features; y is ignored.

        It is that of training with β = 1, so that models of different ``beta`` can be compared, as
        by ``GridSearchCV``, on samples held out.
        """
        data, _ = self._indexed(X, covariates)
        generator = torch.Generator(self.model_.cluster_centers.device).manual_seed(0)
        with evaluating(self.model_):
            parts = iterate(data, 1024)
            how: dict[str, Any] = {"K": 10, "beta": 1.0, "generator": generator}
            losses = [self.model_(part, **how).loss_sum for part in parts]
        return -float(torch.stack(losses).sum()) / len(data)

    @torch.no_grad()
    def sample(
        self,
        n_samples: int = 1,
        cluster: int | Sequence[int] | None = None,
        covariates: Mapping[str, Any] | None = None,
    ) -> tuple[Any, np.ndarray]:
        """Generate samples in the units of the data, and their clusters.

        ``cluster`` is one, or several that share the samples evenly, in their order.
        ``covariates``, {name: a value}, are those to generate under, as if measured in that batch;
        others are drawn as they occurred in training, each by itself.

        Returns:
            {modality: (n_samples, features)}, DataFrames where such were given; and
            (n_samples,) integers. Of one table that table, instead of the mapping.

        Raises:
            TypeError: For an ``n_samples`` that is no integer.
            ValueError: For one below 1, or no such cluster.
        """
        check_is_fitted(self)
        positive_int("n_samples", n_samples)
        given: Any = cluster if isinstance(cluster, Sequence | np.ndarray) else [cluster]
        right = [_is_integer(one) and 0 <= one < self.n_clusters_ for one in given]
        if cluster is not None and not all(right):
            allowed = f"an integer from 0 to {self.n_clusters_ - 1}, or a list of them"
            raise ValueError(f"cluster must be {allowed}, got {shown(cluster)}")
        seed = drawn_seed(self.random_state)
        generator = torch.Generator(self.model_.cluster_centers.device).manual_seed(seed)
        chosen = chosen_covariates(self._run.preprocessing.covariates, covariates)
        drawn = self.model_.generate_from_prior(
            n_samples, cluster=cluster, covariates=chosen, generator=generator
        )
        made = self.model_.to_data(self.model_.decode(drawn))
        values = {name: own.cpu().numpy() for name, own in made.items()}
        codecs = self._run.preprocessing.codecs
        rows = {
            name: codecs[name].decode(own, False)
            if name in self._tables
            else codecs[name].readable(own)
            for name, own in values.items()
        }
        clusters = drawn.clusters.cpu().numpy()
        return rows[SINGLE] if self.modalities_ == [SINGLE] else rows, clusters

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write everything that is known after a fit into a run folder, which ``cmvae`` reads too.

        Nothing is pickled: JSON, tables and safetensors.

        Args:
            directory: The folder.
            overwrite: Replace a run that is there.

        Raises:
            sklearn.exceptions.NotFittedError: Before a fit.
            ValueError: If the folder holds results, or something else; for an index of entries of
                several types.
        """
        check_is_fitted(self)
        folder = as_path("directory", directory)
        check_flags(overwrite=overwrite)
        kinds = None if self.kinds is None else list(self.kinds.items())
        extras = {
            "modalities": self.modalities,
            "kinds": kinds,
            "verbose": bool(self.verbose),
            "tables": self._tables,
            "auto": self._resolved(),
            "n_features_in_": getattr(self, "n_features_in_", None),
            "feature_names_in_": getattr(self, "feature_names_in_", None),
        }
        extras = {**as_plain(extras), "random_state": stored_state(self.random_state)}
        run = replace(self._run, extras=extras, index=self.index_)
        save_run(folder, run, overwrite)

    @classmethod
    def load(cls, directory: str | Path) -> Self:
        """Read what :meth:`save` wrote, or the run folder of ``cmvae fit``.

        Predictions, embeddings, samples and ``labels_`` are the same to the bit.

        Raises:
            ValueError: If the folder holds no whole run, a run of another version, or a model
                alone, naming it.
        """
        run = read_run(as_path("directory", directory))
        files, codecs = run.config.modalities, run.preprocessing.codecs
        if run.extras != {}:
            check_extras(run.extras, Path(directory) / EXTRAS, list(codecs))
        extras = run.extras or {
            "kinds": [(name, file.kinds) for name, file in files.items() if file.kinds] or None,
            "random_state": run.config.seed,
            "tables": [n for n, codec in codecs.items() if codec.content in ("table", "text")],
        }
        clusterer = cls(
            **{**run.config.recipe.fields(), **dict.fromkeys(extras.get("auto", []), "auto")},
            **run.config.where.fields(),
            modalities=extras.get("modalities"),
            kinds=None if extras["kinds"] is None else dict(extras["kinds"]),
            random_state=read_state(extras["random_state"]),
            verbose=extras.get("verbose", False),
        )
        if (names := extras.get("feature_names_in_")) is not None:
            clusterer.feature_names_in_ = np.array(names, dtype=object)
        if (number := extras.get("n_features_in_")) is not None:
            clusterer.n_features_in_ = number
        index = run.index if run.extras else pd.Index(run.samples["id"], name=None)
        clusterer._adopt(run, index, extras["tables"])
        return clusterer

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that cells may be missing."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        """Tell whether a fit has come to its end."""
        return hasattr(self, "labels_")

    def _resolved(self) -> list[str]:
        """Return the settings that were left to the data, and that the run's config tells."""
        found = self._run.config.recipe.fields()
        return [n for n, own in found.items() if own != "auto" and getattr(self, n) == "auto"]

    def _forget(self) -> None:
        """Remove what an earlier fit has found."""
        own = [n for n in vars(self) if n in ("_run", "_tables") or (n[0] != "_" and n[-1] == "_")]
        for name in own:
            delattr(self, name)

    def _adopt(self, run: Run, index: pd.Index | None, tables: list[str]) -> None:
        """Take over what a run found."""
        self._run, self._tables = run, tables
        self.model_ = run.model
        self.modalities_ = list(run.preprocessing.codecs)
        self.index_ = index
        self.number_evidence_ = run.evidence
        self.stability_ = np.array(run.metrics["stability"], dtype=float)
        self.active_units_ = run.metrics["active_units"]
        self.covariate_scores_ = run.metrics.get("covariates", {})
        self.n_clusters_ = run.model.n_clusters
        self.labels_ = run.samples["cluster"].to_numpy()

    def _read(self, X: Any, fitting: bool = False) -> Frames:
        if not (fitting or hasattr(self, "_run")):
            check_is_fitted(self)
        check_no_cells(X)
        X = as_pandas(X)
        check_no_list(X)
        # Some sparse matrices are mappings too; scikit-learn's check refuses them by name.
        is_one = issparse(X) or not isinstance(X, Mapping)
        if fitting and self.modalities is not None and not is_one:
            raise ValueError(
                f"modalities cut one table into several, got {shown(self.modalities)} with a "
                "mapping of tables: leave it out"
            )
        if is_one:
            if self.modalities is not None:
                X = split_columns(X, self.modalities)
            elif isinstance(X, pd.DataFrame):
                as_frame(X.iloc[:0], SINGLE)  # in our words, columns named twice
                if fitting or SINGLE not in self._tables:  # else columns are found by name
                    validate_data(self, X, reset=fitting, skip_check_array=True)
                X = {SINGLE: X}
            else:
                least = 2 if fitting else 1
                X = {SINGLE: self._validated(X, fitting, least)}
        frames = read_frames(X)
        for remark in frames.matching.remarks:
            warnings.warn(remark, stacklevel=4)
        return frames

    def _validated(self, X: Any, fitting: bool, least: int) -> Any:
        """Return an array as scikit-learn checks it; what is no number is told in our words."""
        if not fitting and self._is_plain(X):
            return X
        _check_axes(X)
        try:
            checks: dict[str, Any] = {"ensure_all_finite": "allow-nan"}
            checks["ensure_min_samples"] = least
            return validate_data(self, X, reset=fitting, **checks)
        except ValueError as error:
            text = str(error)
            if "infinity" in text:
                raise ValueError("X holds infinity (inf); leave such cells empty, NaN") from None
            if "Complex" in text:
                what = "Complex data not supported: X must hold real numbers"
                raise ValueError(what) from None
            if "strings" in text:
                text = "float, but text"
            elif "could not convert string" not in text:
                raise
            raise ValueError(
                f"X holds something that is no number{text.partition('float')[2]}; columns "
                "of other kinds need a DataFrame"
            ) from None

    def _is_plain(self, X: Any) -> bool:
        """Tell of an array at little cost that scikit-learn's checks would return it as it is."""
        if type(X) is not np.ndarray or X.dtype != np.float64 or X.ndim != 2 or not len(X):
            return False
        known = X.shape[1] == getattr(self, "n_features_in_", None)
        return known and not hasattr(self, "feature_names_in_") and not np.isinf(X).any()

    def _indexed(self, X: Any, covariates: Any) -> tuple[IncompleteDataset, pd.Index | None]:
        """Return samples as the model reads them, and their index, where they have one."""
        frames = self._read(X)
        learned = self._run.preprocessing
        return learned.dataset(frames.encode(learned, covariates, tell=False)), frames.index

    def _named(self, values: np.ndarray, index: pd.Index | None, name: str) -> Any:
        """Return values of samples with their index, where pandas is asked for and there is one."""
        own = getattr(self, "_sklearn_output_config", {}).get("transform")
        if index is None or (own or get_config()["transform_output"]) != "pandas":
            return values
        if values.ndim == 1:
            return pd.Series(values, index, name=name)
        return pd.DataFrame(values, index, [f"{name}{i}" for i in range(values.shape[1])])

    def _kinds_of(self, frames: Frames) -> dict[str, dict[str, str]]:
        """Return modality to {column: kind}, for every modality."""
        given: Any = {} if self.kinds is None else self.kinds
        if not isinstance(given, Mapping):
            raise TypeError(f"kinds must be a mapping, got {type(given).__name__}")
        own = list(frames.tables) == [SINGLE] and self.modalities is None
        if own and not isinstance(given.get(SINGLE), Mapping):
            given = {SINGLE: given}
        unknown = [name for name in given if name not in frames.tables]
        if unknown:
            known = quoted(frames.tables)
            raise KeyError(f"kinds: unknown modalities {quoted(unknown)}; there are {known}")
        for name, kinds in given.items():
            if not (
                isinstance(kinds, Mapping) and all(isinstance(own, str) for own in kinds.values())
            ):
                allowed = "must be a mapping of columns to kinds"
                raise TypeError(f"kinds[{name!r}] {allowed}, got {shown(kinds)}")
        return {
            name: {str(column): kind for column, kind in given.get(name, {}).items()}
            for name in frames.tables
        }

    def _report_collapse(self) -> None:
        """Warn where the model does not tell samples apart."""
        in_use, units = len(np.unique(self.labels_)), self.active_units_
        text = "%d of %s and %s in use"
        possible = counted(self.model_.latent_dim, "latent unit")
        logger.info(text, units, possible, counted(in_use, "cluster"))
        if self._run.metrics["still_falling"]:
            aligned = "alignment" in self._run.metrics["epochs"]
            more = "alignment_epochs" if aligned else "max_epochs"
            logger.info("the loss was still falling: more %s may tell clusters apart", more)
        for category, text in self._doubts(in_use, units):
            warnings.warn(text, category, stacklevel=4)

    def _doubts(self, in_use: int, units: int) -> Iterator[tuple[type[Warning], str]]:
        """Yield what is to be warned of."""
        if units == 0:
            yield UserWarning, "no latent unit is in use: the embedding is the same for all samples"
        for name, scores in self.covariate_scores_.items():
            if is_known(scores)[0]:
                way = "a larger max_epochs, or forgetting=30, may help; so it also is where groups"
                text = f"the clusters tell covariate {name!r}: {way} lack some of its values"
                yield UserWarning, text
        evidence, is_auto = self.number_evidence_, self.n_clusters == "auto"
        wanted = evidence.chosen if evidence else self.n_clusters_
        kept = self._run.metrics["kept"]
        if is_auto and wanted == 1:
            compared = evidence is None or evidence.is_compared
            yield UserWarning, ONE_CLUSTER if compared else NONE_COMPARED
        elif in_use < wanted:
            asked = f"{wanted} clusters were found" if is_auto else f"n_clusters = {wanted}"
            have = "cluster has" if in_use == 1 else "clusters have"
            more = ": a larger max_epochs may keep more" if is_auto else ""
            yield ConvergenceWarning, f"{asked}, but only {in_use} {have} samples{more}"
        elif kept is not None and kept < FEW_KEPT:
            left = f"{1 - kept:.0%}".replace("%", " %")
            what = f"{left} of the samples ended in other clusters than the groups they started in"
            yield ConvergenceWarning, f"{what}: a larger max_epochs may keep them there"


def _check_axes(X: Any) -> None:
    """Refuse what is no array of two axes, in a line."""
    try:
        shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    except ValueError:
        raise ValueError(
            "X: expected an array (n, columns), got rows that differ in length"
        ) from None
    if not shape:
        raise ValueError(
            "X: expected a table, an array (n, columns), or a mapping of modalities to these, "
            f"got {type(X).__name__}"
        )
    if len(shape) != 2 and not issparse(X):
        raise ValueError(
            f"X: expected an array (n, columns), got the shape {tuple(shape)}. Reshape your data: "
            "X.reshape(-1, 1) is one column, X.reshape(1, -1) one sample; arrays of more axes, "
            "such as images, are given as a mapping, {'image': X}"
        )


def _is_integer(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)
