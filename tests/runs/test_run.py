import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.metrics.cluster import contingency_matrix

from cmvae.data import IncompleteDataset
from cmvae.files.modality import ModalityFile
from cmvae.preprocessing import Preprocessing
from cmvae.preprocessing.frames import read_frames
from cmvae.runs.reading import read_files
from cmvae.runs.run import Prepared, drawn_seed, prepare, samples_table, train_run
from cmvae.training import clustering
from cmvae.training.clustering import train
from made_files import LABELS


def test_settings_follow_from_the_files_and_the_recipe(prepared, config):
    settings = prepared.settings
    assert settings.decoders_dist == {"a": "mixed", "b": "negative_binomial"}
    assert (settings.latent_dim, settings.number_of_clusters, settings.K) == (4, 3, 1)
    assert isinstance(prepared.data, IncompleteDataset)
    assert len(prepared.data) == len(prepared.rows.ids) == 60
    files = {
        **config.modalities,
        "b": config.modalities["b"].replace(likelihood="poisson", network="mlp"),
    }
    other = prepare(config.replace(modalities=files), prepared.preprocessing, prepared.rows)
    assert other.settings.likelihood_of("b")[0] == "poisson"
    assert other.settings.network_of("b") == "mlp"


def few(prepared, n):
    """Return the first n samples."""
    rows = prepared.rows
    data = {name: values[:n] for name, values in rows.data.items()}
    masks = {name: mask[:n] for name, mask in rows.masks.items()}
    return type(rows)(rows.ids[:n], data, masks)


@pytest.mark.parametrize(
    ("change", "n", "message"),
    [
        ({}, 1, "n_samples = 1: at least 2 samples are needed to find clusters"),
        ({"n_clusters": 9}, 8, "n_clusters = 9 clusters cannot be found in n_samples = 8"),
        (
            {"latent_family": "laplace_with_softmax", "covariance": "full"},
            60,
            "Normal latent family",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused_first(prepared, change, n, message):
    config = prepared.config.replace(recipe=prepared.config.recipe.replace(**change))
    with pytest.raises(ValueError, match=message):
        prepare(config, prepared.preprocessing, few(prepared, n))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": "none"}, "no networks are registered as 'none'"),
        ({"network": "conv"}, "'conv' cannot be the encoders of modality 'b'"),
        ({"likelihood": "normal"}, "modality 'b': likelihood 'normal' fits none of the kinds"),
        ({"likelihood_params": {"sise": 3}}, "sise"),
    ],
)
def test_settings_of_a_modality_that_do_not_fit_are_refused(prepared, change, message):
    files = {**prepared.config.modalities, "b": ModalityFile(path="b.csv", **change)}
    config = prepared.config.replace(modalities=files)
    with pytest.raises(ValueError, match=message):
        prepare(config, prepared.preprocessing, prepared.rows)


def test_nothing_but_the_seed_decides_and_the_global_generator_is_left_alone(run, prepared):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    other = train_run(prepared)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
    pd.testing.assert_frame_equal(other.samples, run.samples)
    # Without a folder nothing is logged.
    assert (len(other.log), other.metrics["loss"], other.metrics["epochs"]) == (0, None, {})
    assert {**other.metrics, "loss": 0, "epochs": 0} == {**run.metrics, "loss": 0, "epochs": 0}


def test_fits_in_threads_are_those_of_one_after_the_other(run, prepared):
    def fit(seed):
        prepare(prepared.config, prepared.preprocessing, prepared.rows)  # beside another's training
        return train_run(prepared, seed=seed)

    level = logging.getLogger("lightning.pytorch").level
    with ThreadPoolExecutor(3) as pool:
        first, again, other = pool.map(fit, [5, 5, 6])
    for name, value in train_run(prepared, seed=5).model.state_dict().items():
        assert torch.equal(value, first.model.state_dict()[name]), name
        assert torch.equal(value, again.model.state_dict()[name]), name
    assert not torch.equal(first.model.cluster_centers, other.model.cluster_centers)
    assert logging.getLogger("lightning.pytorch").level == level


def test_seeds_are_drawn_as_scikit_learn_draws_them():
    assert drawn_seed(3) == np.random.RandomState(3).randint(2**31 - 1)
    state = np.random.RandomState(3)
    assert [drawn_seed(state), drawn_seed(state)] == (
        np.random.RandomState(3).randint(2**31 - 1, size=2).tolist()
    )


def test_figures_agree_with_the_samples(run, prepared):
    samples, metrics = run.samples, run.metrics
    assert metrics["n_samples"] == len(samples) == 60
    assert metrics["sizes"] == np.bincount(samples["cluster"], minlength=3).tolist()
    assert metrics["mean_probability"] == pytest.approx(samples["probability"].mean(), abs=1e-6)
    assert metrics["observed"] == {"a": 50, "b": 55}
    assert metrics["epochs"] == {"warm-up": 6, "clusters": 1}
    assert run.evidence is None
    assert len(metrics["stability"]) == 3
    assert all(0 < value <= 1 for value in metrics["stability"])
    clusters, probabilities = run.assign(prepared.data)
    assert probabilities.shape == (60, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert np.array_equal(probabilities.argmax(1), clusters)
    pd.testing.assert_frame_equal(run.table(prepared.rows, prepared.data), samples)


def test_clusters_with_samples_come_first(prepared):
    recipe = prepared.config.recipe
    many = prepared.config.replace(recipe=recipe.replace(n_clusters=20, max_epochs=1))
    found = train_run(prepare(many, prepared.preprocessing, prepared.rows))
    sizes = found.metrics["sizes"]
    assert len(sizes) == found.n_clusters == found.model.n_clusters == 20
    occupied = sum(size > 0 for size in sizes)
    assert all(sizes[:occupied])
    assert not any(sizes[occupied:])
    auto = prepared.config.replace(recipe=recipe.replace(n_clusters="auto", max_clusters=20))
    found = train_run(prepare(auto, prepared.preprocessing, prepared.rows))
    assert all(found.metrics["sizes"])
    assert found.n_clusters == found.model.n_clusters
    assert found.model.active_clusters[: found.n_clusters].all()
    assert not found.model.active_clusters[found.n_clusters :].any()


@pytest.mark.parametrize(("n_clusters", "most_stay"), [(3, True), (20, False)])
def test_which_share_stayed_with_the_groups_that_clusters_started_from(
    prepared, monkeypatch, n_clusters, most_stay
):
    begun = []

    def watched(*arguments, **keywords):
        begun.append(train(*arguments, **keywords))
        return begun[-1]

    monkeypatch.setattr(clustering, "train", watched)
    recipe = prepared.config.recipe.replace(n_clusters=n_clusters)
    config = prepared.config.replace(recipe=recipe)
    found = train_run(prepare(config, prepared.preprocessing, prepared.rows))
    common = contingency_matrix(begun[0].groups.labels, found.samples["cluster"])
    most = common[linear_sum_assignment(common, maximize=True)].sum() / 60
    assert 0 < found.metrics["kept"] <= most
    assert (found.metrics["kept"] == most > 0.9) == most_stay


def test_there_is_no_such_share_where_training_was_not_to_keep_groups(prepared):
    recipe = prepared.config.recipe.replace(start="spectral", max_epochs=1)
    config = prepared.config.replace(recipe=recipe)
    found = train_run(prepare(config, prepared.preprocessing, prepared.rows))
    assert found.metrics["kept"] is None


def test_a_table_of_samples_has_the_probability_of_the_cluster(prepared):
    probabilities = np.full((60, 3), 0.25) + np.eye(3)[LABELS] / 4
    table = samples_table(prepared.rows, LABELS, probabilities)
    assert list(table) == ["id", "cluster", "probability", "modalities"]
    assert set(table["probability"]) == {0.5}
    assert set(table["modalities"]) == {"a", "b", "a+b"}
    assert isinstance(prepared, Prepared)


def test_the_same_rows_in_python_are_the_same_samples(prepared, config):
    learned = Preprocessing.from_json(prepared.preprocessing.to_json())
    rows = read_files(config.modalities, learned)[1]
    for name, values in prepared.rows.data.items():
        np.testing.assert_array_equal(rows.data[name], values)


def test_of_many_modalities_targets_are_drawn(config):
    tables = {f"m{i}": np.random.default_rng(i).normal(size=(20, 2)) for i in range(12)}
    learned = Preprocessing.learn(tables, {name: ModalityFile() for name in tables})
    many = config.replace(modalities={name: ModalityFile() for name in tables})
    prepared = prepare(many, learned, read_frames(tables).encode(learned))
    assert prepared.settings.cross_modal_targets == 4
