from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cmvae.base.outputs import ModelOutput
from cmvae.networks import run_decoder, run_encoder

FIELDS = ("embedding", "log_covariance", "style_embedding", "style_log_covariance")


class Encoder(nn.Module):
    """Any module, of no special class; ``wrap`` says in what it returns its fields."""

    def __init__(self, *before, n_features=6, wrap=dict):
        super().__init__()
        self.before = nn.Sequential(*before)
        self.layers = nn.ModuleDict(
            {name: nn.LazyLinear(3 if i < 2 else 2) for i, name in enumerate(FIELDS)}
        )
        self.wrap = wrap
        with torch.no_grad():
            self.eval()(torch.zeros(2, n_features))  # sizes the lazy layers
        self.train()

    def forward(self, x):
        features = self.before(x).flatten(1)
        return self.wrap(**{name: layer(features) for name, layer in self.layers.items()})


class Decoder(nn.Module):
    def __init__(self, *layers, wrap=dict):
        super().__init__()
        self.layers, self.wrap = nn.Sequential(*layers), wrap

    def forward(self, z):
        return self.wrap(reconstruction=self.layers(z))


@pytest.mark.parametrize("wrap", [dict, ModelOutput, SimpleNamespace])
def test_fields_are_read_by_key_or_attribute_in_order(wrap):
    encoder, x = Encoder(wrap=wrap), torch.randn(5, 6)
    for name, got in zip(FIELDS, run_encoder(encoder, x, "m", 3, 2), strict=True):
        torch.testing.assert_close(got, encoder.layers[name](x))
    decoder, z = Decoder(nn.Linear(5, 4), wrap=wrap), torch.randn(7, 5)
    for shape in ((4,), None):
        torch.testing.assert_close(run_decoder(decoder, z, "m", shape), decoder.layers(z))


def test_missing_fields_are_named():
    def encoder(x):
        return {"embedding": x, "style_embedding": None, "style_log_covariance": x}

    with pytest.raises(
        TypeError, match=r"encoder of modality 'audio'.*\['log_covariance', 'style_embedding'\]"
    ):
        run_encoder(encoder, torch.zeros(2, 3), "audio", 3, 3)
    with pytest.raises(
        TypeError, match=r"decoder of modality 'audio'.*Tensor\) lacks.*'reconstruction'"
    ):
        run_decoder(nn.Identity(), torch.zeros(2, 3), "audio", (3,))


@pytest.mark.parametrize("field", range(4))
def test_wrong_encoder_shapes_are_named(field):
    dims = [3, 3, 2, 2]
    dims[field] += 1

    def encoder(x):
        return {name: torch.zeros(len(x), dim) for name, dim in zip(FIELDS, dims, strict=True)}

    expected = r"\(5, 3\)" if field < 2 else r"\(5, 2\)"
    with pytest.raises(
        ValueError, match=rf"'audio'.*'{FIELDS[field]}'.*\(5, {dims[field]}\), expected {expected}"
    ):
        run_encoder(encoder, torch.zeros(5, 6), "audio", 3, 2)


@pytest.mark.parametrize(
    ("got", "shape"), [((5, 4), (4, 1)), ((5, 4), (3,)), ((4, 4), (4,)), ((4, 4), None), ((), None)]
)
def test_wrong_decoder_shapes_are_named(got, shape):
    with pytest.raises(ValueError, match=r"decoder of modality 'audio'.*expected \(5, "):
        run_decoder(
            lambda z: {"reconstruction": torch.zeros(got)}, torch.zeros(5, 2), "audio", shape
        )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_float32(dtype):
    outputs = run_encoder(Encoder().to(dtype), torch.randn(5, 6, dtype=dtype), "m", 3, 2)
    reconstruction = run_decoder(
        Decoder(nn.Linear(5, 4)).to(dtype), torch.randn(5, 5, dtype=dtype), "m", (4,)
    )
    assert {tensor.dtype for tensor in (*outputs, reconstruction)} == {torch.float32}
    assert (
        run_encoder(Encoder().double(), torch.randn(5, 6).double(), "m", 3, 2)[0].dtype
        == torch.float64
    )


def test_autocast_comes_back_as_float32():
    encoder, x = Encoder(), torch.randn(5, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(x)["embedding"].dtype == torch.bfloat16
        assert run_encoder(encoder, x, "m", 3, 2)[0].dtype == torch.float32


NORMS = [
    lambda **options: [nn.BatchNorm1d(6, **options)],
    lambda **options: [nn.Unflatten(1, (2, 3)), nn.BatchNorm1d(2, **options)],
    lambda **options: [nn.Unflatten(1, (2, 1, 3)), nn.BatchNorm2d(2, **options)],
]


def _warmed(make, **options):
    """Build an encoder with batch normalisation, running statistics unlike 0 and 1, and dropout."""
    torch.manual_seed(0)
    encoder = Encoder(nn.Dropout(0.5), *make(**options))
    encoder(3 + 2 * torch.randn(50, 6))
    return encoder


@pytest.mark.parametrize("make", NORMS)
def test_one_row_uses_the_running_statistics_and_changes_nothing(make):
    encoder, x = _warmed(make), torch.randn(1, 6)
    encoder.before[0].p = 0.0
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    outputs = run_encoder(encoder, x, "m", 3, 2)
    assert all(module.training for module in encoder.modules())
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, state[name])
    encoder.eval()
    for name, got in zip(FIELDS, outputs, strict=True):
        torch.testing.assert_close(got, encoder(x)[name])


def test_other_layers_stay_in_training_mode_for_one_row():
    encoder, x = _warmed(NORMS[0]), torch.randn(1, 6)
    outputs = [run_encoder(encoder, x, "m", 3, 2)[0] for _ in range(8)]
    assert not all(torch.equal(outputs[0], other) for other in outputs)  # dropout is drawn anew


def test_several_rows_use_and_update_the_batch_statistics():
    encoder = _warmed(NORMS[0])
    before = encoder.before[1].running_mean.clone()
    run_encoder(encoder, torch.randn(2, 6), "m", 3, 2)
    assert not torch.equal(encoder.before[1].running_mean, before)


@pytest.mark.parametrize("make", NORMS)
@pytest.mark.parametrize("training", [True, False])
def test_one_row_without_running_statistics(make, training):
    encoder, x = _warmed(make, track_running_stats=False).train(training), torch.randn(1, 6)
    encoder.before[0].p = 0.0
    got = run_encoder(encoder, x, "m", 3, 2)
    norm = encoder.before[-1]
    features = nn.Sequential(*encoder.before[:-1])(x)
    axes = [0, *range(2, features.dim())]
    centred = features - features.mean(axes, keepdim=True)
    normalised = centred / (features.var(axes, keepdim=True, unbiased=False) + norm.eps).sqrt()
    for name, value in zip(FIELDS, got, strict=True):
        torch.testing.assert_close(value, encoder.layers[name](normalised.flatten(1)))
    assert norm.training == training


def test_one_row_through_a_decoder():
    decoder = Decoder(
        nn.Linear(5, 4), nn.BatchNorm1d(4), nn.BatchNorm1d(4, track_running_stats=False)
    )
    reconstruction = run_decoder(decoder, torch.randn(1, 5), "m", (4,))
    assert reconstruction.shape == (1, 4)
    assert decoder.layers[1].num_batches_tracked == 0


def test_modes_are_restored_after_an_error():
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    decoder = Decoder(nn.BatchNorm1d(4), nn.BatchNorm1d(4).eval(), Broken())
    with pytest.raises(RuntimeError, match="broken"):
        run_decoder(decoder, torch.randn(1, 4), "m", (4,))
    assert [layer.training for layer in decoder.layers] == [True, False, True]
