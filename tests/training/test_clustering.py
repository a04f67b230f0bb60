import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from cmvae import CMVAE, CMVAEConfig, ModelOutput, MultimodalBaseDataset
from cmvae.training.checkpoints import can_resume, read_log
from cmvae.training.clustering import number_clusters, train
from cmvae.training.initialization import collapse_clusters, initialize_clusters
from cmvae.training.recipe import Recipe
from training.cases import QUIET, StopAfter, data, weights
from training.cases import train as fit_quietly

SHAPES = {"a": (4,), "b": (3,)}
SMALL = {"latent_dim": 2, "private_dim": 2, "hidden_dims": (16,), "batch_size": 20}
TRAINER = {"enable_progress_bar": False, "accelerator": "cpu"}


def recipe_of(**fields):
    return Recipe(**{"n_clusters": 3, **SMALL, **fields})


def built(recipe, samples, seed=0):
    torch.manual_seed(seed)
    clusters = recipe.largest(len(samples))
    settings = {"n_modalities": 2, "input_dims": SHAPES, "number_of_clusters": clusters}
    return CMVAE(CMVAEConfig(**settings, **recipe.model_settings(10, 2)))


def by_hand(model, samples, recipe, seed):
    """Train twice, each time with an optimiser of its own, and start the clusters between."""
    stop = EarlyStopping("train/loss", patience=10, min_delta=1e-3, check_on_train_epoch_end=True)
    collapse_clusters(model)
    model.mixture.requires_grad_(False)
    arguments = {"learning_rate": recipe.step_size(len(samples)), **QUIET}
    epochs = recipe.warmup_epochs(len(samples))
    warm = fit_quietly(model, samples, max_epochs=epochs, callbacks=[stop], **arguments)
    model.mixture.requires_grad_(True)
    initialize_clusters(
        model,
        samples,
        recipe.n_clusters,
        method=recipe.start,
        seed=seed,
        batch_size=model.rows_at_once,
    )
    fit_quietly(model, samples, max_epochs=recipe.final_epochs(len(samples)), **arguments)
    return warm.current_epoch


@pytest.mark.parametrize(
    ("fields", "ends_early"),
    [
        ({"max_epochs": 7, "start": "spectral"}, False),
        ({"max_epochs": 12, "start": "gmm", "n_clusters": "auto"}, False),
        ({"max_epochs": 60, "start": "spectral", "learning_rate": 1e-9}, True),
    ],
)
def test_one_training_is_a_warm_up_and_a_training_of_the_clusters(fields, ends_early):
    recipe, samples = recipe_of(**fields), data()
    one, two = built(recipe, samples), built(recipe, samples)
    torch.manual_seed(1)
    train(one, samples, recipe, 3, **TRAINER)
    drawn = torch.rand(())
    torch.manual_seed(1)
    epochs = by_hand(two, samples, recipe, 3)
    assert (epochs < recipe.max_epochs) == ends_early
    assert torch.equal(weights(one), weights(two))
    assert torch.equal(drawn, torch.rand(()))


RESUMED = {
    "warm-up": ({"max_epochs": 7}, [1, 7, 8]),
    "ended early": ({"max_epochs": 40, "learning_rate": 1e-9}, None),
    "alignment": ({"max_epochs": 3, "alignment_epochs": (2, 2)}, [1, 2, 3, 6, 8]),
}


@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_training_ends_where_the_whole_one_does(name, tmp_path):
    fields, stops = RESUMED[name]
    recipe, samples = recipe_of(**fields), data()
    whole = built(recipe, samples)
    train(whole, samples, recipe, 3, run_dir=tmp_path / "whole", **TRAINER)
    log = read_log(tmp_path / "whole")
    started = int((log["phase"] == "warm-up").sum())
    for stop in stops or [started - 3, started, started + 2, len(log)]:
        folder = tmp_path / str(stop)
        assert not can_resume(folder)
        part = built(recipe, samples)
        train(part, samples, recipe, 3, run_dir=folder, callbacks=[StopAfter(stop)], **TRAINER)
        assert can_resume(folder)
        resumed = built(recipe, samples, seed=9)
        train(resumed, samples, recipe, 3, run_dir=folder, resume=True, **TRAINER)
        assert torch.equal(weights(whole), weights(resumed))
        assert read_log(folder).equals(log)


def test_an_alignment_comes_before_as_many_epochs_as_a_warm_up_would_have(tmp_path):
    samples = data()
    recipe = recipe_of(max_epochs=3, alignment_epochs=(2, 1))
    train(built(recipe, samples), samples, recipe, 0, run_dir=tmp_path / "run", **TRAINER)
    log = read_log(tmp_path / "run")
    assert list(log["phase"]) == ["alignment"] * 4 + ["clusters"] * 3
    assert list(log["epoch"]) == [0, 1, 2, 3, 0, 1, 2]
    assert log["train/loss"].notna().all()


def test_warm_networks_start_their_clusters_at_once(tmp_path):
    samples, recipe = data(), recipe_of(max_epochs=12, alignment_epochs=(2, 2))
    model = built(recipe, samples)
    train(model, samples, recipe, 0, warm=True, run_dir=tmp_path / "run", **TRAINER)
    assert list(read_log(tmp_path / "run")["phase"]) == ["clusters"] * 2
    assert model.n_clusters == 3


def test_warm_networks_that_cannot_start_clusters_leave_nothing_to_go_on_from(tmp_path):
    alike = MultimodalBaseDataset({"a": torch.ones(9, 4), "b": torch.ones(9, 3)})
    recipe = recipe_of(max_epochs=2)
    with pytest.raises(ValueError, match="3 clusters cannot start from 1 different"):
        train(
            built(recipe, alike), alike, recipe, 0, warm=True, run_dir=tmp_path / "run", **TRAINER
        )
    assert not can_resume(tmp_path / "run")


def test_clusters_with_samples_come_first_and_the_others_may_go():
    samples = data()
    recipe = recipe_of(max_epochs=8, n_clusters=3)
    model = built(recipe, samples)
    train(model, samples, recipe, 0, **TRAINER)
    with torch.no_grad():  # empty the first
        model.mixture.centers[0] = 1e3
    before = model.predict_clusters(samples, rule="joint").clusters
    occupied = before.unique()
    assert 0 < len(occupied) < 3
    assert 0 not in occupied
    order = number_clusters(model, samples, "joint", drop_empty=False)
    assert sorted(order) == [0, 1, 2]
    assert order[-1] == 0
    after = model.predict_clusters(samples, rule="joint").clusters
    assert torch.equal(torch.from_numpy(order)[after], before)
    assert (after.bincount(minlength=3).diff() <= 0).all()
    assert model.n_clusters == 3
    number_clusters(model, samples, "joint", drop_empty=True)
    assert model.n_clusters == len(occupied)


@pytest.mark.parametrize("places", [[0, 1, 2, 3], [2, 0, 3, 1], [3, 2, 1, 0]])
def test_of_clusters_of_one_size_that_with_the_earlier_sample_comes_first(places, monkeypatch):
    samples = data()
    model = built(recipe_of(n_clusters=4), samples)
    clusters = torch.tensor(places)[torch.tensor([1, 1, 0, 2, 0, 2, 2])]
    found = ModelOutput(clusters=clusters)
    monkeypatch.setattr(type(model), "predict_clusters", lambda *_, **__: found)
    order = number_clusters(model, samples, "mean", drop_empty=False)
    assert order.tolist() == [places[2], places[1], places[0], places[3]]
