"""How a CMVAE is trained where nobody tunes it: what the estimator and the command line share."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import EarlyStopping

from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.training.checkpoints import LAST_CHECKPOINT
from cmvae.training.fit import fit
from cmvae.training.initialization import collapse_clusters, initialize_clusters
from cmvae.training.recipe import Recipe

WARMUP, CLUSTERS = "1-warmup", "2-clusters"  # folders of the two trainings within a run's


def model_config(
    recipe: Recipe,
    n_samples: int,
    shapes: Mapping[str, tuple[int, ...]],
    likelihoods: Mapping[str, tuple[str, dict[str, Any]]],
    networks: Mapping[str, str] | None = None,
) -> CMVAEConfig:
    """Return the settings of the model that a recipe trains.

    Args:
        recipe: The recipe.
        n_samples: How many samples there are.
        shapes: Modality to the shape of one sample.
        likelihoods: Modality to name and parameters of its likelihood.
        networks: Modality to an entry of ``cmvae.networks.NETWORKS``, where the shape shall not
            decide.

    Raises:
        ValueError: For settings that do not fit together, or more clusters than samples.
    """
    return CMVAEConfig(
        n_modalities=len(shapes),
        input_dims=dict(shapes),
        latent_dim=recipe.latent_dim,
        modalities_specific_dim=recipe.private_dim,
        number_of_clusters=recipe.largest(n_samples),
        prior_and_posterior_dist=recipe.latent_family,
        covariance=recipe.covariance,
        decoders_dist={name: dist for name, (dist, _) in likelihoods.items()},
        decoder_dist_params={name: params for name, (_, params) in likelihoods.items()},
        hidden_dims=recipe.hidden_dims,
        networks=dict(networks) if networks else None,
        beta=recipe.beta,
        K=1,
    )


def train(
    model: CMVAE,
    data: MultimodalBaseDataset,
    recipe: Recipe,
    seed: int,
    *,
    warm: bool = False,
    run_dir: Path | None = None,
    resume: bool = False,
    **trainer_arguments: Any,
) -> None:
    """Warm up with one cluster, start the clusters, and train on with them.

    Draws come from PyTorch's global generator, apart from those that start the clusters.

    Args:
        model: The model, newly built.
        data: The samples.
        recipe: How.
        seed: Seed of the clusters' start.
        warm: The networks are trained already: the clusters start at once.
        run_dir: Where checkpoints and logs go; None: no files.
        resume: Go on from the last checkpoint in ``run_dir``, if there is one.
        **trainer_arguments: For :func:`cmvae.fit`.
    """
    epochs = recipe.warmup_epochs(len(data))
    begun = warm or (resume and run_dir is not None and _last(run_dir / CLUSTERS).is_file())
    if not begun:
        stop = EarlyStopping(
            "train/loss", patience=10, min_delta=1e-3, check_on_train_epoch_end=True
        )
        collapse_clusters(model)
        model.mixture.requires_grad_(False)
        files = _files(run_dir, WARMUP, resume)
        _fit(model, data, recipe, epochs, **files, callbacks=[stop], **trainer_arguments)
        model.mixture.requires_grad_(True)
    if not (begun and resume):
        size = model.rows_at_once
        method: Any = "spectral" if recipe.start == "auto" else recipe.start
        initialize_clusters(
            model, data, recipe.n_clusters, method=method, seed=seed, batch_size=size
        )
    files = _files(run_dir, CLUSTERS, resume)
    epochs = recipe.cluster_epochs(len(data))
    _fit(model, data, recipe, epochs, **files, **trainer_arguments)


def _fit(
    model: CMVAE, data: MultimodalBaseDataset, recipe: Recipe, epochs: int, **arguments: Any
) -> None:
    fit(
        model,
        data,
        max_epochs=epochs,
        batch_size=recipe.samples_per_step(len(data)),
        learning_rate=recipe.learning_rate,
        devices=1,
        enable_model_summary=False,
        **arguments,
    )


def _last(folder: Path) -> Path:
    return folder / "checkpoints" / LAST_CHECKPOINT


def _files(run_dir: Path | None, name: str, resume: bool) -> dict[str, Any]:
    """Return the arguments of ``fit`` that say where files go."""
    if run_dir is None:
        return {"logger": False, "enable_checkpointing": False}
    folder = run_dir / name
    goes_on = resume and _last(folder).is_file()
    return {
        "run_dir": folder,
        "resume_from": _last(folder) if goes_on else None,
        "overwrite": True,
    }


@torch.no_grad()
def number_clusters(
    model: CMVAE, data: MultimodalBaseDataset, rule: str, drop_empty: bool
) -> list[float]:
    """Put the clusters that have samples first, and return the paper's criterion.

    The number of a cluster is then its place in the model. The criterion (``h_values`` of
    ``CMVAE.prune_clusters``) is only evaluated, on a copy: started from tight clusters it keeps, or
    merges, too many.

    Args:
        model: The trained model.
        data: The samples.
        rule: The assignment rule.
        drop_empty: Deactivate the clusters without samples.
    """
    size = model.rows_at_once
    copied = CMVAE(model.model_config)
    copied.load_state_dict(model.state_dict())
    h_values = copied.prune_clusters(data, batch_size=min(1024, size), rule=rule)
    clusters = model.predict_clusters(data, rule=rule, batch_size=size).clusters
    mixture = model.mixture
    occupied = torch.bincount(clusters, minlength=len(mixture.active)) > 0
    if drop_empty:
        mixture.keep(occupied)
    # Sorting is stable: clusters of a kind stay in their order.
    mixture.reorder(
        (2 * occupied.int() + mixture.active.int()).argsort(descending=True, stable=True)
    )
    return h_values


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
