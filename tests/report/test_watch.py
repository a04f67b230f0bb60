"""Watching a training: what is written and logged, and that nothing is changed by it."""

import logging

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, Logger

from cmvae import (
    CMVAE,
    DCMVAE,
    CMVAEConfig,
    DiffusionConfig,
    IncompleteDataset,
    MultimodalBaseDataset,
    fit,
)
from cmvae.report.watch import GenerationGrid
from helpers import assert_same, assert_same_snapshot, snapshot

QUIET = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
SHAPES = {"image": (1, 8, 8), "table": (3,)}


@pytest.fixture(autouse=True)
def _quiet_and_alone(tmp_path, monkeypatch):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)


def data(n=40, masks=None):
    generator = torch.Generator().manual_seed(0)
    values = {m: torch.rand(n, *shape, generator=generator) for m, shape in SHAPES.items()}
    labels = torch.arange(n) % 3
    return (
        MultimodalBaseDataset(values, labels)
        if masks is None
        else IncompleteDataset(values, masks, labels)
    )


def model(shapes=SHAPES):
    torch.manual_seed(0)
    fields = {
        "latent_dim": 3,
        "modalities_specific_dim": 2,
        "number_of_clusters": 3,
        "hidden_dims": (8,),
        "K": 1,
    }
    return CMVAE(CMVAEConfig(n_modalities=len(shapes), input_dims=shapes, **fields))


class Pictures(Logger):
    """A logger with an image method."""

    name, version = "pictures", 0

    def __init__(self):
        super().__init__()
        self.images, self.metrics = [], set()

    experiment = property(lambda self: None)

    def log_image(self, key, images, step):
        self.images.append((key, images, step))

    def log_metrics(self, metrics, step=None):
        self.metrics |= set(metrics)

    def log_hyperparams(self, *_):
        pass


def test_every_n_epochs_the_run_folder_gets_pictures_and_clusters(tmp_path):
    samples, trained = data(), model()
    watch = GenerationGrid(2, samples, max_points=20)
    fit(
        trained,
        samples,
        max_epochs=5,
        batch_size=20,
        run_dir=tmp_path / "run",
        callbacks=[watch],
        **QUIET,
    )
    folders = sorted((tmp_path / "run" / "watch").iterdir())
    assert [folder.name for folder in folders] == ["epoch_0002", "epoch_0004"]
    for folder in folders:
        assert sorted(file.name for file in folder.iterdir()) == [
            "clustering.png",
            "clusters.csv",
            "generations.png",
        ]
    table = pd.read_csv(folders[-1] / "clusters.csv")
    assert list(table) == ["sample", "cluster", "probability", "label"]
    assert len(table) == 20
    assert (table["label"] == table["sample"] % 3).all()


def test_the_table_holds_what_the_model_predicts(tmp_path):
    samples, trained = data(), model()
    watch = GenerationGrid(3, samples)
    fit(
        trained,
        samples,
        max_epochs=3,
        batch_size=20,
        run_dir=tmp_path / "run",
        callbacks=[watch],
        **QUIET,
    )
    table = pd.read_csv(tmp_path / "run" / "watch" / "epoch_0003" / "clusters.csv")
    found = trained.predict_clusters(samples)
    assert (table["cluster"] == found.clusters.numpy()).all()
    assert np.allclose(table["probability"], found.probabilities.max(1).values, atol=1e-5)


def test_training_is_the_same_with_and_without_it(tmp_path):
    runs = []
    for number, callbacks in enumerate(
        [[], [GenerationGrid(1, data(masks={"image": torch.arange(40) > 5}))]]
    ):
        trained = model()
        fit(
            trained, data(), max_epochs=4, warmup_epochs=1, batch_size=20, seed=1,
            callbacks=callbacks, run_dir=tmp_path / str(number), **QUIET,
        )  # fmt: skip
        runs.append(
            {
                **trained.state_dict(),
                "config": trained.model_config.to_json(),
                "rng": torch.get_rng_state(),
            }
        )
    assert_same(*runs)


def test_a_drawing_leaves_the_model_as_it_is():
    trained = model().train()
    watch = GenerationGrid(1, data())
    before, state = snapshot(trained), torch.get_rng_state()
    figure, again = watch.draw_generations(trained), watch.draw_generations(trained)
    watch.draw_clustering(trained)
    assert_same_snapshot(before, snapshot(trained))
    assert torch.equal(state, torch.get_rng_state())
    # The same noise each time: what differs between epochs was learned.
    for one, other in zip(figure.axes, again.axes, strict=True):
        assert np.array_equal(one.get_images()[0].get_array(), other.get_images()[0].get_array())


def test_the_grid_has_images_of_samples_with_most_modalities_observed():
    samples = data(masks={"image": torch.arange(40) >= 30})
    samples.data["image"][:30] = float("nan")
    watch = GenerationGrid(1, samples, n_samples=4)
    panels = np.reshape(watch.draw_generations(model()).axes, (3, 1))
    assert [panel.get_ylabel() for panel in panels[:, 0]] == [
        "original",
        "from image",
        "from table",
    ]
    original = np.asarray(panels[0, 0].get_images()[0].get_array())
    assert np.allclose(original[:8, :8, 0], samples.data["image"][30, 0])
    assert np.allclose(original[9:, 9:, 0], samples.data["image"][39, 0])


def test_data_without_images_give_the_clustering_alone(tmp_path):
    samples = {"a": torch.rand(12, 3), "b": torch.rand(12, 4)}
    watch = GenerationGrid(1, samples)
    run = tmp_path / "run"
    fit(model({"a": 3, "b": 4}), samples, max_epochs=1, run_dir=run, callbacks=[watch], **QUIET)
    assert sorted(file.name for file in (run / "watch" / "epoch_0001").iterdir()) == [
        "clustering.png",
        "clusters.csv",
    ]


def test_loggers_with_an_image_method_get_the_pictures_and_others_are_passed_over(tmp_path):
    pictures = Pictures()
    fit(
        model(), data(), max_epochs=2, batch_size=20, callbacks=[GenerationGrid(2, data())],
        run_dir=tmp_path / "run", logger=[CSVLogger(tmp_path), pictures], **QUIET,
    )  # fmt: skip
    folder = tmp_path / "run" / "watch" / "epoch_0002"
    assert pictures.images == [
        (name, [str(folder / f"{name}.png")], 4) for name in ("generations", "clustering")
    ]
    assert {"train/loss", "train/log_p_z", "train/cross_log_likelihood_image"} <= pictures.metrics


def test_tensorboard_shows_pictures_and_terms(tmp_path):
    pytest.importorskip("tensorboard")
    from lightning.pytorch.loggers import TensorBoardLogger
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="board")
    fit(
        model(), data(), max_epochs=2, batch_size=20, callbacks=[GenerationGrid(1, data())],
        run_dir=tmp_path / "run", logger=logger, **QUIET,
    )  # fmt: skip
    events = EventAccumulator(logger.log_dir).Reload()
    assert set(events.Tags()["images"]) == {"generations", "clustering"}
    assert [event.step for event in events.Images("generations")] == [2, 4]
    assert {"train/loss", "train/log_p_z", "train/self_log_likelihood_image"} <= set(
        events.Tags()["scalars"]
    )


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"every_n_epochs": 0}, ValueError),
        ({"n_samples": 0}, ValueError),
        ({"n_samples": -3}, ValueError),
        ({"n_samples": "4"}, TypeError),
        ({"max_points": 0}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": "one"}, TypeError),
    ],
)
def test_bad_numbers_are_refused(changes, error):
    with pytest.raises(error, match=f"{next(iter(changes))} must be"):
        GenerationGrid(**{"every_n_epochs": 1, "data": data(2), **changes})


def test_what_could_not_be_drawn_is_refused_before_training(tmp_path):
    pytest.importorskip("diffusers")
    decoders = DCMVAE(model(), {"table": DiffusionConfig(hidden_dim=8, n_blocks=1)})
    wrong = {"image": torch.rand(4, 1, 8, 8), "tables": torch.rand(4, 3)}
    for trained, watched, error, message in (
        (decoders, data(), TypeError, "GenerationGrid watches a CMVAE, got DCMVAE"),
        (model(), wrong, KeyError, "unknown modality 'tables'"),
        (model(), {"table": torch.rand(4, 2)}, ValueError, "'table'"),
    ):
        run, watch = tmp_path / "run", GenerationGrid(3, watched)
        with pytest.raises(error, match=message):
            fit(trained, data(), max_epochs=1, run_dir=run, callbacks=[watch], **QUIET)
        assert not (run / "checkpoints").exists()
