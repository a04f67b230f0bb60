import math

import pytest
import torch
from torch import distributions, nn

from cmvae import CMVAE, IncompleteDataset
from cmvae.models.marginal import spread_draws
from helpers import (
    Decoder,
    Encoder,
    assert_same_snapshot,
    incomplete,
    make_config,
    make_data,
    make_model,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("float64")
SHAPES = {"a": (2,), "b": (3,), "c": (1,)}
D, W = 2, 2


def linear_gaussian(style=True, seed=0, wide=0.3):
    """Return a model with linear decoders and one cluster, its experts near p(z, w_m | x_m)."""
    torch.manual_seed(seed)
    config = make_config(
        SHAPES, latent_dim=D, modalities_specific_dim=W, number_of_clusters=1,
        prior_and_posterior_dist="normal",
        beta=2.5, uses_likelihood_rescaling=True,
    )  # fmt: skip
    encoders = {m: Encoder(shape, D, W) for m, shape in SHAPES.items()}
    decoders = {m: Decoder(shape, D, W) for m, shape in SHAPES.items()}
    model = CMVAE(config, encoders, decoders)
    with torch.no_grad():
        for m, (size,) in SHAPES.items():
            layer = decoders[m].layers[0]
            layer.weight.copy_(0.6 * torch.randn(size, D + W))
            if not style:
                layer.weight[:, D:] = 0
            weight, bias = layer.weight, layer.bias
            prior_mean = torch.cat([model.cluster_centers[0], torch.zeros(W)])
            covariance = torch.linalg.inv(torch.eye(D + W) + weight.T @ weight)
            gain = covariance @ weight.T
            offset = prior_mean - gain @ (weight @ prior_mean + bias)
            raw = covariance.diagonal().log() + wide
            last = encoders[m].last
            last.weight.zero_()
            last.bias.zero_()
            places = torch.cat([torch.arange(D), torch.arange(2 * D, 2 * D + W)])
            last.weight[places], last.bias[places] = gain, offset
            last.bias[places + torch.tensor([D] * D + [W] * W)] = raw
    return model


def closed_form(model, data, masks):
    """Return log p(x_S) of every sample: jointly Normal."""
    result = []
    for i in range(len(data["a"])):
        seen = [m for m in SHAPES if masks is None or masks[m][i]]
        layers = [model.decoders[m].layers[0] for m in seen]
        shared = torch.cat([layer.weight[:, :D] for layer in layers])
        own = torch.block_diag(*[layer.weight[:, D:] for layer in layers])
        mean = torch.cat([layer.bias for layer in layers]) + shared @ model.cluster_centers[0]
        covariance = shared @ shared.T + own @ own.T + torch.eye(len(mean))
        x = torch.cat([data[m][i] for m in seen])
        result.append(distributions.MultivariateNormal(mean, covariance).log_prob(x))
    return torch.stack(result).detach()


def missing(n=6):
    masks = {m: torch.ones(n, dtype=torch.bool) for m in SHAPES}
    masks["a"][[1, 4]] = False
    masks["b"][[1, 2]] = False
    masks["c"][[2, 3]] = False
    return masks


@pytest.mark.parametrize("masks", [None, missing()])
@pytest.mark.parametrize("seed", range(2))
def test_agrees_with_the_closed_form(masks, seed):
    model, data = linear_gaussian(seed=seed), make_data(SHAPES, n=6, seed=seed)
    expected = closed_form(model, data, masks)
    inputs = data if masks is None else IncompleteDataset(data, masks)
    torch.manual_seed(0)
    got = -model.compute_joint_nll(inputs, K=40_000, reduction="none")
    torch.testing.assert_close(got, expected, rtol=0, atol=0.03)


@pytest.mark.parametrize(
    ("K", "chunk_size", "masks"),
    [
        *[(K, 16384, masks) for K in (1, 2, 4) for masks in (None, missing())],
        (7, 5000, None),
        (7, 3, missing()),
        (2, 1, missing()),
    ],
)
def test_the_likelihood_is_unbiased_for_any_number_of_draws_and_chunks(K, chunk_size, masks):
    """K below |S|, and no multiple of it; the mean of p̂ over many estimates is p."""
    model, data = linear_gaussian(wide=0.5), make_data(SHAPES, n=6)
    repeats = 4000 if chunk_size > 100 else 40
    many = {m: x.repeat(repeats, 1) for m, x in data.items()}
    inputs = (
        many
        if masks is None
        else IncompleteDataset(many, {m: v.repeat(repeats) for m, v in masks.items()})
    )
    expected = closed_form(model, data, masks)
    torch.manual_seed(K)
    nll = model.compute_joint_nll(inputs, K=K, reduction="none", chunk_size=chunk_size)
    ratio = (-nll.reshape(repeats, 6) - expected).exp()
    error = ratio.std(0) / math.sqrt(repeats)
    assert ((ratio.mean(0) - 1) / error).abs().max() < 4
    assert chunk_size < 100 or error.max() < 0.05


def test_with_one_draw_the_denominator_is_the_expert_drawn():
    """An expert that is the exact posterior gives the exact likelihood, whatever the other is."""
    model, data = linear_gaussian(style=False, wide=0.0), make_data(SHAPES, n=1)
    x = {"a": data["a"].repeat(400, 1), "b": data["b"].repeat(400, 1)}
    with torch.no_grad():
        model.decoders["b"].layers[
            0
        ].weight.zero_()  # b says nothing: q(z|x_a) = p(z|x_a, x_b), up to correlation
        a = model.decoders["a"].layers[0].weight
        a[:, :D] = torch.eye(2)
        encoder = model.encoders["a"].last
        encoder.weight.zero_()
        encoder.weight[:D] = torch.eye(2) / 2
        encoder.bias.zero_()
        encoder.bias[:D] = (model.cluster_centers[0] - model.decoders["a"].layers[0].bias) / 2
        encoder.bias[D : 2 * D] = math.log(0.5)
    masks = {"a": torch.ones(400, dtype=torch.bool), "b": torch.ones(400, dtype=torch.bool)}
    padded = {**data, "a": x["a"], "b": x["b"], "c": torch.zeros(400, 1)}
    expected = closed_form(model, padded, {**masks, "c": ~masks["a"]})
    exact = (-model.compute_joint_nll(x, K=1, reduction="none") - expected).abs() < 1e-9
    assert exact.double().mean() == pytest.approx(0.5, abs=0.12)
    assert (
        (-model.compute_joint_nll(x, K=2, reduction="none") - expected).abs() < 1e-9
    ).double().mean() < 0.1


@pytest.mark.parametrize("K", [1, 2, 5, 6, 100])
def test_draws_are_spread_evenly_and_the_rest_at_random(K):
    observed = torch.tensor([[True, True, False], [True, False, False], [True, True, True]]).repeat(
        1, 3000
    )
    counts = spread_draws(observed, K, torch.Generator().manual_seed(0))
    assert torch.equal(counts.sum(0), torch.full((9000,), K))
    assert (counts[~observed] == 0).all()
    even = K / observed.sum(0)
    assert ((counts - even).abs()[observed] < 1).all()
    shares = counts[:, ::3].double().mean(1) / K
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), rtol=0, atol=0.05 / K)


def test_memory_is_bounded_by_the_chunk():
    model, batch = make_model(), incomplete(n=20)
    encoded = []
    for encoder in model.encoders.values():
        encoder.register_forward_pre_hook(lambda module, inputs: encoded.append(len(inputs[0])))
    for K, chunk in ((50, 16), (3, 16), (16, 16), (7, 1), (10, 10_000)):
        for decoder in model.decoders.values():
            decoder.rows.clear()
        encoded.clear()
        model.compute_joint_nll(batch, K=K, chunk_size=chunk)
        assert max(encoded) <= chunk
        for m, decoder in model.decoders.items():
            assert max(decoder.rows) <= chunk
            assert sum(decoder.rows) == K * int(batch.masks[m].sum())


@pytest.mark.parametrize("masks", [False, True])
def test_chunks_larger_than_the_data_are_all_the_same(masks):
    model, batch = make_model(), incomplete() if masks else make_data()
    results = [
        model.compute_joint_nll(
            batch,
            K=5,
            reduction="none",
            chunk_size=size,
            generator=torch.Generator().manual_seed(1),
        )
        for size in (8 * 5, 8 * 5 + 1, 10_000, 10**12)
    ]
    for other in results[1:]:
        assert torch.equal(results[0], other)


def test_reductions():
    model, batch = make_model(), incomplete()
    total = model.compute_joint_nll(batch, K=9, generator=torch.Generator().manual_seed(1))
    each = model.compute_joint_nll(
        batch, K=9, reduction="none", generator=torch.Generator().manual_seed(1)
    )
    assert total.shape == ()
    assert each.shape == (8,)
    torch.testing.assert_close(each.sum(), total)
    assert not total.requires_grad


def test_beta_and_rescaling_have_no_part():
    plain, other = make_model(beta=1.0), make_model(beta=3.0, uses_likelihood_rescaling=True)
    results = [
        m.compute_joint_nll(make_data(), K=5, generator=torch.Generator().manual_seed(1))
        for m in (plain, other)
    ]
    assert torch.equal(*results)


class FailingDecoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, z):
        assert not self.drop.training
        raise RuntimeError("no memory")


@pytest.mark.parametrize("fails", [False, True])
def test_modes_parameters_and_config_are_as_before(fails):
    model = make_model(noisy=True)
    model.train()
    model.encoders["a"].before[1].eval()
    if fails:
        model.decoders.add_module("b", FailingDecoder())
    before = snapshot(model)
    if fails:
        with pytest.raises(RuntimeError, match="no memory"):
            model.compute_joint_nll(make_data(), K=3)
    else:
        model.compute_joint_nll(make_data(), K=3)
    assert_same_snapshot(before, snapshot(model))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        *[
            ({name: value}, error, f"{name} must be a positive integer, got {value!r}")
            for name in ("K", "chunk_size")
            for value, error in [
                (0, ValueError),
                (-1, ValueError),
                *((v, TypeError) for v in (2.5, 3.0, True, "3", None)),
            ]
        ],
        ({"reduction": "mean"}, ValueError, "reduction.*'sum'.*'none'.*'mean'"),
        ({"samples": 3}, TypeError, "samples"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        make_model().compute_joint_nll(make_data(), **arguments)


def test_with_a_seed_no_sample_depends_on_the_others():
    model = linear_gaussian()
    data = make_data(SHAPES, 6)
    samples = IncompleteDataset(data, missing())
    whole = model.compute_joint_nll(samples, K=7, reduction="none", seed=3)
    order = torch.tensor([4, 0, 5, 2])
    some = model.compute_joint_nll(samples[order], K=7, reduction="none", seed=3)
    torch.testing.assert_close(some, whole[order], rtol=1e-12, atol=0)
    near = model.compute_joint_nll(samples, K=20_000, reduction="none", seed=3)
    expected = -closed_form(model, data, missing())
    torch.testing.assert_close(near, expected, rtol=0, atol=0.05)
    other = model.compute_joint_nll(samples, K=7, reduction="none", seed=4)
    assert (other != whole).all()
