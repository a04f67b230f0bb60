import json
import logging
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import estimator_checks_generator

from cmvae import CMVAEClusterer
from cmvae.runs.folder import VERSION
from made_files import run

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
    return CMVAEClusterer(**QUICK, max_epochs=20, random_state=0).fit(tables), tables, labels


def test_groups_and_their_number_are_found(fitted):
    model, tables, labels = fitted
    assert model.n_clusters_ == 3
    assert adjusted_rand_score(labels, model.labels_) > 0.95
    assert set(model.labels_) == {0, 1, 2}
    assert np.array_equal(model.predict(tables), model.labels_)


@pytest.mark.parametrize("apart", [False, True])
def test_a_count_of_large_magnitude_does_not_drown_the_rest(apart, tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 4
    clear = 4 * np.eye(4, 8)[labels] + 0.7 * rng.normal(size=(200, 8))
    clear = pd.DataFrame(clear).add_prefix("x")
    # Beside clear columns it tells nothing; by itself it tells something of the groups.
    account = rng.integers(10**6, 2 * 10**8, 200)
    income = (3e7 * 2.0**labels * rng.lognormal(0, 0.2, 200)).astype(int)
    account = pd.DataFrame({"account": income if apart else account})
    table = {"a": clear, "b": account} if apart else {"a": clear.join(account)}
    model = CMVAEClusterer(n_clusters=4, device="cpu", random_state=0).fit(table)
    assert adjusted_rand_score(labels, model.labels_) > 0.9
    model.save(tmp_path / "run")
    again = CMVAEClusterer.load(tmp_path / "run")
    np.testing.assert_array_equal(again.predict_proba(table), model.predict_proba(table))
    drawn = model.sample(200)[0]["b" if apart else "a"]["account"]
    assert 0.3e8 < drawn.median() < 3e8


def test_a_linear_model_finds_groups_too():
    tables, labels = groups()
    settings = {**QUICK, "hidden_dims": (), "learning_rate": 1e-2, "max_epochs": 10}
    model = CMVAEClusterer(n_clusters=3, **settings, random_state=0).fit(tables)
    assert adjusted_rand_score(labels, model.labels_) > 0.95
    coded = [
        own for own in model.model_.decoders["a"].modules() if isinstance(own, torch.nn.Linear)
    ]
    assert [(own.in_features, own.out_features) for own in coded] == [(6, 5)]


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


def test_evidence_is_there_where_the_number_was_counted_and_stability_of_each_cluster(fitted):
    model = fitted[0]
    evidence = model.number_evidence_
    assert (model.n_clusters_, evidence.chosen, evidence.numbers[0]) == (3, 3, 2)
    assert evidence.strength > 0
    assert np.argmax(evidence.scores) == evidence.chosen - 2
    assert model.stability_.shape == (3,)
    assert (model.stability_ > 0.75).all()
    given = CMVAEClusterer(n_clusters=4, **QUICK, max_epochs=3, random_state=0).fit(groups()[0])
    assert (given.n_clusters_, given.number_evidence_) == (4, None)
    assert given.stability_.shape == (4,)
    assert ((given.stability_ > 0) & (given.stability_ < 1)).all()
    other = CMVAEClusterer(3, start="gmm", **QUICK, max_epochs=3, random_state=0).fit(groups()[0])
    assert np.isnan(other.stability_).all()


def test_the_largest_cluster_comes_first(fitted):
    tables, labels = groups(n=150)
    keep = np.flatnonzero((labels == 2) | ((labels == 0) & (np.arange(150) < 90)) | (labels == 1))
    keep = keep[: int(0.9 * len(keep))]
    rows = {name: table[keep] for name, table in tables.items()}
    model = CMVAEClusterer(3, **QUICK, max_epochs=10, random_state=0).fit(rows)
    sizes = np.bincount(model.labels_)
    assert (np.diff(sizes) <= 0).all()


def test_the_start_of_the_clusters_prunes_nothing(monkeypatch):
    monkeypatch.setattr("cmvae.models.cmvae.CMVAE.prune_clusters", lambda *_, **__: 1 / 0)
    assert CMVAEClusterer(**QUICK, max_epochs=10, random_state=0).fit(groups()[0]).n_clusters_ == 3


def test_a_single_cluster_is_reported_with_what_to_try():
    noise = np.random.default_rng(0).normal(size=(80, 4))
    model = CMVAEClusterer(**QUICK, max_epochs=2, random_state=0)
    with pytest.warns(UserWarning, match="one cluster explains .* give n_clusters, leave out"):
        model.fit(noise)
    assert model.number_evidence_.strength < 0
    assert model.n_clusters_ == 1


@pytest.mark.parametrize(("n", "settings"), [(5, {}), (40, {"max_clusters": 1})])
def test_a_single_cluster_is_no_finding_where_nothing_was_compared(n, settings):
    model = CMVAEClusterer(**QUICK, max_epochs=1, random_state=0, **settings)
    with pytest.warns(UserWarning, match="one cluster because no other number was compared"):
        model.fit(groups(n)[0])


def test_clusters_found_that_training_lost_are_told_of():
    rng = np.random.default_rng(1)
    many = 6 * rng.normal(size=(12, 3))[rng.integers(0, 12, 120)] + rng.normal(size=(120, 3))
    model = CMVAEClusterer(device="cpu", max_epochs=1, random_state=0)
    with pytest.warns(ConvergenceWarning, match="clusters were found, but only .* max_epochs"):
        model.fit(many)
    assert model.n_clusters_ < model.number_evidence_.chosen


def test_modalities_that_no_sample_connects_are_told_of():
    tables, _ = groups(40)
    tables["a"][:20] = tables["b"][20:] = np.nan
    with pytest.warns(UserWarning, match=r"\['a'\] and \['b'\] have no sample in common"):
        CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=0).fit(tables)


def test_what_candidates_are_made_with_does_not_warn_by_itself(recwarn):
    tables = {"a": np.array([[1.0], [np.nan]]), "b": np.array([[np.nan], [2.0]])}
    CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=0).fit(tables)
    assert not [one for one in recwarn if "distinct clusters" in str(one.message)]


@pytest.mark.parametrize("power", [-900, 900])
def test_the_unit_of_all_numbers_changes_nothing(power):
    rng, labels = np.random.default_rng(0), np.arange(60) % 3
    wide = 2 * np.eye(3, 80)[labels] + 0.3 * rng.normal(size=(60, 80))
    words = np.eye(3)[labels].repeat(25, 1) * (rng.random((60, 75)) < 0.5)
    shares = rng.dirichlet(np.ones(4), 60)
    tables = {"wide": wide, "words": words, "shares": shares}
    scaled = {name: np.ldexp(table, power) for name, table in tables.items()}
    one, other = (
        CMVAEClusterer(**QUICK, max_epochs=2, random_state=0).fit(own) for own in (tables, scaled)
    )
    codecs = [
        {name: c.describe() for name, c in m._run.preprocessing.codecs.items()}
        for m in (one, other)
    ]
    assert codecs[0] == codecs[1]
    np.testing.assert_array_equal(one.predict_proba(tables), other.predict_proba(scaled))
    assert one.number_evidence_ == other.number_evidence_


@pytest.mark.parametrize(("few", "told"), [(2.0, 1), (0.0, 0)])
def test_samples_that_left_the_groups_they_started_in_are_told_of(monkeypatch, recwarn, few, told):
    monkeypatch.setattr("cmvae.estimator.FEW_KEPT", few)
    CMVAEClusterer(3, **QUICK, max_epochs=3, random_state=0).fit(groups()[0])
    said = "% of the samples ended in other clusters"
    assert sum(said in str(one.message) for one in recwarn) == told


def test_a_warm_up_that_was_too_short_is_told(caplog):
    with caplog.at_level("INFO", "cmvae"):
        CMVAEClusterer(3, **QUICK, max_epochs=2, random_state=0).fit(groups()[0])
    assert sum("more max_epochs may" in record.message for record in caplog.records) == 1


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
    model = CMVAEClusterer(**QUICK, max_epochs=10, random_state=0).fit({"a": first, "b": second})
    assert list(model.index_[:70]) == list(names[:70])
    assert set(model.index_) == set(names)
    truth = pd.Series(labels, index=names)[model.index_]
    assert adjusted_rand_score(truth, model.labels_) > 0.9


def test_frames_are_joined_by_the_rule_of_files(tmp_path):
    tables, _ = groups(60)
    names = [f"P{i:02d}" for i in range(60)]
    first = pd.DataFrame(tables["a"], names, list("pqrst"))
    second = pd.DataFrame(tables["b"], [f" p{i}" for i in range(60)], list("wxyz"))[::-1]
    model = CMVAEClusterer(3, **QUICK, max_epochs=2, random_state=0)
    differ = "'b': 50 ids joined that differ only in blanks, leading zeros and letter case"
    with pytest.warns(UserWarning, match=differ):
        model.fit({"a": first[:50], "b": second})
    assert list(model.index_) == names[:50] + [f" p{i}" for i in range(59, 49, -1)]
    with pytest.warns(UserWarning, match="'b': 7 ids joined that differ only in"):
        both = model.predict({"a": first[20:27], "b": second[33:40]})
    assert np.array_equal(both, model.labels_[20:27])
    for place, (name, frame) in enumerate({"a": first[:50], "b": second}.items()):
        frame.to_csv(tmp_path / f"{name}.csv", index_label="id")
        assert place or not frame.index.equals(second.index)
    recipe = {n: value for n, value in QUICK.items() if n != "device"}
    recipe |= {"n_clusters": 3, "hidden_dims": [32], "max_epochs": 2}
    config = {"modalities": {n: f"{n}.csv" for n in "ab"}, "recipe": recipe, "device": "cpu"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    status, said, error = run(
        "fit", "--config", tmp_path / "config.yaml", "--out", tmp_path / "run"
    )
    assert status == 0, error
    assert "Joined on ids: in both 50; only a 0; only b 10" in said
    kept = CMVAEClusterer.load(tmp_path / "run")
    assert list(kept.index_) == list(model.index_)
    assert np.array_equal(kept.labels_, model.labels_)


def test_a_table_whose_ids_were_lost_is_refused():
    tables, _ = groups(60)
    frames = {name: pd.DataFrame(own, range(1, 61)) for name, own in tables.items()}
    frames["b"] = frames["b"].reset_index(drop=True)
    with pytest.raises(ValueError, match="rows of 'b' are numbered from 0; 'a' has 60 rows with"):
        CMVAEClusterer(3, **QUICK, max_epochs=2).fit(frames)


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
    model = CMVAEClusterer(**QUICK, max_epochs=10, random_state=0).fit({"a": odd, "b": frame})
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
            "'a': nothing to learn from in 1 column: 'x' holds 30 different texts",
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
    monkeypatch.setattr(
        "cmvae.training.clustering.fit", lambda *a, **k: pytest.fail("training began")
    )
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
    with pytest.warns(UserWarning, match="n_clusters = 5, but only 2 clusters have samples"):
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


def test_it_is_silent_unless_progress_is_wanted(capsys, caplog, monkeypatch):
    monkeypatch.setattr("cmvae.training.progress.SILENCE", 0.0)  # there is no terminal
    logging.getLogger("lightning.pytorch").setLevel(logging.INFO)
    tables, _ = groups(60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        CMVAEClusterer(1, **QUICK, max_epochs=1, random_state=0).fit(tables)
    said = capsys.readouterr()
    assert (said.out, said.err, caplog.records) == ("", "", [])
    CMVAEClusterer(1, **QUICK, max_epochs=1, random_state=0, verbose=True).fit(tables)
    assert capsys.readouterr().err.startswith("epoch 1 of 2, warm-up: loss ")


# Frames of mixed columns


def mixed(n=120):
    """Return two frames of three groups, and the groups; some samples are in one of them only."""
    generator = np.random.default_rng(0)
    labels = np.arange(n) % 3
    names = [f"s{i:03d}" for i in range(n)]
    first = pd.DataFrame(
        {
            "x": 6 * (labels == 0) + generator.normal(size=n),
            "colour": np.array(["red", "blue", "green"])[labels],
            "smokes": generator.integers(0, 2, n).astype(bool),
            "visits": generator.poisson(np.array([2, 40, 12])[labels]),
        },
        index=names,
    )
    means = np.where(labels[:, None] == np.arange(2), 60, 4)
    second = pd.DataFrame(generator.poisson(means), columns=["p", "q"], index=names)
    return {"a": first[:100], "b": second[10:]}, pd.Series(labels, names)


@pytest.fixture(scope="module")
def fitted_frames():
    frames, labels = mixed()
    return CMVAEClusterer(**QUICK, random_state=3, max_epochs=20).fit(frames), frames, labels


def test_frames_of_any_kinds_of_columns_are_clustered(fitted_frames):
    model, frames, labels = fitted_frames
    assert adjusted_rand_score(labels[model.index_], model.labels_) > 0.9
    dist, params = model.model_.model_config.likelihood_of("a")
    assert (dist, [block[0] for block in params["columns"]]) == (
        "mixed",
        ["normal", "bernoulli", "negative_binomial", "categorical"],
    )
    assert model.model_.model_config.likelihood_of("b")[0] == "negative_binomial"
    drawn, clusters = model.sample(30, cluster=int(model.labels_[0]))
    assert list(drawn["a"]) == list(frames["a"])
    assert set(drawn["a"]["colour"]) <= {"red", "blue", "green"}
    assert (drawn["b"].to_numpy() > 0).all()
    assert set(clusters) == {model.labels_[0]}


def test_the_command_line_finds_the_same_labels_to_the_bit(fitted_frames, tmp_path, monkeypatch):
    model, frames, _ = fitted_frames
    for name, frame in frames.items():
        frame.to_csv(tmp_path / f"{name}.csv", index_label="id")
    recipe = {name: value for name, value in QUICK.items() if name != "device"}
    config = {
        "modalities": {name: f"{name}.csv" for name in frames},
        "seed": 3,
        "device": "cpu",
        "recipe": {**recipe, "hidden_dims": [32], "max_epochs": 20},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    status, _, error = run("fit", "--config", tmp_path / "config.yaml", "--out", tmp_path / "run")
    assert status == 0, error
    clusters = pd.read_csv(tmp_path / "run" / "clusters.csv")
    assert clusters["id"].tolist() == list(model.index_)
    assert np.array_equal(clusters["cluster"], model.labels_)
    other = CMVAEClusterer.load(tmp_path / "run")
    assert np.array_equal(other.predict_proba(frames), model.predict_proba(frames))
    assert np.array_equal(other.transform(frames), model.transform(frames))
    assert list(other.index_) == list(model.index_)


def test_kinds_can_be_chosen_for_frames_and_for_arrays():
    frames, _ = mixed()
    settings = {**QUICK, "max_epochs": 2, "random_state": 0, "n_clusters": 2}
    kinds = {"a": {"visits": "continuous", "colour": "ignore"}, "b": {"p": "continuous"}}
    model = CMVAEClusterer(**settings, kinds=kinds).fit(frames)
    columns = model.model_.model_config.likelihood_of("a")[1]["columns"]
    assert [block[:2] for block in columns] == [["normal", 2], ["bernoulli", 1]]
    numbers = frames["b"].to_numpy()
    for X, chosen, dist in (
        (numbers, None, "normal"),
        (numbers, {0: "count", 1: "count"}, "negative_binomial"),
        (frames["b"], None, "negative_binomial"),
        (frames["b"], {"p": "continuous", "q": "continuous"}, "normal"),
        (frames["b"].rename(columns={"p": "x"}), {"x": "ignore", "q": "continuous"}, "normal"),
        (numbers, {0: "ignore", 1: "count"}, "negative_binomial"),
        (frames["b"], {"x": {"p": "ignore", "q": "continuous"}}, "normal"),
    ):
        one = CMVAEClusterer(**settings, kinds=chosen).fit(X)
        assert one.model_.model_config.likelihood_of("x")[0] == dist
    with pytest.raises(KeyError, match=r"'a': kinds of unknown columns \['size'\]"):
        CMVAEClusterer(**settings, kinds={"a": {"size": "count"}}).fit(frames)
    with pytest.raises(KeyError, match=r"kinds: unknown modalities 'z'; there are 'a', 'b'"):
        CMVAEClusterer(**settings, kinds={"z": {"size": "count"}}).fit(frames)
    with pytest.raises(ValueError, match=r"unknown kinds \['size'\]"):
        CMVAEClusterer(**settings, kinds={"a": {"x": "size"}}).fit(frames)
    for wrong in (["a"], "a", {"a": "ignore"}, {"a": None}, {"a": {"visits": 3}}):
        with pytest.raises(TypeError, match=r"kinds.* must be a mapping"):
            CMVAEClusterer(**settings, kinds=wrong).fit(frames)


# Saving


def same(one, other, X):
    """Tell whether two estimators say the same of X, to the bit."""
    drawn = [model.sample(7) for model in (one, other)]
    rows = [list(d[0].values()) if isinstance(d[0], dict) else [d[0]] for d in drawn]
    pairs = [
        (one.labels_, other.labels_),
        (one.predict(X), other.predict(X)),
        (one.predict_proba(X), other.predict_proba(X)),
        (one.transform(X), other.transform(X)),
        (drawn[0][1], drawn[1][1]),
        *(map(np.asarray, pair) for pair in zip(*rows, strict=True)),
    ]
    return all(np.array_equal(a, b) for a, b in pairs) and one.score(X) == other.score(X)


def test_what_is_saved_comes_back_to_the_bit(fitted, fitted_frames, tmp_path):
    for i, (model, X, _) in enumerate((fitted, fitted_frames)):
        model.save(tmp_path / str(i))
        loaded = CMVAEClusterer.load(tmp_path / str(i))
        assert same(model, loaded, X)
        assert loaded.get_params() == model.get_params()
        assert (loaded.index_ is None) == (model.index_ is None)
        assert loaded.number_evidence_ == model.number_evidence_ is not None
        np.testing.assert_array_equal(loaded.stability_, model.stability_)
        assert loaded.active_units_ == model.active_units_
        names = {path.suffix for path in (tmp_path / str(i)).rglob("*") if path.is_file()}
        assert names - {".parquet"} == {".json", ".yaml", ".csv", ".safetensors"}
        loaded.save(tmp_path / f"again{i}")
        assert same(model, CMVAEClusterer.load(tmp_path / f"again{i}"), X)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(5, 65),
        pd.date_range("2020-01-01", periods=60, freq="h", name="when"),
        pd.MultiIndex.from_product([["u", "v"], range(30)], names=["site", None]),
        pd.Index([f"é {i}" for i in range(60)], name="id"),
        pd.Index(np.arange(60) / 7),
    ],
    ids=["range", "times", "levels", "texts", "numbers"],
)
def test_an_index_of_any_kind_comes_back(index, tmp_path):
    frame = pd.DataFrame(groups(60)[0]["a"], index=index, columns=list("pqrst"))
    state = np.random.RandomState(4)
    model = CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=state).fit({"a/b": frame})
    model.save(tmp_path / "saved")
    loaded = CMVAEClusterer.load(tmp_path / "saved")
    pd.testing.assert_index_equal(loaded.index_, index, exact="equiv")
    assert np.array_equal(loaded.sample(3)[1], model.sample(3)[1])  # from the state it was in


def test_one_array_with_names_and_columns_comes_back(tmp_path):
    X = pd.DataFrame(groups(60)[0]["a"], columns=list("pqrst"))
    columns = {"a": ["p", "q"], "b": ["r", "s", "t"]}
    for i, settings in enumerate(({}, {"modalities": columns})):
        model = CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=0, **settings).fit(X)
        model.save(tmp_path / str(i))
        loaded = CMVAEClusterer.load(tmp_path / str(i))
        assert same(model, loaded, X)
        assert loaded.modalities == model.modalities
    plain = CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=0).fit(X)
    plain.save(tmp_path / "plain")
    loaded = CMVAEClusterer.load(tmp_path / "plain")
    assert loaded.n_features_in_ == 5
    assert list(loaded.feature_names_in_) == list("pqrst")
    with pytest.warns(UserWarning, match=r"'x': 1 column (unknown, 'z'|missing, 'p')"):
        loaded.predict(X.rename(columns={"p": "z"}))


def test_a_saved_run_is_replaced_only_when_asked(fitted, tmp_path):
    model, _tables, _ = fitted
    with pytest.raises(NotFittedError):
        CMVAEClusterer().save(tmp_path / "none")
    assert list(tmp_path.iterdir()) == []
    model.save(tmp_path / "run")
    with pytest.raises(ValueError, match="holds the results of a run; pass overwrite=True"):
        model.save(tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    model.save(tmp_path / "run", overwrite=True)
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something else than the results of a run"):
        model.save(tmp_path / "other", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "run"]


def test_folders_that_hold_no_whole_estimator_are_named(fitted, tmp_path):
    model = fitted[0]
    model.model_.save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model holds a model alone.*CMVAEClusterer\.save"):
        CMVAEClusterer.load(tmp_path / "model")
    with pytest.raises(ValueError, match="no such run folder"):
        CMVAEClusterer.load(tmp_path / "missing")
    model.save(tmp_path / "run")
    for name, message in (
        ("estimator.json", "the file was altered"),
        ("model/model.safetensors", "the file was altered"),
        ("preprocessing.json", "the file was altered"),
    ):
        path = tmp_path / "run" / name
        content = path.read_bytes()
        path.write_bytes(content[:-2])
        with pytest.raises(ValueError, match=message):
            CMVAEClusterer.load(tmp_path / "run")
        path.unlink()
        with pytest.raises(ValueError, match=f"{name}: the file is missing"):
            CMVAEClusterer.load(tmp_path / "run")
        path.write_bytes(content)
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"version": {VERSION}', '"version": 1'))
    with pytest.raises(
        ValueError, match=rf"version 1; this cmvae .* reads version {VERSION}: .*config\.yaml"
    ):
        CMVAEClusterer.load(tmp_path / "run")
    manifest.unlink()
    with pytest.raises(
        ValueError, match=r"is no run folder, or not complete: manifest\.json is missing"
    ):
        CMVAEClusterer.load(tmp_path / "run")


def test_alignment_is_reachable():
    tables, _labels = groups(90)
    settings = {**QUICK, "max_epochs": 2, "random_state": 0}
    model = CMVAEClusterer(3, **settings, alignment_epochs=(2, 2)).fit(tables)
    plain = CMVAEClusterer(3, **settings).fit(tables)
    assert not np.array_equal(model.transform(tables), plain.transform(tables))
    with pytest.raises(ValueError, match=r"alignment_epochs must be left out: .* \['x'\]"):
        CMVAEClusterer(3, **settings, alignment_epochs=(2, 2)).fit(tables["a"])
    with pytest.raises(
        ValueError, match=r"alignment_epochs must be two positive integers, .* or 'auto', got 3"
    ):
        CMVAEClusterer(3, **settings, alignment_epochs=3).fit(tables)


# Hard data
# --------------------------------------------------------------------------------------------------

SHORT = {**QUICK, "max_epochs": 4, "random_state": 0}


def few(n, seed=0):
    generator = np.random.default_rng(seed)
    return {"a": generator.normal(size=(n, 3)), "b": generator.normal(size=(n, 2))}


def two_seen(n=40):
    tables = few(n)
    tables["b"][2:] = np.nan
    return tables


@pytest.mark.parametrize(
    "tables",
    [few(2), few(3), few(10), {"a": np.ones((20, 3)), "b": np.ones((20, 2))}, two_seen()],
    ids=["2", "3", "10", "equal", "seen by two"],
)
def test_where_nothing_shows_groups_there_is_one_cluster_and_a_warning(tables):
    with pytest.warns(UserWarning, match="no groups were found"):
        model = CMVAEClusterer(**SHORT).fit(tables)
    assert model.n_clusters_ == 1
    assert (model.labels_ == 0).all()
    assert (model.number_evidence_.chosen, model.number_evidence_.numbers) == (1, ())
    assert (model.predict_proba(tables) == 1).all()


COPIES = dict.fromkeys("ab", np.repeat([[0.0, 1.0, 2.0], [4.0, -1.0, 3.0]], 15, axis=0))


@pytest.mark.parametrize(
    ("tables", "wanted", "message"),
    [
        (few(1), "auto", "n_samples = 1: at least 2 samples are needed"),
        (few(5), 9, "n_clusters = 9 clusters cannot be found in n_samples = 5"),
        (COPIES, 3, "3 clusters cannot start from 2 different samples"),
    ],
    ids=["one sample", "fewer samples", "fewer different ones"],
)
def test_more_clusters_than_there_can_be_are_refused(tables, wanted, message):
    with pytest.raises(ValueError, match=message):
        CMVAEClusterer(wanted, **SHORT).fit(tables)


def test_copies_of_two_samples_are_two_clusters():
    model = CMVAEClusterer(**SHORT).fit(COPIES)
    assert adjusted_rand_score(np.repeat([0, 1], 15), model.labels_) == 1


@pytest.mark.filterwarnings("ignore:.*clusters have no samples")
@pytest.mark.parametrize("wanted", ["auto", 5])
def test_samples_that_all_lie_alone_are_clustered(wanted):
    alone = np.cumsum(10.0 ** np.arange(30))[:, None] * np.ones(3)
    model = CMVAEClusterer(wanted, **SHORT).fit({"a": alone, "b": alone})
    assert np.isfinite(model.transform({"a": alone, "b": alone})).all()
    assert 1 <= len(np.unique(model.labels_)) <= model.n_clusters_


@pytest.mark.filterwarnings("ignore:.*no groups were found")
def test_many_more_columns_than_samples_are_clustered():
    wide = {"a": np.random.default_rng(0).normal(size=(30, 50_000))}
    model = CMVAEClusterer(**{**SHORT, "max_epochs": 1}).fit(wide)
    assert model.n_clusters_ == 1


def with_gaps(tables, seed=0):
    """Return the tables with a sixth of their cells NaN, and which are there."""
    rng = np.random.default_rng(seed)
    there = {name: rng.random(own.shape) > 1 / 6 for name, own in tables.items()}
    return {name: np.where(there[name], own, np.nan) for name, own in tables.items()}, there


def test_groups_are_found_in_tables_with_missing_cells_and_these_are_filled_in():
    tables, labels = groups()
    gaps, there = with_gaps(tables)
    model = CMVAEClusterer(3, max_epochs=10, random_state=0, **QUICK).fit(gaps)
    assert adjusted_rand_score(labels, model.labels_) > 0.9
    assert model.model_.model_config.missing_cells == ["a", "b"]
    made = model.impute(gaps)
    for name, own in tables.items():
        np.testing.assert_array_equal(made[name][there[name]], own[there[name]])
        errors, lost = made[name] - own, ~there[name]
        spread = np.nanstd(gaps[name], 0) * np.ones_like(own)
        assert np.square(errors / spread)[lost].mean() < 0.6  # of column means it is 1
    assert model.predict({"b": gaps["b"]}).shape == (150,)
    assert model.impute({"b": gaps["b"]})["a"].shape == (150, 5)


def test_cells_may_be_missing_of_new_samples_only_and_of_a_single_array(fitted):
    tables, labels = groups(seed=5)
    gaps, _ = with_gaps(tables)
    assert adjusted_rand_score(labels, fitted[0].predict(gaps)) > 0.8
    single = CMVAEClusterer(3, max_epochs=10, random_state=0, **QUICK).fit(gaps["a"])
    completed = single.impute(gaps["a"])
    assert completed.shape == (150, 5)
    assert np.isfinite(completed).all()
    check_plain_arrays(single, gaps["a"])


def check_plain_arrays(single, array):
    """What scikit-learn would return as it is is not checked twice; anything else is, as before."""
    wanted = single.predict_proba(array.tolist())
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr("cmvae.estimator.validate_data")
        np.testing.assert_array_equal(single.predict_proba(array), wanted)
        np.testing.assert_array_equal(single.predict(array[:1]), wanted[:1].argmax(1))
    with pytest.raises(ValueError, match="is expecting 5 features"):
        single.predict(array[:, :4])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        single.predict(array[:0])
    with pytest.raises(ValueError, match=r"X holds infinity \(inf\)"):
        single.predict(np.where(np.isnan(array), np.inf, array))


@pytest.fixture(scope="module")
def customers():
    """An estimator of one frame with a column that numbers its rows, the frame, what was told."""
    rng, groups = np.random.default_rng(0), np.arange(90) % 3
    frame = pd.DataFrame(
        {
            "spent": rng.normal(size=90) + 6 * groups,
            "age": rng.normal(size=90) - 6 * (groups == 1),
            "town": np.array(["Rome", "Oslo", "Bonn"])[groups],
            "number": range(90),
        }
    )
    with pytest.warns(UserWarning, match="left out") as told:
        model = CMVAEClusterer(3, max_epochs=3, random_state=0).fit(frame)
    return model, frame, [str(own.message) for own in told]


def test_columns_that_measure_nothing_are_left_out_with_a_warning(customers):
    model, frame, told = customers
    assert [line for line in told if "left out" in line] == [
        "modality 'x': 1 column left out: 'number' counts up by one from row to row; kinds= takes "
        "a column as it is"
    ]
    assert model.sample(2)[0].columns.tolist() == ["spent", "age", "town"]
    np.testing.assert_array_equal(model.predict(frame.drop(columns="number")), model.labels_)


def test_a_later_frame_may_differ_and_is_warned_of(customers):
    model, frame, _ = customers
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.predict(frame[frame.columns[::-1]]), model.labels_)
    later = frame.drop(columns="age").assign(town=["Lima", *frame["town"][1:]])
    with pytest.warns(UserWarning, match="missing") as told:
        clusters = model.predict(later)
    assert [str(own.message) for own in told] == [
        "modality 'x': 1 column missing, 'age': taken as missing cells",
        "modality 'x': column 'town' (category) holds unknown values in 1 of 90 rows, 'Lima' (1); "
        "known are 'Bonn', 'Oslo', 'Rome': taken as missing cells",
    ]
    assert (clusters == model.labels_).mean() > 0.6
    with pytest.raises(ValueError, match=r"'town'.*90 of 90 rows.*correct or empty them"):
        model.predict(frame.assign(town="Lima"))
    with pytest.raises(ValueError, match="'x': none of the columns that were learned is there"):
        model.predict(pd.DataFrame({"z": [1.0]}))


def test_how_well_samples_fit_and_whether_they_have_drifted(customers, tmp_path):
    model, frame, _ = customers
    likelihoods, fits = model.score_samples(frame), model.fit_percentiles(frame)
    assert likelihoods.shape == fits.shape == (90,)
    assert (fits.min() < 10, fits.max() > 90) == (True, True)
    np.testing.assert_array_equal(np.argsort(likelihoods)[:3], np.argsort(fits, kind="stable")[:3])
    moved = frame.assign(age=frame["age"] + 50)
    with pytest.warns(UserWarning, match=r"elsewhere .* in 1 column: 'age' of 'x' \(larger\)"):
        assert (model.fit_percentiles(moved) < 1).all()
    model.save(tmp_path / "run")
    loaded = CMVAEClusterer.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.fit_percentiles(frame), fits)
    np.testing.assert_array_equal(loaded.score_samples(frame), likelihoods)


def test_an_array_of_texts_is_told_in_plain_words():
    X = np.array([["1", "a"], ["2", "b"]] * 9, dtype=object)
    with pytest.raises(ValueError, match="X holds something that is no number: 'a'; columns of o"):
        CMVAEClusterer(2).fit(X)


@pytest.mark.parametrize("given", [None, "table.csv", 3])
def test_what_is_no_table_is_refused_in_our_words(given):
    with pytest.raises(ValueError, match=r"X: expected a table, an array .*, got (None|str|int)"):
        CMVAEClusterer(n_clusters=2).fit(given)


ODD = [
    ({"modalities": 5}, ValueError, "^modalities cut one table into several, got 5 with a mapp"),
    ({"learning_rate": 1e300}, ValueError, r"^learning_rate must be .* 1e-37 to 1e\+37, got 1e"),
    ({"learning_rate": 1e-300}, ValueError, "^learning_rate must be a positive number from"),
    ({"beta": 1e300}, ValueError, "^beta must be a positive number from"),
    ({"scale": 10**400}, ValueError, "^scale must be a positive number or 'learned', got 1000"),
    ({"scale": pd.NA}, ValueError, "^scale must be a positive number or 'learned', got <NA>$"),
    ({"n_clusters": 10**5000}, ValueError, "^n_clusters must be at most .*, got a int$"),
    ({"latent_dim": 10**7}, ValueError, "most of them in its mixture, would take .* of memory"),
    ({"latent_dim": 10**12}, ValueError, "^no model can be so large: lower .*latent_dim"),
    ({"private_dim": 10**10}, ValueError, "weights.* would take .* of memory, .*private"),
    ({"hidden_dims": (10**18,)}, ValueError, "^no model can be so large: lower hidden_dims, "),
    ({"device": "tpu"}, ValueError, "^device must be auto, or one that .*'cpu'.*; got 'tpu'$"),
    ({"device": 5}, ValueError, "^device must be a string, got 5$"),
    ({"verbose": "x"}, TypeError, "^verbose must be True or False, got 'x'$"),
    ({"random_state": -1}, ValueError, r"^random_state must be .*2\*\*32 - 1.*, got -1$"),
    ({"random_state": 10**30}, ValueError, "^random_state must be an integer from 0 to"),
    ({"random_state": np.random.default_rng(0)}, TypeError, "^random_state must be .*Generator"),
]


@pytest.mark.parametrize(("settings", "error", "message"), ODD)
def test_odd_settings_are_refused_by_name_in_a_line(settings, error, message):
    settings = {**QUICK, "max_epochs": 1, "n_clusters": 2, "random_state": 0, **settings}
    with pytest.raises(error, match=message) as refusal:
        CMVAEClusterer(**settings).fit(groups(30)[0])
    assert "\n" not in str(refusal.value)


ROWS = groups(30)[0]["a"]
ODD_DATA = [
    (ROWS[:, 0], ValueError, r"^X: expected an array \(n, columns\), got the shape \(30,\)"),
    (ROWS[..., None], ValueError, r"^X: expected an array .*\(30, 5, 1\).* given as a mapping"),
    (ROWS + 1j, ValueError, "^Complex data not supported: X must hold real numbers$"),
    ([[1, 2], [3]], ValueError, "^X: expected an array .*, got rows that differ in length$"),
    ((i for i in range(3)), ValueError, "^X: expected a table, an array .* got generator$"),
    (np.full((30, 2), "x"), ValueError, "^X holds something that is no number.*need a DataFrame$"),
    (np.where(ROWS > 3, np.inf, ROWS), ValueError, r"^X holds infinity \(inf\)"),
    ({"a": ROWS + 1j}, TypeError, "^modality 'a' .*complex128$"),
    ({"a": [[1.0, 2.0], [3.0]]}, TypeError, "^modality 'a' .*rows that differ in length$"),
    ({"a": [[10**400, 1]] * 30}, TypeError, "^modality 'a': column 0 holds .*beyond 1e308"),
    (
        {"a": pd.DataFrame({"x": [10**400, 2] * 15}, dtype=object)},
        TypeError,
        "column 'x' holds .*beyond 1e308",
    ),
    ({"a": torch.ones(30, 2).to_sparse()}, TypeError, "^modality 'a' .*a tensor that is not dense"),
    ({"a": torch.empty(30, 2, device="meta")}, TypeError, "^modality 'a' .*not dense, or holds"),
    ({"": ROWS}, ValueError, "^modality names must not be empty"),
    ({"a": None}, ValueError, "^modality 'a': expected samples along the first axis"),
]


@pytest.mark.parametrize(("data", "error", "message"), ODD_DATA)
def test_odd_data_are_refused_in_a_line(data, error, message):
    model = CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=message) as refusal:
            model.fit(data)
    assert "\n" not in str(refusal.value)


def test_large_arrays_are_clustered_as_small_ones_without_a_copy(monkeypatch):
    arrays = {"a": ROWS.copy(), "b": ROWS[:, :2] ** 3}
    arrays["a"][5, 0] = np.nan
    settings = {"n_clusters": 3, "max_epochs": 3, "device": "cpu", "random_state": 0}
    small = CMVAEClusterer(**settings).fit(arrays)
    monkeypatch.setattr("cmvae.preprocessing.frames.MOST_NUMBERS", 10)
    large = CMVAEClusterer(**settings).fit(arrays)
    np.testing.assert_array_equal(large.labels_, small.labels_)
    for ask in ("transform", "score_samples", "fit_percentiles", "predict_proba"):
        one, two = (getattr(model, ask)(arrays) for model in (small, large))
        np.testing.assert_allclose(two, one, atol=1e-5, err_msg=ask)
    assert large.score(arrays) == pytest.approx(small.score(arrays), abs=1e-5)
    completed = [model.impute(arrays) for model in (small, large)]
    for name, values in completed[0].items():
        np.testing.assert_allclose(completed[1][name], values, atol=1e-5)


def test_huge_numbers_are_clustered_or_refused_without_a_word_of_numpy():
    tables = groups(30)[0]
    tables["a"][0, 0] = 1.7e308
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        model = CMVAEClusterer(2, **QUICK, max_epochs=1, random_state=0).fit(tables)
        with pytest.raises(ValueError, match=r"modality 'b'.*infinity"):
            model.predict({**tables, "b": tables["b"] * 1e300})


SAME = """
import hashlib, json, sys, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(int(sys.argv[1]))
from cmvae import CMVAEClusterer
from test_estimator import QUICK, groups
model = CMVAEClusterer(3, **QUICK, max_epochs=3, random_state=0).fit(groups(60)[0])
bits = b"".join(own.numpy().tobytes() for own in model.model_.state_dict().values())
print(json.dumps([hashlib.sha256(bits).hexdigest(), model.labels_.tolist()]))
"""


def test_the_same_seed_gives_the_same_bits_and_on_other_threads_the_same_labels():
    def fitted_on(threads):
        path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        # Threads that wait for each other do so asleep: other tests may want the cores.
        passive = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
        environment = {**os.environ, **passive, "PYTHONPATH": path}
        found = subprocess.run(
            [sys.executable, "-c", SAME, str(threads)],
            env={**environment, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            timeout=1800,
        )
        return json.loads(found.stdout.splitlines()[-1])

    one, again, two = map(fitted_on, (1, 1, 2))
    assert one == again
    assert one[1] == two[1]


COVARIATES_OF = 60


@pytest.fixture(scope="module")
def told_of_batches():
    rng = np.random.default_rng(0)
    groups, batch = rng.integers(0, 2, COVARIATES_OF), np.arange(COVARIATES_OF) % 2
    shift = np.array([[0.0, 0, 0], [6, -6, 6]])[batch]
    values = 4 * groups[:, None] + rng.normal(size=(COVARIATES_OF, 3)) + shift
    frame = pd.DataFrame(values, [f"s{i}" for i in range(COVARIATES_OF)], list("abc"))
    known = pd.Series(np.array(["one", "two"])[batch], frame.index)
    settings = {"n_clusters": 2, "max_epochs": 4, "device": "cpu", "random_state": 0}
    shuffled = known.sample(frac=1, random_state=0)
    fitted = CMVAEClusterer(**settings).fit(frame, covariates={"batch": shuffled})
    return fitted, frame, known


def test_series_are_joined_on_their_index(told_of_batches):
    fitted, frame, known = told_of_batches
    by_place = CMVAEClusterer(**fitted.get_params()).fit(
        frame, covariates=pd.DataFrame({"batch": known.to_numpy()}, frame.index)
    )
    np.testing.assert_array_equal(by_place.transform(frame), fitted.transform(frame))


def test_samples_are_drawn_under_what_is_chosen(told_of_batches):
    fitted, *_ = told_of_batches
    one, two = (fitted.sample(20, covariates={"batch": own})[0] for own in ("one", "two"))
    assert (np.sign((two - one).mean()) == [1, -1, 1]).all()


def test_predictions_check_them_and_do_not_depend_on_them(told_of_batches):
    fitted, frame, known = told_of_batches
    plain = fitted.predict_proba(frame)
    np.testing.assert_array_equal(fitted.predict_proba(frame, {"batch": known}), plain)
    told = fitted.score_samples(frame, {"batch": known})
    wrong = known.map({"one": "two", "two": "one"})
    assert told.mean() > fitted.score_samples(frame, {"batch": wrong}).mean()
    with pytest.raises(ValueError, match="unknown 'three'"):
        fitted.predict(frame, covariates={"batch": ["three"] * COVARIATES_OF})
    with pytest.raises(KeyError, match=r"unknown covariates \['site'\]"):
        fitted.transform(frame, covariates={"site": known})
    with pytest.raises(ValueError, match="expected 60 values, one for each sample, got 2"):
        fitted.predict(frame, covariates={"batch": ["one", "two"]})
    with pytest.raises(TypeError, match="covariates must be a mapping"):
        fitted.predict(frame, covariates=["one"] * COVARIATES_OF)


def test_a_saved_one_knows_them(told_of_batches, tmp_path):
    fitted, frame, known = told_of_batches
    fitted.save(tmp_path / "run")
    again = CMVAEClusterer.load(tmp_path / "run")
    told = {"batch": known}
    np.testing.assert_array_equal(
        again.score_samples(frame, told), fitted.score_samples(frame, told)
    )
    assert again.sample(3, covariates={"batch": "two"})[0].equals(
        fitted.sample(3, covariates={"batch": "two"})[0]
    )
