import logging
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from cmvae import CMVAEClusterer

QUICK = {
    "latent_dim": 4,
    "private_dim": 2,
    "hidden_dims": (32,),
    "learning_rate": 3e-3,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _quiet():
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def groups(n=150, seed=0):
    """Two tables of three groups each; only together, or from either alone, the groups show."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    first = 6 * np.eye(3, 5)[labels] + generator.normal(size=(n, 5))
    second = 100 + 50 * np.eye(3, 4)[labels] + 5 * generator.normal(size=(n, 4))
    return {"a": first, "b": second}, labels


@pytest.fixture(scope="module")
def fitted():
    tables, labels = groups()
    tables["a"][:20] = np.nan
    return CMVAEClusterer(**QUICK, random_state=0).fit(tables), tables, labels


def test_groups_and_their_number_are_found(fitted):
    model, tables, labels = fitted
    assert model.n_clusters_ == 3
    assert adjusted_rand_score(labels, model.labels_) > 0.95
    assert set(model.labels_) == {0, 1, 2}
    assert np.array_equal(model.predict(tables), model.labels_)


def test_probabilities_belong_to_the_labels(fitted):
    model, tables, _ = fitted
    probabilities = model.predict_proba(tables)
    assert probabilities.shape == (150, 3)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert np.array_equal(probabilities.argmax(1), model.labels_)


def test_modalities_may_lack_at_prediction_that_never_lacked_in_training(fitted):
    model, tables, labels = fitted
    assert adjusted_rand_score(labels, model.predict({"a": groups()[0]["a"]})) > 0.9
    assert adjusted_rand_score(labels, model.predict({"b": tables["b"]})) > 0.9


def test_embedding_score_and_samples(fitted):
    model, tables, _ = fitted
    assert model.transform(tables).shape == (150, 4)
    assert model.score(tables) == model.score(tables)
    worse = {"a": tables["a"], "b": np.random.default_rng(0).permutation(tables["b"])}
    assert model.score(worse) < model.score(tables)
    drawn, clusters = model.sample(40, cluster=1)
    assert {name: values.shape for name, values in drawn.items()} == {"a": (40, 5), "b": (40, 4)}
    assert set(clusters) == {1}
    assert np.mean(model.predict(drawn) == 1) > 0.9
    assert 80 < drawn["b"].mean() < 130
    for cluster in (-1, model.n_clusters_, 1.0, True, "one"):
        with pytest.raises(
            ValueError, match=rf"cluster must be an integer from 0 to .*, got {cluster!r}"
        ):
            model.sample(2, cluster=cluster)


def test_h_values_are_there_also_where_the_number_is_given():
    tables, _ = groups()
    model = CMVAEClusterer(n_clusters=4, **QUICK, max_epochs=3, random_state=0).fit(tables)
    assert model.n_clusters_ == 4
    assert len(model.h_values_) == 5
    assert np.isfinite(model.h_values_[2:]).all()


def test_the_paper_s_criterion_is_evaluated_and_prunes_nothing(monkeypatch):
    def prune(model, *_, **settings):
        model.mixture.keep(model.active_clusters & (model.active_clusters.cumsum(0) == 1))
        return [0.5]

    monkeypatch.setattr("cmvae.models.cmvae.CMVAE.prune_clusters", prune)
    model = CMVAEClusterer(**QUICK, random_state=0).fit(groups()[0])
    assert model.h_values_ == [0.5]
    assert model.n_clusters_ == 3


def test_same_seed_same_labels_and_the_global_generator_is_left_alone():
    import torch

    tables, _ = groups(60)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    runs = [
        CMVAEClusterer(**QUICK, max_epochs=3, random_state=seed).fit(tables).transform(tables)
        for seed in (5, 5, 6)
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_pickle_and_clone(fitted):
    model, tables, _ = fitted
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.predict(tables), model.labels_)
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(tables)


def test_frames_are_joined_on_their_index():
    tables, labels = groups(90)
    names = np.array([f"s{i}" for i in range(90)])
    first = pd.DataFrame(tables["a"], index=names).iloc[:70]
    second = pd.DataFrame(tables["b"], index=names).sample(frac=1, random_state=0)
    model = CMVAEClusterer(**QUICK, random_state=0).fit({"a": first, "b": second})
    assert list(model.index_[:70]) == list(names[:70])
    assert set(model.index_) == set(names)
    truth = pd.Series(labels, index=names)[model.index_]
    assert adjusted_rand_score(truth, model.labels_) > 0.9


def test_one_table_with_columns_named_for_modalities():
    tables, _ = groups(90)
    columns = {"a": [0, 1, 2, 3, 4], "b": [5, 6, 7, 8]}
    X = np.concatenate([tables["a"], tables["b"]], 1)
    settings = {**QUICK, "max_epochs": 4, "random_state": 0}
    model = CMVAEClusterer(**settings, modalities=columns).fit(X)
    assert model.modalities_ == ["a", "b"]
    frame = pd.DataFrame(X, columns=list("pqrstuvwx"))
    named = CMVAEClusterer(**settings, modalities={"a": list("pqrst"), "b": list("uvwx")}).fit(
        frame
    )
    assert np.array_equal(named.transform(frame), model.transform(X))
    plain = CMVAEClusterer(**settings).fit(tables)
    assert np.array_equal(plain.transform(tables), model.transform(X))


def test_odd_columns_work():
    tables, labels = groups(90)
    odd = np.column_stack(
        [tables["a"], np.ones(90), tables["a"][:, 0], np.where(np.arange(90) == 7, 1e7, 1.0)]
    )
    frame = pd.DataFrame(
        {"flag": labels == 1, "count": labels * 3, "mixed": pd.Series(labels, dtype=object)}
    )
    model = CMVAEClusterer(**QUICK, random_state=0).fit({"a": odd, "b": frame})
    assert np.isfinite(model.transform({"a": odd, "b": frame})).all()
    assert adjusted_rand_score(labels, model.labels_) > 0.8


def test_a_modality_that_no_sample_has_is_left_out():
    tables, _ = groups(60)
    tables["c"] = np.full((60, 2), np.nan)
    with pytest.warns(UserWarning, match=r"modalities \['c'\] are left out"):
        model = CMVAEClusterer(**QUICK, max_epochs=2, random_state=0).fit(tables)
    assert model.modalities_ == ["a", "b"]
    assert len(model.predict(tables)) == 60


def test_no_groups_are_reported():
    noise = {
        "a": np.random.default_rng(0).normal(size=(120, 4)),
        "b": np.random.default_rng(1).normal(size=(120, 3)),
    }
    with pytest.warns(UserWarning, match="no groups were found|no latent unit"):
        model = CMVAEClusterer(**QUICK, random_state=0).fit(noise)
    assert model.n_clusters_ == 1


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"n_clusters": 200},
            ValueError,
            "n_clusters = 200 clusters cannot be found in n_samples = 60",
        ),
        ({"n_clusters": 0}, ValueError, "n_clusters must be a positive integer or 'auto', got 0"),
        (
            {"n_clusters": "many"},
            ValueError,
            "n_clusters must be a positive integer or 'auto', got 'many'",
        ),
        (
            {"max_epochs": "long"},
            ValueError,
            "max_epochs must be a positive integer or 'auto', got 'long'",
        ),
        ({"batch_size": 0}, ValueError, "batch_size must be a positive integer or 'auto', got 0"),
        ({"rule": "guess"}, ValueError, "rule must be 'joint', 'mean' or 'vote', got 'guess'"),
        ({"covariance": "round"}, ValueError, "covariance"),
        (
            {"latent_family": "laplace_with_softmax"},
            ValueError,
            "covariance 'full' needs a Normal latent family",
        ),
    ],
)
def test_bad_settings_are_named(change, error, message):
    with pytest.raises(error, match=message):
        CMVAEClusterer(**{**QUICK, "max_epochs": 2, **change}).fit(groups(60)[0])


def broken(change):
    tables, _ = groups(60)
    change(tables)
    return tables


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (
            broken(lambda t: t["a"].__setitem__((3, 1), np.nan)),
            ValueError,
            r"'a': single missing cells.* in 1 rows, the first \[3\], of columns \[1\]",
        ),
        (
            broken(lambda t: t["b"].__setitem__((4, 0), np.inf)),
            ValueError,
            r"'b': column 0 holds infinite values in rows \[4\]",
        ),
        (
            broken(lambda t: t.update(b=t["b"][:50])),
            ValueError,
            "differ in their number of samples",
        ),
        (
            broken(lambda t: t.update(b=np.array(["x"] * 60))),
            TypeError,
            "'b': column 0 holds something that is no number",
        ),
        (
            broken(lambda t: [v.__setitem__(9, np.nan) for v in t.values()]),
            ValueError,
            "nothing is observed in sample 9",
        ),
        ({"a": np.ones((1, 3))}, ValueError, "n_samples = 1: at least 2 samples"),
        ({}, ValueError, "not empty"),
        (
            {"a": pd.DataFrame({"x": [f"text {i}" for i in range(30)]})},
            ValueError,
            "'a': identifiers, dates or free text in 1 columns: 'x' holds 30 different texts",
        ),
        (
            {"a": pd.DataFrame({"x": [1, 2]}, index=["s", "s"])},
            ValueError,
            r"its index repeats \['s'\]",
        ),
    ],
)
def test_bad_data_is_named(X, error, message):
    with pytest.raises(error, match=message):
        CMVAEClusterer(**QUICK, max_epochs=2).fit(X)


def test_unknown_modalities_and_other_columns_are_refused_at_prediction(fitted):
    model, tables, _ = fitted
    with pytest.raises(KeyError, match=r"unknown modality 'z'; fitted were \['a', 'b'\]"):
        model.predict({"z": tables["a"]})
    with pytest.raises(ValueError, match=r"modality 'a': expected rows \(n, 5\), got 4 columns"):
        model.predict({"a": tables["b"]})


CHECKED = CMVAEClusterer(
    n_clusters=3, latent_dim=2, private_dim=2, hidden_dims=(8,), max_epochs=2, device="cpu"
)


@pytest.mark.parametrize(
    ("estimator", "check"),
    list(estimator_checks_generator(CHECKED)),
    ids=lambda value: getattr(getattr(value, "func", value), "__name__", "estimator"),
)
@pytest.mark.filterwarnings("ignore")
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("setting", "value"), [("rule", "x"), ("start", "x")])
def test_settings_are_refused_before_training(setting, value, monkeypatch):
    monkeypatch.setattr("cmvae.training.clustering.fit", lambda *a, **k: pytest.fail("training began"))
    with pytest.raises(ValueError, match=setting):
        CMVAEClusterer(**QUICK, **{setting: value}).fit(groups()[0])


def test_a_fit_that_fails_leaves_nothing_of_the_one_before(monkeypatch):
    tables, _ = groups(60)
    model = CMVAEClusterer(3, **QUICK, max_epochs=1, random_state=0).fit(tables["a"])
    assert model.n_features_in_ == 5
    monkeypatch.setattr("cmvae.training.callbacks.initialize_clusters", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.fit(tables)
    with pytest.raises(NotFittedError):
        model.predict(tables)
    assert not hasattr(model, "n_features_in_")


def test_clusters_without_samples_come_last_and_are_reported(monkeypatch):
    """Of five clusters the third and the last one have the samples."""
    tables, _ = groups(60)

    def start(model, *arguments, **options):
        model.mixture.set_components(torch.full((5,), 0.2), 1e3 * torch.eye(5, 4) + 1e3)
        model.mixture.centers.data[[2, 4]] = torch.tensor([[-1.0, 0, 0, 0], [1.0, 0, 0, 0]])

    monkeypatch.setattr("cmvae.training.callbacks.initialize_clusters", start)
    settings = {**QUICK, "covariance": "identity", "max_epochs": 2, "random_state": 0}
    with pytest.warns(UserWarning, match="3 of 5 clusters have no samples"):
        model = CMVAEClusterer(5, **settings).fit(tables)
    assert set(model.labels_) == {0, 1}
    assert model.predict_proba(tables).shape == (60, 5)
    assert np.array_equal(model.predict_proba(tables).argmax(1), model.labels_)
    found = CMVAEClusterer("auto", max_clusters=5, **settings).fit(tables)
    assert set(found.labels_) == set(range(found.n_clusters_)) == {0, 1}


def test_the_score_needs_no_more_memory_for_more_samples(fitted, monkeypatch):
    model, tables, _ = fitted
    many = {name: np.tile(values, (10, 1)) for name, values in tables.items()}
    largest = []
    forward = type(model.model_).forward
    monkeypatch.setattr(
        type(model.model_),
        "forward",
        lambda self, x, **k: largest.append(len(x)) or forward(self, x, **k),
    )
    modes = [module.training for module in model.model_.modules()]
    assert model.score(many) == pytest.approx(model.score(tables), rel=0.05)
    assert max(largest) == 1024
    assert modes == [module.training for module in model.model_.modules()]


def test_it_is_silent_unless_progress_is_wanted(capsys, caplog):
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    tables, _ = groups(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CMVAEClusterer(1, **QUICK, max_epochs=1, random_state=0).fit(tables)
    said = capsys.readouterr()
    assert (said.out, said.err, caplog.records) == ("", "", [])
    CMVAEClusterer(1, **QUICK, max_epochs=1, random_state=0, verbose=True).fit(tables)
    assert "Epoch 1/1" in capsys.readouterr().out
