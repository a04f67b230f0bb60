"""A run: what a training leaves, and what it is asked for afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from cmvae.base.processes import by_first
from cmvae.base.quiet import quiet_training
from cmvae.base.words import shown
from cmvae.data.datasets import IncompleteDataset
from cmvae.files.join import JoinedRows
from cmvae.models.build import TRAINING_COPIES, check_size
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.inference import latent_means
from cmvae.models.residuals import number_of_factors
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.covariates import warn_of_covariates
from cmvae.runs.completing import completed, samples_table
from cmvae.runs.config import RunConfig
from cmvae.runs.goodness import measure_reference
from cmvae.runs.record import RunRecord
from cmvae.runs.suiting import private_option, suited, warn_of_unconnected

if TYPE_CHECKING:
    from cmvae.diffusion.dcmvae import DCMVAE
    from cmvae.training.callbacks import StartCallback

FEW_KEPT = 0.95  # of the samples, below which training has left the groups that it started from


@dataclass(frozen=True, kw_only=True)
class Run(RunRecord):
    """A trained model with all that it needs; the number of a cluster is its place in the model.

    Attributes:
        model: The model.
        refined: The same with diffusion decoders, where it has some and they were read.
    """

    model: CMVAE
    refined: "DCMVAE | None" = None

    @torch.inference_mode()
    def assign(self, data: IncompleteDataset) -> tuple[np.ndarray, np.ndarray]:
        """Return the clusters of n samples, (n,), and the probabilities of all, (n, clusters)."""
        rule, size = self.config.recipe.rule, self.model.rows_at_once
        found = self.model.predict_clusters(data, rule=rule, batch_size=size)
        probabilities = found.probabilities.double().cpu().numpy()[:, : self.model.n_clusters]
        return found.clusters.cpu().numpy(), probabilities / probabilities.sum(1, keepdims=True)

    def embed(self, data: IncompleteDataset) -> np.ndarray:
        """Return the means of q(z|X), (n, latent_dim)."""
        size = min(512, self.model.rows_at_once)
        return latent_means(self.model, data, size).cpu().numpy()

    def table(self, rows: JoinedRows, data: IncompleteDataset) -> pd.DataFrame:
        """Return id, cluster, its probability and the modalities seen of joined samples.

        Args:
            rows: The samples.
            data: The same as a dataset.

        Where clusters have names, ``cluster_name`` stands beside their numbers.
        """
        table = samples_table(rows, *self.assign(data))
        if self.names:
            table.insert(2, "cluster_name", table["cluster"].map(self.name_of))
        return table


@dataclass(frozen=True)
class Prepared:
    """Samples as a model takes them, and the settings of the model that suits them.

    Attributes:
        config: What the run is made from.
        preprocessing: How rows become the model's inputs.
        rows: The samples.
        data: The same as a dataset.
        settings: Those of the model.
    """

    config: RunConfig
    preprocessing: Preprocessing
    rows: JoinedRows
    data: IncompleteDataset
    settings: CMVAEConfig


def prepare(config: RunConfig, preprocessing: Preprocessing, rows: JoinedRows) -> Prepared:
    """Check that a model can be trained on samples; nothing is trained.

    Raises:
        ValueError: For fewer than two samples, more clusters than samples, or settings and
            likelihoods that do not fit, naming them.
    """
    n = len(rows.ids)
    if n < 2:
        raise ValueError(f"n_samples = {n}: at least 2 samples are needed to find clusters")
    if config.recipe.alignment is not None and len(preprocessing.codecs) < 2:
        raise ValueError(
            "alignment_epochs must be left out: there are no two modalities to align, "
            f"but {list(preprocessing.codecs)}"
        )
    warn_of_unconnected(rows.masks)
    warn_of_covariates(preprocessing.covariates, rows)
    config = suited(config, preprocessing, rows)
    recipe, files, data = config.recipe, config.modalities, preprocessing.dataset(rows)
    settings = CMVAEConfig(
        n_modalities=len(preprocessing.codecs),
        number_of_clusters=recipe.largest(n),
        **preprocessing.model_settings(files, recipe.scale),
        networks={name: file.network for name, file in files.items() if file.network} or None,
        missing_cells=list(data.cells),
        residual_factors=number_of_factors(n, preprocessing.n_columns) if data.cells else 0,
        reconstruction_option=private_option(preprocessing),
        **recipe.model_settings(preprocessing.n_columns, len(preprocessing.codecs)),
    )
    with torch.device("meta"):  # without memory, and without a draw
        model = CMVAE(settings)  # refuses networks that cannot take a shape
        if config.diffusion:
            from cmvae.runs.refining import check_refined, refined_model

            check_refined(config, preprocessing)
            refined_model(config, model)
    if not torch.cuda.is_available():  # whose memory it would otherwise be
        check_size(lambda: dict(model.named_children()), TRAINING_COPIES)
    return Prepared(config, preprocessing, rows, data, settings)


def train_run(
    prepared: Prepared,
    *,
    seed: int | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    warm: CMVAE | None = None,
    latents: Sequence[np.ndarray] = (),
    listing: Path | None = None,
    **trainer_arguments: Any,
) -> Run:
    """Train a model, number its clusters, and return the run; the global generator is left alone.

    Args:
        prepared: From :func:`prepare`.
        seed: Seed of weights, training and the clusters' start; None: drawn from ``config.seed`` as
            scikit-learn draws it.
        run_dir: Where checkpoints and logs go; None: no files.
        resume: Go on from the last checkpoint there.
        warm: A model whose networks and likelihoods are taken as they are: new clusters start at
            once.
        latents: What their start is to group, where an earlier run has kept it.
        listing: A .csv to which the samples are written as they come; the run itself has none.
        **trainer_arguments: For :func:`cmvae.fit`.
    """
    from cmvae.training.clustering import train
    from cmvae.training.fit import ONE_AT_A_TIME
    from cmvae.training.processes import meet

    config, recipe = prepared.config, prepared.config.recipe
    if seed is None:
        seed = drawn_seed(config.seed)
    where = config.where.resolve()
    with ONE_AT_A_TIME, quiet_training(), torch.random.fork_rng():
        meet(where)
        # Where scikit-learn's global generator has drawn it, it is another one in each process.
        own = seed
        seed = by_first(where.processes, lambda: own)
        torch.manual_seed(seed)
        model = CMVAE(prepared.settings)
        torch.manual_seed(
            seed
        )  # the draws of training do not depend on how many clusters there are
        if warm is not None:
            # Their number may differ: the clusters are new.
            learned = {k: v for k, v in warm.state_dict().items() if not k.startswith("mixture.")}
            model.load_state_dict({**model.state_dict(), **learned})
        arguments: dict[str, Any] = {"where": where, "enable_progress_bar": False}
        arguments |= {"run_dir": run_dir, "resume": resume, **trainer_arguments}
        options = {"measured": prepared.preprocessing.restore, "latents": latents}
        arguments["start_options"] = options
        begin = train(model, prepared.data, recipe, seed, warm=warm is not None, **arguments)
        # What follows is little: one process does it, and there is one numbering, whatever draws.
        return by_first(where.processes, lambda: _run_of(model, begin, prepared, run_dir, listing))


def _run_of(
    model: CMVAE,
    begin: "StartCallback",
    prepared: Prepared,
    run_dir: Path | None,
    listing: Path | None,
) -> Run:
    """Number the clusters of a trained model, fit what is fitted at the end, return the run."""
    from cmvae.training.checkpoints import read_log
    from cmvae.training.clustering import number_clusters, without_spare_clusters

    config, recipe, groups = prepared.config, prepared.config.recipe, begin.groups
    auto = recipe.n_clusters == "auto"
    order = number_clusters(model, prepared.data, recipe.rule, drop_empty=auto)
    model = without_spare_clusters(model)
    model.fit_scales(prepared.data, batch_size=model.rows_at_once)
    if model.model_config.reconstruction_option == "aggregate":
        model.fit_private_priors(prepared.data, batch_size=model.rows_at_once)
    if model.residuals is not None:
        model.fit_residuals(prepared.data)
    log = pd.DataFrame(columns=["phase", "epoch"]) if run_dir is None else read_log(run_dir)
    run = Run(
        config=config,
        preprocessing=prepared.preprocessing,
        model=model.eval(),
        samples=pd.DataFrame(),
        metrics={},
        log=log,
        latents=groups.known.latents if groups and groups.consensus else (),
    )
    samples, metrics = completed(run, prepared.rows, prepared.data, groups, order, listing)
    metrics |= {
        "still_falling": begin.still_falling,
        "epochs": {str(p): int(n) for p, n in log["phase"].value_counts(sort=False).items()},
        "loss": float(log["train/loss"].iloc[-1]) if len(log) else None,
    }
    reference = measure_reference(run.model, prepared.data, run.preprocessing.numbers)
    return replace(run, samples=samples, metrics=metrics, reference=reference)


def drawn_seed(random_state: Any) -> int:
    """Return a seed drawn from what scikit-learn calls a random state.

    Raises:
        TypeError, ValueError: For what is none.
    """
    from sklearn.utils import check_random_state

    allowed = "an integer from 0 to 2**32 - 1, a numpy.random.RandomState or None"
    refusal = f"random_state must be {allowed}, got {shown(random_state)}"
    is_integer = isinstance(random_state, Integral) and not isinstance(random_state, bool)
    if is_integer and not 0 <= int(random_state) < 2**32:
        raise ValueError(refusal)
    is_global = random_state is None or random_state is np.random
    if not (is_integer or is_global or isinstance(random_state, np.random.RandomState)):
        raise TypeError(refusal)
    return int(check_random_state(random_state).randint(2**31 - 1))
