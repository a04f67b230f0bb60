import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

import cmvae.training.initialization
from cmvae import CMVAE, CMVAEConfig, IncompleteDataset, MultimodalBaseDataset, initialize_clusters
from cmvae.models.inference import latent_means
from cmvae.training.initialization import collapse_clusters, read_views
from helpers import make_config


class _Shared(torch.nn.Module):
    """An encoder whose expert has its mean at the input."""

    def __init__(self):
        super().__init__()
        self.anchor = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        zeros = torch.zeros_like(x) + self.anchor
        return {
            "embedding": x + self.anchor,
            "log_covariance": zeros,
            "style_embedding": zeros,
            "style_log_covariance": zeros,
        }


def blobs(seed, sizes, spread=0.3, dim=2):
    generator = np.random.default_rng(seed)
    centers = np.zeros((len(sizes), dim))
    centers[:, :2] = np.array([[0.0, 6.0], [6.0, 0.0], [-6.0, -3.0], [4.0, 9.0]])[: len(sizes)]
    points = [
        center + spread * generator.normal(size=(n, dim))
        for center, n in zip(centers, sizes, strict=True)
    ]
    return torch.as_tensor(np.concatenate(points)), centers


def model_of(covariance="full", family="normal", clusters=8, dim=2, **changes):
    config = CMVAEConfig(
        n_modalities=2,
        input_dims={"a": dim, "b": dim},
        latent_dim=dim,
        modalities_specific_dim=dim,
        prior_and_posterior_dist=family,
        covariance=covariance,
        number_of_clusters=clusters,
        **changes,
    )
    return CMVAE(config, encoders={"a": _Shared(), "b": _Shared()}).double()


@pytest.mark.parametrize("covariance", ["identity", "diagonal", "full"])
def test_auto_finds_the_blobs_and_their_centres(covariance):
    points, centers = blobs(0, [60, 40, 80], dim=6)
    model = model_of(covariance, dim=6)
    initialize_clusters(model, {"a": points, "b": points}, "auto", seed=0)
    assert model.n_clusters == 3
    found = model.cluster_centers[model.active_clusters].detach().numpy()
    distances = np.linalg.norm(found[:, None] - centers, axis=-1)
    assert distances.min(0).max() < 0.2
    weights = model.pc_params[model.active_clusters].detach()
    np.testing.assert_allclose(np.sort(weights), np.array([40, 60, 80]) / 180, atol=0.02)


def test_full_covariances_are_those_of_the_clusters_and_of_draws_around_the_means():
    points, _ = blobs(1, [400, 400], spread=0.7)
    model = model_of()
    initialize_clusters(model, {"a": points, "b": points}, 2, seed=0)
    generator = torch.Generator().manual_seed(0)
    drawn = model.generate_from_prior(20000, cluster=0, generator=generator).z
    # The clusters' own variance, 0.7², and that of the experts, 1.
    np.testing.assert_allclose(np.cov(drawn.detach().T), 1.49 * np.eye(2), atol=0.08)


def test_every_cluster_starts_where_no_number_is_given():
    points, _ = blobs(2, [50, 50])
    model = model_of(clusters=6)
    initialize_clusters(model, {"a": points, "b": points}, seed=0)
    assert model.n_clusters == 6


def test_the_fit_is_repeatable_and_leaves_networks_alone():
    points, _ = blobs(3, [50, 50, 50])
    model = model_of()
    networks = {
        name: p.detach().clone()
        for name, p in model.named_parameters()
        if not name.startswith("mixture")
    }
    initialize_clusters(model, {"a": points, "b": points}, 3, seed=4)
    first = model.cluster_centers.detach().clone()
    initialize_clusters(model, {"a": points, "b": points}, 3, seed=4)
    assert torch.equal(first, model.cluster_centers)
    for name, value in networks.items():
        assert torch.equal(value, dict(model.named_parameters())[name])
    assert all(module.training for module in model.modules())


def test_collapse_leaves_the_prior_of_a_vae():
    model = model_of("full")
    with torch.no_grad():
        for parameter in model.mixture.parameters():
            parameter.normal_()
    collapse_clusters(model)
    assert model.n_clusters == 1
    z = torch.randn(7, 2, dtype=torch.float64)
    expected = torch.distributions.Normal(0, 1).log_prob(z).sum(-1)
    torch.testing.assert_close(model.mixture.log_prob(z), expected)


def test_laplace_scales_match_the_variance():
    points, _ = blobs(4, [4000], spread=0.8)
    model = model_of("diagonal", "laplace_with_softmax", clusters=1)
    initialize_clusters(model, {"a": points, "b": points}, 1, seed=0)
    drawn = model.generate_from_prior(40000, generator=torch.Generator().manual_seed(0)).z
    # A Laplace expert of scale 1 has variance 2.
    np.testing.assert_allclose(drawn.detach().var(0), 2.64 * np.ones(2), rtol=0.1)


def test_latent_means_average_what_is_observed():
    a, b = torch.randn(5, 2, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64)
    model = model_of()
    means = latent_means(model, MultimodalBaseDataset({"a": a, "b": b}), batch_size=2)
    torch.testing.assert_close(means, (a + b) / 2)


@pytest.mark.parametrize(
    ("n_clusters", "message"),
    [
        (9, "at most number_of_clusters = 8, got 9"),
        (0, "n_clusters must be a positive integer"),
        (3, "2 different"),
    ],
)
def test_bad_numbers_are_refused(n_clusters, message):
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64).repeat(5, 1)
    with pytest.raises(ValueError, match=message):
        initialize_clusters(model_of(), {"a": points, "b": points}, n_clusters)


def test_identical_samples_are_one_cluster():
    points = torch.ones(12, 2, dtype=torch.float64)
    model = model_of()
    initialize_clusters(model, {"a": points, "b": points}, "auto", seed=0)
    assert model.n_clusters == 1


@pytest.mark.parametrize("method", ["consensus", "spectral", "shared", "gmm"])
def test_all_methods_find_unequal_groups(method):
    points, centers = blobs(5, [50, 200, 12])
    model = model_of()
    initialize_clusters(model, {"a": points, "b": points}, 3, method=method, seed=0)
    found = model.cluster_centers[model.active_clusters].detach().numpy()
    assert np.linalg.norm(found[:, None] - centers, axis=-1).min(0).max() < 0.3


def test_samples_weigh_as_much_as_they_have_observed():
    points = torch.tensor([[0.0, 0.0]] * 12 + [[1.0, 0.0]] * 12, dtype=torch.float64)
    masks = {"a": [True] * 24, "b": [True] * 12 + [False] * 12}
    model = model_of()
    initialize_clusters(model, IncompleteDataset({"a": points, "b": points}, masks), 1, seed=0)
    # Twelve samples of weight 1 at 0, twelve of weight 1/2 at 1.
    torch.testing.assert_close(model.cluster_centers[0, 0].item(), 1 / 3, atol=1e-6, rtol=0)


def test_unknown_methods_are_refused():
    points, _ = blobs(0, [20, 20])
    with pytest.raises(
        ValueError,
        match=r"method must be one of \['consensus', 'spectral', 'shared', 'gmm'\], got 'magic'",
    ):
        initialize_clusters(model_of(), {"a": points, "b": points}, 2, method="magic")


def test_shared_groups_are_those_that_each_modality_shows():
    points, _ = blobs(0, [60, 60, 60], dim=6)
    again, _ = blobs(1, [60, 60, 60], dim=6)
    shuffled = again[torch.as_tensor(np.random.default_rng(0).permutation(180))]
    counts = {}
    for other, name in ((again, "agreeing"), (shuffled, "independent")):
        for method in ("spectral", "shared"):
            model = model_of(clusters=12, dim=6)
            initialize_clusters(model, {"a": points, "b": other}, "auto", method=method, seed=0)
            counts[name, method] = model.n_clusters
    assert counts["agreeing", "spectral"] == counts["agreeing", "shared"] == 3
    assert counts["independent", "spectral"] > 3
    assert counts["independent", "shared"] == 1


def test_shared_groups_are_counted_only_where_samples_have_two_modalities():
    points, _ = blobs(0, [20, 30])
    masks = {"a": torch.arange(50) % 2 == 0, "b": torch.arange(50) % 2 == 1}
    data = IncompleteDataset({"a": points, "b": points}, masks)
    with pytest.raises(ValueError, match="no sample has two modalities"):
        initialize_clusters(model_of(), data, "auto", method="shared")
    model = model_of()
    initialize_clusters(model, data, 2, method="shared")
    assert model.n_clusters == 2


def test_of_many_samples_some_are_counted(monkeypatch):
    monkeypatch.setattr(cmvae.training.initialization, "MAX_SAMPLES", 150)
    (points, _), (again, _) = blobs(0, [100, 100, 100]), blobs(1, [100, 100, 100])
    order = torch.as_tensor(np.random.default_rng(0).permutation(300))
    model = model_of()
    initialize_clusters(
        model, {"a": points[order], "b": again[order]}, "auto", method="shared", seed=0
    )
    assert model.n_clusters == 3


def test_latents_of_an_earlier_start_repeat_it_whatever_the_model_has_become():
    points, _ = blobs(0, [40, 40, 40], spread=2.5, dim=3)
    data = {"a": points, "b": points.flip(1)}
    model = model_of(dim=3)
    first = initialize_clusters(model, data, 3, seed=1)
    with torch.no_grad():
        for encoder in model.encoders.values():
            encoder.anchor += 5.0
        model.encoders["a"].anchor -= 9.0
    repeated = initialize_clusters(model, data, 3, seed=1, latents=first.known.latents)
    assert np.array_equal(first.labels, repeated.labels)
    assert np.array_equal(first.consensus.memberships, repeated.consensus.memberships)
    # The components lie where the model has the samples now.
    own = latent_means(model, data, batch_size=50).numpy()
    weights = [own[repeated.labels == k].mean(0) for k in range(3)]
    np.testing.assert_allclose(model.cluster_centers[:3].detach(), weights)


def test_directions_are_those_of_values_as_they_were_measured():
    points, _ = blobs(0, [30, 30], dim=3)
    seen = []

    def measured(name, values):
        seen.append(name)
        return 1 + 2 * values

    known = initialize_clusters(
        model_of(dim=3), {"a": points, "b": points}, 2, seed=0, measured=measured
    ).known
    assert seen == ["a", "b"]
    np.testing.assert_allclose(known.views.raw[0], 1 + 2 * points)
    np.testing.assert_allclose(known.views.values[0], points)


@pytest.mark.parametrize("method", ["consensus", "spectral", "shared", "gmm"])
def test_nothing_that_is_not_observed_changes_the_start(method):
    points, _ = blobs(0, [40, 40], dim=3)
    other, _ = blobs(1, [40, 40], dim=3)
    masks = {"a": torch.arange(80) % 5 != 0, "b": torch.arange(80) % 5 != 1}
    centers = []
    for filler in (0.0, torch.nan, 1e6):
        tables = {"a": points.clone(), "b": other.clone()}
        for name, mask in masks.items():
            tables[name][~mask] = filler
        model = model_of(dim=3)
        initialize_clusters(model, {"data": tables, "masks": masks}, 2, method=method, seed=0)
        centers.append(model.cluster_centers.detach()[:2])
    assert torch.equal(centers[0], centers[1])
    assert torch.equal(centers[0], centers[2])


def test_one_modality_alone_starts_clusters():
    points, _ = blobs(0, [40, 40, 40], dim=6)
    masks = {"a": torch.ones(120, dtype=torch.bool), "b": torch.zeros(120, dtype=torch.bool)}
    model = model_of(dim=6)
    data = {"data": {"a": points, "b": points}, "masks": masks}
    groups = initialize_clusters(model, data, "auto", seed=0)
    assert model.n_clusters == 3
    assert len(groups.known.views.values) == 1


def test_missing_cells_are_filled_in_as_the_model_reconstructs_them():
    points, _ = blobs(0, [30, 30])
    torch.manual_seed(0)
    config = CMVAEConfig(
        n_modalities=1, input_dims={"a": 2}, modalities_specific_dim=1, latent_dim=2,
        missing_cells=["a"],
    )  # fmt: skip
    model = CMVAE(config)
    cells = torch.ones(60, 2, dtype=torch.bool)
    cells[4, 1] = cells[7, 0] = False
    data = IncompleteDataset({"a": torch.where(cells, points, torch.nan)}, {}, cells={"a": cells})
    views = read_views(model, data)
    assert views.has_filled
    np.testing.assert_allclose(views.raw[0][cells], points[cells], rtol=1e-6)
    expected = model.impute(data, steps=0)["a"]
    np.testing.assert_allclose(views.raw[0][4, 1], float(expected[4, 1]))
    whole = read_views(model, {"a": points})
    assert not whole.has_filled


@pytest.mark.parametrize("counts", [False, True])
def test_groups_are_not_those_of_a_covariate(counts):
    """Of a model that is not told of the batch they are, which moves samples further."""
    rng = np.random.default_rng(0)
    groups, batch = rng.integers(0, 2, 120), rng.integers(0, 2, 120)
    shapes, log = {"a": (10,), "b": (4,)}, np.log(20) if counts else 0.0
    values = {
        name: log + rng.normal(0, 0.7, (2, size))[groups] + rng.normal(0, 1.5, (2, size))[batch]
        for name, (size,) in shapes.items()
    }
    if counts:
        values = {name: rng.poisson(np.exp(own)).astype(float) for name, own in values.items()}
    else:
        values = {name: own + rng.normal(0, 0.2, own.shape) for name, own in values.items()}
    data = {name: torch.from_numpy(own).float() for name, own in values.items()}
    found = {}
    for told in (False, True):
        torch.manual_seed(0)
        own = {"covariates": {"batch": 2}} if told else {}
        dists = {"decoders_dist": dict.fromkeys(shapes, "poisson")} if counts else {}
        model = CMVAE(make_config(shapes, latent_dim=6, hidden_dims=(), **own, **dists))
        known = {"batch": batch} if told else None
        dataset = MultimodalBaseDataset(data, covariates=known)
        labels = initialize_clusters(model, dataset, 2, seed=0).labels
        found[told] = adjusted_rand_score(batch, labels), adjusted_rand_score(groups, labels)
    assert found[False][0] > 0.8
    assert found[True][0] < 0.05
    assert found[True][1] > 0.9
