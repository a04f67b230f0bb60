import pytest
import torch

from cmvae import CMVAE, IncompleteDataset
from cmvae.models.traceable import TraceableModel
from helpers import make_config, randomise

SHAPES = {"a": (6,), "b": (3,), "c": (3, 8, 8)}
KINDS = {"a": "mixed", "b": "negative_binomial", "c": "bernoulli"}
BLOCKS = [["normal", 3, {"scale": "learned"}], ["bernoulli", 1], ["categorical", [2]]]
FAMILIES = [
    ("laplace_with_softmax", "identity"),
    ("laplace_with_softmax", "diagonal"),
    ("normal_with_softplus", "full"),
    ("normal", "diagonal"),
    ("normal", "identity"),
]


def model_of(family, covariance, **settings):
    torch.manual_seed(0)
    config = make_config(
        SHAPES,
        decoders_dist=KINDS,
        decoder_dist_params={"a": {"columns": BLOCKS}},
        missing_cells=["a"],
        prior_and_posterior_dist=family,
        covariance=covariance,
        **settings,
    )
    return randomise(CMVAE(config), 0.2).eval()


def rows_of(n, seed=0):
    """Return values, masks and cells of samples that lack some of them."""
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(n, 6, generator=generator)
    a[:, 3] = (a[:, 3] > 0).float()
    a[:, 4:] = torch.eye(2)[(a[:, 4] > 0).long()]
    b = torch.poisson(40 * torch.rand(n, 3, generator=generator), generator=generator)
    images = torch.rand(n, 3, 8, 8, generator=generator)
    observed = torch.rand(3, n, generator=generator) < 0.6
    observed[0] |= ~observed.any(0)
    cells = torch.rand(n, 6, generator=generator) < 0.7
    cells[:, 5], cells[:, 0] = cells[:, 4], True
    return [a, b, images], observed, cells & observed[0].unsqueeze(1)


@pytest.mark.parametrize("rule", ["joint", "mean", "vote"])
@pytest.mark.parametrize(("family", "covariance"), FAMILIES)
def test_it_says_what_the_model_says(family, covariance, rule):
    model = model_of(family, covariance)
    model.mixture.keep(torch.tensor([True, False, True, True]))
    data, observed, cells = rows_of(12)
    masks = dict(zip(SHAPES, observed, strict=True))
    given = IncompleteDataset(dict(zip(SHAPES, data, strict=True)), masks, cells={"a": cells})
    # What is missing may hold anything finite.
    data = [
        torch.where(own.reshape(-1, *(1 for _ in x.shape[1:])), x, 5.0)
        for x, own in zip(data, observed, strict=True)
    ]
    with torch.no_grad():
        found = TraceableModel(model, rule, 7, 3)(data, observed, [cells, None, None])
    expected = model.predict_clusters(given, rule=rule)
    nll = model.compute_joint_nll(given, 7, reduction="none", seed=3)
    assert torch.equal(found.clusters, expected.clusters)
    torch.testing.assert_close(found.probabilities, expected.probabilities, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.log_likelihood, -nll, atol=1e-3, rtol=1e-5)
    means = model.encode(given, return_mean=True).z[:, 0]
    torch.testing.assert_close(found.embedding, means, atol=1e-5, rtol=1e-5)


def test_the_draws_are_those_of_the_model_where_few_are_made_at_a_time(monkeypatch):
    monkeypatch.setattr("cmvae.models.cmvae.MOST_ROWS", 4)
    model = model_of("normal", "identity")
    data, _, _ = rows_of(3)
    with torch.no_grad():
        found = TraceableModel(model, "mean", 10, 0)(
            data, torch.ones(3, 3, dtype=torch.bool), [None, None, None]
        )
    given = dict(zip(SHAPES, data, strict=True))
    nll = model.compute_joint_nll(given, 10, reduction="none", chunk_size=4, seed=0)
    torch.testing.assert_close(found.log_likelihood, -nll, atol=1e-3, rtol=1e-5)
