"""The demonstration: six modalities of digits, part of them missing, clustered and generated.

Nothing here prints; :mod:`cmvae.cli` shows what :func:`run_demo` returns. The labels score, and
choose which digits are drawn; they have no part in training or in choosing the number of clusters.
"""

import copy
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn
import torch
from sklearn.cluster import KMeans
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import cross_val_score
from sklearn.svm import SVC

from cmvae._version import __version__
from cmvae.base.arrays import moments, restore
from cmvae.base.files import atomic_write
from cmvae.cli.demo_folder import METRICS, DemoSettings
from cmvae.data.datasets import MultimodalBaseDataset
from cmvae.datasets.mfeat import load_mfeat, mfeat
from cmvae.metrics.clustering import clustering_scores
from cmvae.models.cmvae import CMVAE
from cmvae.models.config import CMVAEConfig
from cmvae.models.inference import latent_means
from cmvae.report.figures import embedding_figure, entropy_figure, save_figure, translation_figure
from cmvae.training.checkpoints import last_checkpoint
from cmvae.training.clustering import number_clusters
from cmvae.training.fit import fit
from cmvae.training.recipe import Recipe

PIX_SHAPE = (16, 15)
N_DIGITS = 10


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration found.

    Attributes:
        n_clusters: Clusters found.
        scores: Method to ACC, NMI and ARI, each in [0, 1].
        shares: Source modality to the share of ``pix`` images, generated from it alone, in which a
            classifier trained on real ``pix`` sees the right digit; ``'real'`` is its accuracy on
            real ones, cross-validated.
        h_values: The paper's criterion by number of clusters, which takes no part.
    """

    n_clusters: int
    scores: dict[str, dict[str, float]]
    shares: dict[str, float]
    h_values: list[float]


def run_demo(
    folder: Path, settings: DemoSettings, *, resume: bool = False, **trainer_arguments: Any
) -> DemoResult:
    """Train, choose the number of clusters, score, generate, and write everything into ``folder``.

    Args:
        folder: The run folder, made by :func:`prepare_run`.
        settings: What to run.
        resume: Go on from the folder's last checkpoint.
        **trainer_arguments: For :func:`cmvae.fit`.
    """
    data = mfeat(settings.missing_rate, settings.seed)
    torch.manual_seed(settings.seed)
    recipe = Recipe(n_clusters=settings.clusters)
    learned = {name: tuple(values.shape[1:]) for name, values in data.data.items()}
    config = CMVAEConfig(
        n_modalities=len(learned),
        input_dims=learned,
        decoder_dist_params={name: {"scale": recipe.scale} for name in learned},
        number_of_clusters=settings.clusters,
        **recipe.model_settings(sum(shape[0] for shape in learned.values()), len(learned)),
    )
    model = CMVAE(config)
    fit(
        model,
        data,
        max_epochs=settings.epochs,
        warmup_epochs=settings.warmup_epochs,
        initial_clusters="auto",
        seed=settings.seed,
        run_dir=folder,
        resume_from=last_checkpoint(folder) if resume else None,
        overwrite=True,
        devices=1,
        **trainer_arguments,
    )
    number_clusters(model, data, "mean", drop_empty=True)
    h_values = copy.deepcopy(model).prune_clusters(data)  # shown beside the number found
    model.save_pretrained(folder / "model")
    found = model.predict_clusters(data)
    labels = np.asarray(data.labels)
    scores = {"CMVAE": clustering_scores(labels, found.clusters), **_baselines(data, settings.seed)}
    _write_predictions(folder / "predictions.csv", data, found)
    shares = _generate(folder, model, data)
    result = DemoResult(model.n_clusters, scores, shares, h_values)
    _draw(folder, model, data, found.clusters, h_values)
    versions = {
        "cmvae": __version__,
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
    }
    record = {
        **settings.to_plain(),
        **asdict(result),
        "python": platform.python_version(),
        **versions,
    }
    record["h_values"] = [value if np.isfinite(value) else None for value in h_values]
    _write_json(folder / METRICS, record)
    return result


def _baselines(data: MultimodalBaseDataset, seed: int) -> dict[str, dict[str, float]]:
    """Score k-means and a full Gaussian mixture, ten clusters given, after mean imputation."""
    # Features are standardised over what is observed: the mean is zero.
    features = np.nan_to_num(torch.cat([data.data[m] for m in data.modalities], 1).double().numpy())
    methods = {
        "k-means, 10 given": KMeans(N_DIGITS, n_init=10, random_state=seed),
        "Gaussian mixture, 10 given": GaussianMixture(N_DIGITS, random_state=seed),
    }
    return {
        name: clustering_scores(data.labels, method.fit_predict(features))
        for name, method in methods.items()
    }


def _observed(data: MultimodalBaseDataset) -> np.ndarray:
    """Return what is observed, (n, M) boolean."""
    whole = torch.ones(len(data), dtype=torch.bool)
    masks = getattr(data, "masks", {})
    return torch.stack([masks.get(m, whole) for m in data.modalities], 1).numpy()


def _write_predictions(path: Path, data: MultimodalBaseDataset, found: Any) -> None:
    clusters = found.clusters.cpu()
    names = np.array(data.modalities)
    table = pd.DataFrame(
        {
            "sample": np.arange(len(data)),
            "cluster": clusters.numpy(),
            "probability": found.probabilities.cpu()
            .gather(1, clusters[:, None])[:, 0]
            .numpy()
            .round(6),
            "modalities": ["+".join(names[row]) for row in _observed(data)],
            "digit": np.asarray(data.labels),
        }
    )
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False)


def _generate(folder: Path, model: CMVAE, data: MultimodalBaseDataset) -> dict[str, float]:
    """Generate modalities from each other; return the shares of right digits in ``pix``."""
    raw, labels = load_mfeat()
    observed = _observed(data)
    scales = {m: moments(raw[m][observed[:, i]]) for i, m in enumerate(data.modalities)}
    shown = _one_of_each(labels, np.flatnonzero(observed.all(1)))
    classifier = SVC().fit(raw["pix"], labels)
    shares = {"real": float(cross_val_score(SVC(), raw["pix"], labels, cv=5).mean())}
    generated: dict[str, np.ndarray] = {"samples": shown, "digits": labels[shown]}
    pictures = {}
    for i, source in enumerate(data.modalities):
        few = {source: data.data[source][torch.as_tensor(shown)]}
        for target, values in model.eval().predict(few, source, return_mean=True).items():
            values = restore(values[:, 0].cpu().numpy(), *scales[target])
            generated[f"{target}_from_{source}"] = values
            if target == "pix" != source:
                pictures[source] = values.reshape(-1, *PIX_SHAPE)
        if source != "pix":
            rows = observed[:, i].nonzero()[0]
            many = {source: data.data[source][torch.as_tensor(rows)]}
            made = model.predict(many, source, "pix", return_mean=True)["pix"][:, 0]
            images = restore(made.cpu().numpy(), *scales["pix"])
            right = classifier.predict(images) == labels[rows]
            shares[source] = float(right.mean())
    with atomic_write(folder / "generated.npz") as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **generated)
    originals = raw["pix"][shown].reshape(-1, *PIX_SHAPE)
    (folder / "figures").mkdir(exist_ok=True)
    save_figure(
        translation_figure(originals, pictures, {m: shares[m] for m in pictures}),
        folder / "figures" / "translations.png",
    )
    return shares


def _one_of_each(labels: np.ndarray, complete: np.ndarray) -> np.ndarray:
    """Return the first sample of every digit, among the ``complete`` ones where these have it."""
    order = np.concatenate([complete, np.arange(len(labels))])
    return np.array([order[labels[order] == digit][0] for digit in range(N_DIGITS)])


def _draw(
    folder: Path,
    model: CMVAE,
    data: MultimodalBaseDataset,
    clusters: torch.Tensor,
    h_values: list[float],
) -> None:
    n_observed = _observed(data).sum(1)
    embedding = embedding_figure(
        latent_means(model, data).cpu(), clusters.cpu(), data.labels, n_observed
    )
    save_figure(embedding, folder / "figures" / "embedding.png")
    save_figure(entropy_figure(h_values, model.n_clusters), folder / "figures" / "selection.png")


def _write_json(path: Path, record: dict[str, Any]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
