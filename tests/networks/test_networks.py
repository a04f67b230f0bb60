import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cmvae.networks import (
    NETWORKS,
    ConvDecoder,
    ConvEncoder,
    MLPDecoder,
    MLPEncoder,
    NetworkPair,
    ResidualConvDecoder,
    ResNetDecoder,
    ResNetEncoder,
    SequenceDecoder,
    SequenceEncoder,
    build_decoder,
    build_encoder,
    check_network,
    choose_networks,
    run_decoder,
    run_encoder,
)

KINDS = [
    ("mlp", (), "normal"),
    ("mlp", (7,), "normal"),
    ("mlp", (3, 4), "laplace"),
    ("mlp", (1, 7, 40), "bernoulli"),
    ("mlp", (20, 8), "custom"),
    ("mlp_classes", (6,), "categorical"),
    ("mlp_classes", (2, 3, 4), "categorical"),
    ("mlp_classes", (3, 16, 16), "categorical"),
    ("conv", (1, 8, 8), "normal"),
    ("conv", (3, 28, 28), "laplace"),
    ("conv", (4, 9, 15), "bernoulli"),
    ("conv", (2, 31, 17), "custom"),
    ("conv", (1, 8, 128), "normal"),
    ("conv", (3, 64, 47), "normal"),
    ("conv", (1, 128, 128), "normal"),
    ("sequence", (1, 1), "categorical"),
    ("sequence", (2, 5), "categorical"),
    ("sequence", (7, 3), "categorical"),
    ("sequence", (33, 20), "categorical"),
]


@pytest.mark.parametrize(("name", "shape", "likelihood"), KINDS)
def test_pair_is_chosen_and_returns_the_exact_shapes(name, shape, likelihood):
    assert choose_networks(shape, likelihood) == name
    encoder, decoder = build_encoder(shape, 4, 3, likelihood), build_decoder(shape, 7, likelihood)
    for rows in (1, 3):
        outputs = run_encoder(encoder, torch.rand(rows, *shape), "m", 4, 3)
        z = torch.cat([outputs[0], outputs[2]], dim=-1)
        assert run_decoder(decoder, z, "m", shape).shape == (rows, *shape)


@pytest.mark.parametrize(("name", "shape", "likelihood"), KINDS)
def test_every_parameter_gets_a_finite_gradient(name, shape, likelihood):
    torch.manual_seed(0)
    encoder, decoder = build_encoder(shape, 4, 3, likelihood), build_decoder(shape, 7, likelihood)
    z, z_scale, w, w_scale = run_encoder(encoder, torch.rand(5, *shape), "m", 4, 3)
    loss = run_decoder(decoder, torch.cat([z, w], dim=-1), "m", shape).square().sum()
    (loss + z_scale.square().sum() + w_scale.square().sum()).backward()
    for network in (encoder, decoder):
        for parameter_name, parameter in network.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.isfinite().all(), parameter_name
            assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize(("name", "shape", "likelihood"), KINDS)
def test_signals_start_of_order_one_with_raw_scales_near_zero(name, shape, likelihood):
    torch.manual_seed(0)
    x = torch.rand(64, *shape)
    z, z_scale, w, w_scale = run_encoder(build_encoder(shape, 10, 10, likelihood), x, "m", 10, 10)
    assert max(z_scale.abs().max(), w_scale.abs().max()) < 0.1
    assert z.std() > 0.01
    assert w.std() > 0.01
    reconstruction = run_decoder(
        build_decoder(shape, 20, likelihood), torch.randn(64, 20), "m", shape
    )
    assert 0.01 < reconstruction.std() < 5


@pytest.mark.parametrize(
    ("shape", "likelihood"),
    [((6,), "categorical"), ((2, 3, 4), "categorical"), ((9, 5), "categorical")],
)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
def test_indices_and_one_hot_vectors_encode_alike(shape, likelihood, dtype):
    encoder = build_encoder(shape, 3, 2, likelihood).double()
    indices = torch.randint(shape[-1], (8, *shape[:-1]))
    one_hot = functional.one_hot(indices, shape[-1])
    expected = run_encoder(encoder, one_hot.double(), "m", 3, 2)
    for x in (indices.to(dtype), one_hot.to(dtype), one_hot.bool()):
        for got, want in zip(run_encoder(encoder, x, "m", 3, 2), expected, strict=True):
            torch.testing.assert_close(got, want)
    assert not torch.allclose(
        expected[0][0], run_encoder(encoder, (indices + 1) % shape[-1], "m", 3, 2)[0][0]
    )


@pytest.mark.parametrize("encoder", [MLPEncoder((1, 8, 8), 2, 2), ConvEncoder((1, 8, 8), 2, 2)])
def test_integer_images_are_cast(encoder):
    x = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(encoder(x).embedding, encoder(x.float()).embedding)


def test_large_images_get_narrow_stages_first():
    shape = (1, 128, 128)
    encoder, decoder = ConvEncoder(shape, 2, 2), ConvDecoder(4, shape)
    down = [layer.out_channels for layer in encoder.modules() if isinstance(layer, nn.Conv2d)]
    up = [layer.in_channels for layer in decoder.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert down == up[::-1] == [8, 16, 32, 64, 128]


def test_sequence_encoder_sees_the_order():
    x = torch.arange(5).repeat(1, 2)
    encoder = SequenceEncoder((10, 5), 3, 2)
    assert not torch.allclose(encoder(x).embedding, encoder(x.flip(1)).embedding)


def test_decoders_are_linear_at_the_end():
    for decoder in (
        MLPDecoder(4, (1, 8, 8)),
        ConvDecoder(4, (1, 8, 8)),
        ResidualConvDecoder(4, (1, 8, 8)),
        SequenceDecoder(4, (8, 8)),
    ):
        values = decoder(100 * torch.randn(64, 4)).reconstruction
        assert values.min() < -2
        assert values.max() > 2


@pytest.mark.parametrize(
    ("network", "x"),
    [
        (MLPEncoder((4, 3), 2, 2, one_hot=True), torch.zeros(5, 4)),
        (MLPEncoder((4, 3), 2, 2), torch.zeros(5, 4, dtype=torch.int64)),
        (MLPEncoder((4, 3), 2, 2), torch.zeros(5, 12)),
        (ConvEncoder((1, 8, 8), 2, 2), torch.zeros(5, 1, 9, 8)),
        (ResNetEncoder((1, 8, 8), 2, 2, channels=2), torch.zeros(5, 1, 9, 8)),
        (ResNetEncoder((1, 8, 8), 2, 2, channels=2), torch.zeros(5, 1, 7, 8)),
        (SequenceEncoder((4, 3), 2, 2), torch.zeros(5, 4)),
        (SequenceEncoder((4, 3), 2, 2), torch.zeros(5, 3, dtype=torch.int64)),
    ],
)
def test_other_shapes_are_refused(network, x):
    with pytest.raises(ValueError, match=r"input of shape \(5, .*allowed: \(B, "):
        network(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLPEncoder((3, 0), 2, 2), "input_shape"),
        (lambda: MLPEncoder((), 2, 2, one_hot=True), "one_hot"),
        (lambda: MLPDecoder(2, (3, -1)), "output_shape"),
        (lambda: ConvEncoder((8, 8), 2, 2), "channels, height, width"),
        (lambda: ConvDecoder(2, (1, 8, 8.5)), "shape"),
        (lambda: ConvEncoder((1, 8, 8), 2, 2, channels=()), "channels"),
        (lambda: ResNetEncoder((8, 8), 2, 2), "channels, height, width"),
        (lambda: ResNetEncoder((1, 8, 8), 2, 0), "style_dim"),
        (lambda: MLPEncoder((3,), 2, 0), "style_dim"),
        (lambda: MLPEncoder((3,), 2.0, 2), r"latent_dim must hold positive integers; got 2\.0"),
        (lambda: ConvEncoder((1, 8, 8), 2, -1), "style_dim"),
        (
            lambda: ConvDecoder(None, (1, 8, 8)),
            "latent_dim_total must hold positive integers; got None",
        ),
        (lambda: SequenceEncoder((5, 4), 2, 1.5), "style_dim"),
        (lambda: ResNetDecoder(0, (1, 8, 8)), "latent_dim_total"),
        (lambda: ResNetDecoder(2, (1, 8, 8), channels=0), "channels"),
        (lambda: ResidualConvDecoder(0, (1, 8, 8)), "latent_dim_total"),
        (lambda: ResidualConvDecoder(2, (8, 8)), "channels, height, width"),
        (lambda: SequenceDecoder(2, (8,)), "length, vocabulary"),
    ],
)
def test_bad_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sizes_may_be_integers_of_numpy():
    shape = tuple(np.array([1, 8, 8]))
    assert ConvEncoder(shape, np.int64(2), np.int32(3))(
        torch.zeros(4, 1, 8, 8)
    ).style_embedding.shape == (4, 3)
    for decoder in (ConvDecoder(np.int64(5), shape), ResNetDecoder(np.int64(5), shape, channels=2)):
        assert decoder(torch.zeros(4, 5)).reconstruction.shape == (4, 1, 8, 8)
    assert SequenceDecoder(np.int64(5), shape[:2])(torch.zeros(4, 5)).reconstruction.shape == (
        4,
        1,
        8,
    )


def test_registry_takes_new_pairs(monkeypatch):
    images = {"conv", "conv_residual", "conv_small", "resnet"}
    assert set(NETWORKS) == {"mlp", "mlp_classes", *images, "sequence", "mlp_sigmoid"}
    monkeypatch.setitem(
        NETWORKS,
        "mlp",
        NETWORKS["mlp"]._replace(decoder=lambda dim, shape, hidden_dims: ("mine", dim)),
    )
    assert build_decoder((5,), 3, "normal") == ("mine", 3)


def test_networks_are_built_by_name(monkeypatch):
    shape = (1, 8, 8)
    assert isinstance(build_encoder(shape, 2, 2, "normal", network="mlp"), MLPEncoder)
    assert isinstance(build_decoder(shape, 4, "normal", network="mlp"), MLPDecoder)
    assert isinstance(build_decoder((4, 3), 4, "normal", network="sequence"), SequenceDecoder)
    # A pair whose name looks like that of a perceptron gets hidden_dims only if it says so.
    monkeypatch.setitem(NETWORKS, "mlp_like", NetworkPair(ConvEncoder, ConvDecoder))
    assert isinstance(
        build_encoder(shape, 2, 2, "normal", hidden_dims=(3,), network="mlp_like"), ConvEncoder
    )


@pytest.mark.parametrize(
    "build", [lambda n: build_encoder((3,), 2, 2, "normal", network=n), check_network]
)
def test_unknown_names_are_refused_with_those_that_are_known(build):
    with pytest.raises(
        ValueError, match=r"registered as 'convv'.*\['mlp', 'mlp_classes', 'conv', 'conv_residual'"
    ):
        build("convv")


def _train(encoder, decoder, x, loss_of, steps, learning_rate=2e-3):
    """Train a plain autoencoder on batches of 64 and return its loss on rows it has not seen."""
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=learning_rate)
    held_out, seen = x[:128], x[128:]

    def loss(batch):
        codes = encoder(batch)
        z = torch.cat([codes.embedding, codes.style_embedding], dim=-1)
        return loss_of(decoder(z).reconstruction, batch)

    for _ in range(steps):
        optimiser.zero_grad()
        loss(seen[torch.randint(len(seen), (64,))]).backward()
        optimiser.step()
    with torch.no_grad():
        return float(loss(held_out))


def test_mlp_pair_learns_vectors():
    torch.manual_seed(0)
    phase = 2 * math.pi * torch.rand(1000, 1)
    x = torch.sin(torch.linspace(0, 6, 40) * (1 + torch.rand(1000, 1)) + phase)
    mse = _train(MLPEncoder((40,), 4, 2), MLPDecoder(6, (40,)), x, functional.mse_loss, steps=80)
    assert mse < 0.2 * x.var(dim=0).mean()


@pytest.mark.parametrize("kind", [ConvDecoder, ResidualConvDecoder])
def test_conv_pair_learns_images(kind):
    torch.manual_seed(0)
    centre, grid = 4 + 10 * torch.rand(1000, 2, 1, 1), torch.arange(18.0)
    square = (grid[None, :, None] - centre[:, 0]) ** 2 + (grid[None, None, :] - centre[:, 1]) ** 2
    x = torch.exp(-square / 10).unsqueeze(1)
    shape = tuple(x.shape[1:])
    mse = _train(ConvEncoder(shape, 4, 2), kind(6, shape), x, functional.mse_loss, steps=80)
    assert mse < 0.3 * x.var(dim=0).mean()


def test_sequence_pair_learns_tokens():
    torch.manual_seed(0)
    first, step = torch.randint(7, (1000, 1)), torch.randint(1, 3, (1000, 1))
    x = (
        first + step * torch.arange(12)
    ) % 7  # every position's marginal is uniform: cross-entropy log 7

    def cross_entropy(logits, batch):
        return functional.cross_entropy(logits.flatten(0, 1), batch.flatten())

    loss = _train(
        SequenceEncoder((12, 7), 4, 2), SequenceDecoder(6, (12, 7)), x, cross_entropy, steps=60
    )
    assert loss < 0.4 * math.log(7)
