"""How a CMVAE is trained where nobody tunes it: the settings and steps of the estimator and of the command line."""

import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping

from cmvae.arguments import positive_int
from cmvae.assignment import check_rule
from cmvae.config import CMVAEConfig
from cmvae.data.checks import CHUNK_ENTRIES
from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.initialization import METHODS, collapse_clusters, initialize_clusters
from cmvae.model import CMVAE
from cmvae.runs import LAST_CHECKPOINT
from cmvae.training import fit

__all__ = ["CLUSTERS", "WARMUP", "Recipe", "assign_numbers", "number_clusters", "quiet_training", "rows_at_once"]

WARMUP_STEPS = 480
FEWEST_EPOCHS, MOST_EPOCHS = 10, 300
MIXTURE_SHARE = 6
MOST_ROWS = 8192
WARMUP, CLUSTERS = "1-warmup", "2-clusters"  # folders of the two trainings within a run's


@dataclass(frozen=True)
class Recipe:
    """Settings of model and training; each is explained at :class:`cmvae.CMVAEClusterer`, whose defaults these are.

    Example:
        >>> recipe = Recipe(n_clusters=3)
        >>> model = CMVAE(recipe.config({"a": (5,), "b": (4,)}, recipe.largest(150)))
        >>> # recipe.train(model, data, seed=0)
    """

    n_clusters: int | Literal["auto"] = "auto"
    max_clusters: int = 30
    latent_dim: int = 24
    private_dim: int = 10
    hidden_dims: tuple[int, ...] = (256,)
    covariance: str = "full"
    latent_family: str = "normal_with_softplus"
    scale: float | Literal["learned"] = "learned"
    beta: float = 1.0
    start: Literal["spectral", "shared", "gmm"] = "spectral"
    rule: str = "joint"
    max_epochs: int | Literal["auto"] = "auto"
    batch_size: int | Literal["auto"] = "auto"
    learning_rate: float = 1e-3

    def check(self) -> None:
        """Refuse what would only be noticed after training.

        Raises:
            ValueError: For an unknown rule or start.
        """
        check_rule(self.rule)
        if self.start not in METHODS:
            raise ValueError(f"start must be one of {list(METHODS)}, got {self.start!r}")

    def largest(self, n_samples: int) -> int:
        """Return C, the number of clusters that a model of so many samples has room for.

        Raises:
            ValueError: If ``n_clusters`` exceeds the samples or is neither a positive integer nor ``'auto'``.
        """
        if isinstance(self.n_clusters, str):
            if self.n_clusters != "auto":
                raise ValueError(f"n_clusters must be a positive integer or 'auto', got {self.n_clusters!r}")
            return min(positive_int("max_clusters", self.max_clusters), n_samples)
        if positive_int("n_clusters", self.n_clusters) > n_samples:
            raise ValueError(f"n_clusters = {self.n_clusters} clusters cannot be found in n_samples = {n_samples}")
        return self.n_clusters

    def config(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        clusters: int,
        likelihoods: Mapping[str, tuple[str, dict[str, Any]]] | None = None,
        networks: Mapping[str, str] | None = None,
    ) -> CMVAEConfig:
        """Return the settings of the model.

        Args:
            shapes: Modality to the shape of one sample.
            clusters: C, from :meth:`largest`.
            likelihoods: Modality to name and parameters of its likelihood; ``'normal'`` with ``scale`` where none
                is given.
            networks: Modality to an entry of ``cmvae.networks.NETWORKS``, where the shape shall not decide.
        """
        chosen = {name: ("normal", {"scale": self.scale}) for name in shapes} | dict(likelihoods or {})
        return CMVAEConfig(
            n_modalities=len(shapes),
            input_dims=dict(shapes),
            latent_dim=self.latent_dim,
            modalities_specific_dim=self.private_dim,
            number_of_clusters=clusters,
            prior_and_posterior_dist=self.latent_family,
            covariance=self.covariance,
            decoders_dist={name: dist for name, (dist, _) in chosen.items()} if likelihoods else None,
            decoder_dist_params={name: params for name, (_, params) in chosen.items()},
            hidden_dims=self.hidden_dims,
            networks=dict(networks) if networks else None,
            beta=self.beta,
            K=1,
        )

    def train(
        self,
        model: CMVAE,
        data: MultimodalBaseDataset,
        seed: int,
        *,
        run_dir: Path | None = None,
        resume: bool = False,
        **trainer_arguments: Any,
    ) -> None:
        """Warm up with one cluster, start the clusters, and train on with them.

        Draws come from PyTorch's global generator, apart from those that start the clusters.

        Args:
            model: The model, newly built.
            data: The samples.
            seed: Seed of the clusters' start.
            run_dir: Where checkpoints and logs go, a folder for each of the two trainings; None: no files.
            resume: Go on from the last checkpoint in ``run_dir``, if there is one.
            **trainer_arguments: For :func:`cmvae.fit`.
        """
        begun = resume and run_dir is not None and _last(run_dir / CLUSTERS).is_file()
        if not begun:
            stop = EarlyStopping("train/loss", patience=10, min_delta=1e-3, check_on_train_epoch_end=True)
            collapse_clusters(model)
            model.mixture.requires_grad_(False)
            files = _files(run_dir, WARMUP, resume)
            self._fit(model, data, self._warmup(len(data)), **files, callbacks=[stop], **trainer_arguments)
            model.mixture.requires_grad_(True)
        self.train_clusters(model, data, seed, run_dir=run_dir, resume=begun, **trainer_arguments)

    def train_clusters(
        self,
        model: CMVAE,
        data: MultimodalBaseDataset,
        seed: int,
        *,
        run_dir: Path | None = None,
        resume: bool = False,
        **trainer_arguments: Any,
    ) -> None:
        """Start ``n_clusters`` clusters where the latents lie, and train on with them; see :meth:`train`."""
        if not resume:
            wanted: Any = self.n_clusters
            size = rows_at_once(model)
            initialize_clusters(model, data, wanted, method=self.start, seed=seed, batch_size=size)
        files = _files(run_dir, CLUSTERS, resume)
        self._fit(model, data, max(1, self._warmup(len(data)) // MIXTURE_SHARE), **files, **trainer_arguments)

    def _fit(self, model: CMVAE, data: MultimodalBaseDataset, epochs: int, **arguments: Any) -> None:
        fit(
            model,
            data,
            max_epochs=epochs,
            batch_size=self._batch_size(len(data)),
            learning_rate=self.learning_rate,
            devices=1,
            enable_model_summary=False,
            **arguments,
        )

    def _warmup(self, n_samples: int) -> int:
        """Return the epochs with one cluster."""
        if not isinstance(self.max_epochs, str):
            return positive_int("max_epochs", self.max_epochs)
        if self.max_epochs != "auto":
            raise ValueError(f"max_epochs must be a positive integer or 'auto', got {self.max_epochs!r}")
        steps = math.ceil(n_samples / self._batch_size(n_samples))
        return min(max(math.ceil(WARMUP_STEPS / steps), FEWEST_EPOCHS), MOST_EPOCHS)

    def _batch_size(self, n_samples: int) -> int:
        if isinstance(self.batch_size, str):
            if self.batch_size != "auto":
                raise ValueError(f"batch_size must be a positive integer or 'auto', got {self.batch_size!r}")
            return min(128, max(16, n_samples // 15))
        return positive_int("batch_size", self.batch_size)


def _last(folder: Path) -> Path:
    return folder / "checkpoints" / LAST_CHECKPOINT


def _files(run_dir: Path | None, name: str, resume: bool) -> dict[str, Any]:
    """Return the arguments of ``fit`` that say where files go."""
    if run_dir is None:
        return {"logger": False, "enable_checkpointing": False}
    folder = run_dir / name
    goes_on = resume and _last(folder).is_file()
    return {"run_dir": folder, "resume_from": _last(folder) if goes_on else None, "overwrite": True}


def rows_at_once(model: CMVAE) -> int:
    """Return how many samples are made dense at a time: 8192, fewer where they are wide."""
    widest = max(math.prod(shape) for shape in (model.model_config.input_dims or {}).values())
    return max(1, min(MOST_ROWS, CHUNK_ENTRIES // widest))


def number_clusters(model: CMVAE, data: MultimodalBaseDataset, rule: str, drop_empty: bool) -> np.ndarray:
    """Return the active clusters in the order of their numbers: first those that have samples.

    Args:
        model: The model.
        data: The samples.
        rule: The assignment rule.
        drop_empty: Deactivate the others.
    """
    mixture = model.mixture
    clusters = model.predict_clusters(data, rule=rule, batch_size=rows_at_once(model)).clusters
    occupied = torch.bincount(clusters, minlength=len(mixture.active)) > 0
    if drop_empty:
        mixture.keep(occupied)
    active, taken = mixture.active.cpu().numpy(), occupied.cpu().numpy()
    return np.concatenate([np.flatnonzero(taken), np.flatnonzero(active & ~taken)])


def assign_numbers(
    model: CMVAE, data: MultimodalBaseDataset, rule: str, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the samples' numbers, (n,), and the probabilities of all, (n, len(order)).

    Args:
        model: The model.
        data: The samples.
        rule: The assignment rule.
        order: The active clusters, from :func:`number_clusters`.
    """
    found = model.predict_clusters(data, rule=rule, batch_size=rows_at_once(model))
    probabilities = found.probabilities.double().cpu().numpy()[:, order]
    number = np.full(len(model.active_clusters), -1)
    number[order] = np.arange(len(order))
    return number[found.clusters.cpu().numpy()], probabilities / probabilities.sum(1, keepdims=True)


@contextmanager
def quiet_training(verbose: bool = False) -> Iterator[None]:
    """Keep Lightning's notices to itself, unless progress is wanted."""
    notices = logging.getLogger("lightning.pytorch")
    level = notices.level
    with warnings.catch_warnings():
        if not verbose:
            notices.setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", module=r"lightning\.")
        try:
            yield
        finally:
            notices.setLevel(level)
