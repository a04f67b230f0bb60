"""Training that people can watch: pictures of generations and clusters every few epochs."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure
from torch import Generator

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
    and label where there are any. Loggers that take pictures, TensorBoard's by
    ``experiment.add_figure`` and others by ``log_image``, get the two of them; others are passed
    over.

    It watches a CMVAE: a D-CMVAE's clusters do not change. Training is not changed by it: draws
    have a generator of their own, and the model is left as it is. On several devices the first one
    draws.

    Args:
        every_n_epochs: How often.
        data: The samples, anything that :func:`cmvae.metrics.reading.batches` takes.
        n_samples: At most so many of them are in the grid, evenly spaced among those with most
            modalities observed.
        max_points: At most so many, evenly spaced, are clustered and drawn in the plane.
        seed: Seed of the draws, the same after every epoch: pictures differ by what was learned.

    Raises:
        TypeError: For numbers that are no integers, data that are not accepted, or, when training
            starts, another model than a CMVAE.
        ValueError: For numbers below 1, a seed out of its range, or no samples; when training
            starts, for data that the model refuses.
        KeyError: When training starts, for a modality that the model does not know.

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
        observed = torch.stack(list(self.clustered["masks"].values())).sum(0).numpy()
        wanted = min(positive_int("n_samples", n_samples), len(observed))
        shown = _spread(np.flatnonzero(observed >= np.sort(observed)[-wanted]), wanted)
        self.drawn = ModelOutput(
            data={name: values[shown] for name, values in self.clustered["data"].items()},
            masks={name: mask[shown] for name, mask in self.clustered["masks"].items()},
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what could not be drawn, before training."""
        model = getattr(pl_module.model, "_orig_mod", pl_module.model)
        if not isinstance(model, CMVAE):
            raise TypeError(f"GenerationGrid watches a CMVAE, got {type(model).__name__}")
        read_batch(model, self.clustered)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, if it is time."""
        if (trainer.current_epoch + 1) % self.every_n_epochs or not trainer.is_global_zero:
            return
        model = cast(CMVAE, pl_module.model)
        folder = Path(trainer.default_root_dir) / "watch" / f"epoch_{trainer.current_epoch + 1:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        table, clustering = self.draw_clustering(model)
        with atomic_write(folder / "clusters.csv") as temporary:
            table.to_csv(temporary, index=False)
        figures = {"generations": self.draw_generations(model), "clustering": clustering}
        for name, figure in figures.items():
            if figure is not None:
                save_figure(figure, folder / f"{name}.png")
                _log(trainer, name, figure, folder / f"{name}.png")

    def draw_generations(self, model: CMVAE) -> Figure | None:
        """Return the grid of the image modalities, or None where there are none."""
        data, masks = self.drawn["data"], self.drawn["masks"]
        # Those that are not observed are blank.
        originals = {
            m: values.float().masked_fill(~masks[m][:, None, None, None], float("nan"))
            for m, values in data.items()
            if values.ndim == 4
        }
        if not originals:
            return None
        generator = Generator(model.mixture.centers.device).manual_seed(self.seed)
        generated = cross_generations(model, self.drawn, generator=generator)
        rows = {
            source: {m: values for m, values in by_target.items() if m in originals}
            for source, by_target in generated.items()
        }
        return generation_grid(originals, rows)

    def draw_clustering(self, model: CMVAE) -> tuple[pd.DataFrame, Figure]:
        """Return the clusters as a table, and the embedding in the plane."""
        found = model.predict_clusters(self.clustered)
        labels = self.clustered.get("labels")
        labels = labels if labels is None or np.ndim(labels) == 1 else None
        clusters, probabilities = found.clusters.cpu(), found.probabilities.cpu()
        columns = {
            "sample": self.rows,
            "cluster": clusters.numpy(),
            "probability": probabilities.gather(1, clusters[:, None])[:, 0].numpy().round(6),
        }
        if labels is not None:
            columns["label"] = np.asarray(labels)
        observed = torch.stack(list(self.clustered["masks"].values())).sum(0)
        means = latent_means(model, self.clustered).cpu()
        return pd.DataFrame(columns), embedding_figure(means, clusters, labels, observed)


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most ``count`` of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def _log(trainer: Trainer, name: str, figure: Figure, path: Path) -> None:
    """Hand a figure to the loggers that take pictures."""
    for each in trainer.loggers:
        experiment = getattr(each, "experiment", None)
        if experiment is not None and hasattr(experiment, "add_figure"):
            experiment.add_figure(name, figure, global_step=trainer.global_step, close=False)
        elif hasattr(each, "log_image"):
            each.log_image(name, [str(path)], step=trainer.global_step)
