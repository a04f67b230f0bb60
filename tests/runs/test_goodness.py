import numpy as np
import pytest
import torch

from cmvae.data.datasets import IncompleteDataset
from cmvae.runs.goodness import (
    fit_percentiles,
    log_likelihoods,
    measure_reference,
    per_number,
)
from cmvae.runs.reference import FitReference
from helpers import make_model

DIMS = {"a": (3,), "b": (2,)}
NAMES = {"a": list("xyz"), "b": list("pq")}


@pytest.fixture(scope="module")
def model():
    return make_model(DIMS)


def dataset(n=120, seed=0, cells=None, both=0.7):
    rng = np.random.default_rng(seed)
    data = {name: rng.normal(size=(n, *shape)).astype(np.float32) for name, shape in DIMS.items()}
    masks = {"a": np.ones(n, bool), "b": rng.random(n) < both}
    return IncompleteDataset(data, masks, cells=cells or {})


def test_training_samples_have_percentiles_from_0_to_100(model):
    data = dataset()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    reference = measure_reference(model, data, NAMES)
    assert set(reference.quantiles) == {"a+b", "a", "b"}
    assert FitReference.from_json(reference.to_json()) == reference
    found = fit_percentiles(model, reference, data)
    both = data.masks["b"].numpy()
    for own in (found[both], found[~both]):
        assert 0 <= own.min() < 20
        assert 80 < own.max() <= 100
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_samples_far_away_fit_worst(model):
    data, far = dataset(), dataset(seed=1)
    far.data["a"] += 50
    reference = measure_reference(model, data, NAMES)
    assert (fit_percentiles(model, reference, far) == 0).all()


def test_the_likelihood_is_the_same_each_time_and_leaves_the_global_generator_alone(model):
    data = dataset()
    torch.manual_seed(3)
    first, state = log_likelihoods(model, data), torch.get_rng_state()
    torch.rand(5)
    np.testing.assert_array_equal(log_likelihoods(model, data), first)
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state)


def test_what_is_there_is_counted(model):
    cells = {"a": np.ones((120, 3), bool)}
    cells["a"][:, 2] = False
    data = dataset(cells=cells)
    counts = 2 + 2 * data.masks["b"].numpy()
    np.testing.assert_allclose(per_number(model, data), log_likelihoods(model, data) / counts)


def test_combinations_that_training_had_too_few_of_are_unknown(model):
    data = dataset(both=0)
    data.masks["b"][:5] = True
    reference = measure_reference(model, data, NAMES)
    assert set(reference.quantiles) == {"a"}
    found = fit_percentiles(model, reference, data)
    assert np.isnan(found[:5]).all()
    assert not np.isnan(found[5:]).any()
    assert np.isnan(fit_percentiles(model, None, data)).all()


def test_percentiles_lie_between_quantiles():
    reference = FitReference(quantiles={"a": (0.0, 1.0, 3.0)})
    found = reference.percentiles(np.array([-1, 0.5, 1, 2, 9, 1]), ["a"] * 5 + ["b"])
    np.testing.assert_array_equal(found, [0, 25, 50, 75, 100, np.nan])
