"""The pairs for images, at every size and number of channels that they are made for."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from cmvae import CMVAE
from cmvae.networks import (
    NETWORKS,
    NetworkPair,
    ResNetDecoder,
    ResNetEncoder,
    build_decoder,
    build_encoder,
)
from helpers import assert_same, make_config

LATENT, STYLE = 3, 2
IMAGE_NETWORKS = ["conv", "conv_residual", "conv_small", "resnet"]
SIZES = [
    (8, 8),
    (9, 9),
    (17, 17),
    (28, 28),
    (31, 31),
    (64, 64),
    (128, 128),
    (9, 30),
    (128, 8),
    (33, 65),
]


def pair(name, shape, **options):
    torch.manual_seed(0)
    networks = NETWORKS[name]
    return networks.encoder(shape, LATENT, STYLE, **options), networks.decoder(
        LATENT + STYLE, shape, **options
    )


def codes(encoder, x):
    output = encoder(x)
    return [
        output.embedding,
        output.log_covariance,
        output.style_embedding,
        output.style_log_covariance,
    ]


def is_complete(network):
    gradients = {name: p.grad for name, p in network.named_parameters()}
    return all(
        g is not None and bool(g.isfinite().all()) and bool(g.any()) for g in gradients.values()
    )


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shapes_and_gradients(name, size, channels):
    shape = (channels, *size)
    encoder, decoder = pair(name, shape, **({"channels": 4} if name == "resnet" else {}))
    outputs = codes(encoder, torch.rand(2, *shape))
    assert [tuple(part.shape) for part in outputs] == [
        (2, LATENT),
        (2, LATENT),
        (2, STYLE),
        (2, STYLE),
    ]
    assert max(outputs[1].abs().max(), outputs[3].abs().max()) < 0.1
    reconstruction = decoder(torch.cat([outputs[0], outputs[2]], -1)).reconstruction
    assert reconstruction.shape == (2, *shape)
    (
        reconstruction.square().sum() + outputs[1].square().sum() + outputs[3].square().sum()
    ).backward()
    assert is_complete(encoder)
    assert is_complete(decoder)


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
@pytest.mark.parametrize("size", [(9, 9), (17, 12)])
def test_every_pixel_is_seen_and_made(name, size):
    encoder, decoder = pair(name, (1, *size))
    x = torch.rand(1, 1, *size, requires_grad=True)
    z, _, w, _ = codes(encoder, x)
    for latent in (z, w):
        (gradient,) = torch.autograd.grad(latent.square().sum(), x, retain_graph=True)
        assert gradient.all()
    assert (decoder(torch.randn(64, LATENT + STYLE)).reconstruction.std(0) > 0).all()


def conv_sizes(network):
    """Return (channels in, channels out) of every 3×3 convolution."""
    layers = [
        layer
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3)
    ]
    return [(layer.in_channels, layer.out_channels) for layer in layers]


def test_the_residual_pair_of_the_paper():
    encoder, decoder = pair("resnet", (3, 28, 28))
    trunk = [(3, 64), (64, 64), (64, 64), (64, 64), (64, 128), (128, 128), (128, 256)]
    assert conv_sizes(encoder.shared) == conv_sizes(encoder.private) == trunk
    assert encoder.shared.head.in_features == encoder.private.head.in_features == 256 * 7 * 7
    assert conv_sizes(decoder) == [
        (256, 128),
        (128, 128),
        (128, 64),
        (64, 64),
        (64, 64),
        (64, 64),
        (64, 3),
    ]


@pytest.mark.parametrize(
    ("size", "code", "width"),
    [
        ((4, 4), (4, 4), 2),
        ((8, 8), (4, 4), 4),
        ((31, 31), (4, 4), 16),
        ((64, 64), (4, 4), 16),
        ((128, 9), (64, 5), 4),
    ],
)
def test_halvings_follow_from_the_size(size, code, width):
    encoder = ResNetEncoder((1, *size), LATENT, STYLE, channels=2)
    assert encoder.shared.head.in_features == width * code[0] * code[1]


def test_trunks_are_separate():
    encoder, _ = pair("resnet", (3, 12, 12), channels=4)
    z, z_scale, w, w_scale = codes(encoder, torch.rand(2, 3, 12, 12))
    parameters = {part: list(getattr(encoder, part).parameters()) for part in ("shared", "private")}
    assert sum(map(len, parameters.values())) == len(list(encoder.parameters()))
    for part, other, loss in (
        ("shared", "private", z + z_scale),
        ("private", "shared", w + w_scale),
    ):
        own = torch.autograd.grad(loss.square().sum(), parameters[part], retain_graph=True)
        assert all(gradient.any() for gradient in own)
        strange = torch.autograd.grad(
            loss.square().sum(), parameters[other], retain_graph=True, allow_unused=True
        )
        assert all(gradient is None for gradient in strange)


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_a_sample_does_not_depend_on_its_batch(name):
    encoder, decoder = pair(name, (3, 9, 9))
    x = torch.rand(5, 3, 9, 9)
    z, _, w, _ = codes(encoder.train(), x)
    latents = torch.cat([z, w], -1)
    for row in range(5):
        alone = slice(row, row + 1)
        torch.testing.assert_close(codes(encoder, x[alone])[0], z[alone])
        torch.testing.assert_close(
            decoder(latents[alone]).reconstruction, decoder(latents).reconstruction[alone]
        )


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_channels_last_and_other_dtypes(name):
    encoder, decoder = pair(name, (3, 9, 9))
    x = torch.randint(256, (2, 3, 9, 9), dtype=torch.uint8)
    wanted = codes(encoder, x.float())
    z = torch.cat([wanted[0], wanted[2]], -1)
    reconstruction = decoder(z).reconstruction
    for network in (encoder, decoder):
        network.to(memory_format=torch.channels_last)
    for got, want in zip(
        codes(encoder, x.to(memory_format=torch.channels_last)), wanted, strict=True
    ):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(decoder(z).reconstruction, reconstruction, rtol=1e-4, atol=1e-4)
    assert codes(encoder.double(), x)[0].dtype == torch.float64


def test_the_residual_pair_learns_images():
    torch.manual_seed(0)
    centre, grid = 3 + 6 * torch.rand(512, 2, 1, 1), torch.arange(13.0)
    square = (grid[None, :, None] - centre[:, 0]) ** 2 + (grid[None, None, :] - centre[:, 1]) ** 2
    colour = torch.rand(512, 3, 1, 1)
    x = colour * torch.exp(-square / 8).unsqueeze(1)
    encoder, decoder = pair("resnet", (3, 13, 13), channels=8)
    optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=2e-3)

    def loss(batch):
        z, _, w, _ = codes(encoder, batch)
        return functional.mse_loss(decoder(torch.cat([z, w], -1)).reconstruction, batch)

    for _ in range(150):
        optimiser.zero_grad()
        loss(x[torch.randint(128, len(x), (64,))]).backward()
        optimiser.step()
    with torch.no_grad():
        assert loss(x[:128]) < 0.3 * x.var(0).mean()


# By the config
# ------------------------------------------------------------------------------------------------

SHAPES = {"a": (1, 9, 8), "b": (4,)}


def test_saved_and_rebuilt_by_name(tmp_path):
    torch.manual_seed(0)
    model = CMVAE(make_config(SHAPES, networks={"a": "resnet"}))
    assert isinstance(model.encoders["a"], ResNetEncoder)
    assert isinstance(model.decoders["a"], ResNetDecoder)
    data = {m: torch.rand(5, *shape) for m, shape in SHAPES.items()}
    model.save_pretrained(tmp_path)
    loaded = CMVAE.from_pretrained(tmp_path)
    assert loaded.model_config.networks == {"a": "resnet"}
    assert_same(dict(model.state_dict()), dict(loaded.state_dict()))
    assert_same(
        model.predict_clusters(data).probabilities, loaded.predict_clusters(data).probabilities
    )
    assert model(data).loss.isfinite()


def test_a_pair_of_ones_own(tmp_path, monkeypatch):
    def encoder(shape, latent_dim, style_dim):
        return ResNetEncoder(shape, latent_dim, style_dim, channels=3)

    monkeypatch.setitem(NETWORKS, "mine", NetworkPair(encoder, NETWORKS["conv"].decoder))
    model = CMVAE(make_config({"a": SHAPES["a"]}, networks="mine"))
    assert conv_sizes(model.encoders["a"].shared)[0] == (1, 3)
    model.save_pretrained(tmp_path)
    assert_same(dict(model.state_dict()), dict(CMVAE.from_pretrained(tmp_path).state_dict()))
    monkeypatch.delitem(NETWORKS, "mine")
    with pytest.raises(
        ValueError,
        match=r"config\.json: .*networks: no networks are registered as 'mine'.*'resnet'",
    ):
        CMVAE.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", IMAGE_NETWORKS)
def test_shapes_that_networks_cannot_take(name):
    message = rf"networks: '{name}' .* modality 'b' of shape \(4,\): .*\(channels, height, width\)"
    with pytest.raises(ValueError, match=message):
        CMVAE(make_config(SHAPES, networks={"b": name}))


def test_networks_beside_custom_ones():
    config = make_config({"a": SHAPES["a"]}, networks="resnet")
    sizes = (config.latent_dim, config.private_dim("a"))
    encoders = {"a": build_encoder(SHAPES["a"], *sizes, "normal")}
    decoders = {"a": build_decoder(SHAPES["a"], sum(sizes), "normal")}
    assert isinstance(CMVAE(config, encoders).decoders["a"], ResNetDecoder)
    assert isinstance(CMVAE(config, decoders=decoders).encoders["a"], ResNetEncoder)
    with pytest.raises(
        ValueError, match="networks is 'resnet', but encoders and decoders are given"
    ):
        CMVAE(config, encoders, decoders)
