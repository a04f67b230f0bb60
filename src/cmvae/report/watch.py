"""Training that people can watch: pictures of generations and clusters every few epochs."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, Trainer
from matplotlib.figure import Figure

from cmvae.base.arguments import positive_int, seeded
from cmvae.base.files import atomic_write
from cmvae.base.outputs import ModelOutput
from cmvae.metrics.reading import as_dataset, batch_at, batches
from cmvae.models.cmvae import CMVAE
from cmvae.models.inference import latent_means, read_batch
from cmvae.report.figures import embedding_figure, save_figure
from cmvae.report.grids import cross_generations, generation_grid


class GenerationGrid(Callback):
    """Draw a grid of generations and the present clustering after every n-th epoch.

    The run folder gets ``watch/epoch_0005/`` with ``generations.png``
    (:func:`cmvae.report.generation_grid`; not for data without images), ``clustering.png``
    (:func:`cmvae.report.embedding_figure`) and ``clusters.csv``: sample, cluster, its probability,
    and label where there are any. Loggers that take pictures, by ``experiment.add_figure`` or
    ``log_image``, get the two of them.

    It watches a CMVAE: a D-CMVAE's clusters do not change. Training is not changed by it: draws
    have a generator of their own. On several devices the first one draws.

    Args:
        every_n_epochs: How often.
        data: The samples, anything that :func:`cmvae.metrics.reading.batches` takes.
        n_samples: At most so many, of those with most modalities observed, are in the grid.
        max_points: At most so many, evenly spaced, are clustered and drawn in the plane.
        seed: Seed of the draws, the same after every epoch: pictures differ by what was learned.

    Raises:
        TypeError: For numbers that are no integers, data that are not accepted, other models.
        ValueError: For numbers out of range, no samples, data that the model refuses.
        KeyError: For a modality that the model does not know.

    Example:
        >>> watch = GenerationGrid(5, {"a": torch.rand(8, 1, 8, 8), "b": torch.rand(8, 3)})
        >>> fit(model, train, max_epochs=50, callbacks=[watch])  # doctest: +SKIP
    """

    def __init__(
        self,
        every_n_epochs: int,
        data: Any,
        *,
        n_samples: int = 9,
        max_points: int = 1000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.every_n_epochs = positive_int("every_n_epochs", every_n_epochs)
        seeded(seed)
        self.seed = seed
        dataset = as_dataset(data)
        self.rows = _spread(np.arange(len(dataset)), positive_int("max_points", max_points))
        self.clustered = next(batches(batch_at(dataset, self.rows.tolist()), len(self.rows)))
        values, masks = self.clustered["data"], self.clustered["masks"]
        self.observed = torch.stack(list(masks.values())).sum(0).numpy()
        wanted = min(positive_int("n_samples", n_samples), len(self.rows))
        fewest = np.sort(self.observed)[-wanted]
        shown = _spread(np.flatnonzero(self.observed >= fewest), wanted)
        self.drawn = ModelOutput(
            data={m: own[shown] for m, own in values.items()},
            masks={m: own[shown] for m, own in masks.items()},
            cells={m: own[shown] for m, own in self.clustered.get("cells", {}).items()},
            covariates={n: own[shown] for n, own in self.clustered.get("covariates", {}).items()},
        )

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Refuse what could not be drawn, before training."""
        model = getattr(pl_module.model, "_orig_mod", pl_module.model)
        if not isinstance(model, CMVAE):
            raise TypeError(f"GenerationGrid watches a CMVAE, got {type(model).__name__}")
        read_batch(model, self.clustered)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Draw, if it is time."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every_n_epochs or not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "watch" / f"epoch_{epoch:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        table, clustering = self.draw_clustering(pl_module.model)
        with atomic_write(folder / "clusters.csv") as temporary:
            table.to_csv(temporary, index=False)
        figures = {"generations": self.draw_generations(pl_module.model), "clustering": clustering}
        for name, figure in figures.items():
            if figure is not None:
                path = folder / f"{name}.png"
                save_figure(figure, path)
                _log(trainer, name, figure, path)

    def draw_generations(self, model: CMVAE) -> Figure | None:
        """Return the grid of the image modalities, or None where there are none."""
        images = {m: values for m, values in self.drawn["data"].items() if values.ndim == 4}
        if not images:
            return None
        lacking = {m: ~self.drawn["masks"][m][:, None, None, None] for m in images}
        blank = {m: own.float().masked_fill(lacking[m], float("nan")) for m, own in images.items()}
        generator = seeded(self.seed, model.mixture.centers.device)
        generated = cross_generations(model, self.drawn, generator=generator)
        rows = {s: {m: own[m] for m in images if m in own} for s, own in generated.items()}
        return generation_grid(blank, rows)

    def draw_clustering(self, model: CMVAE) -> tuple[pd.DataFrame, Figure]:
        """Return the clusters as a table, and the embedding in the plane."""
        found = model.predict_clusters(self.clustered)
        clusters, probabilities = found.clusters.cpu(), found.probabilities.cpu()
        own = probabilities.gather(1, clusters[:, None])[:, 0].numpy().round(6)
        columns = {"sample": self.rows, "cluster": clusters.numpy(), "probability": own}
        labels = self.clustered.get("labels")
        if labels is not None and np.ndim(labels) == 1:
            columns["label"] = labels = np.asarray(labels)
        else:
            labels = None
        means = latent_means(model, self.clustered).cpu()
        return pd.DataFrame(columns), embedding_figure(means, clusters, labels, self.observed)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most ``count`` of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def _log(trainer: Trainer, name: str, figure: Figure, path: Path) -> None:
    """Hand a figure to the loggers that take pictures."""
    for each in trainer.loggers:
        experiment: Any = getattr(each, "experiment", None)
        if hasattr(experiment, "add_figure"):
            experiment.add_figure(name, figure, global_step=trainer.global_step, close=False)
        elif hasattr(each, "log_image"):
            each.log_image(name, [str(path)], step=trainer.global_step)
