import pytest
import torch

from cmvae import CMVAE, CMVAEConfig
from cmvae.likelihoods import CountBlock, build_likelihood
from cmvae.networks import LogCountEncoder, MLPEncoder, build_decoder, build_encoder

BLOCKS = [CountBlock(1, 3, None), CountBlock(4, 6, 100.0)]


def fields(output):
    return torch.cat(
        [
            output.embedding,
            output.log_covariance,
            output.style_embedding,
            output.style_log_covariance,
        ],
        1,
    )


@pytest.mark.parametrize("shape", [(7,), (1, 7)])
def test_the_network_sees_logarithms_of_the_counts_alone(shape):
    inner = MLPEncoder(shape, 3, 2)
    x = torch.tensor([[-1.5, 0.0, 1e6, -2.0, 3.0, 1.0, 0.5], [0.0, 2.0, 5.0, 7.0, 0.0, 0.0, -9.0]])
    seen = x.clone()
    seen[:, 1:3] = (1 + x[:, 1:3]).log()
    seen[0, 4:6] = torch.tensor([76.0, 26.0]).log()  # 3 and 1 of 4, scaled to 100
    got = LogCountEncoder(inner, shape, BLOCKS)(x.reshape(-1, *shape))
    torch.testing.assert_close(fields(got), fields(inner(seen.reshape(-1, *shape))))


def test_integers_are_cast_and_shapes_checked():
    encoder = LogCountEncoder(MLPEncoder((4,), 3, 2), (4,), [CountBlock(0, 4, 50.0)]).double()
    x = torch.randint(9, (5, 4))
    torch.testing.assert_close(fields(encoder(x)), fields(encoder(x.double())))
    with pytest.raises(ValueError, match=r"input of shape \(5, 3\)"):
        encoder(x[:, :3])


@pytest.mark.parametrize("size", [None, 1e4])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_has_room_for_large_counts(dtype, size):
    inner = MLPEncoder((3,), 3, 2).to(dtype)
    x = torch.tensor([[10**6, 300, 0], [70_000, 1, 2]])
    seen = (x if size is None else x * (size / x.sum(-1, keepdim=True))).double().log1p().to(dtype)
    got = LogCountEncoder(inner, (3,), [CountBlock(0, 3, size)])(x)
    torch.testing.assert_close(fields(got), fields(inner(seen)), atol=0.02, rtol=0.02)


def test_with_a_size_the_encoder_sees_shares():
    encoder = LogCountEncoder(MLPEncoder((4,), 3, 2), (4,), [CountBlock(0, 4, 50.0)])
    x = torch.tensor([[1.0, 2.0, 0.0, 5.0]])
    torch.testing.assert_close(fields(encoder(x)), fields(encoder(10 * x)))


def test_with_means_the_encoder_sees_logarithms_around_theirs():
    inner = MLPEncoder((3,), 3, 2)
    encoder = LogCountEncoder(inner, (3,), [CountBlock(1, 3, None, (49_999.0, 3.0))])
    x = torch.tensor([[-1.5, 99_999.0, 0.0]])
    seen = torch.tensor([[-1.5, 2.0, 0.25]])
    seen[:, 1:] = seen[:, 1:].log()
    torch.testing.assert_close(fields(encoder(x)), fields(inner(seen)))
    assert "shift" not in encoder.state_dict()


def test_encoders_of_counts_are_built_and_no_others():
    for name, params, shape in [
        ("poisson", {}, (5,)),
        ("negative_binomial", {"library_size": True}, (1, 8, 8)),
    ]:
        counts = build_likelihood(name, params, "m", shape).counts
        encoder = build_encoder(shape, 3, 2, name, counts=counts)
        assert isinstance(encoder, LogCountEncoder)
        assert fields(encoder(torch.randint(99, (4, *shape)))).shape == (4, 10)
        assert (build_decoder(shape, 5, name)(torch.randn(64, 5)).reconstruction < 0).any()
    config = CMVAEConfig(
        n_modalities=3,
        input_dims={"a": (3,), "b": (4,), "c": (4,)},
        modalities_specific_dim=2,
        decoders_dist={"b": "poisson", "c": "mixed"},
        decoder_dist_params={
            "c": {"columns": [["normal", 2], ["poisson", 2, {"means": [5.0, 1e8]}]]}
        },
    )
    model = CMVAE(config)
    assert isinstance(model.encoders["a"], MLPEncoder)
    assert model.encoders["b"].counts == (CountBlock(0, 4, None),)
    assert model.encoders["c"].counts == (CountBlock(2, 4, None, (5.0, 1e8)),)
