"""The estimator among what scikit-learn has: outputs, names, routing, searches, callbacks."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cmvae import CMVAEClusterer

N = 60
IDS = pd.Index([f"p{i}" for i in range(N)], name="patient")
HALVES = {"left": ["a", "b"], "right": ["c", "d"]}


def clusterer(**settings):
    small = {"n_clusters": 2, "max_epochs": 2, "batch_size": 30, "latent_dim": 3, "start": "gmm"}
    return CMVAEClusterer(**{**small, "random_state": 0, **settings})


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N, 4)) + 4 * (np.arange(N) % 2)[:, None]
    return pd.DataFrame(values, IDS, list("abcd"))


@pytest.fixture(scope="module")
def tables(table):
    """Two tables, of which the second lacks a sample and has its rows in another order."""
    return {"left": table[["a", "b"]], "right": table[["c", "d"]].iloc[:0:-1]}


@pytest.fixture(scope="module")
def fitted(tables):
    return clusterer().fit(tables)


@pytest.mark.parametrize("wide", [True, False])
def test_the_index_is_kept_in_every_output_once_pandas_is_asked_for(fitted, tables, wide):
    given = tables if wide else {"right": tables["right"]}
    ids = IDS if wide else tables["right"].index
    named = pickle.loads(pickle.dumps(fitted)).set_output(transform="pandas")
    methods = {
        "predict": "cluster",
        "score_samples": "log_likelihood",
        "fit_percentiles": "fit_percentile",
        "transform": ["z0", "z1", "z2"],
        "predict_proba": ["probability0", "probability1"],
    }
    for method, names in methods.items():
        found, plain = getattr(named, method)(given), getattr(fitted, method)(given)
        assert found.index.equals(ids)
        assert found.index.name == "patient"
        assert found.name == names if isinstance(names, str) else list(found.columns) == names
        assert type(plain) is np.ndarray
        np.testing.assert_array_equal(found.to_numpy(), plain)
    again = named.set_output(transform="default")
    assert type(again.predict(given)) is np.ndarray


def test_fit_predict_and_fit_transform_keep_it_and_arrays_stay_arrays(table):
    named = clusterer(modalities=HALVES).set_output(transform="pandas")
    found = named.fit_predict(table)
    assert found.index.equals(IDS)
    assert found.tolist() == named.labels_.tolist()
    values = clusterer().fit(table.to_numpy())
    with sklearn.config_context(transform_output="pandas"):
        assert named.predict(table).index.equals(IDS)
        assert type(values.predict(table.to_numpy())) is np.ndarray
        assert list(values.transform(table.to_numpy()).columns) == ["z0", "z1", "z2"]


def test_polars_gets_polars(fitted, tables):
    found = clone(fitted).fit(tables).set_output(transform="polars").transform(tables)
    assert isinstance(found, pl.DataFrame)
    assert found.columns == ["z0", "z1", "z2"]


def test_names_of_columns_and_a_page_s_picture(fitted):
    assert fitted.get_feature_names_out().tolist() == ["z0", "z1", "z2"]
    with pytest.raises(sklearn.exceptions.NotFittedError):
        clusterer().get_feature_names_out()
    for shown in (clusterer(modalities=HALVES), fitted):
        html = shown._repr_html_()
        assert "CMVAEClusterer" in html
        assert "n_clusters" in html


def test_within_other_estimators(table):
    target = np.arange(N) % 2
    names = ColumnTransformer([("z", clusterer(), ["a", "b"]), ("rest", "passthrough", ["c"])])
    names.set_output(transform="pandas")
    assert names.fit_transform(table).columns.tolist() == ["z__z0", "z__z1", "z__z2", "rest__c"]
    scaled = make_pipeline(StandardScaler().set_output(transform="pandas"), clusterer())
    scaled.fit(table)
    assert len(scaled.predict(table)) == N
    told = make_pipeline(clusterer(modalities=HALVES, max_epochs=8), LogisticRegression())
    assert told.fit(table, target).score(table, target) > 0.9


def test_a_search_without_labels_compares_held_out_bounds(table):
    search = GridSearchCV(clusterer(modalities=HALVES), {"beta": [1.0, 50.0]}, cv=2)
    found = search.fit(table)
    scores = found.cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()
    assert found.best_score_ == scores.max()
    assert found.score(table) == found.best_estimator_.score(table)
    assert (
        pickle.loads(pickle.dumps(found)).predict(table).tolist() == found.predict(table).tolist()
    )


def test_scores_of_another_beta_are_of_the_same_bound(fitted, tables):
    other = pickle.loads(pickle.dumps(fitted))
    other.model_.model_config = other.model_.model_config.replace(beta=7.0)
    assert other.score(tables) == fitted.score(tables)


def test_covariates_are_routed(table):
    batch = {"batch": np.arange(N) % 3}
    with sklearn.config_context(enable_metadata_routing=True):
        asks = clusterer().set_fit_request(covariates=True).set_predict_request(covariates=True)
        pipeline = make_pipeline(StandardScaler(), asks)
        pipeline.fit(table.to_numpy(), covariates=batch)
        assert list(pipeline[-1].covariate_scores_) == ["batch"]
        assert len(pipeline.predict(table.to_numpy(), covariates=batch)) == N
        requests = asks.get_metadata_routing().fit.requests
    assert requests["covariates"] is True


def test_several_clusters_are_sampled_at_once(fitted):
    rows, clusters = fitted.sample(4, cluster=[1, 0])
    assert clusters.tolist() == [1, 1, 0, 0]
    assert len(rows["left"]) == 4
    for cluster in ([0, 5], "01", [0.5], [[0]]):
        with pytest.raises(ValueError, match="cluster must be an integer from 0 to 1, or a list"):
            fitted.sample(4, cluster=cluster)


class Told:
    """A callback of scikit-learn that notes what it is told, and asks to stop after some epochs."""

    def __init__(self, stops_after=None):
        self.told, self.stops_after = [], stops_after

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"{context.task_name} begins")

    def on_fit_task_end(self, estimator, context):
        self.told.append(f"{context.task_name} ends")
        return self.told.count("epoch ends") == self.stops_after


@pytest.mark.skipif(not hasattr(CMVAEClusterer, "set_callbacks"), reason="scikit-learn before 1.9")
def test_callbacks_hear_of_every_epoch(table):
    epoch = ["epoch begins", "epoch ends"]
    told = Told()
    clusterer().set_callbacks(told).fit(table)
    assert told.told == ["setup", "fit begins", *(3 * epoch), "fit ends", "teardown"]
    early = Told(stops_after=13)  # of 12 with one cluster, and 2 more
    clusterer(max_epochs=12).set_callbacks(early).fit(table)
    assert early.told.count("epoch ends") == 13
    broken = Told()
    with pytest.warns(UserWarning, match="takes a column as it is") as noted:
        clusterer(max_epochs=1).fit(table.assign(d=[f"no {i}" for i in range(N)]))
    assert {warning.filename for warning in noted} == {__file__}
    with pytest.raises(ValueError, match="infinity"):
        clusterer().set_callbacks(broken).fit(np.full((N, 2), np.inf))
    assert "fit ends" not in broken.told
