"""How a CMVAE is trained where nobody tunes it: what the estimator and the command line share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback

from cmvae.base.processes import by_first
from cmvae.data.batches import iterate
from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.models.cmvae import CMVAE
from cmvae.training.callbacks import CosineDecay, StartCallback
from cmvae.training.checkpoints import to_resume
from cmvae.training.devices import Devices
from cmvae.training.fit import fit
from cmvae.training.recipe import Recipe


def train(
    model: CMVAE,
    data: MultimodalBaseDataset,
    recipe: Recipe,
    seed: int,
    *,
    where: Devices | None = None,
    warm: bool = False,
    run_dir: Path | None = None,
    resume: bool = False,
    start_options: Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    **trainer_arguments: Any,
) -> StartCallback:
    """Warm up a new model with one cluster, or align; start the clusters, and train on with them.

    Draws come from PyTorch's global generator, apart from those that start the clusters.

    Args:
        model: The model.
        data: The samples.
        recipe: How.
        seed: Seed of the clusters' start, and of the order of samples that several processes share.
        where: On which devices; None: on the one that Lightning chooses.
        warm: The networks are trained already: the clusters start at once.
        run_dir: Where checkpoints and logs go; None: no files.
        resume: Go on from the last checkpoint in ``run_dir``, if there is one.
        start_options: ``measured`` and ``latents`` of :func:`cmvae.initialize_clusters`.
        callbacks: Lightning callbacks beside its own.
        **trainer_arguments: For :func:`cmvae.fit`, which says what is refused.

    Returns:
        How it started: the groups, and whether the warm-up should have been longer.
    """
    size, where = len(data), where or Devices()
    start = recipe.start_of_training(size, warm).replace(seed=seed, batch_size=model.rows_at_once)
    files: dict[str, Any] = {"logger": False, "enable_checkpointing": False}
    if run_dir is not None:
        last = by_first(where.processes, lambda: to_resume(run_dir) if resume else None)
        files = {"run_dir": run_dir, "resume_from": last, "overwrite": True}
    trainer = fit(
        model,
        data,
        start=start,
        start_options=start_options,
        max_epochs=start.before_objective + recipe.final_epochs(size, warm),
        batch_size=where.share_of(recipe.samples_per_step(size)),
        learning_rate=recipe.step_size(size, warm),
        callbacks=[*([CosineDecay()] if recipe.decays(size, warm) else []), *callbacks],
        **files,
        **{**where.trainer_arguments(), **trainer_arguments},
    )
    used: list[Any] = vars(trainer)["callbacks"]
    (begin,) = (one for one in used if isinstance(one, StartCallback))
    return begin


@torch.no_grad()
def number_clusters(
    model: CMVAE, data: MultimodalBaseDataset, rule: str = "joint", drop_empty: bool = True
) -> np.ndarray:
    """Put the clusters in the order of their samples, most first; return their former places, (C,).

    The number of a cluster is then its place in the model. Of equals the one that has the earlier
    sample comes first, so that where a cluster started does not show. With ``drop_empty`` those
    without samples are deactivated; others that are active come after those with samples.

    Args:
        model: The trained model, whose mixture is put in order.
        data: n samples.
        rule: The assignment rule of ``CMVAE.predict_clusters``.
        drop_empty: See above.

    Runs and estimators have done so; after :func:`cmvae.fit` it is for the caller to do.
    """
    mixture, device = model.mixture, model.mixture.active.device
    counts = torch.zeros(len(mixture.active), dtype=torch.int64, device=device)
    first = torch.full_like(counts, len(data))
    begin, size = 0, model.rows_at_once
    for chunk in iterate(data, size):
        found = model.predict_clusters(chunk, rule=rule, batch_size=size).clusters
        counts += torch.bincount(found, minlength=len(counts))
        places = torch.arange(begin, begin + len(found), device=device)
        first.scatter_reduce_(0, found, places, "amin")
        begin += len(found)
    if drop_empty:
        mixture.keep(counts > 0)
    by_sample = first.argsort(stable=True)
    sizes = (2 * counts + mixture.active.int())[by_sample]
    order = by_sample[sizes.argsort(descending=True, stable=True)]
    mixture.reorder(order)
    return order.cpu().numpy()


def without_spare_clusters(model: CMVAE) -> CMVAE:
    """Return a model that has room for its active clusters alone, which are its first."""
    config = model.model_config.replace(number_of_clusters=model.n_clusters)
    smaller = CMVAE(config).to(model.cluster_centers)
    state = model.state_dict()
    for name, value in smaller.state_dict().items():
        state[name] = state[name][: len(value)] if name.startswith("mixture.") else state[name]
    smaller.load_state_dict(state)
    return smaller
